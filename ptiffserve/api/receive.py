"""Bodies on their way from the network to a writer: read on the event loop, written on threads of their own."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from ptiffserve.api.tus import Checksum
from ptiffserve.errors import ChecksumMismatch, Malformed, Overloaded, TooLarge
from ptiffserve.uploads.base import Place, Upload, Writer

P = ParamSpec("P")
T = TypeVar("T")

# What is gathered before it is written.
PIECE = 512 << 10
# Seconds that a client may send nothing, and bytes a second that it must manage over a minute.
SILENCE, LEAST, OVER = 60.0, 1024, 60.0
# Bodies that are taken at once; each may hold two pieces.
AT_ONCE = 256
THREADS = 4
# A form is for small files: it goes through a temporary one.
MAX_FORM = 1 << 30
# What a form has beside its file.
SPARE = 64 << 10


class Threads:
    """Threads for what waits for a disk, apart from those of the tiles."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "upload")
        self._bodies = 0

    async def run(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*arguments, **named))

    @asynccontextmanager
    async def writer(self, place: Place, upload: Upload) -> AsyncIterator[Writer]:
        """The upload's writer, and closed again whatever happens. Overloaded where too many are at it."""
        if self._bodies >= AT_ONCE:
            raise Overloaded("too many uploads are being received")
        self._bodies += 1
        try:
            held = place.writer(upload)
            writer = await self.run(held.__enter__)
            try:
                yield writer
            finally:
                await asyncio.shield(self.run(held.__exit__, None, None, None))
        finally:
            self._bodies -= 1


async def receive(request: Request, writer: Writer, length: int, checksum: Checksum | None, threads: Threads) -> None:
    """Writes the body. What arrived before a connection broke is kept, unless it has a checksum.

    ChecksumMismatch and TooLarge: nothing of it is kept.
    """
    taken = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
    try:
        await _write_all(request, writer, length, taken, threads)
    except ClientDisconnect:
        if taken is None:
            return
        await threads.run(writer.cut)
        raise Malformed("the connection broke") from None
    except (TooLarge, Malformed):
        await threads.run(writer.cut)
        raise
    if checksum and taken and taken.digest() != checksum.digest:
        await threads.run(writer.cut)
        raise ChecksumMismatch("the bytes that arrived have another checksum")


async def _write_all(request: Request, writer: Writer, length: int, taken: Any, threads: Threads) -> None:
    held = bytearray()

    async def flush() -> None:
        data = bytes(held)
        held.clear()
        if taken:
            await threads.run(taken.update, data)
        await threads.run(writer.write, data)

    try:
        async for chunk in _paced(request):
            held += chunk
            if writer.offset + len(held) > length:
                raise TooLarge("more bytes than the upload is said to have")
            if len(held) >= PIECE:
                await flush()
    except ClientDisconnect:
        await flush()
        raise
    if held:
        await flush()


async def _paced(request: Request) -> AsyncIterator[bytes]:
    """The body's pieces. Malformed where the client falls silent, or sends next to nothing for minutes."""
    loop = asyncio.get_running_loop()
    started, arrived = loop.time(), 0
    try:
        async with asyncio.timeout(SILENCE) as clock:
            async for chunk in request.stream():
                now = loop.time()
                arrived += len(chunk)
                clock.reschedule(now + SILENCE)
                if now - started > OVER and arrived < LEAST * (now - started):
                    raise Malformed("the body comes too slowly")
                yield chunk
    except TimeoutError:
        raise Malformed("the body stopped coming") from None


@asynccontextmanager
async def received_form(request: Request, limit: int) -> AsyncIterator[FormData]:
    """A form of so many bytes at most. Malformed, TooLarge."""
    length = content_length(request)
    if length is not None and length > limit:
        raise TooLarge(f"a form here has at most {limit} bytes: larger files go by tus")
    try:
        bounded = Request(request.scope, counted(request, limit))
        async with bounded.form(max_files=1, max_fields=20, max_part_size=64 << 10) as form:
            yield form
    except HTTPException as error:
        raise Malformed(f"the form: {error.detail}") from error
    except ClientDisconnect:
        raise Malformed("the connection broke") from None


def one_file(form: FormData) -> UploadFile:
    """Malformed unless there is just one, with something in it."""
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    if len(files) != 1 or not files[0].size:
        raise Malformed("the form must have one file in it")
    return files[0]


def content_length(request: Request) -> int | None:
    """None where the request does not say it, or not as a number."""
    said = request.headers.get("content-length", "")
    return int(said[:20]) if said.isascii() and said.isdigit() else None


def counted(request: Request, limit: int) -> Callable[[], Any]:
    """The request's messages, for Starlette's forms. TooLarge behind so many bytes, Malformed where nothing comes."""
    arrived = 0

    async def receive() -> Any:
        nonlocal arrived
        try:
            async with asyncio.timeout(SILENCE):
                message = await request.receive()
        except TimeoutError:
            raise Malformed("the body stopped coming") from None
        arrived += len(message.get("body", b""))
        if arrived > limit:
            raise TooLarge(f"a form here has at most {limit} bytes")
        return message

    return receive
