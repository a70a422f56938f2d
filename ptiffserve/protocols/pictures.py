"""`/slides/{slide}/thumbnail.{fmt}`, `macro.{fmt}`, `label.{fmt}`: small pictures of a slide and beside it."""

from collections.abc import Mapping, Sequence

from ptiffserve.address import Asked, Associated, Document, View, plan, pyramid_of
from ptiffserve.errors import NotFound
from ptiffserve.geometry import Box, Size, fit
from ptiffserve.protocols.base import Candidate, Offer, join, nothing_to_describe, number, stem_and_format
from ptiffserve.slide import Slide

DEFAULT_SIDE = "256"


def parse(segments: Sequence[str], query: Mapping[str, str]) -> list[Candidate]:
    if len(segments) < 2:
        return []
    return [Candidate(join(segments[:-1]), (segments[-1], query.get("width", ""), query.get("height", "")))]


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    name, form = stem_and_format(asked[0])
    form = offer.format(form)
    if name == "thumbnail":
        size = pyramid_of(slide).size
        whole = Box(0, 0, size.width, size.height)
        return plan(View(slide, whole, fit(whole, _within(asked, offer) or Size(256, 256)), form))
    if name not in slide.associated:
        raise NotFound(f"the slide has no {name}")
    return Associated(slide, name, form, _within(asked, offer))


def _within(asked: tuple[str, ...], offer: Offer) -> Size | None:
    """The box to fit into: a side that is not said does not limit. None where neither is."""
    if not any(asked[1:]):
        return None
    width, height = (number(text) if text else limit for text, limit in zip(asked[1:], offer[1:3], strict=True))
    return offer.check(Size(max(1, width), max(1, height))) if all(asked[1:]) else Size(max(1, width), max(1, height))


def describe(document: Document, url: str, offer: Offer) -> tuple[bytes, str]:
    raise nothing_to_describe(document)
