"""What can be asked of a slide, and the plan that turns a view into a stored tile wherever it exactly is one."""

from hashlib import blake2b
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from ptiffserve.errors import NotFound, SlideUnreadable
from ptiffserve.geometry import Box, Level, Pyramid, Size, clip
from ptiffserve.slide import Slide, edition

Lane = Literal["stored", "blank", "lossless", "render"]

# Part of every ETag of a picture that we encode: raise it when the same view gives other bytes than before.
ENCODER = 3
# Of what a view shows that is not the slide, unless it is asked for otherwise. RRGGBB.
WHITE = "ffffff"


class Tile(Struct, frozen=True):
    """A tile as it lies in the file, padding included. `stored`: a sparse one is not found rather than blank."""

    slide: Slide
    level: int
    col: int
    row: int
    stored: bool = False


class View(Struct, frozen=True):
    """A picture of `box` (level-0 pixels, may reach past the slide: `background` there, RRGGBB in lower case), scaled to
    `size`, then mirrored left to right, then turned clockwise by `turn` degrees.

    `level` is set by plan() where the view can be made of the stored coefficients of that level's tiles, else -1.
    `strength` is the encoder's quality, 1 to 100, where the format has one; 0 is what we choose.
    """

    slide: Slide
    box: Box
    size: Size
    format: str = "jpg"
    quality: str = "color"
    turn: float = 0.0
    mirror: bool = False
    level: int = -1
    background: str = WHITE
    strength: int = 0


class Associated(Struct, frozen=True):
    """A picture beside the pyramid, fitted into `size` where that is given: label or macro, the slide's "barcode" as a
    symbol, or "composed", which is the label and the barcode side by side, or the one that there is."""

    slide: Slide
    name: str
    format: str
    size: Size | None = None


class Thumb(Struct, frozen=True):
    """SlideAtlas's small picture of a slide: label and macro where `labels` may be seen and both are there, else `root`,
    else its four quarters: top left, top right, bottom right, bottom left. None is what the slide has not."""

    slide: Slide
    root: Tile | View | None
    quarters: tuple[Tile | View | None, ...]
    labels: bool = False


class Document(Struct, frozen=True):
    """A description of a slide in some protocol's own words. `kind` is for that protocol to read."""

    slide: Slide
    kind: str


class Redirect(Struct, frozen=True):
    """The answer lies at another path of the same slide: `suffix` goes behind the path that was asked."""

    slide: Slide
    suffix: str


Plan = Tile | View | Associated | Thumb
Asked = Plan | Document | Redirect


class Blob(Struct, frozen=True):
    """An answer: bytes ready to send. `lane` says which way they came."""

    data: bytes
    media_type: str
    lane: Lane


def pyramid_of(slide: Slide) -> Pyramid:
    """The slide's pyramid. SlideUnreadable or NotFound where the record has none to serve."""
    if slide.state == "missing":
        raise NotFound("no such slide")
    if slide.pyramid is None:
        raise SlideUnreadable(slide.key, slide.reason)
    return slide.pyramid


def plan(view: View) -> Tile | View:
    """The Tile that the view exactly is; else the view, marked with its level where that level's tiles can be cut, joined
    and turned for it without touching a coefficient.

    Exact, never hopeful: a clipped edge is not the padded tile, and a level whose scale is no whole number has no tiles.
    A background that cannot be seen is dropped; so is a strength where nothing is encoded.
    """
    if view.background != WHITE:
        if _shows_background(view):
            return view
        view = replace(view, background=WHITE)
    pyramid = pyramid_of(view.slide)
    for index, level in enumerate(pyramid.levels):
        if level.stored == view.format and level.scale and _one_to_one(view, level, pyramid.size):
            marked = replace(view, level=index, strength=0)
            return _tile(marked, level) or (marked if _on_grid(marked, level) else view)
    return view


def _shows_background(view: View) -> bool:
    """Whether there is more to see than the slide: past its edge, or in the corners that a turn opens."""
    return view.turn % 90 != 0 or clip(view.box, pyramid_of(view.slide).size) != view.box


def level_box(view: View) -> Box:
    """The box of a view with a level, in that level's pixels."""
    d = pyramid_of(view.slide).levels[view.level].scale
    return Box(view.box.x // d, view.box.y // d, view.size.width, view.size.height)


def _one_to_one(view: View, level: Level, base: Size) -> bool:
    """Whether the view shows whole pixels of the level as they are, none of them past its edge."""
    box, size, d = view.box, view.size, level.scale
    return (
        box.x >= 0
        and box.y >= 0
        and box.x % d == 0
        and box.y % d == 0
        and _side_exact(box.x, box.width, size.width, d, base.width, level.size.width)
        and _side_exact(box.y, box.height, size.height, d, base.height, level.size.height)
    )


def _side_exact(start: int, extent: int, pixels: int, d: int, base: int, side: int) -> bool:
    """One axis is 1:1: whole pixels, or it runs from a whole pixel to the very edge of slide and level."""
    if extent == pixels * d:
        return start // d + pixels <= side
    return start + extent == base and start // d + pixels == side


def _tile(view: View, level: Level) -> Tile | None:
    box, tile = level_box(view), level.tile
    if view.size != tile or box.x % tile.width or box.y % tile.height:
        return None
    if view.turn or view.mirror or view.quality != "color":
        return None
    return Tile(view.slide, view.level, box.x // tile.width, box.y // tile.height)


def _on_grid(view: View, level: Level) -> bool:
    """Whether the view begins on the grid of the level's JPEG units, and no part of a unit would be turned to its left or
    top, where a JPEG has whole ones only. Gray needs brightness apart from colour."""
    unit, box = level.unit, level_box(view)
    if (
        not unit.width
        or view.turn % 90
        or view.quality not in ("color", "gray")
        or box.x % unit.width
        or box.y % unit.height
    ):
        return False
    right, bottom = _turned_in(view.turn, view.mirror)
    whole = (not right or box.width % unit.width == 0) and (not bottom or box.height % unit.height == 0)
    return whole and (view.quality == "color" or level.luma)


def _turned_in(turn: float, mirror: bool) -> tuple[bool, bool]:
    """Whether the right and the bottom edge become the left or the top one."""
    right = turn in (180, 270) if not mirror else turn in (0, 90)
    return right, turn in (90, 180)


def etag(asked: Plan) -> str:
    """A strong entity tag, quoted: the same in every process, another one when the file or the bytes we make change."""
    name = edition(asked.slide)
    if isinstance(asked, Tile):
        return f'"{name}-{asked.level}-{asked.col}-{asked.row}"'
    said: tuple[object, ...]
    if isinstance(asked, View):
        said = _said(asked)
    elif isinstance(asked, Thumb):
        said = ("thumb", asked.labels, ENCODER)
    else:
        said = (asked.name, asked.format, asked.size and (asked.size.width, asked.size.height), ENCODER)
    return f'"{name}-{blake2b(repr(said).encode(), digest_size=8).hexdigest()}"'


def _said(view: View) -> tuple[object, ...]:
    """All of a view but its slide."""
    box, size = view.box, view.size
    numbers = box.x, box.y, box.width, box.height, size.width, size.height
    made = view.turn, view.mirror, view.level, view.background, view.strength
    return *numbers, view.format, view.quality, *made, ENCODER
