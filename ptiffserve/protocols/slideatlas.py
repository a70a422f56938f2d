"""SlideAtlas's URLs: `/tile`, `/tileat`, `/thumb`, `/label` and `/cutout`, with a store, an image in it, and quad names.

Tiles are the stored ones: whole, and not found where the file has none, be it a level, a place or a sparse tile.
"""

import re
from collections.abc import Sequence
from math import ceil

import msgspec
from msgspec.structs import replace

from ptiffserve.address import Asked, Associated, Document, Thumb, Tile, View, plan, pyramid_of
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import Box, Pyramid, Size, ceil_div
from ptiffserve.protocols.base import (
    ALIASES,
    Candidate,
    Offer,
    join,
    no_links,
    nothing_to_describe,
    number,
    options,
    parent,
    stem_and_format,
)
from ptiffserve.protocols.grid import Style, deepest, scale_of, tile_at
from ptiffserve.protocols.xyz import quad_index
from ptiffserve.slide import Slide

# An SVS is a TIFF by another name.
_CUTOUTS = {**ALIASES, "svs": "tif"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    kind, *path = segments
    said = options(query)
    last = [path.pop()] if kind in ("tile", "cutout") and len(path) > 2 else []
    if len(path) >= 2:
        store, image = path[0], join(path[1:])
    elif path in ([], [""]):
        store, image = said.get("db", ""), said.get("img", "")
    else:
        return []
    if not store or not image:
        raise Malformed("a store and an image must be said: db and img")
    if kind == "tile":
        return [Candidate(image, (kind, *(last or [said.get("name", "")])), store)]
    if kind == "tileat":
        return [Candidate(image, (kind, *(said.get(key, "") for key in "zxy")), store)]
    if kind == "cutout":
        name = last[0] if last else ""
        return [Candidate(image, (kind, name, said.get("bounds", "")), store, save_as=_UNSAFE.sub("_", name))]
    return [Candidate(image, (kind,), store)]


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    pyramid = pyramid_of(slide)
    kind, *words = asked
    if kind == "label":
        return beside(slide, kind)
    if kind == "thumb":
        return _thumb(slide)
    if kind == "cutout":
        return _cutout(slide, words[0], words[1], offer)
    if kind == "tile":
        stem, form = stem_and_format(words[0])
        z, x, y = quad_index(stem)
    else:
        form = "jpg"
        z, x, y = (number(word) for word in words)
        x, y = x // pyramid.tile.width, y // pyramid.tile.height
    return stored_tile(slide, scale_of(z, deepest(pyramid)), (x, y), offer.format(form))


def stored_tile(slide: Slide, scale: int, place: tuple[int, int], form: str) -> Tile | View:
    """The tile at (column, row) of the level of which a pixel spans `scale`, whole. NotFound where no such level is stored.

    A View where the file's own coding is not what is asked for.
    """
    pyramid = pyramid_of(slide)
    if not any(level.scale == scale and level.tile == pyramid.tile for level in pyramid.levels):
        raise NotFound(f"no level at 1:{scale} is stored")
    found = tile_at(slide, scale, pyramid.tile, place, Style(form, "pad"))
    return replace(found, stored=True) if isinstance(found, Tile) else found


def beside(slide: Slide, name: str) -> Associated:
    """Label or macro as scanned. NotFound where the slide has none."""
    if name not in slide.associated:
        raise NotFound(f"the slide has no {name}")
    return Associated(slide, name, "jpg")


def _thumb(slide: Slide) -> Thumb:
    """Its tiles, should it come to them: the root, and the root's children clockwise."""
    root, *quarters = (_tile_named(slide, name) for name in ("t", "tq", "tr", "ts", "tt"))
    return Thumb(slide, root, tuple(quarters))


def _tile_named(slide: Slide, name: str) -> Tile | View | None:
    z, x, y = quad_index(name)
    try:
        return stored_tile(slide, scale_of(z, deepest(pyramid_of(slide))), (x, y), "jpg")
    except NotFound:
        return None


def _cutout(slide: Slide, name: str, bounds: str, offer: Offer) -> View | Tile:
    form = offer.format(stem_and_format(name)[1].lower(), _CUTOUTS)
    box = _whole_tiles(_bounds(bounds), pyramid_of(slide))
    return plan(View(slide, box, offer.check(Size(box.width, box.height)), form))


def _bounds(text: str) -> tuple[float, ...]:
    """`[x1,x2,y1,y2]` in pixels of full resolution."""
    try:
        return msgspec.json.decode(text, type=tuple[float, float, float, float])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise Malformed(f"bounds must be [x1,x2,y1,y2], not {text[:40]!r}") from None


def _whole_tiles(bounds: tuple[float, ...], pyramid: Pyramid) -> Box:
    """What lies of the bounds on the slide, rounded out to its tiles, which may reach past the edge."""
    left, width = _side(bounds[0], bounds[1], pyramid.size.width, pyramid.tile.width)
    top, height = _side(bounds[2], bounds[3], pyramid.size.height, pyramid.tile.height)
    return Box(left, top, width, height)


def _side(start: float, end: float, side: int, tile: int) -> tuple[int, int]:
    start, end = max(0.0, start), min(end, float(side))
    if not start < end:
        raise Malformed("the bounds are outside the slide, or empty")
    first = int(start) // tile * tile
    return first, ceil_div(ceil(end), tile) * tile - first


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    raise nothing_to_describe(document)
