"""DeepZoom: `{slide}.dzi` and `{slide}_files/{level}/{col}_{row}.{fmt}`. Level 0 is 1 x 1 pixel, edges are clipped."""

from collections.abc import Mapping, Sequence

from ptiffserve.address import Asked, Document, View, plan, pyramid_of
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import Box, Size, ceil_div, log2_ceil
from ptiffserve.protocols.base import Candidate, Offer, join, no_links, nothing_to_describe, number, stem_and_format
from ptiffserve.slide import Slide

links = no_links


def parse(segments: Sequence[str], query: Mapping[str, str]) -> list[Candidate]:
    if not segments:
        return []
    if segments[-1].endswith(".dzi"):
        return [Candidate(join(segments)[: -len(".dzi")], ("dzi",))]
    if len(segments) >= 3 and segments[-3].endswith("_files"):
        return [Candidate(join(segments[:-2])[: -len("_files")], ("tile", segments[-2], segments[-1]))]
    return []


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    pyramid = pyramid_of(slide)
    if asked[0] == "dzi":
        return Document(slide, "dzi")
    stem, form = stem_and_format(asked[2])
    col, separator, row = stem.partition("_")
    if not separator:
        raise Malformed(f"no col_row in {asked[2][:40]!r}")
    view = _view(slide, number(asked[1]), number(col), number(row))
    if view is None:
        raise NotFound(
            f"level {asked[1]} of {log2_ceil(max(pyramid.size.width, pyramid.size.height))} has no such tile"
        )
    return plan(View(slide, *view, offer.format(form)))


def _view(slide: Slide, level: int, col: int, row: int) -> tuple[Box, Size] | None:
    """The level-0 box of a tile and its size in pixels; None outside the level."""
    pyramid = pyramid_of(slide)
    size, tile = pyramid.size, pyramid.tile
    deepest = log2_ceil(max(size.width, size.height))
    if level > deepest:
        return None
    scale = 1 << (deepest - level)
    across, down = ceil_div(size.width, scale), ceil_div(size.height, scale)
    width, height = min(tile.width, across - col * tile.width), min(tile.width, down - row * tile.width)
    if width <= 0 or height <= 0:
        return None
    side = tile.width * scale
    x, y = col * side, row * side
    return Box(x, y, min(side, size.width - x), min(side, size.height - y)), Size(width, height)


def describe(document: Document, url: str, offer: Offer) -> tuple[bytes, str]:
    if document.kind != "dzi":
        raise nothing_to_describe(document)
    pyramid = pyramid_of(document.slide)
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" TileSize="{pyramid.tile.width}" Overlap="0" '
        f'Format="jpg"><Size Width="{pyramid.size.width}" Height="{pyramid.size.height}"/></Image>\n'
    )
    return text.encode(), "application/xml"
