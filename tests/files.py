"""Folders of tiny slides for tests of syncs: files that differ in their last bytes only, with times of their own."""

import os
import tempfile
from functools import lru_cache
from itertools import count
from pathlib import Path

from tiny_tiff import Tiny, write

# Where syncing to the disk costs nothing: what ends here are processes, not machines.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Old enough to be taken at once; no two writes have the same.
_TIMES = count(1_600_000_000 * 10**9, 10**9)
JUNK = b"II*\0 no slide at all "


@lru_cache(maxsize=1)
def _slide() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tiff"
        write(Tiny(40, 30, 16), path)
        return path.read_bytes()


def content(number: int) -> bytes:
    """The bytes of a slide, all of the same length; of a file that is none where the number is negative."""
    return (JUNK if number < 0 else _slide()) + b"%08d" % number


def put(path: Path, number: int, in_place: bool = False) -> None:
    """A whole file at once, under a time that no other has; the inode of the one before where `in_place`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if in_place:
        path.write_bytes(content(number))
    else:
        new = path.with_name(".new")
        new.write_bytes(content(number))
        new.replace(path)
    touch(path)


def touch(path: Path) -> None:
    at = next(_TIMES)
    os.utime(path, ns=(at, at))
