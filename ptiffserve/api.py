"""The JSON API and health, as Starlette routes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve import wire
from ptiffserve.catalogue.base import Catalogue, Query
from ptiffserve.errors import Malformed, NotFound, PtiffserveError
from ptiffserve.slide import Slide, edition

MAX_PAGE = 1000


class Api:
    """`labels`: whether barcodes, which name patients, are in the records."""

    def __init__(self, catalogue: Catalogue, stores: Sequence[str], labels: bool) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._labels = labels
        self.health_route = Route("/health", self.health)

    def routes(self) -> list[Route]:
        return [
            self.health_route,
            Route("/api/slides", self.slides),
            Route("/api/slides/{name:path}", self.slide),
        ]

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def slides(self, request: Request) -> Response:
        try:
            query = self._query(request)
            page = await asyncio.to_thread(self._catalogue.page, query)
        except PtiffserveError as fault:
            return failed(fault)
        return _json({"slides": [self._record(slide) for slide in page.slides], "next": page.next or None})

    async def slide(self, request: Request) -> Response:
        slide = await asyncio.to_thread(self._catalogue.get, request.path_params["name"])
        if slide is None or slide.store not in self._stores:
            return failed(NotFound("no such slide"))
        return _json(self._record(slide))

    def _query(self, request: Request) -> Query:
        said = request.query_params
        limit = said.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MAX_PAGE):
            raise Malformed(f"limit must be 1 to {MAX_PAGE}")
        store = said.get("store", "")
        stores = [label for label in self._stores if not store or label == store]
        return Query(
            stores,
            said.get("q", ""),
            said.get("state", ""),
            self._asked_barcode(request),
            said.get("after", ""),
            int(limit),
        )

    def _asked_barcode(self, request: Request) -> str:
        """Where barcodes are not shown, they cannot be searched either: a yes would tell."""
        return request.query_params.get("barcode", "") if self._labels else ""

    def _record(self, slide: Slide) -> dict[str, Any]:
        pyramid = slide.pyramid
        record: dict[str, Any] = {
            "id": slide.id,
            "key": slide.key,
            "store": slide.store,
            "path": slide.path,
            "state": slide.state,
            "reason": slide.reason,
            "format": slide.format,
            "version": edition(slide),
            "fingerprint": slide.fingerprint,
            "added": slide.added,
            "changed": slide.changed,
            "associated": slide.associated,
            "width": pyramid.size.width if pyramid else None,
            "height": pyramid.size.height if pyramid else None,
            "mpp": pyramid.mpp if pyramid else None,
            "levels": [
                {
                    "width": level.size.width,
                    "height": level.size.height,
                    "scale": level.scale,
                    "tile_width": level.tile.width,
                    "tile_height": level.tile.height,
                }
                for level in (pyramid.levels if pyramid else ())
            ],
        }
        if self._labels:
            record["barcode"] = slide.barcode
        return record


def _json(said: object) -> Response:
    return Response(msgspec.json.encode(said), media_type="application/json", headers={"cache-control": "no-cache"})


def failed(fault: PtiffserveError) -> Response:
    """The contract's JSON error, for Starlette."""
    answer = wire.error(fault)
    return Response(answer.body, answer.status, {k.decode(): v.decode() for k, v in answer.headers})
