"""A writer of tiny TIFFs for tests, byte by byte: both byte orders, classic and BigTIFF, and every lie a header can tell."""

import faulthandler
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
CODES = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "II", UNDEFINED: "B", LONG8: "Q"}

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION, SAMPLES = 256, 257, 258, 259, 262, 270, 277
X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, SOFTWARE = 282, 283, 284, 296, 305
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS = 322, 323, 324, 325, 330
JPEG_TABLES, ICC, IMAGE_DEPTH = 347, 34675, 32997

TILE = 16


class Field(NamedTuple):
    """A tag's values; `count` and `at` are what its entry claims of their number and place where that is not the truth."""

    kind: int
    values: Sequence[int] | bytes
    count: int | None = None
    at: int | None = None


@dataclass(frozen=True)
class Page:
    """A directory. `tiles`: bytes of each tile, b"" for a sparse one. `link`: where it says the next directory lies.

    Offsets and byte counts of the tiles come behind `tags`, unless those tags are given.
    """

    tags: Mapping[int, Field]
    tiles: Sequence[bytes] = ()
    link: int | None = None
    count: int | None = None
    disorder: bool = False

    def with_tags(self, tags: Mapping[int, Field]) -> "Page":
        return replace(self, tags={**self.tags, **tags})

    def without(self, *tags: int) -> "Page":
        return replace(self, tags={tag: value for tag, value in self.tags.items() if tag not in tags})


@dataclass
class Built:
    """The file, and where in it things are: directories, and of each (page, tag) the entry; (page, tile) -> (offset, count)."""

    data: bytes
    directories: list[int]
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    tiles: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    order: str = "<"
    big: bool = False

    def patched(self, at: int, new: bytes) -> bytes:
        return self.data[:at] + new + self.data[at + len(new) :]

    def claims(
        self, page: int, tag: int, *, kind: int | None = None, count: int | None = None, at: int | None = None
    ) -> bytes:
        """The file with other words in one entry."""
        entry, word = self.entries[page, tag], "Q" if self.big else "I"
        out = self.data
        wide = struct.calcsize(word)
        for where, code, value in ((2, "H", kind), (4, word, count), (4 + wide, word, at)):
            if value is not None:
                new = struct.pack(self.order + code, value & (1 << 8 * struct.calcsize(code)) - 1)
                out = out[: entry + where] + new + out[entry + where + len(new) :]
        return out


def tiff(pages: Sequence[Page], order: str = "<", big: bool = False, first: int | None = None) -> Built:
    """Tiles, then values, then directories, one behind the other. `first`: where the header says the first one lies."""
    word, small = ("Q", "Q") if big else ("I", "H")
    out = io.BytesIO()
    head = b"II" if order == "<" else b"MM"
    head += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    out.write(head)
    built = Built(b"", [], order=order, big=big)
    place = len(head) - struct.calcsize(word)
    for number, page in enumerate(pages):
        entries = _entries(out, page, number, built, order, big)
        out.write(b"\0" * (out.tell() % 2))
        here = out.tell()
        built.directories.append(here)
        if number == 0 or pages[number - 1].link is None:
            out.seek(place)
            out.write(struct.pack(order + word, first if number == 0 and first is not None else here))
            out.seek(here)
        out.write(struct.pack(order + small, len(entries) if page.count is None else page.count))
        for tag, entry in entries:
            built.entries[number, tag] = out.tell()
            out.write(entry)
        place = out.tell()
        out.write(struct.pack(order + word, page.link or 0))
    if not pages and first is not None:
        out.seek(place)
        out.write(struct.pack(order + word, first))
    built.data = out.getvalue()
    return built


def tiff_in_front(pages: Sequence[Page], order: str = "<", big: bool = False) -> Built:
    """As scanners write it: directories and their values first, then the tiles, in the order of the levels."""
    kind = LONG8 if big else LONG

    def placed(start: int) -> list[Page]:
        found = []
        for one in pages:
            offsets = [start + sum(map(len, one.tiles[:i])) if data else 0 for i, data in enumerate(one.tiles)]
            counts = list(map(len, one.tiles))
            start += sum(counts)
            said = {TILE_OFFSETS: Field(kind, offsets), TILE_COUNTS: Field(kind, counts)}
            found.append(replace(one.with_tags(said), tiles=()))
        return found

    built = tiff(placed(len(tiff(placed(0), order, big).data)), order, big)
    built.data += b"".join(data for one in pages for data in one.tiles)
    return built


def _entries(out: io.BytesIO, page: Page, number: int, built: Built, order: str, big: bool) -> list[tuple[int, bytes]]:
    spans = []
    for index, data in enumerate(page.tiles):
        spans.append((out.tell(), len(data)) if data else (0, 0))
        built.tiles[number, index] = spans[-1]
        out.write(data)
    kind = LONG8 if big else LONG
    tags = dict(page.tags)
    if spans:
        tags.setdefault(TILE_OFFSETS, Field(kind, [offset for offset, _ in spans]))
        tags.setdefault(TILE_COUNTS, Field(kind, [count for _, count in spans]))
    names = list(tags) if page.disorder else sorted(tags)
    return [(tag, _entry(out, tag, tags[tag], order, big)) for tag in names]


def _entry(out: io.BytesIO, tag: int, said: Field, order: str, big: bool) -> bytes:
    word = "Q" if big else "I"
    code = CODES.get(said.kind, "B")
    packed = bytes(said.values) if code == "B" else struct.pack(f"{order}{len(said.values)}{code[0]}", *said.values)
    count = said.count if said.count is not None else len(said.values) // len(code)
    room = struct.calcsize(word)
    if said.at is not None:
        value = struct.pack(order + word, said.at & (1 << 8 * room) - 1)
    elif len(packed) <= room:
        value = packed.ljust(room, b"\0")
    else:
        out.write(b"\0" * (out.tell() % 2))
        value = struct.pack(order + word, out.tell())
        out.write(packed)
    return struct.pack(order + "HH" + word, tag, said.kind, count & (1 << 8 * room) - 1) + value


# ---- pages and tiles ---------------------------------------------------------------------------------------


def page(width: int, height: int, tiles: Sequence[bytes], tables: bytes | None = None, *, tile: int = TILE) -> Page:
    """A YCbCr JPEG level of `width` x `height`."""
    tags = {
        WIDTH: Field(LONG, [width]),
        HEIGHT: Field(LONG, [height]),
        BITS: Field(SHORT, [8, 8, 8]),
        COMPRESSION: Field(SHORT, [7]),
        PHOTOMETRIC: Field(SHORT, [6]),
        SAMPLES: Field(SHORT, [3]),
        PLANAR: Field(SHORT, [1]),
        TILE_WIDTH: Field(SHORT, [tile]),
        TILE_HEIGHT: Field(SHORT, [tile]),
    }
    if tables is not None:
        tags[JPEG_TABLES] = Field(UNDEFINED, tables)
    return Page(tags, tiles)


def gray(one: Page) -> Page:
    return one.with_tags({BITS: Field(SHORT, [8]), PHOTOMETRIC: Field(SHORT, [1]), SAMPLES: Field(SHORT, [1])})


@lru_cache(maxsize=4096)
def jpeg(seed: int, side: int = TILE, mode: str = "RGB", **options: object) -> bytes:
    """A whole JPEG of `side` x `side` px, unlike that of any other seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    image = Image.fromarray(noise).resize((side, side), Image.Resampling.BILINEAR).convert(mode)
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 75, "subsampling": 0, **options})
    return out.getvalue()


def segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, whole segment) of a sound JPEG up to SOS, which has the rest of the stream with it."""
    found, at = [], 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xDA:
            return [*found, (marker, data[at:])]
        found.append((marker, data[at : at + 2 + length]))
        at += 2 + length


def joined(parts: Sequence[tuple[int, bytes]]) -> bytes:
    return b"\xff\xd8" + b"".join(part for _, part in parts)


def split(data: bytes) -> tuple[bytes, bytes]:
    """JPEGTables and the abbreviated tile of a whole JPEG; no APP0 in either, as scanners write it."""
    parts = segments(data)
    tables = [one for one in parts if one[0] in (0xDB, 0xC4)]
    return joined(tables) + b"\xff\xd9", joined([one for one in parts if one[0] in (0xC0, 0xC1, 0xC2, 0xDA)])


def plain(data: bytes) -> bytes:
    """A whole JPEG without its APPn: the bytes that are served for it."""
    return joined([one for one in segments(data) if not 0xE0 <= one[0] <= 0xEF])


def whole(tables: bytes, tile: bytes) -> bytes:
    """What is served for an abbreviated tile."""
    return tables[:-2] + tile[2:]


def frame_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the frame of a stream that begins with SOI and ends with EOI; ValueError for any other."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise ValueError("no SOI or no EOI")
    for marker, part in segments(data):
        if 0xC0 <= marker <= 0xC2:
            return int.from_bytes(part[7:9]), int.from_bytes(part[5:7])
    raise ValueError("no frame")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


class Seed(NamedTuple):
    """A sound slide and, by (level, col, row), the bytes that each of its tiles is served as; b"" where blank."""

    built: Built
    tiles: dict[tuple[int, int, int], bytes]


def spans(
    one: Page, offsets: Mapping[int, int], counts: Mapping[int, int], order: str = "<", big: bool = False
) -> Page:
    """The page as the first of its file, with other offsets and byte counts for some of its tiles."""
    true = tiff([one], order, big).tiles
    kind = LONG8 if big else LONG
    said = [(offsets.get(i, true[0, i][0]), counts.get(i, true[0, i][1])) for i in range(len(one.tiles))]
    return one.with_tags(
        {
            TILE_OFFSETS: Field(kind, [offset for offset, _ in said]),
            TILE_COUNTS: Field(kind, [count for _, count in said]),
        }
    )


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Ends the whole process, with its stacks, where something hangs: C code that holds the GIL hears no signal."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def seed(
    order: str = "<", big: bool = False, *, tables: bool = True, side: int = 2, tile: int = TILE, quality: int = 75
) -> Seed:
    """Two levels of `side` x `side` and half as many tiles; the last of the first level is sparse, its edges are cut."""
    pages, tiles = [], {}
    shared = split(jpeg(0, tile, quality=quality))[0] if tables else None
    for level, across in enumerate((side, max(1, side // 2))):
        stored = []
        for index in range(across * across):
            data = jpeg(100 * level + index, tile, quality=quality)
            if level == 0 and index == across * across - 1:
                data = b""
            row, col = divmod(index, across)
            stored.append(split(data)[1] if data and tables else data)
            tiles[level, col, row] = (whole(shared, stored[-1]) if shared else plain(data)) if data else b""
        size = (tile * side - 3) if level == 0 else -(-(tile * side - 3) // 2)
        pages.append(page(size, size, stored, shared, tile=tile))
    return Seed(tiff_in_front(pages, order, big), tiles)
