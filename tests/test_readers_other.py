"""The files of the shared manifest open as it says, with the pixels of independent readers; over HTTP too."""

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import reference
import tifffile
from drawn import (
    Pixels,
    by_openslide,
    check_regions,
    dicom,
    dicoms,
    difference,
    opened,
    pixels,
    whole,
)
from PIL import Image
from starlette.testclient import TestClient

from ptiffserve.app import create_app
from ptiffserve.config import Auth, Catalogue, Config, Store
from ptiffserve.errors import NotFound, SlideUnreadable, TileCorrupt
from ptiffserve.geometry import Box


@pytest.fixture(scope="module")
def region(shared: Path) -> Pixels:
    """CMU-1-Small-Region as OpenSlide shows the SVS."""
    return by_openslide(shared / "svs" / "CMU-1-Small-Region.svs")


EXPECTED = {
    # file -> (format, sizes of the levels, tile, stored, microns per pixel or None, associated)
    "svs/CMU-1-Small-Region.svs": ("tiled", [(2220, 2967)], 240, "jpg", 0.499, {"label", "macro", "thumbnail"}),
    "svs/tcga-cr-7395-01a-01-ts1.svs": ("tiled", [(4443, 3567), (2221, 1783)], 256, "", None, {"thumbnail"}),
    "tiff/wsic-CMU-1-Small-Region.jpeg.tiff": ("tiled", [(2220, 2967)], 256, "jpg", 0.00499, set()),
    "tiff/wsic-CMU-1-Small-Region.jp2.tiff": ("tiled", [(2220, 2967)], 256, "", 0.00499, set()),
    "tiff/wsic-CMU-1-Small-Region.webp.tiff": ("tiled", [(2220, 2967)], 256, "webp", 0.00499, set()),
    "tiff/wsic-XYC-lzw-pyramid.ome.tiff": ("tiled", [(512, 512)], 128, "", None, set()),
    "tiff/wsic-XYC-jp2k-pyramid.ome.tiff": ("tiled", [(512, 512)], 128, "", None, set()),
    "tiff/wsic-XYC-jpeg-pyramid.ome.tiff": ("tiled", [(512, 512)], 128, "jpg", None, set()),
    "tiff/panimg-valid_tiff.tif": ("tiled", [(205, 205), (102, 102)], 128, "", 1000.0, set()),
    "philips/mini-bigtiff-ycbcr420-sparse.tiff": (
        "philips", [(3584 >> k, 4608 >> k) for k in range(5)], 512, "jpg", 0.25, {"label", "macro"},
    ),
    "philips/mini-classic-ycbcr422-dense.tiff": (
        "philips", [(2560 >> k, 3072 >> k) for k in range(4)], 512, "jpg", 0.25, {"label", "macro"},
    ),
    "dicom/CMU-1-Small-Region-fixed": ("openslide", [(2220, 2967)], 240, "", 0.499, {"label", "macro"}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_manifest_files_open(shared: Path, name: str) -> None:
    form, sizes, tile, stored, mpp, associated = EXPECTED[name]
    for path in dicoms(shared) if name.startswith("dicom") else [shared / name]:
        reader = opened(path)
        levels = reader.pyramid.levels
        assert (reader.format, reader.fault) == (form, "")
        assert [(level.size.width, level.size.height) for level in levels] == sizes
        assert {level.tile.width for level in levels} == {level.tile.height for level in levels} == {tile}
        assert {level.stored for level in levels} == {stored}
        assert [level.scale for level in levels] == [1 << k for k in range(len(levels))]
        assert reader.pyramid.mpp == (None if mpp is None else pytest.approx((mpp, mpp), rel=1e-4))
        assert set(reader.associated()) == associated
        assert len(reader.tables()) == len(levels)


def test_every_slide_of_the_manifest_is_expected(shared: Path) -> None:
    found = {path for path in shared.rglob("*") if path.suffix in {".svs", ".tif", ".tiff"}}
    assert found == {shared / name for name in EXPECTED if "." in name} | {shared / "tiff" / "kidney-48-5.tif"}


def test_strips_are_refused_with_every_reason(shared: Path) -> None:
    with pytest.raises(SlideUnreadable, match=r"tiled: its first directory is not tiled; openslide: not a format"):
        opened(shared / "tiff" / "kidney-48-5.tif")


@pytest.mark.parametrize("level", [0, 1])
def test_jpeg2000_svs_is_what_openslide_shows(shared: Path, level: int) -> None:
    path = shared / "svs" / "tcga-cr-7395-01a-01-ts1.svs"
    check_regions(opened(path), level, by_openslide(path, level), tolerance=1)


@pytest.mark.parametrize("name", ["jp2", "webp", "jpeg"])
def test_wsic_files_are_what_tifffile_shows(shared: Path, region: Pixels, name: str) -> None:
    path = shared / "tiff" / f"wsic-CMU-1-Small-Region.{name}.tiff"
    truth = np.asarray(tifffile.imread(path))
    check_regions(opened(path), 0, truth, tolerance=1)
    shown = pixels(opened(path), 0, Box(500, 500, 400, 400)).astype(int)
    assert np.abs(shown - region[500:900, 500:900]).mean() < 8, "not the picture that the file was made of"


@pytest.mark.parametrize(("name", "level"), [("svs/CMU-1-Small-Region.svs", 0), *[(f, k) for f in (
    "tiff/panimg-valid_tiff.tif",) for k in (0, 1)]])  # fmt: skip
def test_pixels_are_openslides(shared: Path, name: str, level: int) -> None:
    check_regions(opened(shared / name), level, by_openslide(shared / name, level))


def test_ome_lossless_blocks_lie_where_they_say(shared: Path) -> None:
    folder = shared / "tiff"
    truth = np.asarray(tifffile.imread(folder / "wsic-XYC-lzw-pyramid.ome.tiff"))
    blocks = truth.reshape(64, 8, 64, 8, 3).swapaxes(1, 2).reshape(4096, -1)
    assert len(np.unique(blocks, axis=0)) == 4096, "each block must differ, or a misplaced one would not show"
    for name in ("lzw", "jp2k"):  # Bio-Formats writes 33003, which is YCbCr at Aperio, over lossless RGB
        reader = opened(folder / f"wsic-XYC-{name}-pyramid.ome.tiff")
        assert difference(whole(reader), truth) == 0
        check_regions(reader, 0, truth)


def test_ome_jpeg_says_rgb_and_is_ycbcr(shared: Path) -> None:
    """Bio-Formats's JPEG tiles are JFIF under a photometric tag of RGB."""
    path = shared / "tiff" / "wsic-XYC-jpeg-pyramid.ome.tiff"
    reader = opened(path)
    truth = np.asarray(tifffile.imread(path))
    check_regions(reader, 0, truth, tolerance=2)
    lossless = np.asarray(tifffile.imread(shared / "tiff" / "wsic-XYC-lzw-pyramid.ome.tiff")).astype(int)
    assert np.abs(whole(reader) - lossless).mean() < 13  # 56 where the tag is believed
    for col, row in ((0, 0), (3, 1), (2, 3)):
        stored = np.asarray(Image.open(io.BytesIO(reader.tile(0, col, row))).convert("RGB"))
        assert difference(stored, truth[row * 128 : row * 128 + 128, col * 128 : col * 128 + 128]) <= 2


def test_dicom_pixels_are_the_svs(shared: Path, region: Pixels) -> None:
    assert difference(whole(opened(shared / "svs" / "CMU-1-Small-Region.svs")), region) == 0
    for path in dicoms(shared):
        check_regions(opened(path), 0, region)
    assert difference(whole(opened(dicom(shared))), region) == 0


@pytest.mark.parametrize("name", ["svs/CMU-1-Small-Region.svs", "svs/tcga-cr-7395-01a-01-ts1.svs"])
def test_associated_images_are_openslides(shared: Path, name: str) -> None:
    path = shared / name
    reader = opened(path)
    facts = reference.facts(path)
    assert isinstance(facts, reference.Facts)
    assert sorted(reader.associated()) == list(facts.associated)
    for kind in reader.associated():
        shown = np.asarray(Image.open(io.BytesIO(reader.picture(kind))).convert("RGB"))
        assert difference(shown, reference.associated(path, kind)) <= 1, kind
    with pytest.raises(NotFound):
        reader.picture("nothing")


def test_an_associated_image_that_openslide_cannot_read_costs_itself(shared: Path) -> None:
    """The DICOM's label is the first strip of the SVS's, under the whole label's size."""
    path = dicom(shared)
    reader = opened(path)
    assert set(reader.associated()) == {"label", "macro"}
    for kind in reader.associated():
        with pytest.raises(TileCorrupt, match="Dimensional mismatch"):
            reader.picture(kind)
    assert pixels(reader, 0, Box(0, 0, 10, 10)).shape == (10, 10, 3)


@pytest.fixture(scope="module")
def client(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("other") / "other"
    root.mkdir()
    shutil.copy(shared / "svs" / "tcga-cr-7395-01a-01-ts1.svs", root / "jp2k.svs")
    shutil.copy(shared / "tiff" / "wsic-XYC-lzw-pyramid.ome.tiff", root / "lzw.ome.tiff")
    shutil.copy(shared / "tiff" / "wsic-XYC-jpeg-pyramid.ome.tiff", root / "jpeg.ome.tiff")
    shutil.copy(shared / "svs" / "CMU-1-Small-Region.svs", root / "jpeg.svs")
    shutil.copy(shared / "tiff" / "kidney-48-5.tif", root / "strips.tif")
    shutil.copy(shared / "tiff" / "wsic-CMU-1-Small-Region.webp.tiff", root / "webp.tiff")
    shutil.copytree(dicom(shared).parent, root / "dicom")
    catalogue = tmp_path_factory.mktemp("catalogue") / "catalogue.db"
    config = Config(
        store=[Store(root=str(root), include=["*"])],
        catalogue=Catalogue(f"sqlite:///{catalogue}"),
        auth=Auth(labels="allow"),
    )
    with TestClient(create_app(config), raise_server_exceptions=True) as client:
        end = time.monotonic() + 30
        while len(listed(client)) < 7 and time.monotonic() < end:
            time.sleep(0.05)
        yield client


def listed(client: TestClient) -> dict[str, dict[str, object]]:
    return {slide["path"]: slide for slide in client.get("/api/slides?limit=100").json()["slides"]}


def got(client: TestClient, url: str) -> Pixels:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


SERVED = ["jp2k.svs", "lzw.ome.tiff", "webp.tiff", "dicom"]


def served(shared: Path, name: str) -> tuple[str, Path]:
    """The key in URLs, and the file it is."""
    if name == "dicom":
        return f"other%2Fdicom%2F{dicom(shared).name}", dicom(shared)
    known = {
        "jp2k.svs": "svs/tcga-cr-7395-01a-01-ts1.svs",
        "lzw.ome.tiff": "tiff/wsic-XYC-lzw-pyramid.ome.tiff",
        "webp.tiff": "tiff/wsic-CMU-1-Small-Region.webp.tiff",
    }
    return f"other%2F{name}", shared / known[name]


def truth_of(path: Path) -> Pixels:
    if path.suffix in (".svs", ".dcm"):
        return by_openslide(path)
    return np.asarray(tifffile.imread(path))


@pytest.mark.parametrize("name", SERVED)
def test_over_http(client: TestClient, shared: Path, name: str) -> None:
    key, path = served(shared, name)
    truth = truth_of(path)
    height, width = truth.shape[:2]
    size = opened(path).pyramid.tile.width

    shown = got(client, f"/iiif/3/{key}/33,44,300,200/max/0/default.png")
    assert difference(shown, truth[44:244, 33:333]) <= 1
    edge = got(client, f"/iiif/2/{key}/{width - 50},{height - 70},400,400/full/0/default.png")
    assert difference(edge, truth[height - 70 :, width - 50 :]) <= 1

    deepest = (max(-(-width // size), -(-height // size)) - 1).bit_length()
    tile = got(client, f"/tiles/{key}/{deepest}/1/1.png")
    assert difference(tile, truth[size : 2 * size, size : 2 * size]) <= 1
    assert got(client, f"/tiles/{key}/0/0/0.jpg").shape == (size, size, 3)

    level = (max(width, height) - 1).bit_length()
    col, row = (width - 1) // size, (height - 1) // size
    corner = got(client, f"/deepzoom/{key}_files/{level}/{col}_{row}.png")
    assert difference(corner, truth[row * size :, col * size :]) <= 1
    jpeg = got(client, f"/deepzoom/{key}_files/{level}/{col}_{row}.jpg")
    assert jpeg.shape == corner.shape
    assert client.get(f"/deepzoom/{key}_files/{level}/{col + 1}_{row}.jpg").status_code == 404

    half = got(client, f"/iiif/3/{key}/0,0,400,400/100,100/0/default.png")
    want = np.asarray(Image.fromarray(truth[:400, :400]).resize((100, 100), Image.Resampling.LANCZOS))
    assert np.abs(half.astype(int) - want).mean() < 12
    thumbnail = got(client, f"/slides/{key}/thumbnail.jpg?width=200&height=200")
    assert max(thumbnail.shape) == 200


def test_labels_over_http(client: TestClient, shared: Path) -> None:
    path = shared / "svs" / "CMU-1-Small-Region.svs"
    for kind in ("label", "macro"):
        shown = got(client, f"/slides/other%2Fjpeg.svs/{kind}.png")
        assert difference(shown, reference.associated(path, kind)) <= 1
    key, _ = served(shared, "dicom")
    answer = client.get(f"/slides/{key}/label.png")
    assert (answer.status_code // 100, answer.json()["error"]) == (5, "tile_corrupt")


def test_ome_jpeg_tiles_are_stored_ones(client: TestClient, shared: Path) -> None:
    answer = client.get("/tiles/other%2Fjpeg.ome.tiff/2/3/1.jpg")
    assert answer.headers["server-timing"].startswith("stored")
    truth = np.asarray(tifffile.imread(shared / "tiff" / "wsic-XYC-jpeg-pyramid.ome.tiff"))
    shown = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert difference(shown, truth[128:256, 384:512]) <= 2


def test_refused_slides_are_listed_with_their_reason(client: TestClient) -> None:
    slide = listed(client)["strips.tif"]
    assert slide["state"] == "unreadable"
    assert "not tiled" in str(slide["reason"])
    answer = client.get("/iiif/3/other%2Fstrips.tif/full/max/0/default.jpg")
    assert answer.status_code in (422, 500, 503)
    assert "not tiled" in answer.json()["message"]
