"""`/slides/{slide}/thumbnail.{fmt}`, `macro.{fmt}`, `label.{fmt}`: small pictures of a slide and beside it."""

from collections.abc import Sequence
from math import isqrt

from ptiffserve.address import Asked, Associated, Document, View, plan, pyramid_of
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import Box, Size, fit
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
from ptiffserve.slide import Slide

DEFAULT = Size(256, 256)
UNLIMITED = Size(1 << 40, 1 << 40)

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    path, said = segments[1:], options(query)
    if len(path) < 2:
        return []
    return [Candidate(join(path[:-1]), (path[-1], said.get("width", ""), said.get("height", "")))]


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    name, form = stem_and_format(asked[0])
    form = offer.format(form)
    if name == "thumbnail":
        size = pyramid_of(slide).size
        whole = Box(0, 0, size.width, size.height)
        return plan(View(slide, whole, offer.check(fit(whole, _within(asked, UNLIMITED) or DEFAULT)), form))
    if name not in slide.associated:
        raise NotFound(f"the slide has no {name}")
    side = min(offer.max_width, offer.max_height, isqrt(offer.max_area))
    within = _within(asked, Size(side, side))
    return Associated(slide, name, form, within and offer.check(within))


def _within(asked: tuple[str, ...], unsaid: Size) -> Size | None:
    """The box to fit into; None where neither side is said, else the side that is not is `unsaid`'s."""
    if not any(asked[1:]):
        return None
    if "0" in asked[1:]:
        raise Malformed("a picture of 0 pixels")
    width, height = (number(text) if text else 0 for text in asked[1:])
    return Size(width or unsaid.width, height or unsaid.height)


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    raise nothing_to_describe(document)
