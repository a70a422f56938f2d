"""The files of the pages, read once and kept. Knows no HTTP."""

import gzip
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


class Asset(NamedTuple):
    """`packed` is `data` in gzip."""

    data: bytes
    packed: bytes
    media_type: str
    etag: str


def load(folder: Path) -> dict[str, Asset]:
    """Every file below `folder` of a kind that pages use, by its path with slashes."""
    files = (path for path in folder.rglob("*") if path.suffix in MEDIA_TYPES and path.is_file())
    return {path.relative_to(folder).as_posix(): _asset(path) for path in files}


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    # Weak: the same tag stands for the plain and the packed bytes.
    etag = f'W/"{blake2b(data, digest_size=8).hexdigest()}"'
    return Asset(data, gzip.compress(data, mtime=0), MEDIA_TYPES[path.suffix], etag)
