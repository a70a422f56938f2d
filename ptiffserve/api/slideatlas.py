"""SlideAtlas's stand-alone server beside its tiles: the list of slides, and the way from its viewer's page to ours."""

from collections.abc import Collection
from urllib.parse import quote

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ptiffserve.api.answers import answering, json, soon
from ptiffserve.catalogue.base import Catalogue, Query
from ptiffserve.catalogue.lookup import FileName, Lookup
from ptiffserve.errors import NotFound

PAGE = 1000


class Entry(Struct):
    """A slide of the list: the name of its file, "" for its barcode where barcodes are not shown."""

    name: str
    barcode: str


def routes(catalogue: Catalogue, stores: Collection[str], lookup: Lookup, labels: bool) -> list[Route]:
    """`stores`: labels of the stores that are served. `labels`: whether barcodes, which name patients, are shown."""

    @answering
    async def slides(request: Request) -> Response:
        """Every slide that can be seen, by key."""
        entries, after, more = [], "", True
        while more:
            page = await soon(catalogue.page, Query(list(stores), state="ready", after=after, limit=PAGE))
            entries += [Entry(slide.path.rpartition("/")[2], slide.barcode if labels else "") for slide in page.slides]
            after, more = page.next, bool(page.next)
        return json({"slides": entries})

    @answering
    async def viewer(request: Request) -> Response:
        name = request.query_params.get("image", "")
        slide = await soon(lookup.get, name) or await soon(lookup.get, FileName(name))
        if slide is None:
            raise NotFound("no such slide")
        return RedirectResponse(f"/view/{quote(slide.key)}", 303)

    return [Route("/apiv1/slides", slides), Route("/apiv1/slides/", slides), Route("/ptiff-viewer", viewer)]
