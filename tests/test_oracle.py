"""The compiled part against its twin in plain Python: the same directories, the same tables, the same tiles, byte for byte."""

import io
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import oracle
import pages
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from oracle import Broken
from pages import ASCII, BYTE, LONG, LONG8, SHORT, UNDEFINED, Page
from PIL import Image

from ptiffserve._ptiff import Directory, Grid, TiffError, prefix, sniff, walk
from ptiffserve.errors import SlideError, TileCorrupt, TileTruncated
from ptiffserve.readers import open_slide
from ptiffserve.sources.file import FileSource

MANY = 10 if os.environ.get("PTIFFSERVE_SOAK") else 1
TILE = 16


# ---- comparing ---------------------------------------------------------------------------------------------


def compiled_walk(data: bytes) -> tuple[list[Directory], str]:
    return walk(lambda offset, size: data[offset : offset + size], len(data))


def both(ours: Callable[[], object], twins: Callable[[], object]) -> bool:
    """Asserts that both give the same or both refuse; whether they gave something."""
    try:
        expected = twins()
    except Broken:
        with pytest.raises((TiffError, TileCorrupt, TileTruncated)):
            ours()
        return False
    assert ours() == expected
    return True


def same_directories(data: bytes) -> list[tuple[Directory, oracle.Directory]]:
    try:
        expected, complete = oracle.walk(data)
    except Broken:
        with pytest.raises(TiffError):
            compiled_walk(data)
        return []
    found, fault = compiled_walk(data)
    assert [(one.index, one.offset) for one in found] == [(one.index, one.offset) for one in expected]
    assert (fault == "") == complete
    for one, twin in zip(found, expected, strict=True):
        same_values(one, twin)
    return list(zip(found, expected, strict=True))


def same_values(one: Directory, twin: oracle.Directory) -> None:
    for tag in {*range(250, 350), *twin.entries, *(tag + 1 for tag in twin.entries)}:
        assert (tag in one) == (tag in twin.entries)
    for tag, (kind, count, _) in twin.entries.items():
        assert one.count(tag) == count
        if count <= len(twin.file):
            both(lambda tag=tag, count=count: one.blob(tag, count), lambda tag=tag: twin.raw(tag))
            both(lambda tag=tag: one.text(tag, 1 << 26), lambda tag=tag: twin.text(tag))
        if kind in oracle.INTEGERS and count <= 200_000:
            both(lambda tag=tag: one.ints(tag, 200_000), lambda tag=tag: twin.ints(tag))
        elif kind not in oracle.INTEGERS:
            with pytest.raises(TiffError):
                one.ints(tag)


def compiled_grid(one: Directory, twin: oracle.Directory) -> Grid:
    cols, rows = oracle.grid(twin)
    return Grid(one, "slide", one.index, cols=cols, rows=rows)


def same_tables(one: Directory, twin: oracle.Directory) -> Grid | None:
    try:
        expected = oracle.table(twin)
    except Broken:
        with pytest.raises(TiffError):
            compiled_grid(one, twin)
        return None
    grid = compiled_grid(one, twin)
    cells = [(col, row) for row in range(grid.rows) for col in range(grid.cols)]
    assert {cell: grid.locate(*cell) for cell in cells if grid.locate(*cell)[1]} == expected
    assert grid.some_stored() in (list(expected.values()) or [None])
    cut = sum(offset + count > len(twin.file) for offset, count in expected.values())
    assert grid.census(len(twin.file)) == (len(expected) - cut, len(cells) - len(expected), cut)
    for outside in ((grid.cols, 0), (0, grid.rows), (2**63, 2**63)):
        assert grid.locate(*outside) == (0, 0)
    return grid


def same_tiles(one: Directory, twin: oracle.Directory, known: frozenset[bytes] | None = None) -> int:
    """Compares every tile as `whole` makes it; how many are stored and sound.

    `known`: streams and tables that are sound. Inside others the compiled part may refuse more than the twin, which
    looks at markers only.
    """
    grid = same_tables(one, twin)
    present = oracle.TABLES in twin.entries
    if grid is None or (
        present and not both(lambda: one.blob(oracle.TABLES, 1 << 30), lambda: twin.raw(oracle.TABLES))
    ):
        return 0
    tables = twin.raw(oracle.TABLES) if present else None
    size = twin.ints(oracle.TILE_WIDTH)[0], twin.ints(oracle.TILE_HEIGHT)[0], twin.first(oracle.SAMPLES, 1)
    try:
        grid.expect(prefix(tables, oracle.transform(twin)), *size)
    except ValueError:
        assert known is not None
        assert tables not in known
        return 0
    return sum(same_tile(grid, twin, cell, known, tables) for cell in oracle.table(twin))


def same_tile(
    grid: Grid, twin: oracle.Directory, cell: tuple[int, int], known: frozenset[bytes] | None, tables: bytes | None
) -> bool:
    offset, count = oracle.table(twin)[cell]
    raw = twin.file[offset : offset + count]
    if len(raw) < count:
        return False  # the reader asks the file, which is too short: see the truncated files
    if known is None or (raw in known and (tables is None or tables in known)):
        return both(lambda: grid.whole(raw, *cell), lambda: oracle.tile(twin, *cell))
    try:
        made = grid.whole(raw, *cell)
    except TileCorrupt:
        return False
    assert made == oracle.tile(twin, *cell)
    return True


def same_file(data: bytes) -> int:
    return sum(same_tiles(*pair) for pair in same_directories(data) if oracle.OFFSETS in pair[1].entries)


def same_reader(path: Path, data: bytes) -> int:
    """Every tile of the opened slide, through the road that serves it: pinned file, one read, both ways."""
    reader = open_slide(FileSource(path, path.name), path.name)
    tiled = [one for one in oracle.walk(data)[0] if oracle.OFFSETS in one.entries]
    assert len(reader.pyramid.levels) == len(tiled)
    stored = 0
    for index, (level, twin) in enumerate(zip(reader.pyramid.levels, tiled, strict=True)):
        assert (level.grid.width, level.grid.height) == oracle.grid(twin)
        for row in range(level.grid.height):
            for col in range(level.grid.width):
                expected = oracle.tile(twin, col, row)
                assert reader.tile(index, col, row) == expected
                assert reader.tile_now(index, col, row) in (expected, None)
                stored += bool(expected)
    return stored


# ---- slides ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["big420", "classic422", "big444", "rgb", "one"])
def test_samples(slides: Path, name: str) -> None:
    path = slides / f"{name}.tiff"
    data = path.read_bytes()
    stored = same_file(data)
    assert stored > 0
    assert same_reader(path, data) == stored


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("philips/mini-bigtiff-ycbcr420-sparse.tiff", True),
        ("philips/mini-classic-ycbcr422-dense.tiff", True),
        ("svs/CMU-1-Small-Region.svs", True),
        ("tiff/wsic-CMU-1-Small-Region.jpeg.tiff", True),
        ("tiff/wsic-XYC-jpeg-pyramid.ome.tiff", True),
        ("svs/tcga-cr-7395-01a-01-ts1.svs", False),
        ("tiff/kidney-48-5.tif", False),
        ("tiff/panimg-valid_tiff.tif", False),
        ("tiff/wsic-CMU-1-Small-Region.jp2.tiff", False),
        ("tiff/wsic-XYC-lzw-pyramid.ome.tiff", False),
    ],
)
def test_shared_data(shared: Path, name: str, stored: bool) -> None:
    """Where tiles are no JPEG the tables must still agree, and both must refuse each tile."""
    data = (shared / name).read_bytes()
    assert (same_file(data) > 0) == stored


@pytest.mark.parametrize("name", ["philips/mini-bigtiff-ycbcr420-sparse.tiff", "svs/CMU-1-Small-Region.svs"])
def test_shared_data_as_it_is_served(shared: Path, name: str) -> None:
    assert same_reader(shared / name, (shared / name).read_bytes()) > 0


# ---- handmade ----------------------------------------------------------------------------------------------


def jpeg(kind: str, seed: int) -> bytes:
    """A whole JPEG of one tile, noise of `seed`."""
    noise = Image.frombytes("RGB", (TILE, TILE), random.Random(seed).randbytes(TILE * TILE * 3))
    out = io.BytesIO()
    if kind == "gray":
        noise.convert("L").save(out, "JPEG", quality=60)
    elif kind == "rgb":
        noise.save(out, "JPEG", quality=60, keep_rgb=True)
    else:
        noise.save(out, "JPEG", quality=60, subsampling=("444", "422", "420").index(kind))
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def apart(data: bytes) -> tuple[bytes, bytes]:
    """(JPEGTables, the stream without its tables)."""
    found = oracle.segments(data)
    tables = [segment(m, body) for m, body, _ in found if m in (oracle.DQT, oracle.DHT)]
    rest = [segment(m, body) for m, body, _ in found if m not in (oracle.DQT, oracle.DHT)]
    soi = b"\xff\xd8"
    return soi + b"".join(tables) + b"\xff\xd9", soi + b"".join(rest) + data[found[-1][2] :]


KINDS = {"gray": (1, 1), "rgb": (2, 3), "444": (6, 3), "422": (6, 3), "420": (6, 3)}


def page(kind: str, cols: int, rows: int, stored: list[bool], split: bool, level: int = 0) -> Page:
    photometric, samples = KINDS[kind]
    made = [jpeg(kind, 100 * level + i) if here else b"" for i, here in enumerate(stored)]
    tags: dict[int, pages.Field] = {
        254: (LONG, [1 if level else 0]),
        256: (LONG, [cols * TILE - 3]),
        257: (SHORT, [rows * TILE - 5]),
        258: (SHORT, [8] * samples),
        259: (SHORT, [7]),
        262: (SHORT, [photometric]),
        277: (SHORT, [samples]),
        284: (SHORT, [1]),
        322: (SHORT, [TILE]),
        323: (LONG, [TILE]),
    }
    if split:
        tags[347] = (UNDEFINED, apart(jpeg(kind, 0))[0])
        made = [apart(data)[1] if data else b"" for data in made]
    return Page(tags, made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", [True, False], ids=["tables", "whole"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["II", "MM"])
@pytest.mark.parametrize("big", [True, False], ids=["big", "classic"])
def test_handmade(tmp_path: Path, big: bool, order: str, split: bool, kind: str) -> None:
    """Arrays of every integer type, inline and not; sparse tiles; 5 x 3 tiles and then a single one."""
    types = (SHORT, LONG, LONG8) if big else (SHORT, LONG)
    for offsets in types:
        for counts in types:
            sparse = [i % 3 != 1 for i in range(15)]
            made = [page(kind, 5, 3, sparse, split), page(kind, 1, 1, [True], split, 1)]
            for one in made:
                one.kinds = (offsets, counts)
            data = pages.write(made, big, order)
            assert len(data) < 65536 or offsets != SHORT
            path = tmp_path / f"{offsets}{counts}.tiff"
            path.write_bytes(data)
            assert same_file(data) == 11
            assert open_slide(FileSource(path, "x"), "x").tile(0, 0, 0) == oracle.tile(oracle.walk(data)[0][0], 0, 0)


@pytest.mark.parametrize(
    ("count", "missing"), [(15, 0), (10, 5), (11, 4), (18, 0)], ids=["full", "a row", "part of a row", "too long"]
)
def test_a_table_of_another_length(count: int, missing: int) -> None:
    made = page("420", 5, 3, [True] * count, split=True)
    made.data = made.data[:15]
    if count > 15:
        made.tags[257] = (LONG, [3 * TILE])
        made.data += [made.data[0]] * 3
    else:
        made.data = made.data[:count]
    (pair,) = same_directories(pages.write([made]))
    grid = same_tables(*pair)
    assert grid is not None
    assert grid.census(1 << 40) == (15 - missing, missing, 0)


def test_arrays_of_different_lengths() -> None:
    made = page("420", 3, 2, [True] * 6, split=True)
    made.tags[oracle.COUNTS] = (LONG, [len(data) for data in made.data][:4])
    made.places = (oracle.OFFSETS, 60000)
    (pair,) = same_directories(pages.write([made]))
    grid = same_tables(*pair)
    assert grid is not None
    assert grid.census(1 << 40) == (4, 2, 0)


def test_private_segments_and_bytes_behind_the_end() -> None:
    made = page("420", 2, 2, [True] * 4, split=True)
    noise = [b"", segment(0xE1, b"Exif of a patient"), segment(0xFE, b"note") * 3, b"\xff" * 5 + segment(0xDD, b"\0\0")]
    made.data = [
        data[:2] + extra + data[2:] + b"\0\xff" * i
        for i, (data, extra) in enumerate(zip(made.data, noise, strict=True))
    ]
    made.data[3] = made.data[0]
    assert same_file(pages.write([made])) == 4
    for twin in oracle.walk(pages.write([made]))[0]:
        for cell in oracle.table(twin):
            assert b"patient" not in oracle.tile(twin, *cell)
            assert oracle.tile(twin, *cell).endswith(b"\xff\xd9")


@pytest.mark.parametrize("kind", ["420", "gray"])
def test_progressive_tiles_and_private_segments_between_their_scans(kind: str) -> None:
    noise = Image.frombytes("RGB", (TILE, TILE), random.Random(9).randbytes(TILE * TILE * 3))
    out = io.BytesIO()
    (noise.convert("L") if kind == "gray" else noise).save(out, "JPEG", progressive=True)
    parts = out.getvalue().split(b"\xff\xda")
    made = page(kind, 2, 1, [True] * 2, split=False)
    made.data = [out.getvalue(), (segment(0xED, b"of a patient") + b"\xff\xda").join(parts) + b"rest"]
    assert same_file(pages.write([made])) == 2
    (twin,) = oracle.walk(pages.write([made]))[0]
    assert oracle.tile(twin, 0, 0) == oracle.tile(twin, 1, 0)


def test_adobe_marker_only_where_colour_must_be_said() -> None:
    named = (
        jpeg("444", 1)
        .replace(b"\1\x11\0\2\x11\1\3\x11\1", b"R\x11\0G\x11\1B\x11\1")
        .replace(b"\3\1\0\2\x11\3\x11", b"\3R\0G\x11B\x11")
    )
    assert sniff(named) == (3, b"RGB", b"\x11\x11\x11")
    for kind, data, said in (("rgb", jpeg("rgb", 1), 0), ("444", named, 1), ("444", jpeg("444", 1), None)):
        made = page(kind, 1, 1, [True], split=False)
        made.data = [data]
        (twin,) = oracle.walk(pages.write([made]))[0]
        assert oracle.transform(twin) == said
        assert (b"Adobe" in oracle.tile(twin, 0, 0)) == (said is not None)
        assert same_file(pages.write([made])) == 1


# ---- random ------------------------------------------------------------------------------------------------

POOL = {kind: [jpeg(kind, seed) for seed in range(3)] for kind in KINDS}
SOUND = frozenset(part for pool in POOL.values() for data in pool for part in (data, *apart(data)))
EXTRA = st.dictionaries(
    st.integers(40000, 65535),
    st.one_of(
        st.tuples(st.just(ASCII), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just(BYTE), st.lists(st.integers(0, 255), min_size=1, max_size=9)),
        st.tuples(st.just(SHORT), st.lists(st.integers(0, 65535), min_size=1, max_size=9)),
        st.tuples(st.just(LONG8), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3)),
        st.tuples(st.sampled_from([12, 0, 14, 19, 500]), st.just(b"\1\2\3\4\5\6\7\x08" * 3)),
    ),
    max_size=4,
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    made = []
    big = draw(st.booleans())
    for level in range(draw(st.integers(1, 3))):
        kind, split = draw(st.sampled_from(sorted(KINDS))), draw(st.booleans())
        cols, rows = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        one = page(kind, cols, rows, [], split, level)
        pool = [b"", *(apart(data)[1] if split else data for data in POOL[kind])]
        one.data = draw(st.lists(st.sampled_from(pool), min_size=cols * rows, max_size=cols * rows))
        one.kinds = tuple(draw(st.sampled_from((SHORT, LONG, LONG8))) for _ in range(2))  # type: ignore[assignment]
        one.tags |= draw(EXTRA)
        made.append(one)
    return pages.write(made, big, draw(st.sampled_from("<>")))


SETTINGS = settings(
    max_examples=150 * MANY,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # shrinking a whole file takes minutes and shows nothing
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SETTINGS
@given(files())
def test_random_files(data: bytes) -> None:
    stored = sum(len(oracle.table(one)) for one in oracle.walk(data)[0] if oracle.OFFSETS in one.entries)
    assert same_file(data) == stored


@SETTINGS
@given(files(), st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=4))
def test_random_files_with_broken_bytes(data: bytes, breaks: list[tuple[int, int]]) -> None:
    """Anywhere in the file: both read the same out of it, or both refuse."""
    broken = bytearray(data)
    for at, value in breaks:
        broken[at % len(data)] = value
    sound = [shape(twin) for twin in oracle.walk(data)[0]]
    for one, twin in same_directories(bytes(broken)):
        # A shape that was broken is the reader's to refuse, before there is a table.
        if oracle.OFFSETS in twin.entries and shape(twin) in sound:
            same_tiles(one, twin, SOUND)


def shape(twin: oracle.Directory) -> list[object]:
    tags = (oracle.WIDTH, oracle.HEIGHT, oracle.TILE_WIDTH, oracle.TILE_HEIGHT, oracle.SAMPLES, oracle.PHOTOMETRIC)
    return [twin.entries.get(tag) for tag in tags]


@SETTINGS
@given(files(), st.integers(0, 1 << 30))
def test_random_files_cut_short(data: bytes, end: int) -> None:
    for pair in same_directories(data[: end % len(data)]):
        if oracle.OFFSETS in pair[1].entries:
            same_tables(*pair)


def test_an_error_of_the_reader_names_slide_and_tile(tmp_path: Path) -> None:
    made = page("420", 2, 1, [True, True], split=True)
    made.data[1] = made.data[1][:-2] + b"xx"
    path = tmp_path / "x.tiff"
    path.write_bytes(pages.write([made]))
    reader = open_slide(FileSource(path, "store/x.tiff"), "store/x.tiff")
    with pytest.raises(SlideError, match=r"store/x\.tiff: tile 1,0 of level 0: its JPEG stream has no end"):
        reader.tile(0, 1, 0)
