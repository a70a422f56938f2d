"""DeepZoom: `{slide}.dzi` and `{slide}_files/{level}/{col}_{row}.{fmt}`. Level 0 is 1 x 1 pixel, edges are clipped."""

from collections.abc import Sequence

from ptiffserve.address import Asked, Document, pyramid_of
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Size, log2_ceil
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

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    path = segments[1:]
    if path and path[-1].endswith(".dzi"):
        return [Candidate(join(path)[: -len(".dzi")], ("dzi",))]
    if len(path) >= 3 and path[-3].endswith("_files"):
        style = edge_of(query, "clip"), background_of(query)
        return [Candidate(join(path[:-2])[: -len("_files")], ("tile", path[-2], path[-1], *style))]
    return []


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    pyramid = pyramid_of(slide)
    if asked[0] == "dzi":
        return Document(slide, "dzi")
    _, level, name, edge, background = asked
    stem, form = stem_and_format(name)
    col, separator, row = stem.partition("_")
    if not separator:
        raise Malformed(f"no col_row in {name[:40]!r}")
    scale = scale_of(number(level), log2_ceil(max(pyramid.size.width, pyramid.size.height)))
    # DeepZoom has square tiles only.
    square = Size(pyramid.tile.width, pyramid.tile.width)
    return tile_at(slide, scale, square, (number(col), number(row)), Style(offer.format(form), edge, background))


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    if document.kind != "dzi":
        raise nothing_to_describe(document)
    pyramid = pyramid_of(document.slide)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" TileSize="{pyramid.tile.width}" Overlap="0" '
        f'Format="jpg"><Size Width="{pyramid.size.width}" Height="{pyramid.size.height}"/></Image>\n'
    )
    return text.encode(), "application/xml"
