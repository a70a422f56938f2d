"""A little-endian TIFF or BigTIFF, written front to back: data, then directories. Knows tags, not slides."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from ptiffserve.errors import Malformed

ASCII, SHORT, LONG, UNDEFINED, LONG8 = 2, 3, 4, 7, 16
_CODES = {SHORT: "H", LONG: "I", LONG8: "Q"}

Tags: TypeAlias = dict[int, "Field"]


@dataclass(frozen=True, slots=True)
class Field:
    """The value of a tag: its TIFF type and its numbers, or its bytes."""

    kind: int
    value: Sequence[int] | bytes

    def packed(self) -> tuple[int, bytes]:
        """How many values, and their bytes."""
        if isinstance(self.value, bytes):
            return len(self.value), self.value
        return len(self.value), struct.pack(f"<{len(self.value)}{_CODES[self.kind]}", *self.value)


def short(*values: int) -> Field:
    return Field(SHORT, values)


def long(*values: int) -> Field:
    return Field(LONG, values)


def text(value: str) -> Field:
    return Field(ASCII, value.encode() + b"\0")


class TiffFile:
    """Appends to a file that is empty; `directory` may be called any number of times, in the order of the chain."""

    def __init__(self, file: BinaryIO, classic: bool) -> None:
        self._file = file
        self._classic = classic
        self._word = "<I" if classic else "<Q"
        self._link = 4 if classic else 8  # where the offset of the next directory is to be written
        self._end = file.write(
            struct.pack("<2sHI", b"II", 42, 0) if classic else struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)
        )

    def append(self, data: bytes) -> int:
        """Write data at an even offset and return that offset."""
        if self._end % 2:
            self._end += self._file.write(b"\0")
        start = self._end
        self._end += len(data)
        if self._classic and self._end >= 1 << 32:
            raise Malformed("classic: the slide needs more than 4 GB, which only BigTIFF can hold")
        self._file.write(data)
        return start

    def offsets(self, values: Sequence[int]) -> Field:
        """Places or byte counts, as wide as this kind of file has them."""
        return Field(LONG if self._classic else LONG8, values)

    def directory(self, tags: Tags) -> None:
        """Write a directory and hang it on the chain."""
        entries = b"".join(self._entry(tag, *tags[tag].packed(), tags[tag].kind) for tag in sorted(tags))
        count = struct.pack("<H" if self._classic else "<Q", len(tags))
        start = self.append(count + entries + struct.pack(self._word, 0))
        self._file.seek(self._link)
        self._file.write(struct.pack(self._word, start))
        self._file.seek(self._end)
        self._link = start + len(count) + len(entries)

    def _entry(self, tag: int, count: int, data: bytes, kind: int) -> bytes:
        room = struct.calcsize(self._word)
        if len(data) > room:
            data = struct.pack(self._word, self.append(data))
        return struct.pack("<HH" + self._word[1], tag, kind, count) + data.ljust(room, b"\0")
