"""Zoomify: `{slide}/ImageProperties.xml` and `{slide}/TileGroup{g}/{z}-{x}-{y}.jpg`. z = 0 is the whole slide in one tile.

The format halves sides rounding down until both fit into a tile, and that is how many levels there are. Its levels are
given their true size here, rounded up: OpenSeadragon asks for the column or row that the format forgets, and counts
groups with it, so it is sent as it is and the group is never checked.
"""

import re
from collections.abc import Sequence

from ptiffserve.address import Asked, Document, pyramid_of
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Pyramid, Size, tiles_across
from ptiffserve.protocols.base import (
    Candidate,
    Offer,
    join,
    no_links,
    nothing_to_describe,
    number,
    parent,
    stem_and_format,
)
from ptiffserve.protocols.grid import Style, background_of, edge_of, scale_of, tile_at
from ptiffserve.slide import Slide

_GROUP = re.compile(r"TileGroup[0-9]{1,10}")

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    path = segments[1:]
    if len(path) >= 2 and path[-1] == "ImageProperties.xml":
        return [Candidate(join(path[:-1]), ("properties",))]
    if len(path) >= 3 and _GROUP.fullmatch(path[-2]):
        return [Candidate(join(path[:-2]), ("tile", path[-1], edge_of(query, "clip"), background_of(query)))]
    return []


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    pyramid = pyramid_of(slide)
    if asked[0] == "properties":
        return Document(slide, "properties")
    _, name, edge, background = asked
    stem, form = stem_and_format(name)
    numbers = [number(part) for part in stem.split("-")]
    if len(numbers) != 3:
        raise Malformed(f"no z-x-y in {name[:40]!r}")
    level, col, row = numbers
    scale = scale_of(level, len(_sizes(pyramid)) - 1)
    return tile_at(slide, scale, _tile(pyramid), (col, row), Style(offer.format(form), edge, background))


def _tile(pyramid: Pyramid) -> Size:
    return Size(pyramid.tile.width, pyramid.tile.width)


def _sizes(pyramid: Pyramid) -> list[Size]:
    """The levels as the format has them, finest first."""
    size, sizes = pyramid.size, [pyramid.size]
    while max(size.width, size.height) > pyramid.tile.width:
        size = Size(max(1, size.width // 2), max(1, size.height // 2))
        sizes.append(size)
    return sizes


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    """NUMTILES is the format's own count, which readers check against theirs."""
    if document.kind != "properties":
        raise nothing_to_describe(document)
    pyramid = pyramid_of(document.slide)
    grids = [tiles_across(size, _tile(pyramid)) for size in _sizes(pyramid)]
    text = (
        f'<IMAGE_PROPERTIES WIDTH="{pyramid.size.width}" HEIGHT="{pyramid.size.height}" '
        f'NUMTILES="{sum(grid.width * grid.height for grid in grids)}" NUMIMAGES="1" VERSION="1.8" '
        f'TILESIZE="{pyramid.tile.width}" />\n'
    )
    return text.encode(), "application/xml"
