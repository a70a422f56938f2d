"""Bad TIFF containers and metadata, row by row (T1 to T28, M1 to M7), on files of a few kilobytes that are made here."""

import base64
import json
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import tiff_maker as maker
from httpx2 import Response
from served import Serve, settle
from starlette.testclient import TestClient
from tiff_maker import ASCII, LONG, LONG8, RATIONAL, SHORT, UNDEFINED, Field, Page, tiff

from ptiffserve._ptiff import TiffError, children, walk
from ptiffserve.errors import SlideUnreadable, TileCorrupt, TileTruncated
from ptiffserve.geometry import Box
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.sources.file import FileSource

KINDS = [("<", False), (">", False), ("<", True), (">", True)]
both_orders = pytest.mark.parametrize(("order", "big"), KINDS, ids=["II", "MM", "II-big", "MM-big"])
TABLES, TILE_A = maker.split(maker.jpeg(1))
TILE_B, TILE_C = maker.split(maker.jpeg(2))[1], maker.split(maker.jpeg(3))[1]
SERVED_A, SERVED_B, SERVED_C = (maker.whole(TABLES, one) for one in (TILE_A, TILE_B, TILE_C))
NOTHING = maker.page(48, 16, [b"", b"", b""], TABLES)
ROW = maker.page(48, 16, [TILE_A, TILE_B, TILE_C], TABLES)

Open = Callable[[bytes], Reader]


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    with maker.deadline(60):
        yield


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def open_(data: bytes) -> Reader:
        path = tmp_path / "slide.tiff"
        path.write_bytes(data)
        return open_slide(FileSource(path, "slide.tiff"), "S/slide.tiff")

    return open_


@pytest.fixture
def refused(opened: Open) -> Callable[[bytes], str]:
    """The reason, without the server's paths; refusing takes no memory to speak of."""

    def refuse(data: bytes) -> str:
        with bounded(), pytest.raises(SlideUnreadable) as caught:
            opened(data)
        assert caught.value.slide == "S/slide.tiff"
        assert "/tmp" not in str(caught.value)
        return caught.value.reason

    return refuse


# What reading a header may take, and what a sanitizer adds to it.
HEADER = 32 << 20


@contextmanager
def bounded(size: int = HEADER) -> Iterator[None]:
    """Fails where more memory than that was touched in between. Not tracemalloc: CPython 3.11 crashes where it is stopped
    while another thread ends."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    try:
        yield
    finally:
        grown = memory("VmHWM") - before
    assert grown < size


def memory(name: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) << 10


def row_of(reader: Reader, level: int = 0) -> list[bytes | str]:
    """Each tile of the first row: its bytes, or the code of its error; both ways of asking agree."""
    said: list[bytes | str] = []
    for col in range(reader.pyramid.levels[level].grid.width):
        now = outcome(lambda col=col: reader.tile_now(level, col, 0))
        said.append(outcome(lambda col=col: reader.tile(level, col, 0)))
        assert now in (said[-1], None)
    return said


def outcome(call: Callable[[], bytes | None]) -> bytes | str | None:
    try:
        return call()
    except (TileTruncated, TileCorrupt) as fault:
        assert fault.slide == "S/slide.tiff"
        assert "of level" in fault.reason
        return fault.code


# ---- container ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(8))
@both_orders
def test_t1_too_short(refused: Callable[[bytes], str], size: int, order: str, big: bool) -> None:
    assert "not a TIFF" in refused(tiff([ROW], order, big).data[:size])


@pytest.mark.parametrize(
    "head",
    [
        *(
            b"II" + struct.pack("<HHHQ", *said)
            for said in ((43, 4, 0, 16), (43, 16, 0, 16), (43, 8, 1, 16), (44, 8, 0, 16))
        ),
        *(b"II" + struct.pack("<HI", magic, 8) for magic in (0, 41, 44, 0x2A00)),
        b"MM" + struct.pack("<HI", 42, 8),
        b"II" + struct.pack(">HI", 42, 8),
        b"IM" + struct.pack("<HI", 42, 8),
        b"PK\3\4" + b"\0" * 60,
        b"<html>" + b" " * 60,
        b"\x7fELF" + b"\0" * 60,
    ],
)
def test_t2_other_magic(refused: Callable[[bytes], str], head: bytes) -> None:
    assert "not a TIFF" in refused(head + tiff([ROW]).data[16:])


@both_orders
@pytest.mark.parametrize("length", [1, 2, 40])
@pytest.mark.parametrize("back", ["first", "last"])
def test_t3_chain_that_loops(refused: Callable[[bytes], str], order: str, big: bool, length: int, back: str) -> None:
    chain = [ROW] * length
    where = tiff(chain, order, big).directories[0 if back == "first" else -1]
    looped = tiff([*chain[:-1], Page(ROW.tags, ROW.tiles, link=where)], order, big)
    started = time.perf_counter()
    assert "loops" in refused(looped.data)
    assert time.perf_counter() - started < 1


def test_t3_more_directories_than_any_slide(refused: Callable[[bytes], str]) -> None:
    bare = Page({maker.WIDTH: Field(LONG, [1])})
    assert "more than 4096" in refused(tiff([ROW, *[bare] * 4096]).data)


def test_t3_overlapping_directories_are_bounded() -> None:
    """4,096 directories that share their entries would be 16 million of them."""
    size = 4096 * 12 + 4096 * 2
    entry = struct.pack("<HHII", 0x100, LONG, 1, 1)
    data = bytearray(b"II*\0" + struct.pack("<I", 8) + b"\0" * 2 + entry * (size // 12))
    # Each begins two bytes behind the one before. Its count is written over what is a tag or a value of its neighbours.
    for number in range(2000):
        struct.pack_into("<H", data, 8 + 12 * number, 2000)
        struct.pack_into("<I", data, 8 + 12 * number + 2 + 2000 * 12, 8 + 12 * (number + 1))
    with bounded(96 << 20):
        found, fault = walk(lambda at, n: bytes(data[at : at + n]), len(data))
    assert len(found) <= (1 << 17) // 2000 + 1
    assert "claims 2000 entries" in fault


@both_orders
def test_t4_subdirectories_in_a_circle(opened: Open, order: str, big: bool) -> None:
    kind = LONG8 if big else LONG
    plain_ = tiff([ROW.with_tags({maker.SUB_IFDS: Field(kind, [0])})], order, big)
    # Its own parent, and so its own child.
    built = tiff([ROW.with_tags({maker.SUB_IFDS: Field(kind, plain_.directories)})], order, big)
    reader = opened(built.data)
    assert len(reader.pyramid.levels) == 1
    assert row_of(reader) == [SERVED_A, SERVED_B, SERVED_C]
    found, _ = walk(lambda at, n: built.data[at : at + n], len(built.data))
    assert [child.offset for child in children(found[0])] == plain_.directories


def test_t4_many_subdirectories(opened: Open) -> None:
    plain_ = tiff([ROW.with_tags({maker.SUB_IFDS: Field(LONG, [0] * 5000)})])
    built = tiff([ROW.with_tags({maker.SUB_IFDS: Field(LONG, plain_.directories * 5000)})])
    assert row_of(opened(built.data)) == [SERVED_A, SERVED_B, SERVED_C]


@both_orders
@pytest.mark.parametrize("offset", [0, 1, 4, 7, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -1])
def test_t5_first_directory_elsewhere(refused: Callable[[bytes], str], order: str, big: bool, offset: int) -> None:
    place = offset if offset >= 0 else len(tiff([ROW], order, big).data)
    if big or place < 2**32:
        assert refused(tiff([ROW], order, big, first=place).data)


@both_orders
@pytest.mark.parametrize("offset", [1, 7, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
def test_t5_later_directory_elsewhere(opened: Open, order: str, big: bool, offset: int) -> None:
    """What is before the break is served, and the record says that something is missing."""
    if big or offset < 2**32:
        reader = opened(tiff([Page(ROW.tags, ROW.tiles, link=offset)], order, big).data)
        assert "outside the file" in reader.fault
        assert row_of(reader) == [SERVED_A, SERVED_B, SERVED_C]


def test_t5_odd_offset_is_read_as_libtiff_reads_it(opened: Open) -> None:
    """Against the letter of TIFF 6.0, but whole: OpenSlide and libtiff take it, and refusing would only lose the slide."""
    data = tiff([ROW]).data
    at = struct.unpack_from("<I", data, 4)[0]
    odd = data[:4] + struct.pack("<I", at + 1) + data[8:at] + b"\0" + data[at:]
    assert row_of(opened(odd)) == [SERVED_A, SERVED_B, SERVED_C]


@both_orders
def test_t6_no_directory(refused: Callable[[bytes], str], order: str, big: bool) -> None:
    assert "no directory" in refused(tiff([], order, big).data)
    assert "no directory" in refused(tiff([ROW], order, big, first=0).data)


@both_orders
@pytest.mark.parametrize("count", [0, 4097, 65535, 2**31, 2**63, 2**64 - 1])
def test_t7_entry_count(refused: Callable[[bytes], str], order: str, big: bool, count: int) -> None:
    if big or count < 2**16:
        assert "entries" in refused(tiff([Page(ROW.tags, ROW.tiles, count=count)], order, big).data)


@both_orders
@pytest.mark.parametrize("tag", [maker.TILE_OFFSETS, maker.TILE_COUNTS, maker.JPEG_TABLES, maker.BITS])
@pytest.mark.parametrize("count", [2**29, 2**31, 2**32 - 1, 2**61, 2**62, 2**63, 2**64 - 1])
def test_t8_value_count(refused: Callable[[bytes], str], order: str, big: bool, tag: int, count: int) -> None:
    if big or count < 2**32:
        assert refused(tiff([ROW], order, big).claims(0, tag, count=count))


@both_orders
@pytest.mark.parametrize("tag", [maker.TILE_OFFSETS, maker.TILE_COUNTS, maker.JPEG_TABLES])
@pytest.mark.parametrize("at", [2**31, 2**32 - 4, 2**63 - 8, 2**64 - 8, 2**64 - 1])
def test_t8_values_outside(refused: Callable[[bytes], str], order: str, big: bool, tag: int, at: int) -> None:
    if big or at < 2**32:
        assert "outside the file" in refused(tiff([ROW], order, big).claims(0, tag, at=at))


def test_t8_values_at_the_very_end(opened: Open, refused: Callable[[bytes], str]) -> None:
    built = tiff([ROW])
    tail = struct.pack("<3I", *(built.tiles[0, i][0] for i in range(3)))
    moved = built.claims(0, maker.TILE_OFFSETS, at=len(built.data)) + tail
    assert row_of(opened(moved)) == [SERVED_A, SERVED_B, SERVED_C]
    refused(moved[:-1])


@both_orders
@pytest.mark.parametrize("kind", [0, 14, 15, 19, 200, 65535])
def test_t9_unknown_types(opened: Open, refused: Callable[[bytes], str], order: str, big: bool, kind: int) -> None:
    extra = ROW.with_tags({65000: Field(kind, b"????", count=2**31, at=2**31)})
    assert row_of(opened(tiff([extra], order, big).data)) == [SERVED_A, SERVED_B, SERVED_C]
    assert refused(tiff([ROW], order, big).claims(0, maker.TILE_OFFSETS, kind=kind))


@pytest.mark.parametrize("kind", [ASCII, RATIONAL, UNDEFINED, 11, 12])
@pytest.mark.parametrize(
    "tag", [maker.WIDTH, maker.TILE_WIDTH, maker.COMPRESSION, maker.TILE_OFFSETS, maker.TILE_COUNTS]
)
def test_t9_wrong_type_of_a_needed_tag(refused: Callable[[bytes], str], tag: int, kind: int) -> None:
    assert f"tag {tag}" in refused(tiff([ROW]).claims(0, tag, kind=kind))


@both_orders
def test_t9_disorder_and_repeats(opened: Open, order: str, big: bool) -> None:
    shuffled = Page(dict(reversed(ROW.tags.items())), ROW.tiles, disorder=True)
    assert row_of(opened(tiff([shuffled], order, big).data)) == [SERVED_A, SERVED_B, SERVED_C]


@pytest.mark.parametrize("tag", [maker.WIDTH, maker.HEIGHT])
@pytest.mark.parametrize("value", [0, 2**31, 2**32 - 1])
def test_t10_image_sides(refused: Callable[[bytes], str], tag: int, value: int) -> None:
    assert "pixels" in refused(tiff([ROW.with_tags({tag: Field(LONG, [value])})]).data)


@pytest.mark.parametrize("tag", [maker.TILE_WIDTH, maker.TILE_HEIGHT])
@pytest.mark.parametrize("value", [0, 1, 8, 15, 17, 8208, 1_000_000, 2**31, 2**32 - 16])
def test_t11_t12_tile_sides(refused: Callable[[bytes], str], tag: int, value: int) -> None:
    assert "tiles of" in refused(tiff([ROW.with_tags({tag: Field(LONG, [value])})]).data)


@both_orders
@pytest.mark.parametrize("side", [2**20, 2**31 - 1])
def test_t13_far_more_tiles_than_entries(opened: Open, order: str, big: bool, side: int) -> None:
    """Those in the table are served, the rest is blank; memory is that of the table."""
    huge = ROW.with_tags({maker.WIDTH: Field(LONG, [side]), maker.HEIGHT: Field(LONG, [side])})
    reader = opened(tiff([huge], order, big).data)
    across = reader.pyramid.levels[0].grid.width
    assert across == -(-side // 16)
    assert [reader.tile(0, col, 0) for col in range(4)] == [SERVED_A, SERVED_B, SERVED_C, b""]
    for cell in ((across - 1, across - 1), (0, across - 1), (3, 7), (across - 1, 0)):
        assert reader.tile(0, *cell) == reader.tile_now(0, *cell) == b""
    assert reader.nbytes < 1000


def test_t13_more_tiles_than_memory(tmp_path: Path) -> None:
    """A file of holes may claim a billion tiles and hold them, too: 12 GB of table for nothing."""
    path = tmp_path / "holes.tiff"
    side, count = 2**31 - 1, 2**30
    said = {maker.WIDTH: Field(LONG, [side]), maker.HEIGHT: Field(LONG, [side])}
    said |= {tag: Field(SHORT, [], count, 2**20) for tag in (maker.TILE_OFFSETS, maker.TILE_COUNTS)}
    path.write_bytes(tiff([ROW.with_tags(said)], big=True).data)
    os.truncate(path, 60 << 30)
    with bounded(), pytest.raises(SlideUnreadable, match=f"{count} tiles"):
        open_slide(FileSource(path), "S/slide.tiff")


@both_orders
def test_t14_arrays_of_unequal_length(opened: Open, order: str, big: bool) -> None:
    built = tiff([ROW], order, big)
    kind = LONG8 if big else LONG
    for tag, column in ((maker.TILE_OFFSETS, 0), (maker.TILE_COUNTS, 1)):
        values = [built.tiles[0, i][column] for i in range(3)]
        shorter = tiff([ROW.with_tags({tag: Field(kind, values[:2])})], order, big)
        assert row_of(opened(shorter.data)) == [SERVED_A, SERVED_B, b""]
        longer = tiff([ROW.with_tags({tag: Field(kind, [*values, 2**31, 2**32 - 1])})], order, big)
        assert row_of(opened(longer.data)) == [SERVED_A, SERVED_B, SERVED_C]


@both_orders
def test_t15_tile_outside_the_file(opened: Open, order: str, big: bool) -> None:
    """That tile fails with its own code, its neighbours are as ever."""
    size = len(tiff([maker.spans(ROW, {}, {}, order, big)], order, big).data)
    ends = [size, size + 1, 2**31, 2**32 - 1] + ([2**63, 2**64 - 1, 2**64 - len(TILE_B)] if big else [])
    for offset in ends:
        bent = maker.spans(ROW, {1: offset}, {}, order, big)
        assert row_of(opened(tiff([bent], order, big).data)) == [SERVED_A, "tile_truncated", SERVED_C]
    for count in (size, 2**31, 2**32 - 1, *([2**32, 2**63, 2**64 - 1] if big else [])):
        bent = maker.spans(ROW, {}, {1: count}, order, big)
        assert row_of(opened(tiff([bent], order, big).data)) == [SERVED_A, "tile_truncated", SERVED_C]
    if big:
        bent = maker.spans(ROW, {1: 2**64 - 8}, {1: 2**64 - 8}, order, big)
        assert row_of(opened(tiff([bent], order, big).data)) == [SERVED_A, "tile_truncated", SERVED_C]


def test_t15_census_says_so(opened: Open) -> None:
    reader = opened(tiff([maker.spans(ROW, {1: 2**31}, {2: 0})]).data)
    assert reader.tables() == [(1, 1, 1)]


@both_orders
def test_t16_sparse(opened: Open, order: str, big: bool) -> None:
    for counts in ({1: 0}, {0: 0, 1: 0, 2: 0}):
        bent = maker.spans(ROW, {}, counts, order, big)
        expected = [b"" if i in counts else served for i, served in enumerate((SERVED_A, SERVED_B, SERVED_C))]
        assert row_of(opened(tiff([bent], order, big).data)) == expected
    # An offset of 0 with a byte count is no sparse tile: at 0 there is the header.
    bent = maker.spans(ROW, {1: 0}, {}, order, big)
    assert row_of(opened(tiff([bent], order, big).data)) == [SERVED_A, "tile_corrupt", SERVED_C]


def test_t17_tile_of_gigabytes(tmp_path: Path) -> None:
    """Over the cap it is refused without being read; under it, one read, and only that tile fails."""
    for count, code in ((2**32 - 1, "tile_corrupt"), ((64 << 20) + 1, "tile_corrupt"), (2 << 20, None)):
        bent = maker.spans(ROW, {}, {1: count}, big=True)
        path = tmp_path / f"{count}.tiff"
        path.write_bytes(tiff([bent], big=True).data)
        os.truncate(path, 5 << 30)
        reader = open_slide(FileSource(path), "S/slide.tiff")
        with bounded():
            said = outcome(lambda reader=reader: reader.tile(0, 1, 0))
        # Two MiB that begin with a sound tile are that tile: what follows its EOI is not sent.
        assert said == (code or SERVED_B)
        assert reader.tile(0, 0, 0) == SERVED_A


@both_orders
def test_t18_shared_and_overlapping_tiles(opened: Open, order: str, big: bool) -> None:
    true = tiff([ROW], order, big).tiles
    bent = maker.spans(ROW, {1: true[0, 0][0], 2: true[0, 0][0]}, {1: true[0, 0][1], 2: true[0, 0][1]}, order, big)
    assert row_of(opened(tiff([bent], order, big).data)) == [SERVED_A] * 3
    # From the middle of one to the end of the next; over both; into the header.
    bent = maker.spans(ROW, {0: 4, 1: true[0, 1][0] - 9}, {2: true[0, 2][1] + 5}, order, big)
    assert row_of(opened(tiff([bent], order, big).data)) == ["tile_corrupt", "tile_corrupt", SERVED_C]


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        (maker.COMPRESSION, [200]),
        (maker.COMPRESSION, [6]),
        (maker.COMPRESSION, [4]),
        (maker.COMPRESSION, [65535]),
        (maker.BITS, [12, 12, 12]),
        (maker.BITS, [16, 16, 16]),
        (maker.BITS, [8, 8, 12]),
        (maker.PLANAR, [2]),
        (maker.IMAGE_DEPTH, [2]),
        (maker.SAMPLES, [0]),
        (maker.SAMPLES, [65535]),
        (maker.SAMPLES, [4]),
        (maker.SAMPLES, [1]),
        (maker.BITS, [8]),
        (maker.BITS, [8, 8]),
        (maker.PHOTOMETRIC, [3]),
        (maker.PHOTOMETRIC, [5]),
        (maker.PHOTOMETRIC, [65535]),
    ],
)
def test_t20_t21_codings(refused: Callable[[bytes], str], tag: int, values: list[int]) -> None:
    words = {
        maker.COMPRESSION: f"compression {values[0]}",
        maker.BITS: "bits per sample",
        maker.PLANAR: "separate planes",
        maker.IMAGE_DEPTH: "image depth of 2",
        maker.SAMPLES: f"with {values[0]} samples",
        maker.PHOTOMETRIC: f"photometric interpretation {values[0]}",
    }
    assert words[tag] in refused(tiff([ROW.with_tags({tag: Field(SHORT, values)})]).data)


@pytest.mark.parametrize("tag", [maker.WIDTH, maker.HEIGHT, maker.TILE_WIDTH, maker.TILE_COUNTS, maker.TILE_OFFSETS])
def test_t21_missing_tags(refused: Callable[[bytes], str], tag: int) -> None:
    built = tiff([ROW])
    gone = struct.pack("<H", 65001)
    assert refused(built.patched(built.entries[0, tag], gone))


def test_t22_levels_out_of_order(opened: Open) -> None:
    """Finest first whatever the order; what is larger than its base or of another shape is no level."""
    levels = [maker.page(side, side, [TILE_A] * (side // 16) ** 2, TABLES) for side in (128, 16, 64, 32)]
    foreign = maker.page(96, 16, [TILE_B] * 6, TABLES)
    larger = maker.page(256, 256, [TILE_B] * 256, TABLES)
    reader = opened(tiff([levels[0], foreign, levels[1], larger, levels[2], levels[0], levels[3]]).data)
    assert [level.size.width for level in reader.pyramid.levels] == [128, 64, 32, 16]
    assert [level.scale for level in reader.pyramid.levels] == [1, 2, 4, 8]
    assert all(reader.tile(i, 0, 0) == SERVED_A for i in range(4))


def test_t23_short_tile_without_compression(opened: Open) -> None:
    """Never what was in memory before: the tile that ends early is an error, its neighbour is whole."""
    dots = bytes(range(256)) * 3
    tags = {maker.COMPRESSION: Field(SHORT, [1]), maker.PHOTOMETRIC: Field(SHORT, [2])}
    reader = opened(tiff([maker.page(32, 16, [dots, dots[:-100]]).with_tags(tags)]).data)
    assert bytes(reader.pixels(0, Box(0, 0, 16, 16)).data) == dots
    with pytest.raises((TileCorrupt, TileTruncated)):
        reader.pixels(0, Box(16, 0, 16, 16))


@pytest.mark.parametrize(
    "said",
    [
        {maker.X_RESOLUTION: Field(RATIONAL, [1, 0]), maker.Y_RESOLUTION: Field(RATIONAL, [1, 0])},
        {maker.X_RESOLUTION: Field(RATIONAL, [0, 1]), maker.Y_RESOLUTION: Field(RATIONAL, [0, 1])},
        {maker.X_RESOLUTION: Field(RATIONAL, [0, 0]), maker.Y_RESOLUTION: Field(RATIONAL, [40000, 1])},
        {maker.X_RESOLUTION: Field(SHORT, [300]), maker.Y_RESOLUTION: Field(SHORT, [300])},
        {
            maker.X_RESOLUTION: Field(RATIONAL, [300, 1]),
            maker.Y_RESOLUTION: Field(RATIONAL, [300, 1]),
            maker.RESOLUTION_UNIT: Field(SHORT, [99]),
        },
    ],
)
def test_t24_resolution(opened: Open, said: dict[int, Field]) -> None:
    assert opened(tiff([ROW.with_tags({maker.RESOLUTION_UNIT: Field(SHORT, [3]), **said})]).data).pyramid.mpp is None


@pytest.mark.parametrize(
    "profile", [Field(UNDEFINED, b"x" * 9000), Field(UNDEFINED, b"", 100 << 20, 8), Field(UNDEFINED, b"", 5, 2**31)]
)
def test_t25_profile(opened: Open, profile: Field) -> None:
    with bounded():
        reader = opened(tiff([ROW.with_tags({maker.ICC: profile})]).data)
        assert row_of(reader) == [SERVED_A, SERVED_B, SERVED_C]


@pytest.mark.parametrize(("big", "far"), [(False, (3 << 30) + 1), (True, 50 << 30)])
def test_t26_far_offsets(tmp_path: Path, big: bool, far: int) -> None:
    path = tmp_path / "far.tiff"
    with path.open("wb") as file:
        file.write(tiff([maker.spans(ROW, {1: far}, {}, big=big)], big=big).data)
        file.seek(far)
        file.write(TILE_B)
    started = time.perf_counter()
    reader = open_slide(FileSource(path), "S/slide.tiff")
    assert row_of(reader) == [SERVED_A, SERVED_B, SERVED_C]
    assert time.perf_counter() - started < 1


def test_t27_deflated_tile_that_never_ends(opened: Open) -> None:
    bomb = zlib.compress(b"\0" * (64 << 20))
    tags = {maker.COMPRESSION: Field(SHORT, [8]), maker.PHOTOMETRIC: Field(SHORT, [2])}
    reader = opened(tiff([maker.page(16, 16, [bomb]).with_tags(tags)]).data)
    with bounded(), suppress(TileCorrupt):  # libtiff may as well refuse it
        assert bytes(reader.pixels(0, Box(0, 0, 16, 16)).data) == b"\0" * 768


def test_t28_what_is_no_file(tmp_path: Path) -> None:
    folder, pipe, loop, gone = (tmp_path / name for name in ("d.tiff", "p.tiff", "l.tiff", "g.tiff"))
    folder.mkdir()
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    gone.symlink_to(tmp_path / "nowhere")
    for path in (folder, pipe, Path("/dev/zero"), loop, gone, tmp_path / "none.tiff"):
        with pytest.raises(SlideUnreadable, match=r"not a regular file|cannot be opened"):
            FileSource(path, "S/x.tiff")


# ---- metadata ----------------------------------------------------------------------------------------------


def described(text: bytes, software: bytes = b"") -> Page:
    tags = {maker.DESCRIPTION: Field(ASCII, text)}
    if software:
        tags[maker.SOFTWARE] = Field(ASCII, software + b"\0")
    return ROW.with_tags(tags)


SPACING = '"0.00025" "0.00025"'


def philips(inner: str = "", head: str = "", barcode: str = "B1", spacing: str = SPACING, **pictures: str) -> bytes:
    """A Philips slide of one level; `pictures`: base64 by image type."""

    def attribute(name: str, value: str) -> str:
        return f'<Attribute Name="{name}" Group="0x301D" Element="0x1000" PMSVR="IString">{value}</Attribute>'

    images = attribute("PIM_DP_IMAGE_TYPE", "WSI") + attribute("DICOM_PIXEL_SPACING", spacing)
    objects = [
        images,
        *(attribute("PIM_DP_IMAGE_TYPE", k) + attribute("PIM_DP_IMAGE_DATA", v) for k, v in pictures.items()),
    ]
    scanned = "".join(f'<DataObject ObjectType="DPScannedImage">{one}</DataObject>' for one in objects)
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<DataObject ObjectType="DPUfsImport">'
        f"{attribute('PIM_DP_UFS_BARCODE', barcode)}{inner}"
        f'<Attribute Name="PIM_DP_SCANNED_IMAGES" PMSVR="IDataObjectArray"><Array>{scanned}</Array></Attribute></DataObject>'
    )
    return tiff([described(text.encode() + b"\0", b"Philips DP v1.0")]).data


def test_philips_as_such_opens(opened: Open) -> None:
    reader = opened(philips(barcode=base64.b64encode(b"B1").decode()))
    assert (reader.format, reader.barcode, reader.pyramid.mpp) == ("philips", "B1", (0.25, 0.25))


LAUGHS = (
    "<!DOCTYPE d ["
    + '<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    + "]>"
)
QUADRATIC = f'<!DOCTYPE d [<!ENTITY a "{"x" * 50_000}">]>'


@pytest.mark.parametrize(("head", "inner"), [(LAUGHS, "&a11;"), (QUADRATIC, "&a;" * 50_000), ("<!DOCTYPE d>", "")])
def test_m1_entities(opened: Open, head: str, inner: str) -> None:
    """No DOCTYPE is read at all: the file is no Philips slide then, though its tiles may still be served."""
    data = philips(inner, head)
    with bounded():
        reader = opened(data)
    assert (reader.format, reader.barcode) == ("tiled", "")


def test_m2_external_entities(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.dtd"
        for head in (
            '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
            f'<!DOCTYPE d [<!ENTITY x SYSTEM "{url}">]>',
            f'<!DOCTYPE d SYSTEM "{url}">',
            f'<!DOCTYPE d [<!ENTITY % p SYSTEM "{url}"> %p;]>',
            f'<?xml-stylesheet href="{url}"?>',
        ):
            reader = opened(
                philips("<Attribute Name='PIM_DP_UFS_BARCODE'>&x;</Attribute>" if "x S" in head else "", head)
            )
            assert "root" not in reader.barcode
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    "text",
    [
        b"no end",
        b"a\0b\0c",
        b"\xff\xfe\xc3\x28" * 50 + b"\0",
        "\ufeffAperio |MPP = 1".encode("utf-16"),
        b"",
        b"\0",
        b"Aperio" + b"\xf0" * 10_000,
    ],
)
@pytest.mark.parametrize("software", [b"", b"Philips DP v1.0"])
def test_m3_descriptions(opened: Open, text: bytes, software: bytes) -> None:
    reader = opened(tiff([described(text, software)]).data)
    assert reader.format == "tiled"
    assert row_of(reader) == [SERVED_A, SERVED_B, SERVED_C]


@pytest.mark.parametrize("software", [b"", b"Philips DP v1.0"])
def test_m3_description_of_half_a_gigabyte(tmp_path: Path, software: bytes) -> None:
    path = tmp_path / "long.tiff"
    page = described(b"Aperio", software).with_tags({maker.DESCRIPTION: Field(ASCII, b"", 500 << 20, 4096)})
    path.write_bytes(tiff([page]).data)
    os.truncate(path, 600 << 20)
    with bounded(96 << 20):
        assert row_of(open_slide(FileSource(path), "S/slide.tiff")) == [SERVED_A, SERVED_B, SERVED_C]


@pytest.mark.parametrize(
    ("said", "mpp"),
    [
        *(("0,2500", 0.25), ("0.5", 0.5), (" 0.5 ", 0.5)),
        *((word, None) for word in ("nan", "inf", "-inf", "1e400", "-1", "0", "", "0x10", "1_0e400", "½", "1" * 5000)),
    ],
)
def test_m4_mpp(opened: Open, said: str, mpp: float | None) -> None:
    reader = opened(tiff([described(f"Aperio Image\r\n|AppMag = 20|MPP = {said}|Left = 1".encode() + b"\0")]).data)
    assert reader.pyramid.mpp == (mpp and (mpp, mpp))


@pytest.mark.parametrize(
    "said", ["nan nan", "inf inf", "1e400 1e400", "-1 -1", "0 0", "1", "1 2 3", "a b", "0,00025 0,00025", ""]
)
def test_m4_philips_spacing(opened: Open, said: str) -> None:
    quoted = " ".join(f'"{part}"' for part in said.split())
    mpp = opened(philips(spacing=quoted)).pyramid.mpp
    assert mpp is None or all(0 < side < 1e6 for side in mpp)
    assert "NaN" not in json.dumps(mpp)


JUNK = {
    "junk": "!!!%%%" * 50,
    "padding": base64.b64encode(maker.jpeg(1)).decode()[:-5],
    "other": base64.b64encode(b"GIF89a" * 100).decode(),
    "cut": base64.b64encode(maker.jpeg(1)[:300]).decode(),
    "large": "QUJD" * (1 << 20),
}


def test_m7_many_keys(opened: Open) -> None:
    text = "Aperio x\r\n" + "".join(f"|k{i}=v" for i in range(100_000)) + "|MPP = 0.5"
    started = time.perf_counter()
    assert opened(tiff([described(text.encode() + b"\0")]).data).pyramid.mpp is None
    assert time.perf_counter() - started < 1


# ---- over HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one good slide, some that cannot be opened, some with bad tiles, and what is no file at all."""
    folder = tmp_path_factory.mktemp("bad") / "bad"
    folder.mkdir()
    good, looped = tiff([ROW]), tiff([Page(ROW.tags, ROW.tiles, link=tiff([ROW]).directories[0])])
    files = {
        "good": good.data,
        "empty": b"",
        "html": b"<html><script>alert(1)</script>",
        "loop": looped.data,
        "counts": good.claims(0, maker.TILE_COUNTS, count=2**31),
        "fax": tiff([ROW.with_tags({maker.COMPRESSION: Field(SHORT, [200])})]).data,
        "truncated-tile": tiff([maker.spans(ROW, {1: 2**31}, {2: 0})]).data,
        "corrupt-tile": tiff([maker.page(48, 16, [TILE_A, b"x" * 99, TILE_C], TABLES)]).data,
        "no-mpp": tiff([described(b"Aperio |MPP = nan\0")]).data,
        "script": philips(barcode=escape("<script>alert('\u202e')</script>")),
        **{f"picture-{name}": philips(MACROIMAGE=text, LABELIMAGE=text) for name, text in JUNK.items()},
    }
    for name, data in files.items():
        (folder / f"{name}.tiff").write_bytes(data)
    os.mkfifo(folder / "pipe.tiff")
    (folder / "folder.tiff").mkdir()
    (folder / "away.tiff").symlink_to("/etc/passwd")
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1_700_000_000, 1_700_000_000))
    return folder


@pytest.fixture(scope="module")
def bad(serve: Serve, bad_folder: Path) -> TestClient:

    client = serve(bad_folder, labels="allow")
    settle(client, 15)
    return client


UNREADABLE = {
    "empty": "not a TIFF",
    "html": "not a TIFF",
    "loop": "loops",
    "counts": "more than the file holds",
    "fax": "compression 200",
}


def json_of(response: Response, status: int, code: str) -> str:
    assert (response.status_code, response.json()["error"]) == (status, code)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    message = response.json()["message"]
    assert "/tmp" not in message and "Traceback" not in message and message.isprintable()
    return message


def test_bad_slides_are_listed_with_their_reason(bad: TestClient) -> None:
    listed = {one["path"]: one for one in bad.get("/api/slides?limit=1000").json()["slides"]}
    assert len(listed) == 15
    assert "pipe.tiff" not in listed and "folder.tiff" not in listed and "away.tiff" not in listed
    for name, reason in UNREADABLE.items():
        assert listed[f"{name}.tiff"]["state"] == "unreadable"
        assert reason in listed[f"{name}.tiff"]["reason"]
    ready = {path for path, one in listed.items() if one["state"] == "ready"}
    assert ready == set(listed) - {f"{name}.tiff" for name in UNREADABLE}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("tail", ["0/0/0.jpg", "tilejson.json", "t.jpg"])
def test_bad_slides_answer_422(bad: TestClient, name: str, tail: str) -> None:
    assert UNREADABLE[name] in json_of(bad.get(f"/tiles/bad/{name}.tiff/{tail}"), 422, "slide_unreadable")
    for url in (f"/iiif/3/bad%2F{name}.tiff/info.json", f"/deepzoom/bad/{name}.tiff.dzi"):
        json_of(bad.get(url), 422, "slide_unreadable")


@pytest.mark.parametrize("name", ["pipe", "folder", "away", "nothing"])
def test_what_is_no_slide_answers_404(bad: TestClient, name: str) -> None:
    json_of(bad.get(f"/tiles/bad/{name}.tiff/0/0/0.jpg"), 404, "not_found")


def test_bad_tiles_cost_themselves(bad: TestClient) -> None:
    good = [bad.get(f"/tiles/bad/good.tiff/2/{x}/0.jpg") for x in range(3)]
    assert [one.content for one in good] == [SERVED_A, SERVED_B, SERVED_C]
    for _ in range(3):
        json_of(bad.get("/tiles/bad/truncated-tile.tiff/2/1/0.jpg"), 500, "tile_truncated")
        assert bad.get("/tiles/bad/truncated-tile.tiff/2/0/0.jpg").content == SERVED_A
        json_of(bad.get("/tiles/bad/corrupt-tile.tiff/2/1/0.jpg"), 500, "tile_corrupt")
        assert bad.get("/tiles/bad/corrupt-tile.tiff/2/2/0.jpg").content == SERVED_C
    # A region that needs the bad tile fails whole; one that does not is served.
    for name, code in (("truncated-tile", "tile_truncated"), ("corrupt-tile", "tile_corrupt")):
        json_of(bad.get(f"/iiif/3/bad%2F{name}.tiff/10,0,20,16/10,/0/default.jpg"), 500, code)
        assert bad.get(f"/iiif/3/bad%2F{name}.tiff/0,0,10,16/5,/0/default.jpg").status_code == 200


def test_blank_tile(bad: TestClient) -> None:
    answer = bad.get("/tiles/bad/truncated-tile.tiff/2/2/0.jpg")
    assert answer.status_code == 200
    assert answer.headers["server-timing"].startswith("blank")
    assert maker.pixels(answer.content).shape == (16, 16, 3)
    assert maker.pixels(answer.content).min() >= 254


def test_no_mpp_in_json(bad: TestClient) -> None:
    assert json.loads(bad.get("/tiles/bad/no-mpp.tiff/tilejson.json").text, parse_constant=pytest.fail)["mpp"] is None


@pytest.mark.parametrize("name", JUNK)
def test_m5_pictures_in_xml(bad: TestClient, name: str) -> None:
    for kind in ("macro", "label"):
        answer = bad.get(f"/slides/bad/picture-{name}.tiff/{kind}.png")
        assert answer.status_code in (404, 500)
        assert answer.json()["error"] in ("not_found", "tile_corrupt")
    assert bad.get(f"/tiles/bad/picture-{name}.tiff/2/0/0.jpg").content == SERVED_A


def test_m6_markup_in_metadata(bad: TestClient) -> None:
    answer = bad.get("/api/slides?q=script")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["slides"][0]["barcode"] == "<script>alert('\u202e')</script>"


@pytest.mark.parametrize("tag", [maker.SOFTWARE, 700])
def test_values_outside_the_file_of_a_tag_that_only_tells_formats_apart(opened: Open, tag: int) -> None:
    """One bad file is one failed record: nothing but SlideUnreadable may leave open_slide."""
    data = tiff([ROW.with_tags({tag: Field(ASCII, b"", 100, 2**31)})]).data
    try:
        opened(data)
    except SlideUnreadable as refusal:
        assert "outside the file" in refusal.reason


def test_directories_cannot_be_made_by_hand() -> None:
    from ptiffserve import _ptiff

    with pytest.raises(TypeError):
        _ptiff.Directory()
    with pytest.raises(TypeError):
        _ptiff.Grid(None, "x", 0, cols=1, rows=1)
    with pytest.raises(TiffError):
        walk(lambda at, n: b"", 100)
