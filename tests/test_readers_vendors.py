"""Tiny slides of scanners that only OpenSlide reads, written here: Leica SCN, Hamamatsu VMS, Trestle."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
import tifffile
from drawn import Pixels, by_openslide, check_regions, difference, opened, pixels, whole
from PIL import Image

from ptiffserve.geometry import Box
from ptiffserve.readers import foreign_pool
from ptiffserve.readers.foreign_pool import PROGRAM, Pool

WIDTH, HEIGHT = 512, 384


def picture() -> Pixels:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x ^ y) % 256], -1).astype(np.uint8)


def _pages(path: Path, steps: tuple[int, ...], **first: object) -> Path:
    with tifffile.TiffWriter(path, bigtiff=path.suffix == ".scn") as tiff:
        for step in steps:
            options = first if step == 1 or "software" in first else {}
            tiff.write(
                np.ascontiguousarray(picture()[::step, ::step]), photometric="rgb", compression="jpeg",
                compressionargs={"level": 95}, tile=(64, 64), metadata=None, **options,
            )  # fmt: skip
    return path


IMAGE = """<image><device model="SCN400" version="1"/><pixels sizeX="{0}" sizeY="{1}">{dimensions}</pixels>
<view sizeX="{2}" sizeY="{3}" offsetX="{4}" offsetY="{5}"/><scanSettings><objectiveSettings><objective>{objective}</objective>
</objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"""
DIMENSION = '<dimension sizeX="{0}" sizeY="{1}" r="{2}" ifd="{3}"/>'


def leica(folder: Path) -> Path:
    """One region of 512 x 384 at (200, 100) of a canvas of 1024 x 768, and the macro."""
    levels = DIMENSION.format(WIDTH, HEIGHT, 0, 0) + DIMENSION.format(WIDTH // 2, HEIGHT // 2, 1, 1)
    main = IMAGE.format(WIDTH, HEIGHT, 256000, 192000, 100000, 50000, dimensions=levels, objective=20)
    small = DIMENSION.format(WIDTH // 4, HEIGHT // 4, 0, 2)
    macro = IMAGE.format(WIDTH // 4, HEIGHT // 4, 512000, 384000, 0, 0, dimensions=small, objective=1)
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        '<collection name="c" uuid="u" sizeX="512000" sizeY="384000"><barcode>QkFSLTE=</barcode>'
        f"{main}{macro}</collection></scn>"
    )
    spacing = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    return _pages(folder / "a.scn", (1, 2, 4), description=xml, **spacing)


def hamamatsu(folder: Path) -> Path:
    """Two JPEGs side by side, whose restart markers make tiles of 64 x 8."""
    options = {"quality": 95, "subsampling": 0, "restart_marker_blocks": 8}
    for name, part in {
        "left": picture()[:, : WIDTH // 2],
        "right": picture()[:, WIDTH // 2 :],
        "map": picture()[::8, ::8],
        "macro": picture()[::4, ::4],
    }.items():
        Image.fromarray(np.ascontiguousarray(part)).save(folder / f"{name}.jpg", **options)
    path = folder / "a.vms"
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=2\nNoJpegRows=1\nImageFile=left.jpg\n"
        "ImageFile(1,0)=right.jpg\nMapFile=map.jpg\nMacroImage=macro.jpg\nSourceLens=20\n"
        "PhysicalWidth=256000\nPhysicalHeight=192000\n"
    )
    return path


def trestle(folder: Path) -> Path:
    """Tiles that overlap by 16 pixels, and the macro in a file beside it."""
    said = "Background Color=F0E0D0;Objective Power=20;OverlapsXY= 16 16 16 16 "
    path = _pages(folder / "a.tif", (1, 2), software="MedScan 1", description=said)
    Image.fromarray(np.ascontiguousarray(picture()[::4, ::4])).save(folder / "a.Full", "JPEG")
    return path


SLIDES: dict[str, tuple[Callable[[Path], Path], list[tuple[int, int]], str, tuple[float, float]]] = {
    # name -> (how it is made, its levels, barcode, microns per pixel)
    "leica": (leica, [(1024, 768), (512, 384)], "BAR-1", (0.5, 0.5)),
    "hamamatsu": (hamamatsu, [(512 >> k, 384 >> k) for k in range(7)], "", (0.5, 0.5)),
    "trestle": (trestle, [(400, 304), (208, 160)], "", (1.0, 1.0)),
}


@pytest.mark.parametrize("name", SLIDES)
def test_it_is_what_openslide_shows(tmp_path: Path, name: str) -> None:
    make, sizes, barcode, mpp = SLIDES[name]
    path = make(tmp_path)
    reader, facts = opened(path), reference.facts(path)
    assert isinstance(facts, reference.Facts)
    assert (reader.format, reader.fault, facts.vendor) == ("openslide", "", name)
    assert [(level.size.width, level.size.height) for level in reader.pyramid.levels] == list(facts.sizes) == sizes
    assert (reader.barcode, reader.associated()) == (barcode, ("macro",))
    assert reader.pyramid.mpp == mpp
    for level, downsample in enumerate(facts.downsamples):
        if downsample.is_integer():
            check_regions(reader, level, by_openslide(path, level))
        else:  # asked in tiles, it is placed to half a pixel of level 0
            assert np.abs(whole(reader, level).astype(int) - by_openslide(path, level)).mean() < 4
    macro = np.asarray(Image.open(io.BytesIO(reader.picture("macro"))))
    assert difference(macro, reference.associated(path, "macro")) == 0


def test_it_is_the_picture_that_was_drawn(tmp_path: Path) -> None:
    """The reference could be wrong in the same way."""
    shown = pixels(opened(leica(tmp_path)), 0, Box(200, 100, WIDTH, HEIGHT))
    assert np.abs(shown.astype(int) - picture()).mean() < 10
    assert np.abs(whole(opened(hamamatsu(tmp_path))).astype(int) - picture()).mean() < 10


COLOURED = """
import runpy
there = runpy.run_path({program!r})
describe = there["OpenSlide"].describe
def coloured(*asked):
    said, data = describe(*asked)
    return said | {{"properties": said["properties"] | {{"openslide.background-color": "F0E0D0"}}}}, data
there["OpenSlide"].describe = coloured
there["main"]("openslide")
"""


def test_what_is_not_there_has_the_slides_own_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirax says a colour and has no such slide that is small enough for us: the colour is put into a Leica's."""
    own = Pool("openslide", 1)
    monkeypatch.setattr("ptiffserve.readers.openslide.pool", own)
    monkeypatch.setattr(foreign_pool, "COMMAND", [sys.executable, "-I", "-c", COLOURED.format(program=str(PROGRAM))])
    shown = whole(opened(leica(tmp_path)))
    own.close()
    assert (shown[:100] == (0xF0, 0xE0, 0xD0)).all()
    assert (shown[:, :200] == (0xF0, 0xE0, 0xD0)).all()
    assert not (shown[100:484, 200:712] == (0xF0, 0xE0, 0xD0)).all(-1).any()
