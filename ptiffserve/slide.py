"""The catalogue's record of one slide. Says what is known of it; opens nothing."""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, get_args

from msgspec import Struct

from ptiffserve.geometry import Pyramid

# How ids of slides, stores and uploads are written: MongoDB's ObjectIds, and ours like them.
ID = re.compile(r"[0-9a-f]{24}")
# What is done with a slide's ICC profile: sent along, pictures converted from it to sRGB, or left out.
Icc = Literal["embed", "srgb", "none"]
State = Literal["ready", "unreadable", "missing"]
STATES: tuple[State, ...] = get_args(State)


class Fingerprint(Struct, frozen=True, gc=False):
    """Which bytes a slide is made of: (device, inode, size in bytes, mtime in ns). Part of every ETag and cache key."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@lru_cache(maxsize=65536)
def tag(fingerprint: Fingerprint) -> str:
    """A short name of the fingerprint for ETags and keys: 16 hex digits, the same in every process."""
    return blake2b(repr(fingerprint).encode(), digest_size=8).hexdigest()


class Alias(Struct, frozen=True, gc=False):
    """Another file of the store with the very bytes of a slide: it has no record of its own."""

    path: str
    fingerprint: Fingerprint


class Slide(Struct, frozen=True, kw_only=True):
    """One slide of a store. `path` is relative to the store's root; `added` and `changed` are Unix seconds.

    `reason` says why an unreadable slide is so, or what is damaged in a readable one. An unreadable slide has no pyramid.
    `icc` is what its store said when it was read, and the pyramid says what can be sent as stored under that. `digest` names
    the file's content whatever its name and times are, "" where it was not taken. `reading` is the number of what readers
    knew when they read it (ptiffserve.readers.READING): an older record is read again.
    """

    id: str
    store: str
    path: str
    fingerprint: Fingerprint
    state: State
    added: float
    changed: float
    reason: str = ""
    format: str = ""
    pyramid: Pyramid | None = None
    barcode: str = ""
    associated: tuple[str, ...] = ()
    icc: Icc = "embed"
    digest: str = ""
    also: tuple[Alias, ...] = ()
    reading: int = 0

    @property
    def key(self) -> str:
        return f"{self.store}/{self.path}"


class Mark(Struct, frozen=True, gc=False, array_like=True):
    """What a sync compares of a record: the fields of Slide by the same names, none that is long."""

    id: str
    path: str
    fingerprint: Fingerprint
    state: State
    changed: float
    reason: str
    icc: Icc
    digest: str
    also: tuple[Alias, ...]
    reading: int


def mark(slide: Slide) -> Mark:
    return Mark(*(getattr(slide, name) for name in Mark.__struct_fields__))


def edition(slide: Slide) -> str:
    """A short name of the pictures that are made of a slide, for ETags: of its bytes and of what is done with its colours."""
    return tag(slide.fingerprint) + slide.icc[0]
