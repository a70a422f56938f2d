"""OME-TIFF: levels in SubIFDs or in the main chain, spacing and names from its XML."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn import TILE, check_regions, difference, opened, picture, retag, written
from PIL import Image

from ptiffserve.errors import SlideUnreadable


def ome(path: Path, options: dict[str, object], metadata: dict[str, object] | None = None, bad: int = 0) -> Path:
    """An OME-TIFF whose smaller levels are SubIFDs: (300, 420), (150, 210), (75, 105)."""
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as tiff:
        tiff.write(picture(), subifds=2, photometric="rgb", tile=TILE, metadata=metadata, **options)
        for step in (2, 4):
            tiff.write(picture()[::step, ::step], photometric="rgb", tile=TILE, subfiletype=1, **options)
    return retag(path, "SubIFDs", bad) if bad else path


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", None])
def test_ome_sub_directories_are_levels(tmp_path: Path, compression: str | None) -> None:
    metadata = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.26}
    reader = opened(ome(tmp_path / "a.ome.tiff", {"compression": compression}, metadata))
    assert [(level.size.width, level.scale) for level in reader.pyramid.levels] == [(420, 1), (210, 2), (105, 4)]
    assert reader.pyramid.mpp == pytest.approx((0.25, 0.26))
    for level, step in enumerate((1, 2, 4)):
        check_regions(reader, level, picture()[::step, ::step])


def test_ome_sub_directories_on_the_compiled_path(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tiff", {"compression": "jpeg", "compressionargs": {"level": 90}})
    reader = opened(path)
    assert [(level.size.width, level.stored) for level in reader.pyramid.levels] == [
        (420, "jpg"),
        (210, "jpg"),
        (105, "jpg"),
    ]
    with tifffile.TiffFile(path) as tiff:
        for level in range(3):
            truth = tiff.series[0].levels[level].asarray()
            check_regions(reader, level, truth, tolerance=2)
            tile = np.asarray(Image.open(io.BytesIO(reader.tile(level, 0, 0))).convert("RGB"))
            assert difference(tile[:64, :96], truth[:64, :96]) <= 2


def test_libvips_sub_directory_pyramid(tmp_path: Path) -> None:
    import pyvips

    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(picture()).copy(interpretation="srgb").tiffsave(
        str(path), tile=True, tile_width=64, tile_height=64, pyramid=True, subifd=True, compression="deflate"
    )
    reader = opened(path)
    with tifffile.TiffFile(path) as tiff:
        pages = [tiff.pages[0], *(tiff.pages[0].pages or [])]
        assert len(reader.pyramid.levels) == len(pages) == 4
        for level, page in enumerate(pages):
            check_regions(reader, level, page.asarray())


def test_levels_in_the_main_chain(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for step, compression in ((1, "lzw"), (4, "deflate"), (2, "zstd")):
            tiff.write(picture()[::step, ::step], photometric="rgb", tile=TILE, compression=compression, metadata=None)
        tiff.write(picture()[:, :100], photometric="rgb", tile=TILE, compression="lzw", metadata=None)  # no level
        tiff.write(
            picture()[:50], photometric="rgb", compression="lzw", description="label 420x50", metadata=None
        )  # in strips
    reader = opened(path)
    assert [level.size.width for level in reader.pyramid.levels] == [420, 210, 105]
    for level, step in enumerate((1, 2, 4)):
        check_regions(reader, level, picture()[::step, ::step])
    label = np.asarray(Image.open(io.BytesIO(reader.picture("label"))))
    assert difference(label, picture()[:50]) == 0


def test_jpeg_levels_below_another_coding(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(picture(), photometric="rgb", tile=TILE, compression="lzw", metadata=None)
        tiff.write(picture()[::2, ::2], photometric="rgb", tile=TILE, compression="jpeg", metadata=None)
    reader = opened(path)
    assert [level.stored for level in reader.pyramid.levels] == ["", ""]
    with tifffile.TiffFile(path) as tiff:
        check_regions(reader, 1, tiff.pages[1].asarray(), tolerance=2)


@pytest.mark.parametrize(("bad", "levels"), [(1 << 62, 1), (7, 1), (16, 2)])
def test_bad_sub_directory_costs_the_levels_only(tmp_path: Path, bad: int, levels: int) -> None:
    """Outside the file, inside its header, and the base itself as its own child (T4)."""
    reader = opened(ome(tmp_path / "a.ome.tiff", {"compression": "lzw"}, bad=bad))
    assert len(reader.pyramid.levels) == levels
    assert ("SubIFDs" in reader.fault) == (levels == 1)
    check_regions(reader, 0, picture())


OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{}</OME>'
PIXELS = '<Image Name="a"><Pixels SizeX="420" SizeY="300" {}/></Image>'


@pytest.mark.parametrize(
    ("attributes", "mpp"),
    [
        ('SizeC="3" PhysicalSizeX="0.5" PhysicalSizeY="0.25"', (0.5, 0.25)),
        ('PhysicalSizeX="0.0005" PhysicalSizeY="0.5" PhysicalSizeXUnit="mm" PhysicalSizeYUnit="&#181;m"', (0.5, 0.5)),
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeX="nan" PhysicalSizeY="0.5"', None),
        ('PhysicalSizeX="-1" PhysicalSizeY="1e999"', None),
        ('PhysicalSizeX="0.5"', None),
    ],
)
def test_ome_spacing(tmp_path: Path, attributes: str, mpp: tuple[float, float] | None) -> None:
    text = OME.format(PIXELS.format(attributes))
    reader = opened(written(tmp_path / "a.tif", description=text, metadata=None))
    assert reader.pyramid.mpp == (mpp and pytest.approx(mpp))


def test_ome_channels_in_separate_directories_are_refused(tmp_path: Path) -> None:
    text = OME.format(PIXELS.format('SizeC="5"'))
    with pytest.raises(SlideUnreadable, match="its 5 channels"):
        opened(written(tmp_path / "a.tif", description=text, metadata=None))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('<!DOCTYPE OME [<!ENTITY a "b">]>' + OME[21:].format("&a;"), "DOCTYPE"),
        ('<!DOCTYPE OME SYSTEM "http://127.0.0.1:1/x">' + OME[21:].format(""), "DOCTYPE"),
        (OME.format("<Image>"), "malformed"),
        (OME.format(""), "no image"),
    ],
)
def test_bad_ome_xml_costs_the_metadata_only(tmp_path: Path, text: str, fault: str) -> None:
    reader = opened(written(tmp_path / "a.tif", description=text, metadata=None))
    assert fault in reader.fault
    check_regions(reader, 0, picture())


def test_ome_names_its_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    second = '<Image Name="macro image"><Pixels SizeX="100" SizeY="90"><TiffData IFD="1"/></Pixels></Image>'
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            picture(), photometric="rgb", tile=TILE, metadata=None,
            description=OME.format(PIXELS.format('SizeC="3"') + second),
        )  # fmt: skip
        tiff.write(picture()[:90, :100], photometric="rgb", tile=TILE, metadata=None)
    reader = opened(path)
    assert reader.associated() == ("macro",)
    assert difference(np.asarray(Image.open(io.BytesIO(reader.picture("macro")))), picture()[:90, :100]) == 0
