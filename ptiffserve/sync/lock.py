"""One sync of a store at a time, on this machine. Across machines it is the task queue's lock that does it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import state_folder
from ptiffserve.errors import Conflict


class Busy(Conflict):
    """The store is being synced by another thread or process."""


@contextmanager
def alone(catalogue: Catalogue, label: str, wait: bool = True) -> Iterator[None]:
    """Holds the store's lock; the kernel lets go of it when the process ends, however it does. Busy where it is taken and
    `wait` is False."""
    path = _path(catalogue, label)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy(f"store {label} is being synced") from None
        yield
    finally:
        os.close(descriptor)


def _path(catalogue: Catalogue, label: str) -> Path:
    """Beside the file of the catalogue, or in the state folder where it is a server's."""
    name = blake2b(label.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    if isinstance(catalogue, Embedded):
        return catalogue.path.with_name(f"{catalogue.path.name}.sync-{name}.lock")
    return state_folder() / f"sync-{name}.lock"
