"""`/tiles`: z/x/y from the top left, z = 0 the whole slide in one tile; SlideAtlas's quad names for the same; TileJSON.

Tiles come whole: an edge tile keeps its padding.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from ptiffserve.address import Asked, Document, Tile, View, pyramid_of
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import Box, Pyramid, ceil_div, log2_ceil, tiles_across
from ptiffserve.protocols.base import Candidate, Offer, join, no_links, nothing_to_describe, number, stem_and_format
from ptiffserve.slide import Slide

_QUAD = re.compile(r"t[qrst]{0,31}")
# The letters are screen quadrants, clockwise from the top left; which bit of y they set depends on where y begins.
_RIGHT, _LOWER, _UPPER = "rs", "st", "qr"

links = no_links


def parse(segments: Sequence[str], query: Mapping[str, str]) -> list[Candidate]:
    found = []
    if len(segments) >= 2:
        kind = ("tilejson",) if segments[-1] == "tilejson.json" else ("quad", segments[-1], query.get("origin", "top"))
        found.append(Candidate(join(segments[:-1]), kind))
    if len(segments) >= 4:
        found.append(Candidate(join(segments[:-3]), ("xyz", *segments[-3:])))
    return found


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    pyramid = pyramid_of(slide)
    if asked[0] == "tilejson":
        return Document(slide, "tilejson")
    if asked[0] == "quad":
        stem, form = stem_and_format(asked[1])
        z, x, y = quad_index(stem, asked[2])
    else:
        stem, form = stem_and_format(asked[3])
        z, x, y = number(asked[1]), number(asked[2]), number(stem)
    return _whole_tile(slide, pyramid, (z, x, y), offer.format(form))


def quad_index(name: str, origin: str = "top") -> tuple[int, int, int]:
    """`tqrs` -> (z, x, y), y from the top. With origin "bottom" the letters are read as SlideAtlas's uploader wrote them:
    y counts from the bottom, which is the same tile as the name with y flipped."""
    if not _QUAD.fullmatch(name) or origin not in ("top", "bottom"):
        raise Malformed(f"not a quad name: {name[:40]!r}, origin {origin[:40]!r}")
    x = y = 0
    for letter in name[1:]:
        x = 2 * x + (letter in _RIGHT)
        y = 2 * y + (letter in (_LOWER if origin == "top" else _UPPER))
    return len(name) - 1, x, y


def quad_name(z: int, x: int, y: int, origin: str = "top") -> str:
    """The inverse of quad_index."""
    letters = {(0, 0): "q", (1, 0): "r", (1, 1): "s", (0, 1): "t"}
    flip = 0 if origin == "top" else 1
    return "t" + "".join(letters[x >> bit & 1, (y >> bit & 1) ^ flip] for bit in range(z - 1, -1, -1))


def deepest(pyramid: Pyramid) -> int:
    """The z of full resolution."""
    grid = tiles_across(pyramid.size, pyramid.tile)
    return log2_ceil(max(grid.width, grid.height))


def _whole_tile(slide: Slide, pyramid: Pyramid, zxy: tuple[int, int, int], form: str) -> Tile | View:
    z, x, y = zxy
    scale = 1 << max(0, deepest(pyramid) - z)
    tile, size = pyramid.tile, pyramid.size
    inside_x = x * tile.width < ceil_div(size.width, scale)
    inside_y = y * tile.height < ceil_div(size.height, scale)
    if z > deepest(pyramid) or not inside_x or not inside_y:
        raise NotFound(f"no tile {z}/{x}/{y}")
    for index, level in enumerate(pyramid.levels):
        if level.scale == scale and level.tile == tile and level.stored == form:
            return Tile(slide, index, x, y)
    side_x, side_y = tile.width * scale, tile.height * scale
    return View(slide, Box(x * side_x, y * side_y, side_x, side_y), tile, form)


def describe(document: Document, url: str, offer: Offer) -> tuple[bytes, str]:
    if document.kind != "tilejson":
        raise nothing_to_describe(document)
    pyramid = pyramid_of(document.slide)
    said = {
        "tilejson": "3.0.0",
        "name": document.slide.path,
        "scheme": "xyz",
        "tiles": [url.rpartition("/")[0] + "/{z}/{x}/{y}.jpg"],
        "minzoom": 0,
        "maxzoom": deepest(pyramid),
        "tile_size": [pyramid.tile.width, pyramid.tile.height],
        "size": [pyramid.size.width, pyramid.size.height],
        "mpp": pyramid.mpp,
    }
    return msgspec.json.encode(said), "application/json"
