"""`/slides/{slide}/thumbnail.{fmt}`, `macro.{fmt}`, `label.{fmt}`, `barcode.{fmt}`: small pictures of a slide and beside it."""

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
# Forms of a barcode that are no pictures of pixels.
TEXTS = ("svg", "txt")

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    path, said = segments[1:], options(query)
    if len(path) < 2:
        return []
    asked = path[-1], *(said.get(key, "") for key in ("width", "height", "compose"))
    return [Candidate(join(path[:-1]), asked)]


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    name, form = stem_and_format(asked[0])
    sides, compose = asked[1:3], asked[3]
    if name == "composed":
        raise NotFound("the slide has no composed")
    if name == "label" and compose not in ("", "0", "false"):
        name = "composed"
    if name == "barcode" and form in TEXTS:
        return Associated(slide, _there(name, slide), form)
    form = offer.format(form)
    if name == "thumbnail":
        size = pyramid_of(slide).size
        whole = Box(0, 0, size.width, size.height)
        return plan(View(slide, whole, offer.check(fit(whole, _within(sides, UNLIMITED) or DEFAULT)), form))
    side = min(offer.max_width, offer.max_height, isqrt(offer.max_area))
    within = _within(sides, Size(side, side))
    return Associated(slide, _there(name, slide), form, within and offer.check(within))


def _there(name: str, slide: Slide) -> str:
    """The name of a picture that the slide has, or that can be made of its barcode. NotFound."""
    if name == "composed":
        there = "label" in slide.associated or bool(slide.barcode)
    else:
        there = bool(slide.barcode) if name == "barcode" else name in slide.associated
    if not there:
        raise NotFound(f"the slide has no {'label' if name == 'composed' else name}")
    return name


def _within(sides: Sequence[str], unsaid: Size) -> Size | None:
    """The box to fit into; None where neither side is said, else the side that is not is `unsaid`'s."""
    if not any(sides):
        return None
    if "0" in sides:
        raise Malformed("a picture of 0 pixels")
    width, height = (number(text) if text else 0 for text in sides)
    return Size(width or unsaid.width, height or unsaid.height)


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    raise nothing_to_describe(document)
