"""IIIF's arithmetic against exact fractions, what its formats are like inside, and cases of other servers' tests."""

import io
import os
import random
import re
from fractions import Fraction

import pytest
import pyvips
from PIL import Image
from served import Serve, copied, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, write

from ptiffserve import pdf
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Box, Size
from ptiffserve.protocols import iiif
from ptiffserve.protocols.base import Offer

CASES = 100_000 if os.environ.get("PTIFFSERVE_SOAK") else 20_000
FREE = Offer(("jpg",), 1 << 62, 1 << 62, 1 << 124)


@pytest.fixture(scope="module")
def client(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("iiif") / "p"
    folder.mkdir()
    write(Tiny(640, 560, 128), folder / "X.tif")
    copied(folder / "X.tif", folder / "wrong.svs")
    client = serve(folder)
    settle(client, 2)
    return client


def half_up(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


def number(rng: random.Random) -> str:
    """0 to 100 with up to 20 decimals."""
    places = rng.randrange(21)
    return str(rng.randint(0, 100)) if places == 0 else f"{rng.randrange(100)}.{rng.randrange(10**places):0{places}}"


def test_percent_regions_are_exact() -> None:
    rng = random.Random(1)
    outside = 0
    for _ in range(CASES):
        sides = rng.randint(1, 10 ** rng.randint(1, 9)), rng.randint(1, 10 ** rng.randint(1, 9))
        said = [number(rng) for _ in range(4)]
        x, y, w, h = (Fraction(text) * side / 100 for text, side in zip(said, sides * 2, strict=True))
        text = "pct:" + ",".join(said)
        if 0 in (w, h) or half_up(x) >= sides[0] or half_up(y) >= sides[1]:
            outside += 1
            with pytest.raises(Malformed):
                iiif.region_box(text, Size(*sides))
            continue
        left, top = half_up(x), half_up(y)
        right, bottom = left + max(1, half_up(w)), top + max(1, half_up(h))
        box = Box(left, top, min(right, sides[0]) - left, min(bottom, sides[1]) - top)
        assert iiif.region_box(text, Size(*sides)) == box, (text, sides)
    assert 0 < outside < CASES // 3


def test_sizes_are_exact() -> None:
    rng = random.Random(2)
    for _ in range(CASES):
        width, height, w, h = (rng.randint(1, 10 ** rng.randint(1, 8)) for _ in range(4))
        percent = number(rng)
        factor = Fraction(percent) / 100
        tall, wide = max(1, half_up(Fraction(w * height, width))), max(1, half_up(Fraction(h * width, height)))
        box = Box(rng.randrange(1 << 30), 0, width, height)
        assert iiif.output_size(f"^{w},", box, "3", FREE) == Size(w, tall)
        assert iiif.output_size(f",{h}", box, "2", FREE) == Size(wide, h)
        assert iiif.output_size(f"!{w},{h}", box, "2", FREE) in (Size(w, tall), Size(wide, h))
        if factor:
            scaled = Size(max(1, half_up(width * factor)), max(1, half_up(height * factor)))
            assert iiif.output_size(f"pct:{percent}", box, "3", FREE) == scaled


# ---- formats -----------------------------------------------------------------------------------------------


def shown(client: TestClient, parameters: str) -> Image.Image:
    answer = client.get(f"/iiif/3/p/X.tif/{parameters}")
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_black_and_white_takes_one_bit(client: TestClient) -> None:
    for form, mode in (("png", "1"), ("tif", "1"), ("gif", "P"), ("jpg", "L")):
        assert shown(client, f"full/99,/0/bitonal.{form}").mode == mode
    assert shown(client, "full/99,/0/bitonal.tif").info["compression"] == "group4"
    assert len(client.get("/iiif/3/p/X.tif/full/max/0/bitonal.png").content) < 1500


def test_corners_that_a_turn_opens(client: TestClient) -> None:
    """Transparent where a format can: not in JPEG, not between black and white, and not where nothing opens."""
    for form in ("png", "webp", "tif"):
        image = shown(client, f"full/120,/30/default.{form}")
        assert (image.mode, image.getpixel((0, 0))[3], image.getpixel((60, 60))[3]) == ("RGBA", 0, 255)
    assert shown(client, "full/120,/180/default.png").mode == "RGB"
    assert shown(client, "full/120,/30/bitonal.png").mode == "1"
    assert min(shown(client, "full/120,/30/default.jpg").getpixel((0, 0))) > 250


@pytest.mark.parametrize("quality", ["default", "gray", "bitonal"])
def test_pdf(client: TestClient, quality: str) -> None:
    """Each entry of the table points at its object, each stream is as long as it says; poppler shows the picture."""
    answer = client.get(f"/iiif/3/p/X.tif/full/320,280/0/{quality}.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    data = answer.content
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])  # type: ignore[index]
    entries = re.findall(rb"(\d{10}) 00000 n \n", data[start:])
    assert data[start:].startswith(b"xref\n0 %d\n0000000000 65535 f \n" % (len(entries) + 1))
    for order, entry in enumerate(entries, 1):
        assert data[int(entry) :].startswith(b"%d 0 obj\n" % order)
    for stream in re.finditer(rb"/Length (\d+) >>\nstream\n", data):
        assert data[stream.end() + int(stream[1]) :].startswith(b"\nendstream\nendobj\n")
    page = pyvips.Image.pdfload_buffer(data, dpi=72)
    assert (page.width, page.height) == (320, 280)
    picture = shown(client, f"full/320,280/0/{quality}.png").convert("RGB")
    assert all(abs(a - b) < 4 for a, b in zip(page(160, 140)[:3], picture.getpixel((160, 140)), strict=True))


def test_a_large_page_is_scaled() -> None:
    data = pdf.of_jpeg(b"", Size(57600, 100), 3)
    assert b"/MediaBox [0 0 14400 25]" in data
    assert b"/Width 57600 /Height 100" in data


def test_pdf_is_iiif_only(client: TestClient) -> None:
    for url in ("/tiles/p/X.tif/0/0/0.pdf", "/deepzoom/p/X.tif_files/0/0_0.pdf", "/slides/p/X.tif/thumbnail.pdf"):
        assert client.get(url).status_code == 400, url


# ---- other servers -----------------------------------------------------------------------------------------


def test_a_wrong_ending_still_decodes(client: TestClient) -> None:
    """Cantaloupe: what a file is, its bytes say."""
    assert shown(client, "full/max/0/default.jpg").size == (640, 560)
    assert client.get("/iiif/3/p/wrong.svs/full/max/0/default.jpg").status_code == 200


@pytest.mark.parametrize("query", ["cache=false", "cache=recache", "cache=bogus", "response-content-disposition=none"])
def test_cantaloupes_queries_change_nothing(client: TestClient, query: str) -> None:
    plain, asked = (client.get(f"/iiif/3/p/X.tif/full/50,/0/default.jpg{said}") for said in ("", f"?{query}"))
    assert (asked.status_code, asked.headers["etag"]) == (200, plain.headers["etag"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("X.tif/info", 404),  # Loris
        ("X.tif/0,0,10/max/0/default.jpg", 400),
        ("X.tif/0,0,10,10,10/max/0/default.jpg", 400),
        ("X.tif/pct:0,0,101,50/max/0/default.jpg", 400),
        ("X.tif/pct:100,0,50,50/max/0/default.jpg", 400),
        ("X.tif/640,0,50,50/max/0/default.jpg", 400),
        ("X.tif/full/max/0/default", 400),
        ("X.tif/0%2C0%2C10%2C10/max/0/default.jpg", 200),  # %2C is a comma
        ("..%2Fp%2FX.tif/info.json", 404),  # Cantaloupe: identifiers that climb
        ("..%5CX.tif/info.json", 404),
        ("....%2F%2FX.tif/info.json", 404),
        ("X.tif%00/info.json", 404),
    ],
)
@pytest.mark.parametrize("version", ["2", "3"])
def test_what_others_refuse(client: TestClient, version: str, path: str, status: int) -> None:
    assert client.get(f"/iiif/{version}/p/{path}").status_code == status


def test_features_are_declared(client: TestClient) -> None:
    """All that the levels do not already promise: their documents list the rest."""
    info = client.get("/iiif/3/p/X.tif/info.json").json()
    assert info["preferredFormats"] == ["jpg"]
    assert {"pdf", "tif", "gif", "webp"} <= set(info["extraFormats"])
    assert set(info["extraFeatures"]) == {
        *("canonicalLinkHeader", "profileLinkHeader", "mirroring", "rotationArbitrary", "sizeUpscaling"),
    }
    more = client.get("/iiif/2/p/X.tif/info.json").json()["profile"][1]
    assert {"sizeAboveFull", "regionSquare", "mirroring", "rotationArbitrary"} <= set(more["supports"])
    assert more["qualities"] == ["default", "color", "gray", "bitonal"]
