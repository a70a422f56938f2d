"""The upload seam: what every kind of store does with files that are not whole yet."""

import secrets
import time
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
from msgspec import Struct

from ptiffserve.config import Store
from ptiffserve.sources.base import Source


class Upload(Struct, frozen=True, kw_only=True):
    """`path` is where it will be in its store, `length` its size in bytes, `offset` how many have arrived. `touched`: Unix
    seconds of the last byte. `slide`: the id of the slide it became, "" before."""

    id: str
    path: str
    length: int
    offset: int = 0
    touched: float = 0.0
    slide: str = ""

    @property
    def complete(self) -> bool:
        return self.offset == self.length


class Writer(Protocol):
    """The end of an upload, held alone. What was written counts once it is closed, or before."""

    offset: int

    def write(self, data: bytes) -> None:
        """DiskFull, Unavailable."""

    def cut(self) -> None:
        """Takes back what this writer wrote."""


class Place(Protocol):
    """Where the uploads into one store are until they are slides. Safe to use from many threads and processes."""

    store: Store

    def begin(self, upload: Upload) -> None:
        """DiskFull where it would not fit."""

    def load(self, identity: str) -> Upload:
        """NotFound."""

    def writer(self, upload: Upload) -> AbstractContextManager[Writer]:
        """Conflict where another request is writing. NotFound."""

    def staged(self, upload: Upload) -> Source:
        """The bytes of an upload that is complete."""

    def alone(self) -> AbstractContextManager[None]:
        """Of all processes, only one at a time makes uploads slides."""

    def digest(self, upload: Upload) -> str:
        """The name of an upload's content that is kept with it; "" where none is. Reads it whole."""

    def reveal(self, upload: Upload, digest: str) -> Source:
        """Puts it at its path, whole and at once; again is no harm. Conflict where another file is there."""

    def settle(self, upload: Upload, slide: str) -> None:
        """Notes what became of it, and lets go of bytes that are not the slide's."""

    def drop(self, identity: str) -> None:
        """Removes it and its bytes, if there is any of it."""

    def sweep(self, older_than: float) -> int: ...


def fresh(path: str, length: int) -> Upload:
    """A new upload; its slide will have the same id."""
    return Upload(id=secrets.token_hex(12), path=path, length=length, touched=time.time())


def advanced(upload: Upload, offset: int) -> Upload:
    return msgspec.structs.replace(upload, offset=offset, touched=time.time())
