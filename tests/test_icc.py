"""Colour profiles: sent along with stored tiles at no cost in pixels, with rendered pictures, converted, or left out.

The profile swaps red and green, so that every way of losing or doubling it shows.
"""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn import Pixels, difference, pixels
from PIL import Image, ImageCms
from served import settle
from starlette.testclient import TestClient

from ptiffserve.app import create_app
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Catalogue, Config, Store
from ptiffserve.geometry import Box
from ptiffserve.icc import usable
from ptiffserve.readers import open_slide
from ptiffserve.readers.foreign import ForeignReader
from ptiffserve.readers.openslide import pool
from ptiffserve.slide import Icc
from ptiffserve.sources.file import FileSource
from ptiffserve.sync.apply import apply
from ptiffserve.sync.scan import scan

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIZE = 300, 420  # rows, columns
TILE = 128
COLOURED = "0,0,128,128/128,128/0/color"


def swapped(profile: bytes) -> bytes:
    """sRGB in which the names of the red and green columns of the matrix are exchanged."""
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def long(profile: bytes, size: int) -> bytes:
    """The same with so many bytes in all: a text that nobody reads."""
    return size.to_bytes(4) + profile[4:] + bytes(size - len(profile))


SWAP = swapped(SRGB)


def painted() -> Pixels:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([x * 255 // SIZE[1], y * 255 // SIZE[0], (x + y) // 4], -1).astype(np.uint8)


def slide(path: Path, profile: bytes = b"", compression: str = "jpeg") -> Path:
    """Two levels; only the first says whose colours they are, as scanners do. tifffile's JPEGs are YCbCr."""
    more = [(34675, 7, len(profile), profile, True)] if profile else []
    coding = {"compression": compression, "tile": (TILE, TILE), "photometric": "rgb", "metadata": None}
    if compression == "jpeg":
        coding |= {"compressionargs": {"level": 95}, "photometric": "ycbcr", "subsampling": (2, 2)}
    with tifffile.TiffWriter(path) as out:
        out.write(painted(), extratags=more, **coding)
        out.write(np.ascontiguousarray(painted()[::2, ::2]), subfiletype=1, **coding)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("icc") / "c"
    folder.mkdir()
    slide(folder / "plain.tif")
    slide(folder / "swap.tif", SWAP)
    slide(folder / "long.tif", long(SWAP, 200_000))
    slide(folder / "lzw.tif", SWAP, "lzw")
    return folder


def started(folder: Path, state: Path, icc: Icc) -> TestClient:
    config = Config(store=[Store(root=str(folder), icc=icc)], catalogue=Catalogue(f"sqlite:///{state / f'{icc}.db'}"))
    return TestClient(create_app(config), follow_redirects=False)


@pytest.fixture(scope="module")
def clients(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TestClient]:
    state, found = tmp_path_factory.mktemp("state"), {}
    for icc in ("embed", "srgb", "none"):
        found[icc] = started(folder, state, icc)
        found[icc].__enter__()
        settle(found[icc], 4)
    yield found
    for client in found.values():
        client.__exit__(None, None, None)


def shown(client: TestClient, name: str, form: str, parameters: str = COLOURED) -> tuple[Pixels, bytes, str]:
    """Pixels, profile, lane."""
    answer = client.get(f"/iiif/3/c/{name}.tif/{parameters}.{form}")
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content))
    lane = answer.headers["server-timing"].split(";")[0]
    return np.asarray(image.convert("RGB")), image.info.get("icc_profile") or b"", lane


def without_app2(data: bytes) -> bytes:
    at = data.find(b"\xff\xe2")
    while at >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]
        at = data.find(b"\xff\xe2", at) if data[at : at + 2] == b"\xff\xe2" else -1
    return data


@pytest.mark.parametrize(("name", "profile"), [("swap", SWAP), ("long", long(SWAP, 200_000))])
def test_stored_tiles_carry_it(clients: dict[str, TestClient], name: str, profile: bytes) -> None:
    """The stored bytes and nothing else; of both levels, through every protocol, and the other settings leave it out."""
    for address in ("1/0/0", "1/3/2", "2/3/2", "0/0/0"):
        tile, plain = (clients["embed"].get(f"/tiles/c/{one}.tif/{address}.jpg") for one in (name, "plain"))
        assert tile.status_code == plain.status_code
        if tile.status_code != 200 or tile.headers["server-timing"][:6] != "stored":
            continue
        assert Image.open(io.BytesIO(tile.content)).info["icc_profile"] == profile
        assert without_app2(tile.content) == plain.content
        bare = clients["none"].get(f"/tiles/c/{name}.tif/{address}.jpg")
        assert bare.content == plain.content
    pixels, said, lane = shown(clients["embed"], name, "jpg")
    assert (said, lane) == (profile, "stored")
    assert difference(pixels, shown(clients["none"], name, "jpg")[0]) == 0
    part = "384,256,128,128/max/0/color"
    assert shown(clients["embed"], name, "jpg", part)[1:] == (profile, "lossless")


@pytest.mark.parametrize("form", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("name", ["swap", "lzw"])
def test_rendered_pictures_carry_it(clients: dict[str, TestClient], form: str, name: str) -> None:
    for parameters in ("full/100,/0/default", "full/100,/90/default"):
        pixels, said, lane = shown(clients["embed"], name, form, parameters)
        bare, nothing, _ = shown(clients["none"], name, form, parameters)
        assert (said, nothing, lane) == (SWAP, b"", "render")
        assert difference(pixels, bare) <= 1
    assert shown(clients["embed"], name, form, "full/100,/0/gray")[1] == b""
    assert shown(clients["embed"], "plain", form, "full/100,/0/default")[1] == b""


def test_pdf_carries_it(clients: dict[str, TestClient]) -> None:
    data = clients["embed"].get("/iiif/3/c/swap.tif/full/100,/0/default.pdf").content
    assert SWAP in data
    assert b"/ICCBased" in data


def converted(pixels: Pixels, profile: bytes = SWAP) -> Pixels:
    image = Image.fromarray(pixels)
    source, target = (ImageCms.ImageCmsProfile(io.BytesIO(one)) for one in (profile, SRGB))
    return np.asarray(ImageCms.profileToProfile(image, source, target))


@pytest.mark.parametrize("name", ["swap", "lzw"])
def test_conversion_to_srgb(clients: dict[str, TestClient], name: str) -> None:
    """As lcms converts; nothing is sent as stored, and no profile goes along."""
    pixels, said, lane = shown(clients["srgb"], name, "png")
    raw = shown(clients["none"], name, "png")[0]
    assert (said, lane) == (b"", "render")
    assert difference(pixels, converted(raw)) <= 2
    assert difference(pixels, raw) > 80
    assert shown(clients["srgb"], name, "jpg")[1:] == (b"", "render")
    tile = clients["srgb"].get(f"/tiles/c/{name}.tif/2/0/0.jpg")
    assert difference(np.asarray(Image.open(io.BytesIO(tile.content))), converted(raw)) < 60
    assert shown(clients["srgb"], "plain", "jpg")[2] == "stored"


def test_another_setting_is_another_etag(clients: dict[str, TestClient]) -> None:
    for url in ("/tiles/c/swap.tif/2/0/0.jpg", "/iiif/3/c/swap.tif/full/99,/0/default.png"):
        assert len({client.get(url).headers["etag"] for client in clients.values()}) == 3


def test_another_setting_is_read_anew(folder: Path, tmp_path: Path) -> None:
    """The same catalogue under another setting: the record changes, and with it what is sent as stored."""
    catalogue = Embedded(tmp_path / "catalogue.db")
    for icc, changed, stored in (("embed", 0, "jpg"), ("srgb", 4, ""), ("srgb", 0, ""), ("none", 4, "jpg")):
        store = Store(root=str(folder), label="c", icc=icc)
        assert apply(store, scan(store), catalogue).changed == changed
        slide = catalogue.get("c/swap.tif")
        assert slide is not None and slide.pyramid is not None
        assert (slide.icc, slide.pyramid.levels[0].stored) == (icc, stored)
    catalogue.close()


BAD = {
    "short": SWAP[:100],
    "cut": SWAP[:-1],
    "noise": bytes(range(256)) * 3,
    "over the limit": long(SWAP, (4 << 20) + 1),
    "cmyk": SWAP[:16] + b"CMYK" + SWAP[20:],
    "a link": SWAP[:12] + b"link" + SWAP[16:],
    "a tag outside": SWAP[:136] + b"\xff\xff\xff\xf0" + SWAP[140:],
    "no tags": SWAP[:128] + bytes(4) + SWAP[132:],
    "many tags": SWAP[:128] + b"\xff" * 4 + SWAP[132:],
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("icc", ["embed", "srgb"])
def test_what_cannot_be_used_is_left_out(what: str, icc: Icc, tmp_path: Path) -> None:
    """T25: over 4 MiB, cut off or of another kind: the slide is served as if it had none."""
    plain = open_slide(FileSource(slide(tmp_path / "plain.tif")), "plain").tile(0, 0, 0)
    reader = open_slide(FileSource(slide(tmp_path / "bad.tif", BAD[what])), "bad", icc)
    assert reader.profile == b""
    assert reader.tile(0, 0, 0) == plain


def test_a_profile_of_four_megabytes_is_whole(tmp_path: Path) -> None:
    """The most that is taken: 65 segments."""
    profile = long(SWAP, 4 << 20)
    reader = open_slide(FileSource(slide(tmp_path / "x.tif", profile)), "x")
    assert Image.open(io.BytesIO(reader.tile(0, 0, 0))).info["icc_profile"] == profile
    assert reader.nbytes > 3 * len(profile)


def test_usable() -> None:
    assert usable(SRGB) == SRGB
    assert usable(SRGB + b"padding") == SRGB
    assert usable(b"") == b""


def test_a_scanners_profile(shared: Path) -> None:
    """A slide of TCGA: the same profile by our own reader and by OpenSlide, and what it means to lcms."""
    source = FileSource(shared / "svs" / "tcga-cr-7395-01a-01-ts1.svs")
    ours, theirs = open_slide(source, "x"), ForeignReader(source, "x", "openslide", pool)
    assert ours.format == "tiled"
    assert ours.profile == theirs.profile != b""
    box = Box(0, 0, 256, 256)
    srgb = pixels(open_slide(source, "x", "srgb"), 0, box)
    raw = pixels(ours, 0, box)
    assert difference(srgb, converted(raw, ours.profile)) <= 2
