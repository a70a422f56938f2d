"""Bad JPEG in the tiles (J1 to J10, J12): what passes through is whole, of the level's size and colour, and no more."""

import io
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import tiff_maker as maker
from PIL import Image
from tiff_maker import SHORT, Field, tiff

from ptiffserve._ptiff import prefix, sniff
from ptiffserve.errors import SlideUnreadable, TileCorrupt
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.readers.tiff import TiffReader
from ptiffserve.sources.file import FileSource

SOI, EOI, DHT, DQT, DRI, SOS, SOF0, APP0, APP1, APP14, COM = (
    *(b"\xff\xd8", b"\xff\xd9", 0xC4, 0xDB, 0xDD, 0xDA, 0xC0),
    *(0xE0, 0xE1, 0xEE, 0xFE),
)
JPEG = maker.jpeg(1)
TABLES, TILE = maker.split(JPEG)
PLAIN = maker.plain(JPEG)
GOOD = maker.jpeg(2)
SOAK = 20 if os.environ.get("PTIFFSERVE_SOAK") == "1" else 1

Parts = list[tuple[int, bytes]]


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    with maker.deadline(120):
        yield


def reader_of(path: Path, data: bytes, tables: bytes | None = None, beside: bytes = GOOD, **tags: Field) -> Reader:
    """A slide of two tiles: `data`, and a good one beside it."""
    one = maker.page(32, 16, [data, beside], tables)
    path.write_bytes(tiff([one.with_tags({int(tag[1:]): value for tag, value in tags.items()})]).data)
    return open_slide(FileSource(path), "S/x.tiff")


@pytest.fixture
def tile(tmp_path: Path) -> Callable[..., bytes]:
    """The first tile as served. The second must be served whatever the first one is."""

    def get(data: bytes, tables: bytes | None = None, **tags: Field) -> bytes:
        reader = reader_of(tmp_path / "x.tiff", data, tables, **tags)
        assert reader.tile(0, 1, 0)[-100:] == GOOD[-100:]
        try:
            served = reader.tile(0, 0, 0)
        except TileCorrupt as fault:
            with pytest.raises(TileCorrupt, match="tile 0,0 of level 0"):
                reader.tile_now(0, 0, 0)
            raise AssertionError(fault.reason) from fault
        assert reader.tile_now(0, 0, 0) in (served, None)
        return served

    return get


@pytest.fixture
def bad(tmp_path: Path) -> Callable[..., str]:
    """The reason why the first tile is not served; the second is."""

    def get(data: bytes, tables: bytes | None = None, **tags: Field) -> str:
        reader = reader_of(tmp_path / "x.tiff", data, tables, **tags)
        for ask in (reader.tile, reader.tile_now):  # the first reads the table
            with pytest.raises(TileCorrupt) as caught:
                ask(0, 0, 0)
        assert reader.tile(0, 1, 0)[-100:] == GOOD[-100:]
        return caught.value.reason

    return get


def changed(data: bytes, marker: int, change: Callable[[bytearray], object]) -> bytes:
    """The stream with one change in the first segment of a kind; `change` sees it with its marker."""
    parts, done = [], False
    for kind, segment in maker.segments(data):
        if kind == marker and not done:
            body = bytearray(segment)
            change(body)
            segment, done = bytes(body), True
        parts.append((kind, segment))
    assert done
    return maker.joined(parts)


def put(at: int, *values: int) -> Callable[[bytearray], object]:
    return lambda body: body.__setitem__(slice(at, at + len(values)), bytes(values))


def segment(marker: int, body: bytes) -> tuple[int, bytes]:
    return marker, struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def without(data: bytes, *markers: int) -> bytes:
    return maker.joined([one for one in maker.segments(data) if one[0] not in markers])


@pytest.mark.parametrize(
    ("width", "height"), [(65500, 65500), (17, 16), (16, 17), (32, 16), (8, 16), (16, 8), (0, 16), (16, 0), (1, 1)]
)
def test_j1_j2_frame_of_another_size(bad: Callable[..., str], width: int, height: int) -> None:
    assert "frame is not the level's" in bad(changed(JPEG, SOF0, put(5, *struct.pack(">HH", height, width))))
    assert "frame is not the level's" in bad(maker.jpeg(3, 48))


def many_scans(count: int, progressive: bool) -> bytes:
    """A frame and `count` scans of a few bytes; of a sequential frame each has one component."""
    parts = [one for one in maker.segments(without(JPEG, APP0)) if one[0] != SOS]
    parts = [
        (kind, body.replace(b"\xff\xc0", b"\xff\xc2", 1) if progressive and kind == SOF0 else body)
        for kind, body in parts
    ]
    scan = segment(SOS, b"\1\1\0" + (b"\0\0\0" if progressive else b"\0\x3f\0"))[1] + b"\x01\x02\x03"
    return maker.joined(parts) + scan * count + EOI


@pytest.mark.parametrize("progressive", [True, False])
def test_j3_scans(tile: Callable[..., bytes], bad: Callable[..., str], progressive: bool) -> None:
    assert tile(many_scans(100, progressive)) == many_scans(100, progressive)
    for count in (101, 2000, 80_000):
        started = time.perf_counter()
        assert "too many scans" in bad(many_scans(count, progressive))
        assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"progressive": True, "subsampling": 2}, {"quality": 95, "optimize": True}]
)
def test_j3_real_progressive_passes(tile: Callable[..., bytes], options: dict[str, object]) -> None:
    """Whole, with the tables between its scans, and with nothing else that lies there."""
    data = maker.jpeg(5, **options)
    expected = without(data, APP0)
    assert tile(data) == expected
    later = expected.rindex(b"\xff\xc4") if "progressive" in options else None
    if later:
        assert tile(expected[:later] + segment(COM, b"private")[1] + expected[later:]) == expected


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 2}])
@pytest.mark.parametrize("tables", [False, True])
def test_j4_truncated_at_each_byte(tmp_path: Path, options: dict[str, object], tables: bool) -> None:
    """None of them is served: without EOI nothing says that the rows below were not forgotten."""
    if tables and "progressive" in options:
        pytest.skip("its tables lie between the scans")
    data = maker.jpeg(1, **options)
    shared, data = maker.split(data) if tables else (None, data)
    reader = reader_of(tmp_path / "x.tiff", data, shared)
    assert reader.tile(0, 0, 0)
    for end in range(1, len(data)):
        reader = reader_of(tmp_path / "x.tiff", data[:end], shared)
        with pytest.raises(TileCorrupt):
            reader.tile(0, 0, 0)


@pytest.mark.parametrize(
    "start", [b"\xfe\xd8", b"\xff\xd9", b"\0\0", b"\x89PNG", b"RIFF", b"\xff\x4f\xff\x51", b"\xff\xff\xd8"]
)
def test_j5_no_jpeg(bad: Callable[..., str], start: bytes) -> None:
    assert "not a JPEG" in bad(start + JPEG[len(start) :])


@pytest.mark.parametrize(
    "data", [b"\xff", SOI, SOI + EOI, SOI + SOI + EOI, SOI * 40, b"\xff" * 300, SOI + b"\xff" * 300, b"\0" * 300]
)
def test_j5_next_to_nothing(bad: Callable[..., str], data: bytes) -> None:
    assert bad(data)


@pytest.mark.parametrize("marker", [DQT, DHT])
def test_j6_missing_tables(bad: Callable[..., str], marker: int) -> None:
    assert "no quantisation or Huffman" in bad(without(JPEG, marker))


def test_j6_tables_in_the_slide_only(tile: Callable[..., bytes], bad: Callable[..., str]) -> None:
    assert tile(TILE, TABLES) == maker.whole(TABLES, TILE)
    assert "no quantisation or Huffman" in bad(TILE)
    for marker in (DQT, DHT):
        half = maker.joined([one for one in maker.segments(JPEG) if one[0] == marker]) + EOI
        assert "no quantisation or Huffman" in bad(TILE, half)


TABLE_PARTS = [one for one in maker.segments(JPEG) if one[0] in (DQT, DHT)]


@pytest.mark.parametrize(
    "tables",
    [
        *(b"\xff", b"\0", SOI, SOI + b"\xff", TABLES[:-1], TABLES[:-2], TABLES[:40], TABLES[2:], JPEG, SOI + EOI[:1]),
        maker.joined([*TABLE_PARTS, maker.segments(TILE)[0]]) + EOI,
        maker.joined([*TABLE_PARTS, segment(0xCC, b"\0\1")]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DRI, b"\0\1\0")]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DHT, b"\0" + b"\xff" * 16 + b"\0" * 50)]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DHT, b"\0" * 16)]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DHT, b"\x04" + b"\0" * 16)]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DQT, b"\x04" + b"\1" * 64)]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DQT, b"\x20" + b"\1" * 64)]) + EOI,
        maker.joined([*TABLE_PARTS, segment(DQT, b"\0" + b"\1" * 63)]) + EOI,
        SOI + SOI + TABLES[2:],
        SOI + b"\xff\xdb\0\1" + EOI,
        SOI + b"\xff\xdb\0\0" + EOI,
        SOI + b"\xff\xdb\xff\xff" + EOI,
    ],
)
def test_j6_bad_tables_refuse_the_slide(tmp_path: Path, tables: bytes) -> None:
    with pytest.raises(ValueError):
        prefix(tables)
    with pytest.raises(SlideUnreadable, match="JPEGTables"):
        reader_of(tmp_path / "x.tiff", TILE, tables)


def test_j6_empty_tables_and_private_segments(tile: Callable[..., bytes]) -> None:
    assert tile(JPEG, SOI + EOI) == PLAIN
    spiced = maker.joined([segment(APP1, b"Exif" * 9), *TABLE_PARTS, segment(COM, b"hello")]) + EOI
    assert tile(TILE, spiced) == maker.whole(TABLES, TILE)


def test_j7_the_tiles_own_tables_win(tile: Callable[..., bytes]) -> None:
    other, _ = maker.split(maker.jpeg(9, quality=10))
    served = tile(PLAIN, other)
    assert served == other[:-2] + PLAIN[2:]
    assert np.array_equal(maker.pixels(served), maker.pixels(JPEG))


# ---- colour ------------------------------------------------------------------------------------------------


ADOBE = [segment(APP14, b"Adobe\0\x64\0\0\0\0" + bytes([transform])) for transform in (0, 1, 2)]
NAMED = {"123": (1, 2, 3), "RGB": b"RGB", "012": (0, 1, 2)}


def coloured(names: str, marks: Parts) -> bytes:
    """The JPEG with other component ids, and markers that say something about its colour."""
    data = without(JPEG, APP0)
    for i, name in enumerate(NAMED[names]):
        data = changed(data, SOF0, put(10 + 3 * i, name))
        data = changed(data, SOS, put(5 + 2 * i, name))
    return SOI + b"".join(one for _, one in marks) + data[2:]


MARKS: list[Parts] = [[], [ADOBE[0]], [ADOBE[1]], [ADOBE[2]], [segment(APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0")]]


@pytest.mark.parametrize("marks", MARKS, ids=["none", "adobe-rgb", "adobe-ycc", "adobe-2", "jfif"])
@pytest.mark.parametrize("names", NAMED)
@pytest.mark.parametrize("photometric", [2, 6])
def test_j8_colour_is_what_openslide_sees(tmp_path: Path, photometric: int, names: str, marks: Parts) -> None:
    """Whatever a tile says of its colour: a browser that believes the markers sees the pixels that OpenSlide sees."""
    data = coloured(names, marks)
    one = maker.page(32, 16, [data, data]).with_tags({maker.PHOTOMETRIC: Field(SHORT, [photometric])})
    path = tmp_path / "x.tiff"
    path.write_bytes(tiff([one]).data)
    reader = open_slide(FileSource(path), "S/x.tiff")
    if photometric == 2 and marks and marks[0][0] == APP0:
        pytest.skip("Bio-Formats writes YCbCr under RGB with JFIF: read as such, on purpose")
    if marks == [ADOBE[2]]:  # YCCK of three components, which libjpeg refuses: read as if it said nothing
        path = tmp_path / "y.tiff"
        path.write_bytes(tiff([replace(one, tiles=[coloured(names, [])] * 2)]).data)
    assert np.array_equal(maker.pixels(reader.tile(0, 0, 0)), reference.level(path, 0)[:, :16])


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_j8_components_of_another_number(bad: Callable[..., str], mode: str) -> None:
    other = maker.jpeg(4, mode=mode)
    assert "frame is not the level's" in bad(other)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 255])
def test_j8_frame_that_claims_other_components(bad: Callable[..., str], count: int) -> None:
    assert "frame is not the level's" in bad(changed(JPEG, SOF0, put(9, count)))


def test_j8_gray_and_its_contrary(tmp_path: Path) -> None:
    path, one = tmp_path / "x.tiff", maker.jpeg(4, mode="L")
    path.write_bytes(tiff([maker.gray(maker.page(32, 16, [one, JPEG]))]).data)
    reader = open_slide(FileSource(path), "S/x.tiff")
    assert reader.tile(0, 0, 0) == maker.plain(one)
    with pytest.raises(TileCorrupt):
        reader.tile(0, 1, 0)


@pytest.mark.parametrize("subsampling", [1, 2])
def test_j8_rgb_with_subsampling_is_not_passed_through(tmp_path: Path, subsampling: int) -> None:
    data = maker.plain(maker.jpeg(1, subsampling=subsampling))
    reader = reader_of(tmp_path / "x.tiff", data, None, data, t262=Field(SHORT, [2]))
    assert reader.pyramid.levels[0].stored == ""


# ---- codings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF])
def test_j9_coding(bad: Callable[..., str], marker: int) -> None:
    assert "frame is not the level's" in bad(changed(JPEG, SOF0, put(1, marker)))


@pytest.mark.parametrize("bits", [0, 1, 2, 7, 9, 12, 16, 255])
def test_j9_precision(bad: Callable[..., str], bits: int) -> None:
    assert "frame is not the level's" in bad(changed(JPEG, SOF0, put(4, bits)))


@pytest.mark.parametrize("factors", [0x00, 0x01, 0x10, 0x51, 0x15, 0xFF, 0x44])
def test_j10_sampling(bad: Callable[..., str], factors: int) -> None:
    """4 x 4 beside two others is 18 blocks in a unit, where 10 are allowed (T.81 B.2.3)."""
    assert "frame is not the level's" in bad(changed(JPEG, SOF0, put(11, factors)))


@pytest.mark.parametrize(
    ("marker", "change"),
    [
        *((SOF0, put(12, n)) for n in (2, 3, 4, 255)),  # a quantiser that is not there
        *((SOS, put(6, n)) for n in (0x20, 0x02, 0x33, 0x40, 0xFF)),  # Huffman tables that are not there
        (SOS, put(5, 9)),  # a component that is not there
        *((SOS, put(4, n)) for n in (0, 2, 4, 5, 255)),
        *((kind, put(2, 0, n)) for kind in (SOF0, DHT, DQT, SOS) for n in (0, 1, 2, 3, 9)),
        *((kind, put(2, 255, 255)) for kind in (SOF0, DHT, DQT, SOS)),
        (DHT, put(4, 0x20)),
        (DHT, put(4, 0x04)),
        (DHT, put(5, 255, 255, 255)),
        (DQT, put(4, 0x20)),
        (DQT, put(4, 0x10)),
        (DQT, put(4, 0x04)),
        (SOF0, lambda body: body.extend(b"\0")),
    ],
)
def test_j10_broken_segments(bad: Callable[..., str], marker: int, change: Callable[[bytearray], object]) -> None:
    assert bad(changed(JPEG, marker, change))


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\1\0", b"\0" * 40])
def test_j10_restart_interval(bad: Callable[..., str], body: bytes) -> None:
    parts = maker.segments(PLAIN)
    assert "not a JPEG" in bad(maker.joined([segment(DRI, body), *parts]))


@pytest.mark.parametrize(
    "extra", [SOI, EOI, b"\xff\xd0", b"\xff\x01", b"\xff\x00", b"\xff\xdc\0\4\0\1", b"\xff\xf0\0\2", b"\0", b"x"]
)
def test_j10_markers_out_of_place(bad: Callable[..., str], extra: bytes) -> None:
    assert bad(SOI + extra + PLAIN[2:])


def test_j10_two_frames(bad: Callable[..., str]) -> None:
    parts = maker.segments(PLAIN)
    frame = next(one for one in parts if one[0] == SOF0)
    assert "frame" in bad(maker.joined([frame, *parts]))
    assert bad(maker.joined([one for one in parts if one[0] != SOF0]))


def test_j10_fill_bytes_are_legal(tile: Callable[..., bytes]) -> None:
    assert tile(PLAIN.replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1)) == PLAIN


def test_j10_random_bytes_in_the_header(tmp_path: Path) -> None:
    """Whatever is served has the frame that the level promises, and tables for it."""
    rng = np.random.default_rng(7)
    head = PLAIN.index(b"\xff\xda") + 14
    served = 0
    reader = reader_of(tmp_path / "x.tiff", PLAIN)
    assert isinstance(reader, TiffReader)
    grid = reader.grids[0]
    for _ in range(20_000 * SOAK):
        data = bytearray(PLAIN)
        for at in rng.integers(2, head, rng.integers(1, 4)):
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
        try:
            out = grid.whole(bytes(data), 0, 0)
        except TileCorrupt:
            continue
        served += 1
        assert maker.frame_size(out) == (16, 16)
    assert served > 1000


def test_sniff_reads_nothing_behind_the_end() -> None:
    """A frame header that is too short, at the very end: the sanitized build sees any byte too many."""
    assert sniff(maker.split(JPEG)[1]) == (3, b"\1\2\3", b"\x11\x11\x11")
    for length in range(2, 20):
        for body in (b"\xff" * (length - 2), b"\0" * (length - 2), b"\x08\0\x10\0\x10\3"[: length - 2]):
            stream = SOI + struct.pack(">BBH", 0xFF, SOF0, length) + body
            assert sniff(stream) is None or sniff(stream)[0] in (0, 1, 2, 3)  # type: ignore[index]


# ---- private segments --------------------------------------------------------------------------------------


SECRET = b"Patient Name"


@pytest.mark.parametrize("marker", [*range(0xE0, 0xF0), COM])
@pytest.mark.parametrize("size", [0, 12, 65533])
def test_j12_private_segments_go(tile: Callable[..., bytes], marker: int, size: int) -> None:
    private = segment(marker, (SECRET * 6000)[:size])
    parts = maker.segments(PLAIN)
    for at in range(len(parts)):
        assert tile(maker.joined([*parts[:at], private, *parts[at:]])) == PLAIN
    assert tile(maker.joined([private] * 5 + parts)) == PLAIN


def test_j12_what_follows_the_picture_goes(tile: Callable[..., bytes]) -> None:
    assert tile(PLAIN + SECRET) == PLAIN
    assert tile(PLAIN + b"\0") == PLAIN
    assert tile(PLAIN + EOI[:1]) == PLAIN
    progressive = without(maker.jpeg(5, progressive=True), APP0)
    assert tile(progressive + SECRET + EOI) == progressive


def test_j12_sixteen_million_segments_take_no_time(tmp_path: Path) -> None:
    """In one pass: taken out one by one they would move 64 MiB each."""
    data = SOI + b"\xff\xe1\0\2" * ((60 << 20) // 4) + PLAIN[2:]
    reader = reader_of(tmp_path / "x.tiff", data)
    started = time.perf_counter()
    assert reader.tile_now(0, 0, 0) is None
    assert reader.tile(0, 0, 0) == PLAIN
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("body", [b"\0", b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\xff"])
def test_j12_scan_of_64_mib_without_end(tmp_path: Path, body: bytes) -> None:
    """A tile over the limit of reading in place goes to a thread; it is searched once."""
    data = PLAIN[:-2] + body * ((60 << 20) // len(body))
    reader = reader_of(tmp_path / "x.tiff", data)
    started = time.perf_counter()
    assert reader.tile_now(0, 0, 0) is None
    with pytest.raises(TileCorrupt, match="has no end"):
        reader.tile(0, 0, 0)
    assert time.perf_counter() - started < 5


def test_pillow_reads_what_is_served(tile: Callable[..., bytes]) -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_blocks": 1}, {"optimize": True}):
        data = maker.jpeg(8, **options)
        assert np.array_equal(maker.pixels(tile(data)), np.asarray(Image.open(io.BytesIO(data))))
    icc = maker.jpeg(8, icc_profile=b"x" * 70_000)
    assert tile(icc) == maker.plain(maker.jpeg(8))
