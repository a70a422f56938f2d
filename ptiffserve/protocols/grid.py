"""Tiles of a grid over a slide at full resolution halved again and again: cut at the slide's edge, or whole."""

import re
from typing import NamedTuple

from ptiffserve.address import WHITE, Tile, View, plan, pyramid_of
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import Box, Pyramid, Size, ceil_div, clip, log2_ceil, tiles_across
from ptiffserve.protocols.base import options
from ptiffserve.slide import Slide

EDGES = ("clip", "pad")
_COLOUR = re.compile(r"[0-9A-Fa-f]{6}")


class Style(NamedTuple):
    """How a tile is to look. `edge`: one of EDGES; the others are as in a View."""

    form: str
    edge: str
    background: str = WHITE
    strength: int = 0


def edge_of(query: bytes, unsaid: str) -> str:
    edge = options(query).get("edge", unsaid)
    if edge not in EDGES:
        raise Malformed(f"edge must be clip or pad, not {edge[:40]!r}")
    return edge


def background_of(query: bytes) -> str:
    colour = options(query).get("background", WHITE)
    if not _COLOUR.fullmatch(colour):
        raise Malformed(f"background must be RRGGBB, not {colour[:40]!r}")
    return colour.lower()


def deepest(pyramid: Pyramid) -> int:
    """How often full resolution is halved until one stored tile holds all of the slide."""
    grid = tiles_across(pyramid.size, pyramid.tile)
    return log2_ceil(max(grid.width, grid.height))


def scale_of(level: int, deepest: int) -> int:
    """Level-0 pixels that a pixel of `level` spans, where level `deepest` is full resolution. NotFound past it."""
    if level > deepest:
        raise NotFound(f"no level {level}, only 0 to {deepest}")
    return 1 << (deepest - level)


def level_size(size: Size, scale: int) -> Size:
    """Rounded up: the last row and column may show part of a pixel, and viewers ask for them."""
    return Size(ceil_div(size.width, scale), ceil_div(size.height, scale))


def tile_at(slide: Slide, scale: int, tile: Size, place: tuple[int, int], style: Style) -> Tile | View:
    """The tile of a grid of `tile` pixels at (column, row). NotFound outside the slide."""
    whole = pyramid_of(slide).size
    width, height = tile.width * scale, tile.height * scale
    box = Box(place[0] * width, place[1] * height, width, height)
    inner = clip(box, whole)
    if inner.width <= 0 or inner.height <= 0:
        raise NotFound(f"no tile {place[0]},{place[1]} at 1:{scale}")
    if style.edge == "pad":
        view = View(slide, box, tile, style.form, background=style.background, strength=style.strength)
        return _stored(view, scale, place) or plan(view)
    size = level_size(Size(inner.width, inner.height), scale)
    return plan(View(slide, inner, size, style.form, background=style.background, strength=style.strength))


def _stored(view: View, scale: int, place: tuple[int, int]) -> Tile | None:
    """The stored tile at that place with the padding it has in the file, which is nobody's choice of colour."""
    if view.background != WHITE:
        return None
    for index, level in enumerate(pyramid_of(view.slide).levels):
        if level.scale == scale and level.tile == view.size and level.stored == view.format:
            return Tile(view.slide, index, *place)
    return None
