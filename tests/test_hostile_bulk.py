"""Bad TIFFs by the thousand: cut at every offset, every byte changed, every tag with every evil value, and at random.

A tile that comes out is the right one, or, where the header was changed, a JPEG of the level's tile size; all else is an
error of ours. PTIFFSERVE_SOAK=1 takes more seeds and more examples.
"""

import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiff_maker as maker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiff_maker import Field, Seed, tiff

from ptiffserve.encode import PixelFault
from ptiffserve.errors import PtiffserveError, SlideError, TileCorrupt, TileTruncated
from ptiffserve.geometry import Box, Level, Size
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.readers.tiff import TiffReader
from ptiffserve.sources.file import FileSource

SOAK = os.environ.get("PTIFFSERVE_SOAK") == "1"
KINDS = {"II": ("<", False), "MM": (">", False), "II-big": ("<", True), "MM-big": (">", True)}
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF)
MEMORY_KB = 256 << 10


@pytest.fixture(autouse=True)
def _neither_hang_nor_hoard() -> Iterator[None]:
    before = peak_kb()
    with maker.deadline(3600 if SOAK else 200):
        yield
    assert peak_kb() - before < MEMORY_KB


def peak_kb() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def attempt(path: Path) -> Reader | None:
    """The slide, or None where it is refused as it must be: with an error that names it and says why."""
    try:
        return open_slide(FileSource(path, "S/x.tiff"), "S/x.tiff")
    except SlideError as refusal:
        assert refusal.slide == "S/x.tiff"
        assert refusal.reason
        return None


def cells(level: Level) -> list[tuple[int, int]]:
    """All of a small grid; of a large one its corners, its beginning, and one of its middle."""
    cols, rows = level.grid.width, level.grid.height
    if cols * rows <= 64:
        return [(col, row) for row in range(rows) for col in range(cols)]
    first = [(i % cols, i // cols) for i in range(8)]
    return [*first, (cols - 1, 0), (0, rows - 1), (cols - 1, rows - 1), (cols // 2, rows // 2)]


def asked(reader: Reader, index: int, col: int, row: int) -> bytes | str:
    """The tile, or the code of its error; asking in place gives the same or passes on."""
    said: list[bytes | str | None] = []
    for ask in (reader.tile_now, reader.tile):
        try:
            said.append(ask(index, col, row))
        except PtiffserveError as fault:
            assert not isinstance(fault, SlideError) or (fault.slide == "S/x.tiff" and fault.reason)
            said.append(fault.code)
    assert said[0] in (said[1], None)
    assert said[1] is not None
    return said[1]


def explore(reader: Reader, outcomes: Counter[str]) -> None:
    """Every tile is an error, blank, or a JPEG whose frame is the level's tile."""
    for index, level in enumerate(reader.pyramid.levels):
        for col, row in cells(level):
            said = asked(reader, index, col, row)
            if isinstance(said, bytes) and said:
                assert maker.frame_size(said) == (level.tile.width, level.tile.height)
            outcomes[said if isinstance(said, str) else "stored" if said else "blank"] += 1
    if not isinstance(reader, TiffReader):
        render(reader, outcomes)
    reader.tables()
    assert reader.pyramid.mpp is None or all(0 < side < float("inf") for side in reader.pyramid.mpp)


def render(reader: Reader, outcomes: Counter[str]) -> None:
    size = reader.pyramid.size
    try:
        image = reader.pixels(0, Box(0, 0, min(16, size.width), min(16, size.height)))
    except (PtiffserveError, PixelFault):
        outcomes["not rendered"] += 1
    else:
        assert (image.width, image.height) == (min(16, size.width), min(16, size.height))
        outcomes["rendered"] += 1


# ---- truncation --------------------------------------------------------------------------------------------


def cut_everywhere(path: Path, seed: Seed, step: int = 1) -> Counter[str]:
    path.write_bytes(seed.built.data)
    sizes = levels_of(path)
    outcomes: Counter[str] = Counter()
    for size in range(len(seed.built.data) - 1, -1, -step):
        os.truncate(path, size)
        reader = attempt(path)
        outcomes["opened" if reader else "refused"] += 1
        if reader:
            assert [level.size for level in reader.pyramid.levels] == sizes[: len(reader.pyramid.levels)]
            same_or_nothing(reader, seed, outcomes)
    return outcomes


def levels_of(path: Path) -> list[Size]:
    reader = attempt(path)
    assert reader
    return [level.size for level in reader.pyramid.levels]


def same_or_nothing(reader: Reader, seed: Seed, outcomes: Counter[str]) -> None:
    for (index, col, row), expected in seed.tiles.items():
        if index < len(reader.pyramid.levels):
            said = asked(reader, index, col, row)
            assert said in (expected, TileTruncated.code, TileCorrupt.code)
            outcomes[said if isinstance(said, str) else "stored" if said else "blank"] += 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tables", [True, False], ids=["tables", "whole"])
def test_small_slide_cut_at_every_offset(tmp_path: Path, kind: str, tables: bool) -> None:
    seed = maker.seed(*KINDS[kind], tables=tables)
    outcomes = cut_everywhere(tmp_path / "x.tiff", seed)
    assert outcomes["opened"] + outcomes["refused"] == len(seed.built.data)
    assert min(outcomes[word] for word in ("opened", "refused", "stored", "blank", "tile_truncated")) > 100
    assert outcomes["tile_corrupt"] == 0


@pytest.mark.parametrize("kind", KINDS if SOAK else ["II-big"])
def test_larger_slide_cut_at_every_offset(tmp_path: Path, kind: str) -> None:
    seed = maker.seed(*KINDS[kind], side=4, tile=160, quality=90)
    assert 40_000 <= len(seed.built.data) < 60_000
    # The header at every byte; the tiles at every byte, too, but only on the long run.
    outcomes = cut_everywhere(tmp_path / "x.tiff", seed, 1 if SOAK else 3)
    assert outcomes["opened"] > 10_000


# ---- bytes -------------------------------------------------------------------------------------------------


def each_changed(path: Path, data: bytes, places: range) -> Counter[str]:
    """Every byte at `places` set to each of BYTES in turn; one file, written in place, opened anew each time."""
    outcomes: Counter[str] = Counter()
    path.write_bytes(data)
    with path.open("r+b", buffering=0) as file:
        for place in places:
            for value in BYTES:
                os.pwrite(file.fileno(), bytes([value]), place)
                reader = attempt(path)
                outcomes["opened" if reader else "refused"] += 1
                if reader:
                    explore(reader, outcomes)
            os.pwrite(file.fileno(), data[place : place + 1], place)
    return outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_a_small_slide(tmp_path: Path, kind: str) -> None:
    """Whole for one kind; for the others, but on the long run, header and the first tile."""
    seed = maker.seed(*KINDS[kind], side=3)
    data = seed.built.data
    places = range(len(data) if SOAK or kind == "II-big" else 1600)
    outcomes = each_changed(tmp_path / "x.tiff", data, places)
    assert outcomes["opened"] + outcomes["refused"] == len(places) * len(BYTES)
    assert (
        min(outcomes[word] for word in ("opened", "refused", "stored", "blank", "tile_corrupt", "tile_truncated")) > 50
    )


# ---- tags --------------------------------------------------------------------------------------------------


TAGS = (
    *(254, 255, 256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 282, 284, 296),
    *(305, 322, 323, 324, 325, 330, 338, 347, 530, 32997),
)
EVIL = (
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 31, 32, 127, 128, 255, 256, 4095, 4096, 32767, 32768, 65535, 65536),
    *(2**24, 2**29, 2**30, 2**31 - 16, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 2, 2**32 - 1, 2**32, 2**33),
    *(2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)


def evil(tag: int, value: int, big: bool) -> list[dict[int, Field]]:
    """As the tag's only value, as the number of its values, and as their place."""
    kind, most = (maker.LONG8, 2**64) if big else (maker.LONG, 2**32)
    if value >= most:
        return []
    counted = [Field(maker.LONG, [7, 7, 7], count=value), Field(maker.SHORT, b"", count=value)]
    short = [Field(maker.SHORT, [value])] if value < 65536 else []
    return [{tag: one} for one in (Field(kind, [value]), *short, *counted, Field(kind, [1], count=4, at=value))]


@pytest.mark.parametrize("kind", KINDS if SOAK else ["II", "MM-big"])
def test_every_tag_with_every_evil_value(tmp_path: Path, kind: str) -> None:
    assert (len(TAGS), len(EVIL)) == (25, 40)
    order, big = KINDS[kind]
    base = maker.page(45, 45, [maker.jpeg(i) for i in range(9)])
    below = maker.page(23, 23, [maker.jpeg(i) for i in range(4)])
    path, outcomes = tmp_path / "x.tiff", Counter[str]()
    for tag in TAGS:
        for value in EVIL:
            for number, said in enumerate(evil(tag, value, big)):
                first, second = (base.with_tags(said), below) if number % 2 == 0 else (base, below.with_tags(said))
                path.write_bytes(tiff([first, second], order, big).data)
                reader = attempt(path)
                outcomes["opened" if reader else "refused"] += 1
                if reader:
                    explore(reader, outcomes)
    assert outcomes["opened"] + outcomes["refused"] > 25 * 34 * 3
    assert min(outcomes["opened"], outcomes["refused"], outcomes["stored"]) > 500


# ---- at random ---------------------------------------------------------------------------------------------


Change = Callable[[bytearray], None]
SEEDS = [maker.seed(*kind, tables=tables).built.data for kind in KINDS.values() for tables in (True, False)]
numbers = st.one_of(st.sampled_from(EVIL), st.integers(0, 2**64 - 1))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A seed with bytes set, numbers written over, parts copied, left out or cut off, a few times."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        # Half of the places are in the header, where most of the decisions are.
        at = draw(st.one_of(st.integers(0, min(1000, len(data))), st.integers(0, len(data))))
        what = draw(st.sampled_from(["byte", "number", "copy", "drop", "cut"]))
        if what == "byte":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif what == "number":
            code = draw(st.sampled_from(["<H", ">H", "<I", ">I", "<Q", ">Q"]))
            size = struct.calcsize(code)
            data[at : at + size] = struct.pack(code, draw(numbers) & (1 << 8 * size) - 1)
        elif what == "copy":
            start = draw(st.integers(0, len(data)))
            data[at:at] = data[start : start + draw(st.integers(1, 64))]
        elif what == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif draw(st.integers(0, 3)) == 0:
            del data[at:]
    return bytes(data)


@settings(
    max_examples=100_000 if SOAK else 1500,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=damaged())
def test_random_damage(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tiff"
    path.write_bytes(data)
    reader = attempt(path)
    if reader:
        explore(reader, Counter())
