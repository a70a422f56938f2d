"""What can be asked of a slide, and the plan that turns a view into a stored tile wherever it exactly is one."""

from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from ptiffserve.errors import NotFound, SlideUnreadable
from ptiffserve.geometry import Box, Level, Pyramid, Size
from ptiffserve.slide import Slide, edition

Lane = Literal["stored", "blank", "lossless", "render"]

# Part of every ETag of a picture that we encode: raise it when the same view gives other bytes than before.
ENCODER = 2


class Tile(Struct, frozen=True):
    """A tile as it lies in the file, padding included."""

    slide: Slide
    level: int
    col: int
    row: int


class View(Struct, frozen=True):
    """A picture of `box` (level-0 pixels, may reach past the slide: white there), scaled to `size`, then mirrored
    left to right, then turned clockwise by `turn` degrees.

    `level` is set by plan() where the view can be cut losslessly out of one stored tile of that level, else -1.
    """

    slide: Slide
    box: Box
    size: Size
    format: str = "jpg"
    quality: str = "color"
    turn: float = 0.0
    mirror: bool = False
    level: int = -1


class Associated(Struct, frozen=True):
    """A picture beside the pyramid: label or macro, fitted into `size` where that is given."""

    slide: Slide
    name: str
    format: str
    size: Size | None = None


class Document(Struct, frozen=True):
    """A description of a slide in some protocol's own words. `kind` is for that protocol to read."""

    slide: Slide
    kind: str


class Redirect(Struct, frozen=True):
    """The answer lies at another path of the same slide: `suffix` goes behind the path that was asked."""

    slide: Slide
    suffix: str


Plan = Tile | View | Associated
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
    """The Tile that the view exactly is; else the view, marked with its level where a stored tile can be cut for it.

    Exact, never hopeful: a clipped edge is not the padded tile, and a level whose scale is no whole number has no tiles.
    """
    if view.turn or view.mirror or view.quality != "color":
        return view
    pyramid = pyramid_of(view.slide)
    for index, level in enumerate(pyramid.levels):
        if level.stored == view.format and _on_grid(view, level, pyramid.size):
            return _placed(view, index, level)
    return view


def _on_grid(view: View, level: Level, base: Size) -> bool:
    """Whether the view is 1:1 with the level, begins at the corner of a tile and ends inside that tile."""
    box, size, d = view.box, view.size, level.scale
    return (
        d > 0
        and size.width <= level.tile.width
        and size.height <= level.tile.height
        and box.x % (level.tile.width * d) == 0
        and box.y % (level.tile.height * d) == 0
        and _side_exact(box.x, box.width, size.width, d, base.width, level.size.width)
        and _side_exact(box.y, box.height, size.height, d, base.height, level.size.height)
    )


def _side_exact(start: int, extent: int, pixels: int, d: int, base: int, side: int) -> bool:
    """One axis is 1:1: whole pixels, or it runs from a whole pixel to the very edge of slide and level."""
    if extent == pixels * d:
        return start // d + pixels <= side
    return start + extent == base and start // d + pixels == side


def _placed(view: View, index: int, level: Level) -> Tile | View:
    col, row = view.box.x // (level.tile.width * level.scale), view.box.y // (level.tile.height * level.scale)
    if view.size == level.tile:
        return Tile(view.slide, index, col, row)
    return View(view.slide, view.box, view.size, view.format, level=index)


def tile_of(view: View) -> Tile:
    """The stored tile that a view with a level is cut from."""
    level = pyramid_of(view.slide).levels[view.level]
    return Tile(
        view.slide,
        view.level,
        view.box.x // (level.tile.width * level.scale),
        view.box.y // (level.tile.height * level.scale),
    )


def etag(asked: Plan) -> str:
    """A strong entity tag, quoted: the same in every process, another one when the file or the bytes we make change."""
    name = edition(asked.slide)
    if isinstance(asked, Tile):
        return f'"{name}-{asked.level}-{asked.col}-{asked.row}"'
    if isinstance(asked, View):
        said = (*_numbers(asked), asked.format, asked.quality, asked.turn, asked.mirror, asked.level, ENCODER)
    else:
        said = (asked.name, asked.format, asked.size and (asked.size.width, asked.size.height), ENCODER)
    return f'"{name}-{blake2b(repr(said).encode(), digest_size=8).hexdigest()}"'


def _numbers(view: View) -> tuple[int, ...]:
    box = view.box
    return box.x, box.y, box.width, box.height, view.size.width, view.size.height
