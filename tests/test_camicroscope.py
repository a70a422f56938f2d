"""A caMicroscope session, an OSS-Lite client and an IIP viewer against the server as users start it.

The URLs are those that these clients send: prefixes, order, escapes. What they get is compared with OpenSlide.
"""

import io
import json
import math
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import reference
from osd import Asked, tiles_of
from PIL import Image
from real_server import RealServer, Reply, running
from tiny_tiff import Tiny, wave, write

NAME = "deep er/cases (2026)/big slide+1.tiff"
SHOWN = f"/data/images/{NAME}"
SVS = "/data/myImages/imageDir2/image 1.svs"
WHOLE = (1500, 1100)
# Direct, behind Caracal's proxy, with the token that its client puts first, and our own short name.
PREFIXES = (
    "/fcgi-bin/iipsrv.fcgi?",
    "/fcgi-bin/iipsrv.fcgi/IIP/raw/?",
    "/fcgi-bin/iipsrv.fcgi/IIP/raw/?token=eyJ0.x-y_z&",
    "/iip?",
)
CONFIG = """
[[store]]
root = "{root}/one"
label = "camic"
url_path = "/data/images"
[[store]]
root = "{root}/two"
label = "oss"
url_path = "/data/myImages"
"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clients") / "one" / NAME
    path.parent.mkdir(parents=True)
    write(Tiny(*WHOLE, 256, paint=wave), path)
    return path


@pytest.fixture(scope="module")
def server(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    root = slide.parents[3]
    folder = root / "two" / "imageDir2"
    folder.mkdir(parents=True)
    svs = Path(__file__).parents[2] / "shared" / "data" / "svs" / "CMU-1-Small-Region.svs"
    if svs.exists():
        shutil.copy(svs, folder / "image 1.svs")
    (root / "c.toml").write_text(CONFIG.format(root=root))
    with running(root / "c.toml", tmp_path_factory.mktemp("state"), slides=1 + svs.exists()) as server:
        yield server


@pytest.fixture(scope="module")
def pixels(slide: Path) -> np.ndarray:
    return reference.level(slide, 0).astype(np.int16)


@pytest.fixture(scope="module")
def svs(server: RealServer, shared: Path) -> np.ndarray:
    return reference.level(shared / "svs" / "CMU-1-Small-Region.svs", 0).astype(np.int16)


def picture(reply: Reply) -> np.ndarray:
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "image/jpeg"
    return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGB"), np.int16)


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """What is left of pixels in a JPEG of our quality: of a noisy scan, not all."""
    data = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(data, "JPEG", quality=85)
    return np.asarray(Image.open(data), np.int16)


def target(url: str) -> str:
    return url.removeprefix("http://a.test")


def opened(server: RealServer, value: str, prefix: str) -> dict[str, object]:
    """What OpenSeadragon is given when caMicroscope opens a slide."""
    url = f"{prefix}DeepZoom={value}.dzi"
    reply = server.get(url)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/xml"), reply
    return {"kind": "dzi", "url": f"http://a.test{url}", "xml": reply.body.decode()}


@pytest.mark.parametrize("value", [SHOWN.replace(" ", "%20"), quote(SHOWN), quote(SHOWN, safe="")])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_session(server: RealServer, pixels: np.ndarray, prefix: str, value: str) -> None:
    """Every tile of every level that the real OpenSeadragon asks for; full resolution put together is the slide."""
    (tiles,) = tiles_of([opened(server, value, prefix)])
    levels = defaultdict(list)
    for url, asked in tiles.items():
        tile = picture(server.get(target(url)))
        assert tile.shape[1::-1] == (math.ceil(asked.width), math.ceil(asked.height)), url
        levels[asked.level].append((asked, tile))
    assert sorted(levels) == list(range(12))  # ceil(log2(1500)) is 11; 0 is one pixel
    whole = stitched(levels[11])
    assert whole.shape == pixels.shape
    assert np.abs(whole - pixels).mean() < 0.5
    half = pixels[: 2 * 550, : 2 * 750].reshape(550, 2, 750, 2, 3).mean(axis=(1, 3))
    assert np.abs(stitched(levels[10]) - half).mean() < 4


def stitched(tiles: list[tuple[Asked, np.ndarray]]) -> np.ndarray:
    """A level of tiles of 256."""
    width = max(asked.x * 256 + tile.shape[1] for asked, tile in tiles)
    height = max(asked.y * 256 + tile.shape[0] for asked, tile in tiles)
    whole = np.full((height, width, 3), -999, np.int16)
    for asked, tile in tiles:
        whole[asked.y * 256 : asked.y * 256 + tile.shape[0], asked.x * 256 : asked.x * 256 + tile.shape[1]] = tile
    return whole


def test_every_form_of_a_tile_is_that_tile(server: RealServer) -> None:
    record = json.loads(server.get("/api/slides?store=camic").body)["slides"][0]
    values = [*(quote(name) for name in (SHOWN, record["key"], record["id"])), SHOWN.replace(" ", "%20")]
    replies = {
        (reply.status, reply.headers["etag"], reply.headers["server-timing"].partition(";")[0], reply.body)
        for prefix in PREFIXES
        for value in values
        for reply in (
            server.get(f"{prefix}DeepZoom={value}_files/11/2_1.jpg"),
            server.get(f"{prefix}IIIF={value}/512,256,256,256/256,/0/default.jpg"),
            server.get(f"{prefix}FIF={value}&JTL=3,8"),
            server.get(f"{prefix}Zoomify={value}/TileGroup0/3-2-1.jpg"),
        )
    }
    assert [(status, lane) for status, _, lane, _ in replies] == [(200, "stored")]


def test_patches(server: RealServer, pixels: np.ndarray) -> None:
    """Models and labels ask for squares anywhere, with the path as it is and sizes that need not be whole."""
    chance = random.Random(5)
    for _ in range(24):
        side = chance.randint(20, 400)
        x, y = chance.randrange(WHOLE[0] - side), chance.randrange(WHOLE[1] - side)
        url = f"{PREFIXES[2]}IIIF={SHOWN.replace(' ', '%20')}/{x},{y},{side},{side}/{side},/0/default.jpg"
        patch = picture(server.get(url))
        assert np.abs(patch - pixels[y : y + side, x : x + side]).mean() < 3, url
    for said, size in (("256.5,", 257), ("256.49,", 256), ("0.2,", 1), ("!300.4,300.4", 300)):
        patch = picture(server.get(f"{PREFIXES[1]}IIIF={quote(SHOWN)}/0,0,800,800/{said}/0/default.jpg"))
        assert patch.shape == (size, size, 3), said


@pytest.mark.parametrize("value", [quote(SHOWN), quote(SHOWN, safe="")])
def test_an_iiif_client_behind_iip(server: RealServer, pixels: np.ndarray, value: str) -> None:
    """The bare name leads to info.json, whose @id is an address that OpenSeadragon makes tiles of."""
    asked = server.get(f"{PREFIXES[2]}IIIF={value}")
    assert (asked.status, asked.headers["location"]) == (303, f"http://a.test{PREFIXES[2]}IIIF={value}/info.json")
    info = json.loads(server.get(target(asked.headers["location"])).body)
    assert info["@id"] == f"http://a.test{PREFIXES[2]}IIIF={value}"
    assert (info["width"], info["height"]) == WHOLE
    late = json.loads(server.get(f"/iip?IIIF={value}%2Finfo.json&token=z").body)
    assert late["@id"] == f"http://a.test/iip?token=z&IIIF={value}"
    (tiles,) = tiles_of([{"kind": "iiif", "url": info["@id"] + "/info.json", "info": info}])
    last = max(asked.level for asked in tiles.values())
    deepest = [(asked, picture(server.get(target(url)))) for url, asked in tiles.items() if asked.level == last]
    assert np.abs(stitched(deepest) - pixels).mean() < 0.5
    reply = server.get(f"/iip?IIIF={value}/0,0,256,256/256,/0/default.jpg")
    assert f'<http://a.test/iip?IIIF={value}/0,0,256,256/full/0/default.jpg>;rel="canonical"' in reply.headers["link"]


def test_objects(server: RealServer) -> None:
    """Plain text, a line each, in the order asked; what is not there is said so beside the rest."""

    def said(names: str) -> str:
        reply = server.get(f"/fcgi-bin/iipsrv.fcgi?FIF={quote(SHOWN)}&" + names)
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8"), reply
        return reply.body.decode()

    assert said("obj=IIP,1.0&obj=Max-size&obj=Tile-size&obj=Resolution-number&obj=Resolutions") == (
        "IIP:1.0\r\nMax-size:1500 1100\r\nTile-size:256 256\r\nResolution-number:4\r\n"
        "Resolutions:188 138,375 275,750 550,1500 1100\r\n"
    )
    assert said("OBJ=bits-per-channel&OBJ=Nonsense&obj=IIP-server") == (
        "Bits-per-channel:8\r\nError/3:3 2 nonsense\r\nIIP-server:3.65\r\n"
    )
    assert said("OBJ=Basic-Info").count("\r\n") == 4
    assert server.get(f"/iip?FIF={quote(SHOWN)}&OBJ=%00").status == 400


def test_whole_pictures(server: RealServer, pixels: np.ndarray) -> None:
    """CVT in each form that iipsrv has of it."""

    def made(more: str) -> Reply:
        return server.get(f"/fcgi-bin/iipsrv.fcgi?FIF={quote(SHOWN)}&{more}")

    assert picture(made("CVT=jpeg")).shape == pixels.shape
    assert picture(made("WID=300&CVT=JPEG")).shape == (220, 300, 3)
    assert picture(made("HEI=110&CVT=jpeg")).shape == (110, 150, 3)
    assert picture(made("WID=300&HEI=300&CVT=jpeg")).shape == (220, 300, 3)
    part = picture(made("RGN=0.2,0.5,0.1,0.25&CVT=jpeg"))
    assert np.abs(part - pixels[550:825, 300:450]).mean() < 3
    turned = picture(made("RGN=0.2,0.5,0.1,0.25&ROT=!90&CVT=jpeg"))
    assert np.abs(turned - np.rot90(pixels[550:825, 450 - 1 : 300 - 1 : -1], -1)).mean() < 3
    sizes = [len(made(f"WID=700&QLT={quality}&CVT=jpeg").body) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes) and sizes[0] * 3 < sizes[2]
    for form in ("png", "webp", "tiff"):
        reply = made(f"WID=40&CVT={form}")
        assert reply.status == 200 and Image.open(io.BytesIO(reply.body)).size == (40, 29), form
    for bad in ("CVT=exe", "RGN=2,2,1,1&CVT=jpeg", "WID=0&CVT=jpeg", "QLT=101&CVT=jpeg", "WID=-1&CVT=jpeg"):
        assert made(bad).status == 400, bad


SPELT: list[Callable[[str], str]] = [
    quote,
    lambda path: quote(path).replace("/imageDir2/", "%2FimageDir2%2F"),
    lambda path: "/" + quote(path[1:], safe=""),
]


@pytest.mark.parametrize("spell", SPELT)
def test_oss_lite(server: RealServer, svs: np.ndarray, spell: Callable[[str], str]) -> None:
    base = spell(SVS)
    part = picture(server.get(f"{base}/800,900,400,400/full/0/default.jpg"))
    assert part.shape == (400, 400, 3)
    wanted = svs[900:1300, 800:1200]
    assert np.abs(part - as_jpeg(wanted)).mean() < 1
    exact = server.get(f"{base}/800,900,400,400/full/0/default.png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(exact.body)).convert("RGB")), wanted)
    height, width, _ = svs.shape
    assert picture(server.get(f"{base}/{width - 100},{height - 50},400,400/full/0/default.jpg")).shape == (50, 100, 3)
    info = json.loads(server.get(f"{base}/info.json").body)
    assert (info["width"], info["height"], info["@id"]) == (width, height, f"http://a.test{base}")
    assert info["tiles"][0]["scaleFactors"][0] == 1
    assert info["@context"] == "http://iiif.io/api/image/2/context.json"
    assert server.get(base).headers["location"] == f"http://a.test{base}/info.json"


@pytest.mark.parametrize(
    "path",
    ["/data/myImages/../images/" + NAME, "/data/myImages/..%2f..%2fetc%2fpasswd", "/data/other/x.svs", "/data/myImages",
     "/data/myImages/imageDir2", "/data/myImages//etc/passwd", "/data/myImages/imageDir2/../imageDir2/image 1.svs",
     "/data/myImagesX/imageDir2/image 1.svs", "/data/myImages/imageDir2/image 1.svs%00", "/data"],
)  # fmt: skip
def test_no_way_out_of_a_store(server: RealServer, path: str) -> None:
    path = path.replace(" ", "%20")
    for form in ("{}/info.json", "{}/0,0,9,9/9,/0/default.jpg", "/iip?IIIF={}/info.json", "/iip?FIF={}&OBJ=Max-size"):
        unknown = server.get(form.format("/data/myImages/unknown.svs"))
        reply = server.get(form.format(path))
        assert (reply.status, reply.body) == (404, unknown.body), form
    assert not re.search(rb"Traceback|passwd|/tmp", unknown.body)
