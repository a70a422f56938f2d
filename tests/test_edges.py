"""What a tile shows where the slide ends: cut or whole, and in which colour."""

import io

import numpy as np
import pytest
from PIL import Image
from served import Serve, settle
from starlette.testclient import TestClient
from tiny_tiff import FLAT, Tiny, write

GREEN = "20c040"


@pytest.fixture(scope="module")
def edges(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """One colour all over, 1000 x 700 in tiles of 256: 232 x 188 of the last tile are slide."""
    folder = tmp_path_factory.mktemp("edges") / "e"
    folder.mkdir()
    write(Tiny(1000, 700, 256), folder / "s.tif")
    client = serve(folder)
    settle(client, 1)
    return client


def pixels(client: TestClient, url: str) -> np.ndarray:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), np.int16)


def near(pixels: np.ndarray, colour: tuple[int, ...] | bytes, tolerance: int = 3) -> bool:
    return bool(np.abs(pixels - np.array(list(colour))).max() <= tolerance)


PADDED = (
    "/tiles/e/s.tif/2/3/2.{}",
    "/deepzoom/e/s.tif_files/10/3_2.{}?edge=pad",
    "/iip?DeepZoom=e/s.tif_files/10/3_2.{}&edge=pad",
    "/zoomify/e/s.tif/TileGroup0/2-3-2.{}?edge=pad",
)
CLIPPED = (
    "/tiles/e/s.tif/2/3/2.{}?edge=clip",
    "/tiles/e/s.tif/tsr.{}?edge=clip",
    "/deepzoom/e/s.tif_files/10/3_2.{}",
    "/zoomify/e/s.tif/TileGroup0/2-3-2.{}",
)


@pytest.mark.parametrize("form", ["jpg", "jpeg", "png", "webp", "tif", "tiff", "gif"])
def test_whole_and_cut_in_every_format(edges: TestClient, form: str) -> None:
    for url in PADDED:
        assert pixels(edges, url.format(form)).shape == (256, 256, 3), url
    for url in CLIPPED:
        tile = pixels(edges, url.format(form))
        assert tile.shape == (188, 232, 3) and near(tile, FLAT, 8), url


@pytest.mark.parametrize("url", PADDED)
def test_the_background_is_what_lies_past_the_slide(edges: TestClient, url: str) -> None:
    joint = "&" if "?" in url else "?"
    tile = pixels(edges, f"{url.format('png')}{joint}background={GREEN}")
    assert near(tile[:188, :232], FLAT)
    assert near(tile[188:], bytes.fromhex(GREEN)) and near(tile[:, 232:], bytes.fromhex(GREEN))
    plain = pixels(edges, url.format("png"))
    assert near(plain[188:], (255, 255, 255))


def test_the_background_shows_in_corners_that_a_turn_opens(edges: TestClient) -> None:
    for url in ("/iiif/3/e/s.tif/full/200,/45/default.png?", "/iip?FIF=e/s.tif&WID=200&ROT=45&CVT=png&"):
        turned = pixels(edges, f"{url}background={GREEN}")
        assert near(turned[0, 0], bytes.fromhex(GREEN)), url
        assert near(turned[turned.shape[0] // 2, turned.shape[1] // 2], FLAT)
        assert near(pixels(edges, url.replace("png", "jpg"))[0, 0], (255, 255, 255))


def test_what_cannot_be_seen_makes_no_other_answer(edges: TestClient) -> None:
    """The same ETag and lane whatever the colour, where the slide fills the picture; another one where it does not."""
    for url, seen in (
        ("/tiles/e/s.tif/2/1/1.jpg", False),
        ("/deepzoom/e/s.tif_files/10/3_2.jpg", False),
        ("/iiif/3/e/s.tif/full/200,/90/default.jpg", False),
        ("/tiles/e/s.tif/2/3/2.jpg", True),
        ("/iiif/3/e/s.tif/full/200,/1/default.jpg", True),
    ):
        tags = {edges.get(f"{url}?background={colour}&frob={colour}").headers["etag"] for colour in ("ffffff", GREEN)}
        assert len(tags | {edges.get(url).headers["etag"]}) == 1 + seen, url


def test_tilejson(edges: TestClient) -> None:
    """`bounds` in degrees of the square map that the grid is, as map clients read them: they ask for no tile outside."""
    said = edges.get("/tiles/e/s.tif/tilejson.json?x=/y").json()
    assert said["tiles"] == ["http://testserver/tiles/e/s.tif/{z}/{x}/{y}.jpg"]
    assert (said["minzoom"], said["maxzoom"], said["format"]) == (0, 2, "jpg")
    assert {"jpg", "png", "webp"} <= set(said["formats"])
    west, south, east, north = said["bounds"]
    assert (west, round(north, 6)) == (-180, 85.051129)
    assert east == pytest.approx(1000 / 1024 * 360 - 180)
    down = (1 - np.arcsinh(np.tan(np.radians(south))) / np.pi) / 2
    assert down == pytest.approx(700 / 1024)
