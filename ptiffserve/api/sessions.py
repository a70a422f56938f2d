"""SlideAtlas's URLs for files: attachments and slides that its pages send in chunks, into stores that are databases.

A session is known by its document in a store's database; where there is none, the id or label of a store stands for it.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bson import ObjectId
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import Answering, answering, json, writing
from ptiffserve.api.attachments import Attachments, held
from ptiffserve.api.receive import MAX_FORM, Threads, counted
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import Store
from ptiffserve.errors import Malformed, NotFound, TooLarge, WrongKind
from ptiffserve.sources.mongo import answering as asking
from ptiffserve.sources.mongo import database
from ptiffserve.uploads import flow
from ptiffserve.uploads.grid import Grid
from ptiffserve.uploads.local import store_named
from ptiffserve.uploads.pieces import MAX_CHUNK, Pieces, Span

CHUNK = 255 * 1024
# What a form has beside its file.
SPARE = 64 << 10
_ID = re.compile(r"[0-9a-f]{24}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Session(NamedTuple):
    """`refs`: the attachments that its document names."""

    store: Store
    name: str
    refs: list[ObjectId]


class Sessions:
    def __init__(self, catalogue: Catalogue, stores: Mapping[str, Store], attachments: Attachments) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._attachments = attachments
        self._threads = Threads()

    def _session(self, request: Request) -> Session:
        """NotFound; WrongKind where its store is no database."""
        name = request.path_params["session"]
        for store in self._stores.values():
            if store.kind == "mongodb" and _ID.fullmatch(name):
                with asking():
                    document = database(store.root).sessions.find_one({"_id": ObjectId(name)})
                if document is not None:
                    refs = [each.get("ref") for each in document.get("attachments") or [] if isinstance(each, dict)]
                    return Session(store, name, [each for each in refs if isinstance(each, ObjectId)])
        store = store_named(self._stores, self._catalogue, name)
        if store.kind != "mongodb":
            raise WrongKind("attachments are kept in stores that are databases")
        return Session(store, name, [])

    async def listed(self, request: Request) -> Response:
        self._attachments.check(request)
        session = await self._threads.run(self._session, request)
        pieces = Pieces(database(session.store.root))
        return json({"attachments": await self._threads.run(pieces.listed, session.name, session.refs)})

    async def one(self, request: Request) -> Response:
        self._attachments.check(request)
        session = await self._threads.run(self._session, request)
        found = await self._threads.run(held, session.store, request.path_params["id"], "attachments")
        if found is None:
            raise NotFound("no such attachment")
        return self._attachments.sent(request, found)

    async def create(self, request: Request) -> Response:
        """One file in a form; with a Content-Range it is only the first chunk, and says how long chunks are."""
        session = await self._threads.run(self._session, request)
        span = _span(request)
        async with Form(request, MAX_FORM if span is None else MAX_CHUNK + SPARE) as form:
            file = _file(form)
            size = file.size or 0
            if span is not None and (span.start, span.end) != (0, size):
                raise Malformed("the first chunk begins at 0, and its range has its length")
            total, chunk = (size, CHUNK) if span is None else (span.total, size)
            pieces = Pieces(database(session.store.root))
            identity = await self._threads.run(pieces.begin, file.filename or "file", total, chunk, session.name)
            for at in range(0, size, chunk):
                part = Span(at, min(at + chunk, size), total)
                await self._threads.run(pieces.put, ObjectId(identity), part, await file.read(chunk))
        return Response(None, 201, {"Location": f"{request.url.path.rstrip('/')}/{identity}"})

    async def put(self, request: Request) -> Response:
        session = await self._threads.run(self._session, request)
        span = _span(request)
        if span is None:
            raise Malformed("Content-Range is needed: bytes FIRST-LAST/TOTAL")
        data = await self._chunk(request)
        pieces = Pieces(database(session.store.root))
        await self._threads.run(pieces.put, _id(request), span, data)
        return Response(None, 204)

    async def _chunk(self, request: Request) -> bytes:
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            async with Form(request, MAX_CHUNK + SPARE) as form:
                return await _file(form).read()
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
        session = await self._threads.run(self._session, request)
        await self._threads.run(Pieces(database(session.store.root)).drop, _id(request))
        return Response(None, 204)

    async def begin_image(self, request: Request) -> Response:
        await self._threads.run(self._session, request)
        return json({"id": str(ObjectId()), "restype": "images"}, 201)

    async def image(self, request: Request) -> Response:
        """A chunk of a slide. The last that lacked makes it one, in this request."""
        session, identity = await self._threads.run(self._session, request), str(_id(request))
        async with Form(request, 2 * flow.PIECE + SPARE) as form:
            if form.get("flowIdentifier", identity) != identity:
                raise Malformed("flowIdentifier is another file's")
            data = await _file(form).read()
            name = str(form.get("flowFilename") or "")
            piece = flow.Piece(_count(form, "flowChunkNumber"), _count(form, "flowTotalChunks"), name, data)
        slide = await self._threads.run(flow.put, Grid(session.store), identity, piece, self._catalogue)
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


class Form:
    """A form with one file, of so many bytes at most; its errors are ours."""

    def __init__(self, request: Request, limit: int) -> None:
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > limit:
            raise TooLarge(f"a form here has at most {limit} bytes")
        bounded = Request(request.scope, counted(request, limit))
        self._form = bounded.form(max_files=1, max_fields=20, max_part_size=64 << 10)

    async def __aenter__(self) -> FormData:
        try:
            return await self._form.__aenter__()
        except HTTPException as error:
            raise Malformed(f"the form: {error.detail}") from error
        except ClientDisconnect:
            raise Malformed("the connection broke") from None

    async def __aexit__(self, *error: object) -> None:
        await self._form.__aexit__(None, None, None)


def _file(form: FormData) -> UploadFile:
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    if len(files) != 1 or not files[0].size:
        raise Malformed("the form must have one file in it")
    return files[0]


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


def _id(request: Request) -> ObjectId:
    name = request.path_params["id"]
    if not _ID.fullmatch(name):
        raise NotFound("no such attachment")
    return ObjectId(name)


def routes(catalogue: Catalogue, stores: Mapping[str, Store], labels: bool, secret: str) -> list[Route]:
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
