"""Tiled TIFFs in other codings than JPEG: right, refused or damaged."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from drawn import (
    LOSSLESS,
    SOAK,
    Pixels,
    by_openslide,
    check_regions,
    coded,
    coding,
    difference,
    jp2k,
    limited,
    opened,
    picture,
    pixels,
    place,
    retag,
    webp,
    whole,
    written,
)
from PIL import Image

from ptiffserve.errors import NotFound, SlideChanged, SlideError, SlideUnreadable, TileCorrupt, TileTruncated, TooCostly
from ptiffserve.geometry import Box

PREDICTED = [name for name in LOSSLESS if name not in ("none", "packbits")]


@pytest.mark.parametrize(
    ("compression", "predictor"), [(name, False) for name in LOSSLESS] + [(name, True) for name in PREDICTED]
)
def test_lossless_codings(tmp_path: Path, compression: str, predictor: bool) -> None:
    option = None if compression == "none" else compression
    reader = opened(written(tmp_path / "a.tif", compression=option, predictor=predictor))
    check_regions(reader, 0, picture())
    assert reader.tables() == [(25, 0, 0)]
    assert reader.tile_now(0, 0, 0) is None
    with pytest.raises(NotFound):
        reader.tile(0, 0, 0)


@pytest.mark.parametrize(("compression", "code"), [(33005, jp2k), (34712, jp2k), (33003, jp2k), (50001, webp)])
def test_whole_file_tiles(tmp_path: Path, compression: int, code: Callable[[Pixels], bytes]) -> None:
    check_regions(opened(coded(tmp_path / "a.tif", compression, code)), 0, picture())


def test_aperio_33003_is_ycbcr(tmp_path: Path) -> None:
    """As OpenSlide reads it; the same bytes without Aperio's description are RGB (above)."""

    def ycc(tile: Pixels) -> bytes:
        converted = np.asarray(Image.fromarray(tile).convert("YCbCr"))
        return bytes(imagecodecs.jpeg2k_encode(converted, level=0, codecformat="j2k", reversible=True, mct=False))

    path = coded(tmp_path / "a.svs", 33003, ycc, description="Aperio Image Library v11\r\n420x300 |MPP = 0.25")
    reader = opened(path)
    check_regions(reader, 0, by_openslide(path), tolerance=1)
    assert difference(whole(reader), picture()) <= 4
    assert reader.pyramid.mpp == (0.25, 0.25)


def test_gray_both_ways_and_alpha(tmp_path: Path) -> None:
    gray, alpha = picture()[..., 0], picture()[..., 2]
    black = opened(written(tmp_path / "b.tif", gray, photometric="minisblack"))
    check_regions(black, 0, np.repeat(gray[..., None], 3, 2))
    white = opened(written(tmp_path / "w.tif", gray, photometric="miniswhite"))
    check_regions(white, 0, np.repeat(255 - gray[..., None], 3, 2))

    part = alpha[..., None].astype(float) / 255
    over = picture() * part + 255 * (1 - part)
    rgba = np.dstack([picture(), alpha])
    unassociated = opened(written(tmp_path / "u.tif", rgba, extrasamples=["unassalpha"]))
    assert np.abs(whole(unassociated) - over).max() <= 1
    multiplied = np.dstack([np.rint(picture() * part).astype(np.uint8), alpha])
    associated = opened(written(tmp_path / "a.tif", multiplied, extrasamples=["assocalpha"]))
    assert np.abs(whole(associated) - over).max() <= 2


def with_depth(path: Path) -> Path:
    data = written(path, extratags=[(65000, 4, 1, 2, True)]).read_bytes()
    head = struct.pack("<HHII", 65000, 4, 1, 2)
    assert head in data
    path.write_bytes(data.replace(head, struct.pack("<HHII", 32997, 4, 1, 2)))
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "compression 200": (lambda p: retag(written(p), "Compression", 200), "compression 200"),
    "old JPEG": (lambda p: retag(written(p), "Compression", 6), "compression 6"),
    "33004, which is RGB at Bio-Formats and YCbCr at libvips": (lambda p: coded(p, 33004, jp2k), "compression 33004"),
    "overlapping tiles of a million": (
        lambda p: retag(retag(written(p, software="MedScan"), "TileWidth", 1 << 20), "TileLength", 1 << 20),
        "openslide: level 0 has tiles of 1048576 x 1048576",
    ),
    "planes": (lambda p: written(p, picture().transpose(2, 0, 1), planarconfig="separate"), "separate planes"),
    "16 bits": (lambda p: written(p, picture().astype(np.uint16)), r"\(16, 16, 16\) bits"),
    "signed": (lambda p: written(p, picture().astype(np.int8)), "unsigned"),
    "palette": (
        lambda p: written(p, picture()[..., 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "photometric interpretation 3",
    ),
    "a fourth sample of no meaning": (
        lambda p: written(p, np.dstack([picture(), picture()[..., :1]]), extrasamples=["unspecified"]),
        "with 4 samples",
    ),
    "tiles of 24": (lambda p: retag(written(p), "TileWidth", 24), "tiles of 24 x 64"),
    "tiles of a million": (lambda p: retag(written(p), "TileWidth", 1_000_000), "tiles of 1000000 x 64"),
    "tiles of nothing": (lambda p: retag(written(p), "TileLength", 0), "tiles of 96 x 0"),
    "no width": (lambda p: retag(written(p), "ImageWidth", 0), "0 x 300 pixels"),
    "depth": (with_depth, "image depth of 2"),
    "Leica": (
        lambda p: written(p, description='<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"/>'),
        "Leica",
    ),
    "Ventana": (lambda p: written(p, extratags=[(700, 1, None, b"<x><iScan/></x>", True)]), "Ventana"),
    "no TIFF": (lambda p: p.write_bytes(b"PK\3\4" + bytes(5000)) and p, "not a TIFF.*openslide: not a format"),
    "empty": (lambda p: p.write_bytes(b"") or p, "not a TIFF"),
    "a damaged TIFF": (lambda p: p.write_bytes(b"II*\0\xff\xff\xff\x7f" + bytes(99)) and p, "outside the file$"),
    "a DICOM head alone": (lambda p: p.write_bytes(bytes(128) + b"DICM" + bytes(64)) and p, "openslide: "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_the_reason(tmp_path: Path, what: str) -> None:
    make, reason = REFUSED[what]
    with pytest.raises(SlideUnreadable, match=reason) as caught:
        opened(make(tmp_path / "a.tif"))
    assert str(tmp_path) not in str(caught.value)


def test_a_tiff_whose_tiles_overlap_is_openslides(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", software="MedScan 1")
    reader = opened(path)
    assert reader.format == "openslide"
    check_regions(reader, 0, by_openslide(path))


@pytest.mark.parametrize("name", [*LOSSLESS, "jp2k", "webp"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.9, 0.99])
def test_a_tile_cut_short_costs_that_tile(tmp_path: Path, name: str, part: float) -> None:
    """Never half a tile, never memory of others; a tile of no bytes is sparse and white."""
    path = coding(tmp_path / "a.tif", name)
    retag(path, "TileByteCounts", int(place(path, 6)[1] * part), index=6)
    reader, truth = opened(path), picture()
    box = Box(96, 64, 96, 64)
    if part:
        with pytest.raises(TileCorrupt) as caught:
            pixels(reader, 0, box)
        assert "/proc" not in str(caught.value)
        with pytest.raises(TileCorrupt):
            whole(reader)
    else:
        assert (pixels(reader, 0, box) == 255).all()
        truth[64:128, 96:192] = 255
        check_regions(reader, 0, truth)
        assert reader.tables() == [(24, 1, 0)]
    assert difference(pixels(reader, 0, Box(192, 0, 228, 300)), truth[:, 192:]) == 0


@pytest.mark.parametrize("name", ["lzw", "jp2k"])
def test_a_tile_behind_the_end(tmp_path: Path, name: str) -> None:
    path = coding(tmp_path / "a.tif", name)
    retag(path, "TileOffsets", path.stat().st_size - 3, index=6)
    reader = opened(path)
    with pytest.raises(TileTruncated, match="tile 1,1 of level 0"):
        pixels(reader, 0, Box(100, 70, 1, 1))
    assert difference(pixels(reader, 0, Box(0, 0, 420, 64)), picture()[:64]) == 0
    assert reader.tables() == [(24, 0, 1)]


@pytest.mark.parametrize("name", ["lzw", "deflate", "zstd", "jp2k", "webp"])
def test_files_cut_anywhere_never_show_wrong_pixels(tmp_path: Path, name: str) -> None:
    data = coding(tmp_path / "a.tif", name).read_bytes()
    path, outcomes = tmp_path / "cut.tif", set()
    for end in np.linspace(0, len(data), 40 * SOAK).astype(int):
        path.write_bytes(data[:end])
        try:
            assert difference(whole(opened(path)), picture()) == 0
            outcomes.add("served")
        except SlideError as error:
            outcomes.add(error.code)
    assert {"served", "tile_truncated"} <= outcomes, outcomes


def test_changed_bytes_in_the_header_never_break_out(tmp_path: Path) -> None:
    """Each byte of header and directory: refused, an error of the tile, or a picture of the size that the reader claims."""
    data = bytearray(written(tmp_path / "a.tif", tile=(128, 128), metadata=None, software=False).read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        end = min(tiff.pages[0].dataoffsets)
    path = tmp_path / "b.tif"
    for at in range(0, end, 1 if SOAK > 1 else 5):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                reader = opened(path)
                size = reader.pyramid.size
                box = Box(0, 0, min(size.width, 420), min(size.height, 300))
                assert pixels(reader, 0, box).shape == (box.height, box.width, 3)
            except (SlideError, TooCostly):
                pass


GROWTH = """
import resource, sys
from pathlib import Path
from ptiffserve.errors import SlideError
from ptiffserve.geometry import Box
from ptiffserve.readers import open_slide
from ptiffserve.sources.file import FileSource
def mark(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
small, large = (Path(name) for name in sys.argv[1:3])
open_slide(FileSource(small), "small").pixels(0, Box(0, 0, 300, 300))
before = mark()
try:
    image = open_slide(FileSource(large), "large").pixels(0, Box(*map(int, sys.argv[3:])))
    print(list(image.data[:3]), end=" ")
except SlideError as error:
    print(error.code, end=" ")
print(mark() - before)
"""


def test_a_region_of_a_large_slide_takes_a_regions_memory(tmp_path: Path) -> None:
    """20,000 x 20,000 pixels are 1.2 GB decoded."""
    tile = zlib.compress(bytes([200, 30, 90]) * (256 * 256))
    tiles = (tile for _ in range(79 * 79))
    large = tmp_path / "large.tif"
    tifffile.imwrite(
        large, tiles, shape=(20000, 20000, 3), dtype=np.uint8, tile=(256, 256), compression="deflate", photometric="rgb"
    )
    small = written(tmp_path / "small.tif", compression="deflate")
    said = limited(GROWTH, str(small), str(large), "9900", "9900", "1000", "1000").rsplit(" ", 1)
    assert said[0] == "[200, 30, 90]"
    assert int(said[1]) < 60
    with pytest.raises(TooCostly):
        opened(large).pixels(0, Box(0, 0, 20000, 20000))


def test_bombs_are_stopped_at_the_size_of_the_tile(tmp_path: Path) -> None:
    """A deflate tile of 256 MB; a JPEG 2000 of 60,000 x 60,000 in a tile of 96 x 64."""
    small = written(tmp_path / "small.tif", compression="deflate")
    packer = zlib.compressobj(1)
    bomb = b"".join([packer.compress(bytes(1 << 24)) for _ in range(16)]) + packer.flush()
    deflate = coded(tmp_path / "d.tif", 8, lambda tile: bomb)
    said, growth = limited(GROWTH, str(small), str(deflate), "0", "0", "300", "200").rsplit(" ", 1)
    assert said in ("[0, 0, 0]", "tile_corrupt")
    assert int(growth) < 60

    def vast(tile: Pixels) -> bytes:
        data = bytearray(jp2k(tile))
        at = data.index(b"\xff\x51") + 6
        struct.pack_into(">8I", data, at, 60000, 60000, 0, 0, 60000, 60000, 0, 0)
        return bytes(data)

    said, growth = limited(
        GROWTH, str(small), str(coded(tmp_path / "j.tif", 33005, vast)), "0", "0", "300", "200"
    ).rsplit(" ", 1)
    assert said == "tile_corrupt"
    assert int(growth) < 60


@pytest.mark.parametrize(("compression", "code"), [(33005, jp2k), (50001, webp)])
def test_a_tile_of_another_size_or_depth(tmp_path: Path, compression: int, code: Callable[[Pixels], bytes]) -> None:
    """The rest of the tile would be what memory held before."""
    reader = opened(coded(tmp_path / "a.tif", compression, lambda tile: code(tile[:48])))
    with pytest.raises(TileCorrupt, match="96 x 48, not 96 x 64"):
        whole(reader)


def test_jpeg2000_tiles_of_another_depth(tmp_path: Path) -> None:
    reader = opened(coded(tmp_path / "a.tif", 33005, lambda tile: jp2k(tile.astype(np.uint16))))
    with pytest.raises(TileCorrupt, match="ushort"):
        whole(reader)
    reader = opened(coded(tmp_path / "b.tif", 33005, lambda tile: jp2k(np.ascontiguousarray(tile[..., 0]))))
    with pytest.raises(TileCorrupt, match="1 x uchar, not 3"):
        whole(reader)


def test_only_the_formats_of_tiles_are_decoded(tmp_path: Path) -> None:
    """libvips could read an SVG or PNG in a tile: it is not asked."""
    png = io.BytesIO()
    Image.new("RGB", (96, 64)).save(png, "PNG")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="96" height="64"/>'
    for compression in (33005, 50001):
        for data in (png.getvalue(), svg):
            path = coded(tmp_path / "a.tif", compression, lambda tile, data=data: data)
            with pytest.raises(TileCorrupt):
                whole(opened(path))


@pytest.mark.parametrize("name", ["lzw", "jp2k"])
def test_a_tiff_written_while_open(tmp_path: Path, name: str) -> None:
    path = coding(tmp_path / "a.tif", name)
    reader = opened(path)
    assert difference(whole(reader), picture()) == 0
    time.sleep(0.02)  # the clock of file systems ticks in steps
    with path.open("r+b") as file:
        file.seek(place(path, 6)[0])
        file.write(bytes(40))
    for box in (Box(0, 0, 10, 10), Box(100, 70, 10, 10)):
        with pytest.raises(SlideChanged):
            reader.pixels(0, box)


def test_a_renamed_tiff_is_read_by_its_descriptor(tmp_path: Path) -> None:
    path = coding(tmp_path / "a.tif", "lzw")
    reader = opened(path)
    path.rename(tmp_path / "b.tif")
    written(path, 255 - picture())
    assert difference(whole(reader), picture()) == 0
