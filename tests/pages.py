"""A TIFF writer for tests: any byte order, classic or BigTIFF, any field types, any mistake. Reads back through oracle.py."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oracle import Directory, walk

BYTE, ASCII, SHORT, LONG, UNDEFINED, LONG8 = 1, 2, 3, 4, 7, 16
CODES = {BYTE: "B", SHORT: "H", LONG: "I", LONG8: "Q"}
TILES, STRIPS = (324, 325), (273, 279)

Field = tuple[int, Sequence[int] | bytes]


@dataclass
class Page:
    """A directory. `data` are its tiles or strips in order, b"" where nothing is stored; `places` the tags that find them."""

    tags: dict[int, Field]
    data: list[bytes] = field(default_factory=list)
    places: tuple[int, int] = TILES
    kinds: tuple[int, int] = (LONG8, LONG8)

    def text(self, tag: int = 270) -> str:
        return bytes(self.tags[tag][1]).rstrip(b"\0").decode() if tag in self.tags else ""

    def say(self, words: str | bytes, tag: int = 270) -> None:
        self.tags[tag] = (ASCII, (words.encode() if isinstance(words, str) else words) + b"\0")


def write(pages: Sequence[Page], big: bool = True, order: str = "<") -> bytes:
    """Data that occurs twice is stored once."""
    word = "Q" if big else "I"
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    out += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    link, known = len(out) - struct.calcsize("=" + word), {}
    for page in pages:
        tags = {**page.tags, **_places(page, out, known)}
        entries = b"".join(_entry(out, tag, *tags[tag], order, word) for tag in sorted(tags))
        out += bytes(len(out) % 2)
        struct.pack_into(order + word, out, link, len(out))
        out += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries
        link = len(out)
        out += struct.pack(order + word, 0)
    return bytes(out)


def _places(page: Page, out: bytearray, known: dict[bytes, int]) -> dict[int, Field]:
    if not page.data:
        return {}
    for data in page.data:
        if data and data not in known:
            known[data] = len(out)
            out += data
    offsets = [known[data] if data else 0 for data in page.data]
    counts = [len(data) for data in page.data]
    return {tag: (kind, v) for tag, kind, v in zip(page.places, page.kinds, (offsets, counts), strict=True)}


def _entry(out: bytearray, tag: int, kind: int, value: Sequence[int] | bytes, order: str, word: str) -> bytes:
    packed = value if isinstance(value, bytes) else struct.pack(f"{order}{len(value)}{CODES[kind]}", *value)
    room = struct.calcsize("=" + word)
    if len(packed) > room:
        out += bytes(len(out) % 2)
        place = struct.pack(order + word, len(out))
        out += packed
        packed = place
    return struct.pack(order + "HH" + word, tag, kind, len(value)) + packed.ljust(room, b"\0")


def read(path: Path) -> list[Page]:
    """A file as pages that can be edited and written again."""
    data = path.read_bytes()
    pages = []
    for directory in walk(data)[0]:
        places = TILES if TILES[0] in directory.entries else STRIPS
        spans = zip(*(directory.ints(tag) for tag in places), strict=True)
        tags = {tag: _field(directory, tag) for tag in directory.entries if tag not in places}
        kinds = directory.entries[places[0]][0], directory.entries[places[1]][0]
        pages.append(Page(tags, [data[at : at + size] for at, size in spans], places, kinds))
    return pages


def _field(directory: Directory, tag: int) -> Field:
    kind = directory.entries[tag][0]
    return kind, directory.ints(tag) if kind in CODES else directory.raw(tag)
