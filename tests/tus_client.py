"""A small client of tus over raw HTTP, that can break off where a real one would not."""

import base64
import hashlib
import http.client
import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
    """Names of headers with `_` for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Said(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def create(port: int, store: str, name: str | bytes, length: int, **headers: str) -> Said:
    encoded = base64.b64encode(name if isinstance(name, bytes) else name.encode()).decode()
    return ask(
        port,
        "POST",
        f"/api/stores/{quote(store)}/uploads",
        Tus_Resumable="1.0.0",
        Upload_Length=str(length),
        Upload_Metadata=f"filename {encoded}",
        **headers,
    )


def patch(port: int, location: str, offset: int, data: bytes, checksum: str = "", **headers: str) -> Said:
    said = {"Tus_Resumable": "1.0.0", "Upload_Offset": str(offset), "Content_Type": "application/offset+octet-stream"}
    if checksum:
        said["Upload_Checksum"] = f"{checksum} {digest(checksum, data)}"
    return ask(port, "PATCH", location, data, **(said | headers))


def digest(algorithm: str, data: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def offset(port: int, location: str) -> int:
    said = ask(port, "HEAD", location, Tus_Resumable="1.0.0")
    assert said.status == 200, said
    return int(said.headers["upload-offset"])


def send(port: int, store: str, name: str, data: bytes, piece: int = 1 << 30) -> Said:
    """The answer to the last piece, or to what failed before."""
    said = create(port, store, name, len(data))
    if said.status != 201:
        return said
    location = said.headers["location"]
    for at in range(0, len(data), piece):
        said = patch(port, location, at, data[at : at + piece])
        if said.status != 204:
            return said
    return said


def break_off(port: int, location: str, offset: int, data: bytes, after: int) -> None:
    """Sends the head and so many bytes of a piece, and is gone."""
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: a.test\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + data[:after])


def left_over(root: Path) -> list[str]:
    """Whatever of uploads lies in a folder store, besides the lock and notes of what was taken."""
    return [str(path) for path in root.rglob("*") if path.is_file() and path.name.startswith("~")]
