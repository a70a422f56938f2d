"""The catalogue's record of one slide. Says what is known of it; opens nothing."""

from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from ptiffserve.geometry import Pyramid

State = Literal["ready", "unreadable", "missing"]


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


class Slide(Struct, frozen=True, kw_only=True):
    """One slide of a store. `path` is relative to the store's root; `added` and `changed` are Unix seconds.

    `reason` says why an unreadable slide is so, or what is damaged in a readable one. An unreadable slide has no pyramid.
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

    @property
    def key(self) -> str:
        return f"{self.store}/{self.path}"
