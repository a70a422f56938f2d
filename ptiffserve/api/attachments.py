"""The uploaded files themselves: whole or a range, never under a type that a browser would run."""

import re
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ptiffserve import wire
from ptiffserve.api.answers import answering, as_starlette
from ptiffserve.api.receive import Threads
from ptiffserve.auth.writes import allow_write
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import Served
from ptiffserve.config import Store
from ptiffserve.errors import Forbidden, NotFound, SlideChanged, Unauthorized
from ptiffserve.slide import tag
from ptiffserve.sources import gridfs
from ptiffserve.sources.base import Source
from ptiffserve.sources.mongo import database
from ptiffserve.sources.place import source_of
from ptiffserve.sources.tiles import TileDocuments

PIECE = 1 << 20
_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*")


class Attachment(NamedTuple):
    source: Source
    name: str
    md5: str = ""


class Attachments:
    """`labels`: whether everybody may have whole files, which hold label pictures; else only those who may write."""

    def __init__(self, catalogue: Catalogue, stores: Served, labels: bool, secret: str) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._labels = labels
        self._secret = secret
        self._threads = Threads()

    async def answer(self, request: Request) -> Response:
        self.check(request)
        store = self._stores.named(request.path_params["store"])
        found = await self._threads.run(self._found, store, request.path_params["id"])
        return self.sent(request, found)

    def check(self, request: Request) -> None:
        """Forbidden, Unauthorized."""
        if self._labels:
            return
        try:
            allow_write(request.scope, self._secret)
        except Unauthorized:
            raise
        except Forbidden:
            raise Forbidden("whole files hold labels, which are not shown here") from None

    def _found(self, store: Store, identity: str) -> Attachment:
        slide = self._catalogue.get(identity)
        if slide is not None and slide.store == store.label and slide.id == identity:
            source = source_of(store, slide.path, slide.key)
            if isinstance(source, TileDocuments):
                raise NotFound("a pyramid of tiles is no file")
            return Attachment(source, slide.path.rpartition("/")[2])
        if store.kind != "mongodb":
            raise NotFound("no such attachment")
        return held(store, identity, "attachments") or held(store, identity) or _nothing()

    def sent(self, request: Request, found: Attachment) -> Response:
        """304, 416, a range or the whole."""
        print_ = found.source.fingerprint()
        etag, control = f'"{tag(print_)}"', "private, no-cache"
        said = dict(request.headers.raw)
        if wire.unchanged(said, etag, print_.mtime_ns):
            return as_starlette(wire.not_modified(etag, print_.mtime_ns, control))
        head = {k.decode(): v.decode() for k, v in wire.not_modified(etag, print_.mtime_ns, control).headers}
        head |= _described(found)
        asked = _range(request, etag, head["last-modified"], print_.size)
        if asked is None:
            start, end, status = 0, print_.size, 200
        else:
            start, end = asked
            status = 206
            if start >= end:
                head["content-range"] = f"bytes */{print_.size}"
                return Response(None, 416, head)
            head["content-range"] = f"bytes {start}-{end - 1}/{print_.size}"
        head["content-length"] = str(end - start)
        if request.method == "HEAD":
            return Response(None, status, head)
        return StreamingResponse(self._pieces(found, start, end), status, head)

    async def _pieces(self, found: Attachment, start: int, end: int) -> AsyncIterator[bytes]:
        """A file that changes meanwhile ends in an error: the client sees that it lacks something."""
        for at in range(start, end, PIECE):
            data = await self._threads.run(found.source.read, at, min(PIECE, end - at))
            if len(data) != min(PIECE, end - at) or (found.source.file and found.source.file.changed()):
                raise SlideChanged(found.name, "the file changed while it was sent")
            yield data


def held(store: Store, identity: str, bucket: str = gridfs.BUCKET) -> Attachment | None:
    """A complete file of a bucket by its id. Unavailable."""
    document = gridfs.by_id(database(store.root), identity, bucket)
    if document is None:
        return None
    source = gridfs.GridSource(database(store.root), document, bucket)
    return Attachment(source, document["filename"].rpartition("/")[2], str(document.get("md5") or ""))


def _nothing() -> Attachment:
    raise NotFound("no such attachment")


def _described(found: Attachment) -> dict[str, str]:
    plain = re.sub(r'[^ -~]|["\\%]', "_", found.name)
    head = {
        "accept-ranges": "bytes",
        "content-type": "application/octet-stream",
        "content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(found.name, safe='')}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
    }
    if re.fullmatch(r"[0-9a-f]{32}", found.md5):
        head["content-md5"] = found.md5
    return head


def _range(request: Request, etag: str, modified: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; empty where there are none such; None for the whole. Only one range is
    understood: a client that names more gets the whole, as RFC 9110 14.2 lets."""
    condition = request.headers.get("if-range")
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or (condition is not None and condition not in (etag, modified)):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1 if last else size)


def routes(catalogue: Catalogue, stores: Served, labels: bool, secret: str) -> list[Route]:
    attachments = Attachments(catalogue, stores, labels, secret)
    return [Route("/api/stores/{store}/attachments/{id}", answering(attachments.answer), methods=["GET", "HEAD"])]
