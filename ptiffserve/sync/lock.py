"""One at a time on this machine, by lock files. Across machines it is the task queue's lock that does it.

The kernel lets go of such a lock when the process ends, however it does.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import Event, Thread

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import state_folder
from ptiffserve.errors import Conflict


class Busy(Conflict):
    """The store is being synced by another thread or process."""


@contextmanager
def alone(catalogue: Catalogue, label: str, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a store's syncs. Busy where it is taken and `wait` is False."""
    with _file(_path(catalogue, label)) as descriptor:
        if not _taken(descriptor, wait):
            raise Busy(f"store {label} is being synced")
        yield


class OneThread:
    """A thread that works in one of the processes that share a lock file; when that one ends, in another.

    `work(stopped)` returns soon after `stopped` is set.
    """

    def __init__(self, name: str, lock: Path, work: Callable[[Event], None]) -> None:
        self.stopped = Event()
        self._lock = lock
        self._work = work
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with _file(self._lock) as descriptor:
            while not _taken(descriptor, wait=False):
                if self.stopped.wait(1.0):
                    return
            self._work(self.stopped)


@contextmanager
def _file(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _path(catalogue: Catalogue, label: str) -> Path:
    """Beside the file of the catalogue, or in the state folder where it is a server's."""
    name = blake2b(label.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    if isinstance(catalogue, Embedded):
        return catalogue.path.with_name(f"{catalogue.path.name}.sync-{name}.lock")
    return state_folder() / f"sync-{name}.lock"
