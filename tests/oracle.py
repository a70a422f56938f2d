"""The twin of ext/ptiff in plain Python, from the TIFF 6.0 and BigTIFF specifications and ITU-T T.81 B.1.

Whole file in memory, no limits, no haste: it says what the compiled part must say. `Broken` where that must refuse.
"""

import re
import struct
from dataclasses import dataclass

WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
WIDTH, HEIGHT, PHOTOMETRIC, SAMPLES, TILE_WIDTH, TILE_HEIGHT = 256, 257, 262, 277, 322, 323
OFFSETS, COUNTS, TABLES, ICC = 324, 325, 347, 34675
SOI, EOI, SOS, DQT, DHT, DRI, SOF0, SOF2, APP0, APP15, COM = (
    *(0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD),
    *(0xC0, 0xC2, 0xE0, 0xEF, 0xFE),
)
FRAMES = {*range(0xC0, 0xD0)} - {DHT}


class Broken(ValueError):
    pass


# ---- directories -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Directory:
    """`entries`: tag -> (type, count, the value field as it lies there)."""

    file: bytes
    order: str
    word: str
    index: int
    offset: int
    entries: dict[int, tuple[int, int, bytes]]

    def raw(self, tag: int) -> bytes:
        kind, count, field = self.entries[tag]
        size = WIDTHS[kind] * count
        if size <= len(field):
            return field[:size]
        (at,) = struct.unpack(self.order + self.word, field)
        if at + size > len(self.file):
            raise Broken(f"the values of tag {tag} lie outside the file")
        return self.file[at : at + size]

    def ints(self, tag: int) -> tuple[int, ...]:
        if tag not in self.entries:
            return ()
        kind, count, _ = self.entries[tag]
        if kind not in INTEGERS:
            raise Broken(f"tag {tag} is of type {kind}")
        return struct.unpack(f"{self.order}{count}{INTEGERS[kind]}", self.raw(tag))

    def first(self, tag: int, default: int) -> int:
        return (self.ints(tag) or (default,))[0]

    def text(self, tag: int) -> str:
        return self.raw(tag).split(b"\0")[0].decode("utf-8", "replace") if tag in self.entries else ""


def walk(file: bytes) -> tuple[list[Directory], bool]:
    """The chain of directories, and whether it ends as it should. Broken where it has no first one, or loops."""
    order = {b"II": "<", b"MM": ">"}.get(file[:2])
    if order is None or len(file) < 8:
        raise Broken("no TIFF")
    (magic,) = struct.unpack_from(order + "H", file, 2)
    big = magic == 43
    if big and (len(file) < 16 or struct.unpack_from(order + "HH", file, 4) != (8, 0)):
        raise Broken("no BigTIFF")
    if magic not in (42, 43):
        raise Broken(f"version {magic}")
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), file, 8 if big else 4)
    found: list[Directory] = []
    while at:
        if at in {directory.offset for directory in found}:
            raise Broken("a loop")
        try:
            directory, at = _directory(file, order, big, at, len(found))
        except (struct.error, Broken) as error:
            if not found:
                raise Broken("no first directory") from error
            return found, False
        found.append(directory)
    if not found:
        raise Broken("no directory")
    return found, True


def _directory(file: bytes, order: str, big: bool, at: int, index: int) -> tuple[Directory, int]:
    word, room = ("Q", 8) if big else ("I", 4)
    head = struct.Struct(order + ("Q" if big else "H"))
    entry = struct.Struct(f"{order}HH{word}{room}s")
    if at < 8 or at + head.size > len(file):
        raise Broken("outside")
    (count,) = head.unpack_from(file, at)
    body = at + head.size
    if not 0 < count <= 4096 or body + count * entry.size > len(file):
        raise Broken("entries")
    entries: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, number, field in entry.iter_unpack(file[body : body + count * entry.size]):
        if kind in WIDTHS and tag not in entries:
            entries[tag] = kind, number, field
    link = file[body + count * entry.size :][:room]
    after = struct.unpack(order + word, link)[0] if len(link) == room else 0
    return Directory(file, order, word, index, at, entries), after


# ---- tiles -------------------------------------------------------------------------------------------------


def grid(directory: Directory) -> tuple[int, int]:
    """Columns and rows, by the directory's own tags alone."""
    pairs = ((WIDTH, TILE_WIDTH), (HEIGHT, TILE_HEIGHT))
    cols, rows = (-(-directory.ints(whole)[0] // directory.ints(tile)[0]) for whole, tile in pairs)
    return cols, rows


def table(directory: Directory) -> dict[tuple[int, int], tuple[int, int]]:
    """(offset, byte count) of each tile that is stored, by (col, row)."""
    for tag in (OFFSETS, COUNTS):
        if tag not in directory.entries or directory.entries[tag][0] not in (3, 4, 16):
            raise Broken("no table of tiles")
    cols, rows = grid(directory)
    # Arrays may differ in length where a row is missing: what one of them lacks is not stored.
    spans = list(zip(directory.ints(OFFSETS), directory.ints(COUNTS), strict=False))[: cols * rows]
    if not spans:
        raise Broken("an empty table")
    return {(i % cols, i // cols): span for i, span in enumerate(spans) if span[1]}


def tile(directory: Directory, col: int, row: int) -> bytes:
    """The tile as a whole JPEG with the directory's ICC profile, b"" where it is not stored."""
    offset, count = table(directory).get((col, row), (0, 0))
    if not count:
        return b""
    if offset + count > len(directory.file):
        raise Broken("truncated")
    size = directory.ints(TILE_WIDTH)[0], directory.ints(TILE_HEIGHT)[0]
    tables = directory.raw(TABLES) if TABLES in directory.entries else None
    frame = *size, directory.first(SAMPLES, 1)
    profile = directory.raw(ICC) if ICC in directory.entries and frame[2] == 3 else b""
    return whole(directory.file[offset : offset + count], tables, transform(directory), frame, profile)


def transform(directory: Directory) -> int | None:
    """Of the APP14 marker: 0 for RGB, 1 where YCbCr must be said because the first tile's components are called R, G, B."""
    photometric = directory.first(PHOTOMETRIC, -1)
    if photometric == 2:
        return 0
    for offset, count in table(directory).values() if photometric == 6 else ():
        return 1 if _ids(directory.file[offset : offset + count]) == b"RGB" else None
    return None


def _ids(stream: bytes) -> bytes:
    """The component ids of a stream's frame, b"" where it has none."""
    try:
        frames = [body for marker, body, _ in segments(stream) if marker in FRAMES]
    except Broken:
        return b""
    return frames[0][6::3] if frames else b""


def segments(stream: bytes) -> list[tuple[int, bytes, int]]:
    """(marker, body, offset behind it) of the marker segments behind SOI, up to SOS or EOI."""
    if stream[:2] != b"\xff\xd8":
        raise Broken("no SOI")
    found, at = [], 2
    while not found or found[-1][0] not in (SOS, EOI):
        if stream[at : at + 1] != b"\xff":
            raise Broken("no marker")
        while stream[at + 1 : at + 2] == b"\xff":  # fill bytes
            at += 1
        marker, length = stream[at + 1 : at + 2], int.from_bytes(stream[at + 2 : at + 4])
        if marker == b"\xd9":
            found.append((EOI, b"", at + 2))
        elif not marker or marker == b"\0" or len(stream) < at + 2 + max(2, length) or length < 2:
            raise Broken("no segment")
        elif marker[0] == SOI or marker[0] == 1 or 0xD0 <= marker[0] <= 0xD7:
            raise Broken("a marker out of place")
        else:
            found.append((marker[0], stream[at + 4 : at + 2 + length], at + 2 + length))
            at += 2 + length
    return found


def whole(
    stream: bytes, tables: bytes | None, adobe: int | None, frame: tuple[int, int, int], profile: bytes = b""
) -> bytes:
    """SOI, APP14 if colour must be said, profile, tables, the stream without its SOI, private segments and what follows EOI."""
    before = _segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe])) if adobe is not None else b""
    parts = range(0, len(profile), 65519)
    for number, at in enumerate(parts, 1):
        before += _segment(0xE2, b"ICC_PROFILE\0" + bytes([number, len(parts)]) + profile[at : at + 65519])
    kept = []
    for marker, body, _ in segments(tables) if tables is not None else ():
        if marker in (DQT, DHT, DRI):
            kept.append((marker, body))
        elif marker != EOI and not _private(marker):
            raise Broken("no table")
    found = segments(stream)
    _check([*kept, *((marker, body) for marker, body, _ in found)], frame)
    tables_part = b"".join(_segment(*one) for one in kept)
    return b"\xff\xd8" + before + tables_part + _without_private(stream, found)


def _without_private(stream: bytes, found: list[tuple[int, bytes, int]]) -> bytes:
    """From behind the SOI to the EOI, scan after scan."""
    kind, frame = next((marker, body) for marker, body, _ in found if marker in FRAMES)
    out = b""
    while True:
        out += b"".join(_segment(marker, body) for marker, body, _ in found if not _private(marker) and marker != EOI)
        rest = stream[found[-1][2] :]
        if found[-1][0] == EOI:
            return out + b"\xff\xd9"
        if kind != SOF2 and found[-1][1][0] == frame[5]:  # one scan of all components: nothing but its data follows
            if b"\xff\xd9" not in rest:
                raise Broken("no EOI")
            return out + rest[: rest.rindex(b"\xff\xd9") + 2]
        end = re.search(rb"\xff[^\0\xff\xd0-\xd7]", rest)
        if end is None:
            raise Broken("no EOI")
        out += rest[: end.start()]
        stream = b"\xff\xd8" + rest[end.start() :]
        found = segments(stream)


def _private(marker: int) -> bool:
    return APP0 <= marker <= APP15 or marker == COM


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _check(found: list[tuple[int, bytes]], frame: tuple[int, int, int]) -> None:
    """One baseline, extended or progressive frame of the level's size; tables; nothing else."""
    markers = [marker for marker, _ in found]
    frames = [body for marker, body in found if marker in FRAMES]
    if len(frames) != 1 or not SOF0 <= next(m for m in markers if m in FRAMES) <= SOF2:
        raise Broken("frame")
    width, height, components = frame
    if frames[0][:6] != struct.pack(">BHHB", 8, height, width, components) or len(frames[0]) < 6 + 3 * components:
        raise Broken("frame")
    if any(
        not (1 <= factors >> 4 <= 4 and 1 <= factors & 15 <= 4) for factors in frames[0][7 : 6 + 3 * components : 3]
    ):
        raise Broken("sampling")
    if markers[-1] != SOS or not {DQT, DHT} <= set(markers):
        raise Broken("tables")
    if any(not (m in FRAMES or m in (SOS, DQT, DHT, DRI) or _private(m)) for m in markers):
        raise Broken("marker")
