"""Uploads into stores: tus 1.0 for large files and bad connections, a form for small ones, and files of this machine."""

import asyncio

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api import tus
from ptiffserve.api.answers import Answering, body, json, writing
from ptiffserve.api.receive import MAX_FORM, SPARE, Threads, content_length, one_file, receive, received_form
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import Served
from ptiffserve.errors import DiskFull, Malformed, NotFound, TooLarge
from ptiffserve.slide import Slide
from ptiffserve.uploads import KEPT_SECONDS, place_of
from ptiffserve.uploads.base import Place, Upload, Writer, fresh
from ptiffserve.uploads.local import source_asked
from ptiffserve.uploads.names import path_for
from ptiffserve.uploads.take import Taken, finish, ingest

SLIDE_HEADER = "Ptiffserve-Slide"


class SlideTaken(Struct):
    """The slide that a file became; `added`: it was not in the store before."""

    id: str
    key: str
    added: bool


class Asked(Struct):
    """A file on the server's disk below a store's root, or a slide by id or key; `name`: what it is called in the store."""

    path: str = ""
    slide: str = ""
    name: str = ""


class Uploads:
    """`largest`: bytes that one upload may have. `stores`: those that are served, by label."""

    def __init__(self, catalogue: Catalogue, stores: Served, largest: int) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._largest = largest
        self._threads = Threads()
        # What reads whole files does not keep others from arriving.
        self._whole = Threads()

    def _place(self, request: Request) -> Place:
        return place_of(self._stores.named(request.path_params["store"]))

    async def create(self, request: Request) -> Response:
        place = await self._threads.run(self._place, request)
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return await self._form(request, place)
        if refused := tus.refused(request.headers):
            return refused
        said = tus.creation(request.headers, self._largest)
        upload = fresh(path_for(place.store, said.name), said.length)
        await self._threads.run(place.begin, upload)
        headers = {"Location": f"{request.url.path.rstrip('/')}/{upload.id}"}
        if request.headers.get("content-type") == tus.BODY:
            upload, taken = await self._append(request, place, upload)
            headers |= _taken_headers(taken)
        return Response(None, 201, tus.told(upload, KEPT_SECONDS) | headers)

    async def head(self, request: Request) -> Response:
        _, upload = await self._found(request)
        headers = tus.told(upload, KEPT_SECONDS) | {"Upload-Length": str(upload.length), "Cache-Control": "no-store"}
        return Response(None, 200, headers | ({SLIDE_HEADER: upload.slide} if upload.slide else {}))

    async def patch(self, request: Request) -> Response:
        if refused := tus.refused(request.headers):
            return refused
        if request.headers.get("content-type") != tus.BODY:
            raise Malformed(f"the Content-Type of a piece must be {tus.BODY}")
        place, upload = await self._found(request)
        tus.check_offset(request.headers, upload.offset)
        upload, taken = await self._append(request, place, upload)
        return Response(None, 204, tus.told(upload, KEPT_SECONDS) | _taken_headers(taken))

    async def delete(self, request: Request) -> Response:
        place, upload = await self._found(request)
        await self._threads.run(place.drop, upload.id)
        return Response(None, 204, tus.VERSION)

    async def options(self, request: Request) -> Response:
        return Response(None, 204, tus.abilities(self._largest))

    async def take(self, request: Request) -> Response:
        """A file that is on the server already."""
        asked = await body(request, Asked)
        place = await self._threads.run(self._place, request)
        taken = await self._whole.run(self._ingested, place, asked)
        return _answer(taken)

    def _ingested(self, place: Place, asked: Asked) -> Taken:
        source, name = source_asked(self._stores, self._catalogue, asked.path, asked.slide)
        return ingest(place, source, asked.name or name, self._catalogue)

    async def _found(self, request: Request) -> tuple[Place, Upload]:
        place = await self._threads.run(self._place, request)
        return place, await self._threads.run(place.load, request.path_params["upload"])

    async def _append(self, request: Request, place: Place, upload: Upload) -> tuple[Upload, Taken | None]:
        """Takes the body as the next bytes. At the end the upload becomes a slide."""
        if upload.slide:
            return upload, Taken(await self._slide(upload), False)
        checksum = tus.checksum(request.headers)
        length = content_length(request)
        if length is not None and length > upload.length - upload.offset:
            raise TooLarge("more bytes than the upload is said to have")
        try:
            async with self._threads.writer(place, upload) as writer:
                tus.check_offset(request.headers, writer.offset, required=False)
                await receive(request, writer, upload.length, checksum, self._threads)
        except DiskFull:
            # What is there would keep others out until it expires.
            await self._threads.run(place.drop, upload.id)
            raise
        upload = await self._threads.run(place.load, upload.id)
        if not upload.complete:
            return upload, None
        return upload, await self._whole.run(finish, place, upload, self._catalogue)

    async def _slide(self, upload: Upload) -> Slide:
        slide = await self._threads.run(self._catalogue.get, upload.slide)
        if slide is None:
            raise NotFound("the slide that this upload became is gone")
        return slide

    async def _form(self, request: Request, place: Place) -> Response:
        async with received_form(request, min(self._largest, MAX_FORM) + SPARE) as form:
            file = one_file(form)
            upload = fresh(path_for(place.store, file.filename or ""), file.size or 0)
            await self._threads.run(place.begin, upload)
            try:
                async with self._threads.writer(place, upload) as writer:
                    await self._copy(file.file, writer)
                upload = await self._threads.run(place.load, upload.id)
                taken = await self._whole.run(finish, place, upload, self._catalogue)
            except BaseException:
                await asyncio.shield(self._threads.run(place.drop, upload.id))
                raise
        return _answer(taken)

    async def _copy(self, file: "tus.Readable", writer: Writer) -> None:
        while data := await self._threads.run(file.read, 1 << 20):
            await self._threads.run(writer.write, data)


def _taken_headers(taken: Taken | None) -> dict[str, str]:
    return {SLIDE_HEADER: taken.slide.id} if taken else {}


def _answer(taken: Taken) -> Response:
    said = SlideTaken(taken.slide.id, taken.slide.key, taken.added)
    where = {"location": f"/api/slides/{taken.slide.id}", SLIDE_HEADER: taken.slide.id}
    return json(said, 201 if taken.added else 200, where)


def routes(catalogue: Catalogue, stores: Served, largest: int, secret: str) -> list[Route]:
    """Every one of them asks whether the request may write."""
    uploads, may = Uploads(catalogue, stores, largest), writing(secret)
    home, one = "/api/stores/{store}/uploads", "/api/stores/{store}/uploads/{upload}"

    def route(path: str, answer: Answering, method: str) -> Route:
        found = Route(path, may(answer), methods=[method])
        found.methods = {method}  # Starlette adds HEAD to GET
        return found

    return [
        Route(home, uploads.options, methods=["OPTIONS"]),
        Route(one, uploads.options, methods=["OPTIONS"]),
        route(home, uploads.create, "POST"),
        route(one, uploads.head, "HEAD"),
        route(one, uploads.patch, "PATCH"),
        route(one, uploads.delete, "DELETE"),
        route("/api/stores/{store}/ingest", uploads.take, "POST"),
    ]
