"""What files a store holds: path, size, mtime, inode. Opens none of them."""

import os
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ptiffserve.config import Store
from ptiffserve.slide import Fingerprint
from ptiffserve.sync.result import Failure


class Found(NamedTuple):
    """`files` by path relative to the root; `failed`: what could not be looked at, or is not ours. `unseen`: paths of which
    nothing is known, with all below those that end with "/": what was there may be there still."""

    files: dict[str, Fingerprint]
    failed: list[Failure]
    unseen: list[str]


class RootMissing(OSError):
    """The store's root is not there, or cannot be listed: an error, never "every slide is gone"."""


def scan(store: Store) -> Found:
    """Walks the store. RootMissing where its root cannot be listed."""
    root = os.path.realpath(store.root)
    walk = _Walk(root, wanted(tuple(store.include), tuple(store.exclude)))
    try:
        entries = _entries(root)
    except OSError as error:
        raise RootMissing(f"{store.root}: {os.strerror(error.errno or 0)}") from error
    # Not recursive: a chain of folders may be longer than Python's stack.
    pending = walk.take(entries, "")
    while pending:
        folder, prefix = pending.pop()
        try:
            entries = _entries(folder)
        except OSError as error:
            walk.missed(prefix, f"cannot be listed: {os.strerror(error.errno or 0)}")
            continue
        pending += walk.take(entries, prefix)
    return walk.found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Whole or not at all: a listing that breaks off says nothing of what it did not come to."""
    with os.scandir(folder) as entries:
        return list(entries)


class _Walk:
    """What was found so far. Hidden files and folders, and links to folders, are passed over."""

    def __init__(self, root: str, wanted: Callable[[str, str], bool]) -> None:
        self.found = Found({}, [], [])
        self._root = root.rstrip("/") + "/"
        self._wanted = wanted

    def take(self, entries: list[os.DirEntry[str]], prefix: str) -> list[tuple[str, str]]:
        """Notes the files of a folder; gives the folders in it, with what paths below them begin with."""
        folders, files, wanted = [], self.found.files, self._wanted
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, f"{prefix}{name}/"))
            elif wanted(name, prefix) and self._taken(entry, prefix + name):
                stat = entry.stat()
                files[prefix + name] = Fingerprint(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return folders

    def _taken(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether a file can be looked at and is ours; then its stat is at hand."""
        try:
            if not entry.is_file(follow_symlinks=False) and (reason := self._refused(entry)):
                self._refuse(path, reason)
                return False
            entry.stat()  # which keeps it
        except FileNotFoundError:
            return False
        except OSError as error:
            self.missed(path, os.strerror(error.errno or 0))
            return False
        if path.isascii() or _sayable(path):
            return True
        self._refuse(path, "its name is not UTF-8")
        return False

    def _refused(self, entry: os.DirEntry[str]) -> str:
        """Why what is no file itself is not taken, "" for a link to a file of the store."""
        if not entry.is_symlink():
            return "is not a regular file"
        if not os.path.realpath(entry.path).startswith(self._root):
            return "a link that leads out of the store"
        return "" if entry.is_file() else "a link that leads to no file"

    def missed(self, path: str, reason: str) -> None:
        self.found.unseen.append(path)
        self._refuse(path, reason)

    def _refuse(self, path: str, reason: str) -> None:
        self.found.failed.append(Failure(path.encode("utf-8", "replace").decode(), reason))


def _sayable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=64)
def wanted(include: tuple[str, ...], exclude: tuple[str, ...]) -> Callable[[str, str], bool]:
    """Whether a file of a name, below a prefix, is one of the store's. Endings are looked up, other patterns are one
    expression: this is asked of each file at each look."""
    endings = frozenset(pattern[2:] for pattern in include if _ENDING.fullmatch(pattern))
    ours = _any([pattern for pattern in include if not _ENDING.fullmatch(pattern)])
    others = _any(exclude)

    def wanted(name: str, prefix: str) -> bool:
        dot = name.rfind(".")
        if (dot < 0 or name[dot + 1 :].lower() not in endings) and (ours is None or not ours(name.lower())):
            return False
        return others is None or not others(prefix + name)

    return wanted


def takes(store: Store, path: str) -> bool:
    """Whether the store's patterns let a file be listed at a path."""
    folder, slash, name = path.rpartition("/")
    return wanted(tuple(store.include), tuple(store.exclude))(name, folder + slash)


# "*.tiff": the case of names does not count, so a pattern in capitals matches none.
_ENDING = re.compile(r"\*\.[^.*?\[\]A-Z]+")


def _any(patterns: Sequence[str]) -> Callable[[str], object] | None:
    return re.compile("|".join(map(translate, patterns))).match if patterns else None


def look(root: Path, relative: str) -> Fingerprint | None:
    """The fingerprint of one file now, None where it is gone."""
    try:
        stat = (root / relative).stat()
    except OSError:
        return None
    return Fingerprint(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
