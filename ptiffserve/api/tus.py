"""The headers of tus 1.0: what clients say in them and what they are told. Takes no bytes."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple, Protocol

from starlette.datastructures import Headers
from starlette.responses import Response

from ptiffserve.errors import Conflict, Malformed, TooLarge
from ptiffserve.uploads.base import Upload

VERSION = {"Tus-Resumable": "1.0.0"}
BODY = "application/offset+octet-stream"
ALGORITHMS = ("sha1", "sha256", "sha512", "md5")
EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration"
MAX_METADATA = 16384


class Readable(Protocol):
    def read(self, size: int) -> bytes: ...


class Creation(NamedTuple):
    length: int
    name: str


class Checksum(NamedTuple):
    algorithm: str
    digest: bytes


def abilities(largest: int) -> dict[str, str]:
    return VERSION | {
        "Tus-Version": "1.0.0",
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(largest),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def refused(headers: Headers) -> Response | None:
    """The answer to a client that speaks another version."""
    if headers.get("tus-resumable", "1.0.0") == "1.0.0":
        return None
    return Response(None, 412, VERSION | {"Tus-Version": "1.0.0"})


def told(upload: Upload, kept: float) -> dict[str, str]:
    """Where an upload is, and when it will be forgotten."""
    headers = VERSION | {"Upload-Offset": str(upload.offset)}
    if not upload.complete:
        headers["Upload-Expires"] = format_datetime(datetime.fromtimestamp(upload.touched + kept, UTC), usegmt=True)
    return headers


def creation(headers: Headers, largest: int) -> Creation:
    """Malformed, TooLarge."""
    if "upload-defer-length" in headers:
        raise Malformed("the length of an upload must be known at its beginning")
    length = _number(headers, "upload-length")
    if length is None:
        raise Malformed("Upload-Length is needed: the file's size in bytes")
    if length > largest:
        raise TooLarge(f"a file here has at most {largest} bytes")
    if not length:
        raise Malformed("the file is empty")
    said = metadata(headers.get("upload-metadata", ""))
    name = said.get("filename") or said.get("name") or ""
    return Creation(length, name)


def metadata(header: str) -> Mapping[str, str]:
    """Pairs of a key and a Base64 value, told apart by commas. Malformed."""
    if len(header) > MAX_METADATA:
        raise Malformed("Upload-Metadata is too long")
    found = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        found[key] = _decoded(value).decode("utf-8", "replace")
    return found


def check_offset(headers: Headers, offset: int, required: bool = True) -> None:
    """Conflict where the client's next byte is not the one that is missing."""
    said = _number(headers, "upload-offset")
    if said is None:
        if required:
            raise Malformed("Upload-Offset is needed: how many bytes were sent before")
    elif said != offset:
        raise Conflict(f"the upload is at {offset}, not at {said}")


def checksum(headers: Headers) -> Checksum | None:
    """Of the bytes in this request. Malformed."""
    said = headers.get("upload-checksum")
    if said is None:
        return None
    algorithm, _, value = said.partition(" ")
    if algorithm not in ALGORITHMS:
        raise Malformed(f"Upload-Checksum knows {', '.join(ALGORITHMS)}")
    return Checksum(algorithm, _decoded(value))


def _number(headers: Headers, name: str) -> int | None:
    said = headers.get(name)
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) <= 18):
        raise Malformed(f"{name} must be a number of bytes")
    return int(said)


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("a value in a header is not Base64") from None
