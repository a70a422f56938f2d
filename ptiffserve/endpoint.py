"""The way of a request, top to bottom. Read this file first.

bytes -> protocol -> slide -> access -> plan -> 304? -> service -> bytes
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from time import perf_counter
from typing import Any

from msgspec.structs import replace

from ptiffserve import wire
from ptiffserve.address import Asked, Associated, Document, Plan, Redirect, Thumb, Tile, etag
from ptiffserve.auth.base import Access
from ptiffserve.catalogue.lookup import FileName, Lookup, Name, NotAtHand
from ptiffserve.config import Server
from ptiffserve.errors import Forbidden, Malformed, NotFound, PtiffserveError, SlideChanged, TooLong, Unavailable
from ptiffserve.protocols import deepzoom, iiif, iip, osslite, pictures, ptiffserver, slideatlas, xyz, zoomify
from ptiffserve.protocols.base import Candidate, Dialect, Offer, no_links, unescaped
from ptiffserve.service import Service
from ptiffserve.slide import Slide
from ptiffserve.wire import MethodNotAllowed, Response, Send

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refresh = Callable[[Slide], Slide | None]

PROTOCOLS: dict[str, Dialect] = {
    "tiles": xyz,
    "deepzoom": deepzoom,
    "iiif": iiif,
    "zoomify": zoomify,
    "iip": iip,
    "fcgi-bin": iip,
    "slides": pictures,
    "tile": slideatlas,
    "tileat": slideatlas,
    "thumb": slideatlas,
    "label": slideatlas,
    "cutout": slideatlas,
    "apiv1/slides/": ptiffserver,
}
MAX_URL = 2048
# How often one request looks again at a file that was replaced: it may be replaced once more meanwhile.
REFRESHES = 3
NO_HOST = "the Host header is missing, malformed or there twice"
_HOST = re.compile(rb"[A-Za-z0-9.\-_\[\]:]{1,255}")


class Endpoint:
    """Answers the paths of the protocols and of slides on disk, and passes every other request to `rest`.

    `refresh` looks again at a slide whose file is not the recorded one, and gives its new record.
    """

    def __init__(
        self, lookup: Lookup, service: Service, access: Access, offer: Offer, server: Server, refresh: Refresh
    ) -> None:
        self._lookup = lookup
        self._paths = lookup.paths
        self._dialects = dialects(self._paths)
        self._service = service
        self._access = access
        self._offer = offer
        self._server = server
        self._refresh = refresh
        self.rest: App | None = None
        # Told of each stored tile that was answered, and at which path: the short cut learns from it.
        self.learn: Callable[[bytes, Tile], None] = lambda path, tile: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = self._dialect(scope["path"]) if scope["type"] == "http" else None
        if dialect is None and self.rest is not None:
            await self.rest(scope, receive, send)
            return
        headers = _headers(scope["headers"])
        try:
            response = await self._response(dialect, scope, headers)
        except PtiffserveError as fault:
            response = wire.error(fault)
        except Exception as fault:
            response = wire.unexpected(fault)
        wire.cors(response, headers.get(b"origin"), self._server.cors)
        await wire.send_response(send, response, scope["method"] == "HEAD")

    def _dialect(self, path: str) -> Dialect | None:
        if self._lookup.paths is not self._paths:
            self._paths = self._lookup.paths
            self._dialects = dialects(self._paths)
        return dialect_of(self._dialects, path)

    async def _response(self, dialect: Dialect | None, scope: Scope, headers: dict[bytes, bytes]) -> Response:
        if dialect is None:
            raise NotFound("no such page")
        if scope["method"] == "OPTIONS":
            return wire.preflight()
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{scope['method']} is not answered here")
        if scope["http_version"] != "1.0" and not _HOST.fullmatch(headers.get(b"host", b"")):
            raise Malformed(NO_HOST)  # RFC 9112 3.2
        slide, reading = await self._found(dialect, scope["raw_path"], scope["query_string"])
        for _ in range(REFRESHES):
            try:
                return await self._answer(dialect, slide, reading, scope, headers)
            except SlideChanged:
                fresh = await self._service.waiting(self._refresh, slide)
                if fresh is None or fresh.fingerprint == slide.fingerprint:
                    raise
                slide = fresh
        return await self._answer(dialect, slide, reading, scope, headers)

    async def _found(self, dialect: Dialect, path: bytes, query: bytes) -> tuple[Slide, Candidate]:
        lookup = self._lookup
        try:
            return find(lookup.at_hand, lookup.store, dialect, path, query)
        except NotAtHand:
            pass
        if lookup.away:
            return find(lookup.remembered, lookup.store, dialect, path, query)
        try:
            return await lookup.soon(find, lookup.get, lookup.store, dialect, path, query)
        except Unavailable:
            return find(lookup.remembered, lookup.store, dialect, path, query)

    async def _answer(
        self, dialect: Dialect, slide: Slide, reading: Candidate, scope: Scope, headers: dict[bytes, bytes]
    ) -> Response:
        await self._access.allow(headers, slide)
        asked = dialect.resolve(reading.asked, slide, self._offer)
        asked = await self._seen(asked, headers)
        if isinstance(asked, Redirect | Document):
            response = self._described(dialect, asked, reading, scope, headers)
        else:
            response = await self._picture(asked, headers)
            if isinstance(asked, Tile):
                self.learn(scope["raw_path"], asked)
        if reading.save_as:
            response.headers.append((b"content-disposition", f'attachment; filename="{reading.save_as}"'.encode()))
        if dialect.links is not no_links and not isinstance(asked, Redirect):
            home = dialect.home(self._origin(scope, headers) + _target(scope), reading.asked)
            if links := dialect.links(asked, reading.asked, home):
                response.headers.append((b"link", links.encode("latin-1")))
        return response

    async def _seen(self, asked: Asked, headers: dict[bytes, bytes]) -> Asked:
        """What may be seen of it: all or, of a thumb, what is not label or macro. Forbidden."""
        if isinstance(asked, Associated | Thumb):
            try:
                await self._access.allow_labels(headers, asked.slide)
            except Forbidden:
                if isinstance(asked, Associated):
                    raise
                return replace(asked, labels=False)
        return replace(asked, labels=True) if isinstance(asked, Thumb) else asked

    async def _picture(self, plan: Plan, headers: dict[bytes, bytes]) -> Response:
        started = perf_counter()
        tag, mtime_ns, control = etag(plan), plan.slide.fingerprint.mtime_ns, self._server.cache_control
        known = wire.unchanged(headers, tag, mtime_ns)
        # Whether a tile is sparse is in the file, and what is not there has not stayed as it was.
        if known and not (isinstance(plan, Tile) and plan.stored):
            return wire.not_modified(tag, mtime_ns, control)
        blob = self._service.answer_now(plan) or await self._service.answer(plan)
        if known:
            return wire.not_modified(tag, mtime_ns, control)
        response = wire.picture(blob.data, blob.media_type, tag, mtime_ns, control)
        timing = f"{blob.lane};dur={(perf_counter() - started) * 1000:.3f}"
        response.headers.append((b"server-timing", timing.encode()))
        return response

    def _described(
        self,
        dialect: Dialect,
        asked: Document | Redirect,
        reading: Candidate,
        scope: Scope,
        headers: dict[bytes, bytes],
    ) -> Response:
        origin = self._origin(scope, headers)
        if not origin:
            raise Malformed(NO_HOST)
        home = dialect.home(origin + _target(scope), reading.asked)
        if isinstance(asked, Redirect):
            return wire.redirect(home + asked.suffix)
        data, media_type = dialect.describe(asked, home, self._offer)
        return wire.document(data, _negotiated(media_type, headers), self._server.cache_control, headers)

    def _origin(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """Scheme, host and port as the client sees them; "" where its Host header cannot be one."""
        if self._server.public_url:
            return self._server.public_url.rstrip("/")
        host = headers.get(b"host", b"")
        return f"{scope['scheme']}://{host.decode()}" if _HOST.fullmatch(host) else ""


def find(
    get: Callable[[Name], Slide | None], store: Callable[[str], str | None], dialect: Dialect, path: bytes, query: bytes
) -> tuple[Slide, Candidate]:
    """The first reading of a raw path and query whose name is a slide's, in the store that it says. `store`: labels of
    stores by their names. NotFound, TooLong, Malformed, or what `get` says."""
    if len(path) + len(query) > MAX_URL:
        raise TooLong("the URL is too long")
    segments = [unescaped(segment) for segment in path.split(b"/")[1:]]
    for reading in dialect.parse(segments, query):
        slide = get(reading.name) or (get(FileName(reading.name)) if reading.loose else None)
        if slide is not None and (not reading.store or store(reading.store) == slide.store):
            return slide, reading
    raise NotFound("no such slide")


def dialects(paths: Iterable[str]) -> dict[str, Dialect]:
    """The protocol of each first segment, or of the first two where more must follow. `paths`: where clients see stores'
    folders."""
    return {path.split("/")[1]: osslite for path in paths} | PROTOCOLS


def dialect_of(known: Mapping[str, Dialect], path: str) -> Dialect | None:
    # A path need not begin with a slash: `OPTIONS *`, or an absolute URL without any.
    segments = path.split("/", 3)[1:]
    dialect = known.get(segments[0]) if segments else None
    if dialect is None and len(segments) == 3 and segments[2]:
        return known.get(f"{segments[0]}/{segments[1]}/")
    return dialect


def _target(scope: Scope) -> str:
    """Path and query as the client wrote them."""
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By lower-case name; a header that is there twice is the list of both (RFC 9110 5.3)."""
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {name: b", ".join(value for other, value in pairs if other == name) for name in headers}
    return headers


def _negotiated(media_type: str, headers: dict[bytes, bytes]) -> str:
    """info.json is JSON-LD, but plain JSON for clients that ask for that alone."""
    accept = headers.get(b"accept", b"")
    if media_type.startswith("application/ld+json") and b"application/json" in accept and b"ld+json" not in accept:
        return "application/json"
    return media_type
