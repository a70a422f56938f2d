"""The pages people see: a gallery of slides and a viewer of one. Static: the pages ask the API for what they show."""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ptiffserve import wire
from ptiffserve.errors import NotFound
from ptiffserve.viewer.assets import Asset, load

# Everything from here, nothing inline. OpenSeadragon sets styles through the DOM, which needs no 'unsafe-inline'; the hash
# is that of nothing, for the empty style element of slide.html.
POLICY = (
    "default-src 'self'; style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
SECURITY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@cache
def _assets() -> dict[str, Asset]:
    """Read once, at the first page, so that commands that show no page do not pay for it."""
    return load(Path(__file__).parent)


async def gallery(request: Request) -> Response:
    return _answer(request, "gallery.html")


async def slide(request: Request) -> Response:
    """The same page for every slide: its script reads the name from the address and asks the API."""
    return _answer(request, "slide.html")


async def asset(request: Request) -> Response:
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    found = _assets().get(name)
    if found is None:
        failed = wire.error(NotFound("no such page"))
        return Response(failed.body, failed.status, {k.decode(): v.decode() for k, v in failed.headers})
    # no-cache: kept, but asked for again, so that an upgrade of the server is an upgrade of the pages.
    headers = SECURITY | {"etag": found.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers=headers | {"content-encoding": "gzip"}, media_type=found.media_type)
    return Response(found.data, headers=headers, media_type=found.media_type)


routes: list[BaseRoute] = [
    Route("/", gallery),
    Route("/view/{slide:path}", slide),
    Route("/assets/{name:path}", asset),
]
