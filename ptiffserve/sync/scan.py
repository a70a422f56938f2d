"""What files a store holds: path, size, mtime, inode. Opens none of them."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from ptiffserve.config import Store
from ptiffserve.slide import Fingerprint


class Found(NamedTuple):
    """`files` by path relative to the root; `failed` are (path, reason) of what could not be looked at or is not ours."""

    files: dict[str, Fingerprint]
    failed: list[tuple[str, str]]


class RootMissing(OSError):
    """The store's root is not there, or cannot be listed: an error, never "every slide is gone"."""


def scan(store: Store) -> Found:
    """Walks the store. RootMissing where its root cannot be listed."""
    root = os.path.realpath(store.root)
    found = Found({}, [])
    try:
        os.scandir(root).close()
    except OSError as error:
        raise RootMissing(f"{store.root}: {os.strerror(error.errno or 0)}") from error
    for entry, relative in _walk(root, "", found.failed):
        if _wanted(store, entry.name, relative):
            _note(entry, relative, root, found)
    return found


def _walk(folder: str, prefix: str, failed: list[tuple[str, str]]) -> Iterator[tuple[os.DirEntry[str], str]]:
    """Files below a folder in the order of names; hidden ones and links to folders are passed over."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        failed.append((prefix or ".", f"cannot be listed: {os.strerror(error.errno or 0)}"))
        return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", failed)
        else:
            yield entry, prefix + entry.name


def _wanted(store: Store, name: str, relative: str) -> bool:
    lower = name.lower()
    return any(fnmatch(lower, pattern) for pattern in store.include) and not any(
        fnmatch(relative, pattern) for pattern in store.exclude
    )


def _note(entry: os.DirEntry[str], relative: str, root: str, found: Found) -> None:
    try:
        relative.encode()
    except UnicodeEncodeError:
        found.failed.append((relative.encode("utf-8", "replace").decode(), "its name is not UTF-8"))
        return
    if entry.is_symlink() and not os.path.realpath(entry.path).startswith(root + "/"):
        found.failed.append((relative, "a link that leads out of the store"))
        return
    try:
        if not entry.is_file():
            found.failed.append((relative, "is not a regular file"))
            return
        stat = entry.stat()
    except OSError as error:
        found.failed.append((relative, os.strerror(error.errno or 0)))
        return
    found.files[relative] = Fingerprint(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def look(root: Path, relative: str) -> Fingerprint | None:
    """The fingerprint of one file now, None where it is gone."""
    try:
        stat = (root / relative).stat()
    except OSError:
        return None
    return Fingerprint(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
