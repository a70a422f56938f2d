"""SlideAtlas's URLs for files: attachments and slides that its pages send in chunks, into stores that are databases."""

import re
import secrets
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import Answering, answering, json, writing
from ptiffserve.api.attachments import Attachments, held
from ptiffserve.api.receive import MAX_FORM, SPARE, Threads, one_file, received_form
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import Served
from ptiffserve.errors import Malformed, NotFound, TooLarge
from ptiffserve.slide import ID
from ptiffserve.uploads import flow
from ptiffserve.uploads.pieces import MAX_CHUNK, Span
from ptiffserve.uploads.sessions import Session, session_of

CHUNK = 255 * 1024
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Sessions:
    def __init__(self, catalogue: Catalogue, stores: Served, attachments: Attachments) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._attachments = attachments
        self._threads = Threads()

    async def _session(self, request: Request) -> Session:
        return await self._threads.run(session_of, self._stores, request.path_params["session"])

    async def listed(self, request: Request) -> Response:
        self._attachments.check(request)
        session = await self._session(request)
        return json({"attachments": await self._threads.run(session.pieces.listed, session.name, session.refs)})

    async def one(self, request: Request) -> Response:
        self._attachments.check(request)
        session = await self._session(request)
        found = await self._threads.run(held, session.store, request.path_params["id"], "attachments")
        if found is None:
            raise NotFound("no such attachment")
        return self._attachments.sent(request, found)

    async def create(self, request: Request) -> Response:
        """One file in a form; with a Content-Range it is only the first chunk, and says how long chunks are."""
        session = await self._session(request)
        span = _span(request)
        async with received_form(request, MAX_FORM if span is None else MAX_CHUNK + SPARE) as form:
            file = one_file(form)
            size = file.size or 0
            if span is not None and (span.start, span.end) != (0, size):
                raise Malformed("the first chunk begins at 0, and its range has its length")
            total, chunk = (size, CHUNK) if span is None else (span.total, size)
            pieces = session.pieces
            identity = await self._threads.run(pieces.begin, file.filename or "file", total, chunk, session.name)
            for at in range(0, size, chunk):
                part = Span(at, min(at + chunk, size), total)
                await self._threads.run(pieces.put, identity, part, await file.read(chunk))
        return Response(None, 201, {"Location": f"{request.url.path.rstrip('/')}/{identity}"})

    async def put(self, request: Request) -> Response:
        session = await self._session(request)
        span = _span(request)
        if span is None:
            raise Malformed("Content-Range is needed: bytes FIRST-LAST/TOTAL")
        data = await self._chunk(request)
        await self._threads.run(session.pieces.put, request.path_params["id"], span, data)
        return Response(None, 204)

    async def _chunk(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            async with received_form(request, MAX_CHUNK + SPARE) as form:
                return await one_file(form).read()
        data = bytearray()
        try:
            async for piece in request.stream():
                data += piece
                if len(data) > MAX_CHUNK:
                    raise TooLarge(f"a chunk has at most {MAX_CHUNK} bytes")
        except ClientDisconnect:
            raise Malformed("the connection broke") from None
        return bytes(data)

    async def delete(self, request: Request) -> Response:
        session = await self._session(request)
        await self._threads.run(session.pieces.drop, request.path_params["id"])
        return Response(None, 204)

    async def begin_image(self, request: Request) -> Response:
        await self._session(request)
        return json({"id": secrets.token_hex(12), "restype": "images"}, 201)

    async def image(self, request: Request) -> Response:
        """A chunk of a slide. The last that lacked makes it one, in this request."""
        session, identity = await self._session(request), request.path_params["id"]
        if not ID.fullmatch(identity):
            raise NotFound("no such upload")
        async with received_form(request, 2 * flow.PIECE + SPARE) as form:
            if form.get("flowIdentifier", identity) != identity:
                raise Malformed("flowIdentifier is another file's")
            data = await one_file(form).read()
            name = str(form.get("flowFilename") or "")
            piece = flow.Piece(_count(form, "flowChunkNumber"), _count(form, "flowTotalChunks"), name, data)
        slide = await self._threads.run(flow.put, session.slides, identity, piece, self._catalogue)
        said: dict[str, Any] = {
            "id": slide or identity,
            "success": True,
            "current_chunk": piece.number,
            "total_chunks": piece.total,
            "filename": piece.name,
        }
        if piece.number == 1:
            said["first"] = 1
        return json(said | ({"last": 1} if slide else {}))


def _count(form: FormData, key: str) -> int:
    said = str(form.get(key) or "")
    if not (said.isascii() and said.isdigit() and len(said) <= 9):
        raise Malformed(f"{key} must be a number")
    return int(said)


def _span(request: Request) -> Span | None:
    said = request.headers.get("content-range")
    if said is None:
        return None
    found = _RANGE.fullmatch(said.strip())
    if found is None:
        raise Malformed("Content-Range must be: bytes FIRST-LAST/TOTAL")
    first, last, total = map(int, found.groups())
    return Span(first, last + 1, total)


def routes(catalogue: Catalogue, stores: Served, labels: bool, secret: str) -> list[Route]:
    sessions = Sessions(catalogue, stores, Attachments(catalogue, stores, labels, secret))
    may = writing(secret)
    home = "/api/v2/sessions/{session}"

    def route(path: str, answer: Answering, *methods: str) -> Route:
        return Route(home + path, answer, methods=list(methods))

    return [
        route("/attachments", answering(sessions.listed), "GET"),
        route("/attachments", may(sessions.create), "POST"),
        route("/attachments/{id}", answering(sessions.one), "GET", "HEAD"),
        route("/attachments/{id}", may(sessions.put), "PUT"),
        route("/attachments/{id}", may(sessions.delete), "DELETE"),
        route("/imagefiles", may(sessions.begin_image), "POST"),
        route("/imagefiles/{id}", may(sessions.image), "POST"),
    ]
