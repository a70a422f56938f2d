"""Slides in the JSON API: lists and records. Changes nothing."""

from collections.abc import Collection

from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import answering, json, soon
from ptiffserve.catalogue.base import Catalogue, Query
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import Pyramid
from ptiffserve.slide import Fingerprint, Slide, State, edition

MAX_PAGE = 1000


class LevelAnswer(Struct):
    """Pixels; `scale`: how many of full resolution are one of this level."""

    width: int
    height: int
    scale: int
    tile_width: int
    tile_height: int


class SlideAnswer(Struct):
    """`added`, `changed`: Unix seconds. No size, mpp and levels where the slide cannot be read: `reason` says why.
    `barcode` is there only where the configuration shows barcodes."""

    id: str
    key: str
    store: str
    path: str
    state: State
    reason: str
    format: str
    version: str
    fingerprint: Fingerprint
    added: float
    changed: float
    associated: tuple[str, ...]
    width: int | None
    height: int | None
    mpp: tuple[float, float] | None
    levels: list[LevelAnswer]
    barcode: str | UnsetType = UNSET


class SlidesAnswer(Struct):
    """One page in the order of keys. `next`: what `after` must be for the next one."""

    slides: list[SlideAnswer]
    next: str | None


def routes(catalogue: Catalogue, stores: Collection[str], labels: bool) -> list[Route]:
    """`stores`: labels of the stores that are served. `labels`: whether barcodes, which name patients, are shown."""

    @answering
    async def listed(request: Request) -> Response:
        page = await soon(catalogue.page, _query(request, stores, labels))
        return json(SlidesAnswer([told(slide, labels) for slide in page.slides], page.next or None))

    @answering
    async def one(request: Request) -> Response:
        slide = await soon(catalogue.get, request.path_params["name"])
        if slide is None or slide.store not in stores:
            raise NotFound("no such slide")
        return json(told(slide, labels))

    return [Route("/api/slides", listed), Route("/api/slides/{name:path}", one)]


def _query(request: Request, stores: Collection[str], labels: bool) -> Query:
    said = request.query_params
    limit = said.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_PAGE):
        raise Malformed(f"limit must be 1 to {MAX_PAGE}")
    store = said.get("store", "")
    # Where barcodes are not shown, they cannot be searched either: a yes would tell.
    barcode = said.get("barcode", "") if labels else ""
    return Query(
        [label for label in stores if not store or label == store],
        said.get("q", ""),
        said.get("state", ""),
        barcode,
        said.get("after", ""),
        int(limit),
    )


def told(slide: Slide, labels: bool) -> SlideAnswer:
    pyramid = slide.pyramid
    return SlideAnswer(
        id=slide.id,
        key=slide.key,
        store=slide.store,
        path=slide.path,
        state=slide.state,
        reason=slide.reason,
        format=slide.format,
        version=edition(slide),
        fingerprint=slide.fingerprint,
        added=slide.added,
        changed=slide.changed,
        associated=slide.associated,
        width=pyramid.size.width if pyramid else None,
        height=pyramid.size.height if pyramid else None,
        mpp=pyramid.mpp if pyramid else None,
        levels=_levels(pyramid) if pyramid else [],
        barcode=slide.barcode if labels else UNSET,
    )


def _levels(pyramid: Pyramid) -> list[LevelAnswer]:
    return [
        LevelAnswer(level.size.width, level.size.height, level.scale, level.tile.width, level.tile.height)
        for level in pyramid.levels
    ]
