"""DICOM keeps a slide in many files, a series in a folder: which of them stands for it. Reads the heads of `.dcm` files only.

OpenSlide opens any file of a series and finds the others beside it, so each would be a slide of its own.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ptiffserve.errors import NotFound
from ptiffserve.slide import Fingerprint
from ptiffserve.sources.file import inside

# Series, image type and size come before what is long: optical paths, frames, pixels.
HEAD = 1 << 16
_TYPE, _SERIES, _COLS, _ROWS = 0x0008_0008, 0x0020_000E, 0x0048_0006, 0x0048_0007
_ITEM_END, _SEQUENCE_END = 0xFFFE_E00D, 0xFFFE_E0DD
# Value representations whose length has four bytes, behind two that are reserved (PS3.5 7.1.2).
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNDEFINED = 0xFFFF_FFFF


class Head(NamedTuple):
    """`series` is "" where the file is no DICOM. `pixels` of the whole picture, 0 where it is no resolution of the slide."""

    series: str
    pixels: int


def members(root: str, files: Mapping[str, Fingerprint]) -> dict[str, str]:
    """Each file that is only a part of a series, and the file that stands for that: its largest resolution."""
    groups: dict[tuple[str, str], list[tuple[Head, str]]] = defaultdict(list)
    for folder, paths in _folders(files).items():
        for path in paths if len(paths) > 1 else []:
            head = _head(root, path, files[path])
            if head.series:
                groups[folder, head.series].append((head, path))
    return dict(_passed_over(list(groups.values()), files))


def _folders(files: Mapping[str, Fingerprint]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for path in files:
        if path.lower().endswith(".dcm"):
            found[path.rpartition("/")[0]].append(path)
    return found


def _passed_over(groups: list[list[tuple[Head, str]]], files: Mapping[str, Fingerprint]) -> Iterator[tuple[str, str]]:
    for group in groups:
        _, chief = max(group, key=lambda each: (each[0].pixels, files[each[1]].size, each[1]))
        yield from ((path, chief) for _, path in group if path != chief)


@lru_cache(maxsize=65536)
def _head(root: str, path: str, fingerprint: Fingerprint) -> Head:
    """Read once for each state of the file: stores are looked at every second."""
    try:
        with inside(Path(root), path).open("rb") as file:
            return parse(file.read(HEAD))
    except (OSError, NotFound):
        return Head("", 0)


def parse(data: bytes) -> Head:
    """What the beginning of a file says; nothing where it is no DICOM in explicit little endian, as all of OpenSlide's."""
    if data[128:132] != b"DICM":
        return Head("", 0)
    said = {tag: value for tag, value in _elements(data, 132) if tag in (_TYPE, _SERIES, _COLS, _ROWS)}
    series = said.get(_SERIES, b"").rstrip(b"\0 ").decode("ascii", "replace")
    volume = b"VOLUME" in said.get(_TYPE, b"").split(b"\\")
    cols, rows = (int.from_bytes(said.get(tag, b""), "little") for tag in (_COLS, _ROWS))
    return Head(series, cols * rows if volume else 0)


def _elements(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """(tag, value) of the elements that are not in sequences, as far as `data` goes."""
    depth = 0
    while at + 8 <= len(data):
        tag, start, length = _element(data, at)
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth -= 1
        elif length == _UNDEFINED:
            depth += 1
        elif not depth and start + length <= len(data):
            yield tag, data[start : start + length]
        # What has no length is gone into; what has one is passed over whole.
        at = start if length == _UNDEFINED else start + length


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, where its value begins, and how long that is."""
    tag = int.from_bytes(data[at : at + 2], "little") << 16 | int.from_bytes(data[at + 2 : at + 4], "little")
    if tag >> 16 == 0xFFFE:
        return tag, at + 8, int.from_bytes(data[at + 4 : at + 8], "little")
    if data[at + 4 : at + 6] in _LONG:
        return tag, at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
    return tag, at + 8, int.from_bytes(data[at + 6 : at + 8], "little")
