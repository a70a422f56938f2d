"""Answers as HTTP: status, headers, conditional requests, the table of errors. Decides nothing about slides."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from ptiffserve.errors import (
    ChecksumMismatch,
    Conflict,
    DiskFull,
    Forbidden,
    Malformed,
    NotFound,
    NotOffered,
    Overloaded,
    PtiffserveError,
    SlideChanged,
    SlideError,
    SlideUnreadable,
    TooLarge,
    TooLong,
    Unauthorized,
    Unavailable,
    WrongKind,
)

Headers = list[tuple[bytes, bytes]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = logging.getLogger("ptiffserve")

STATUS: dict[type[PtiffserveError], int] = {
    TooLong: 414,
    Malformed: 400,
    NotFound: 404,
    Unauthorized: 401,
    Forbidden: 403,
    Conflict: 409,
    WrongKind: 410,
    NotOffered: 501,
    TooLarge: 413,
    ChecksumMismatch: 422,
    SlideUnreadable: 422,
    SlideChanged: 503,
    SlideError: 500,
    Overloaded: 503,
    Unavailable: 503,
    DiskFull: 507,
}
RETRY_SECONDS = b"1"
METHODS = b"GET, HEAD, OPTIONS"


class Response(NamedTuple):
    status: int
    headers: Headers
    body: bytes = b""


class MethodNotAllowed(PtiffserveError):
    """The method is none of GET, HEAD and OPTIONS."""

    code = "method_not_allowed"


STATUS[MethodNotAllowed] = 405


def picture(data: bytes, media_type: str, tag: str, mtime_ns: int, cache_control: str) -> Response:
    return Response(
        200,
        [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(data)).encode()),
            *_validators(tag, mtime_ns, cache_control),
        ],
        data,
    )


def not_modified(tag: str, mtime_ns: int, cache_control: str) -> Response:
    return Response(304, _validators(tag, mtime_ns, cache_control))


def _validators(tag: str, mtime_ns: int, cache_control: str) -> Headers:
    modified = _http_date(mtime_ns // 1_000_000_000)
    return [(b"etag", tag.encode()), (b"last-modified", modified), (b"cache-control", cache_control.encode())]


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def unchanged(headers: dict[bytes, bytes], tag: str, mtime_ns: int | None) -> bool:
    """Whether the client's copy is still good. If-Modified-Since counts only without If-None-Match (RFC 9110 13.1.3).

    `mtime_ns`: None for what has an entity tag only.
    """
    known = headers.get(b"if-none-match")
    if known is not None:
        tags = [part.strip().removeprefix("W/") for part in known.decode("latin-1").split(",")]
        return tag in tags or "*" in tags
    since = headers.get(b"if-modified-since")
    if since is None or mtime_ns is None:
        return False
    date = _date(since)
    return date is not None and mtime_ns // 1_000_000_000 <= date


def _date(value: bytes) -> float | None:
    """Unix seconds of an HTTP date, None where it is none. Its zone is GMT whether it says so or not."""
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def document(data: bytes, media_type: str, cache_control: str, headers: dict[bytes, bytes]) -> Response:
    """A description, or 304 where the request's `headers` name the very bytes. It depends on settings and host too, so
    its tag is made of the bytes and it has no date."""
    tag = f'"{blake2b(data + media_type.encode(), digest_size=12).hexdigest()}"'
    said = [
        (b"etag", tag.encode()),
        (b"cache-control", cache_control.encode()),
        (b"vary", b"Accept"),
    ]
    if unchanged(headers, tag, None):
        return Response(304, said)
    said += [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(data)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Response(200, said, data)


def redirect(location: str) -> Response:
    return Response(303, [(b"location", location.encode("latin-1", "replace")), (b"content-length", b"0")])


def preflight() -> Response:
    """The answer to OPTIONS. The CORS origin itself is added to every response alike."""
    return Response(
        204,
        [
            (b"allow", METHODS),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", b"*"),
            (b"access-control-max-age", b"86400"),
        ],
    )


def error(fault: PtiffserveError) -> Response:
    """The JSON error of the contract. The status is that of the nearest class in the table."""
    status = next((STATUS[kind] for kind in type(fault).__mro__ if kind in STATUS), 500)
    body = msgspec.json.encode({"error": fault.code, "message": _printable(str(fault))})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 503:
        headers.append((b"retry-after", RETRY_SECONDS))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 405:
        headers.append((b"allow", METHODS))
    return Response(status, headers, body)


def _printable(text: str) -> str:
    """No control characters, no lone surrogates: the message goes into logs and pages."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[:500]


def unexpected(fault: Exception) -> Response:
    """A fault of ours: logged whole, told in no detail."""
    log.error("unexpected error", exc_info=fault)
    return error(PtiffserveError("something went wrong in the server"))


def cors(response: Response, origin: bytes | None, allowed: list[str]) -> None:
    """Adds the CORS headers: `*` for everybody, or the origin itself where it is on the list."""
    if "*" in allowed:
        response.headers.append((b"access-control-allow-origin", b"*"))
    elif origin is not None:
        response.headers.append((b"vary", b"Origin"))
        if origin.decode("latin-1") in allowed:
            response.headers.append((b"access-control-allow-origin", origin))
    else:
        response.headers.append((b"vary", b"Origin"))
    response.headers.append((b"access-control-expose-headers", b"ETag, Server-Timing, Link"))


async def send_response(send: Send, response: Response, head: bool) -> None:
    """`head`: the request was HEAD, which gets the same headers and no body."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})
