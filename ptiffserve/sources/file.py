"""Slides that are files on this machine."""

import os
from pathlib import Path

from ptiffserve._ptiff import File
from ptiffserve.errors import NotFound, SlideUnreadable
from ptiffserve.slide import Fingerprint


class FileSource:
    """A regular file, held open by a descriptor so that a rename or removal does not pull it away."""

    def __init__(self, path: Path, name: str = "") -> None:
        """SlideUnreadable where there is no regular file to read; `name` is what messages call it."""
        self.path = path
        self._pinned = _pinned(path, name or path.name)
        self.file: File | None = self._pinned
        self._fingerprint = Fingerprint(*self._pinned.fingerprint())

    def read(self, offset: int, size: int) -> bytes:
        return self._pinned.read(offset, size)

    def read_now(self, offset: int, size: int) -> bytes | None:
        return self._pinned.read_now(offset, size)

    def removed(self) -> bool:
        """Whether no name leads to the file any more: it was deleted, or another was renamed over it."""
        return os.fstat(self._pinned.fileno()).st_nlink == 0

    def fingerprint(self) -> Fingerprint:
        return self._fingerprint


def _pinned(path: Path, name: str) -> File:
    try:
        # O_NONBLOCK: opening a FIFO named x.tif must not hang.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SlideUnreadable(name, f"cannot be opened: {os.strerror(error.errno or 0)}") from error
    try:
        return File(fd)
    except OSError as error:
        raise SlideUnreadable(name, f"is {error}") from error


def inside(root: Path, relative: str) -> Path:
    """The real path of `relative` under `root`. NotFound where it leads out of the root (a symlink, "..")."""
    base = os.path.realpath(root)
    path = os.path.realpath(os.path.join(base, relative))  # noqa: PTH118 - pathlib would drop an absolute root silently
    if not path.startswith(base.rstrip("/") + "/"):
        raise NotFound("no such slide")
    return Path(path)
