"""`/tiles`: z/x/y from the top left, z = 0 the whole slide in one tile; SlideAtlas's quad names for the same; TileJSON.

Tiles come whole: an edge tile keeps its padding, unless `edge=clip` is asked for.
"""

import re
from collections.abc import Sequence
from math import atan, degrees, pi, sinh

import msgspec

from ptiffserve.address import Asked, Document, pyramid_of
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Pyramid
from ptiffserve.protocols.base import (
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
from ptiffserve.protocols.grid import Style, background_of, deepest, edge_of, scale_of, tile_at
from ptiffserve.slide import Slide

_QUAD = re.compile(r"t[qrst]{0,31}")
# The letters are screen quadrants, clockwise from the top left; which bit of y they set depends on where y begins.
_RIGHT, _LOWER, _UPPER = "rs", "st", "qr"

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    path = segments[1:]
    if len(path) >= 2 and path[-1] == "tilejson.json":
        return [Candidate(join(path[:-1]), ("tilejson",))]
    found = []
    style = edge_of(query, "pad"), background_of(query)
    if len(path) >= 2:
        quad = "quad", path[-1], options(query).get("origin", "top"), *style
        found.append(Candidate(join(path[:-1]), quad))
    if len(path) >= 4:
        found.append(Candidate(join(path[:-3]), ("xyz", *path[-3:], *style)))
    return found


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    pyramid = pyramid_of(slide)
    if asked[0] == "tilejson":
        return Document(slide, "tilejson")
    *words, edge, background = asked
    if asked[0] == "quad":
        _, name, origin = words
        stem, form = stem_and_format(name)
        z, x, y = quad_index(stem, origin)
    else:
        _, level, col, name = words
        stem, form = stem_and_format(name)
        z, x, y = number(level), number(col), number(stem)
    style = Style(offer.format(form), edge, background)
    return tile_at(slide, scale_of(z, deepest(pyramid)), pyramid.tile, (x, y), style)


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


def _bounds(pyramid: Pyramid) -> list[float]:
    """West, south, east, north of the slide on the square Mercator map of TileJSON, whose top left corner it begins at."""
    wide, high = pyramid.tile.width << deepest(pyramid), pyramid.tile.height << deepest(pyramid)
    east, south = 360 * pyramid.size.width / wide - 180, _latitude(pyramid.size.height / high)
    return [-180.0, round(south, 9), round(east, 9), round(_latitude(0), 9)]


def _latitude(down: float) -> float:
    """Degrees at a part of the map's height."""
    return degrees(atan(sinh(pi * (1 - 2 * down))))


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    if document.kind != "tilejson":
        raise nothing_to_describe(document)
    pyramid = pyramid_of(document.slide)
    said = {
        "tilejson": "3.0.0",
        "name": document.slide.path,
        "scheme": "xyz",
        "tiles": [home + "/{z}/{x}/{y}.jpg"],
        "minzoom": 0,
        "maxzoom": deepest(pyramid),
        "bounds": _bounds(pyramid),
        "format": "jpg",
        "formats": list(offer.formats),
        "tile_size": [pyramid.tile.width, pyramid.tile.height],
        "size": [pyramid.size.width, pyramid.size.height],
        "mpp": pyramid.mpp,
    }
    return msgspec.json.encode(said), "application/json"
