"""IIIF 2.1 and 3.0, DeepZoom, z/x/y: parameters, documents and what is refused. Cases of Cantaloupe and large_image."""

import io
import json
import os
from decimal import Decimal
from fractions import Fraction
from math import ceil, log2
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from served import Serve, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, jpeg_size, write

from ptiffserve import encode
from ptiffserve.address import WHITE, Tile, View
from ptiffserve.endpoint import PROTOCOLS
from ptiffserve.errors import Malformed, NotFound, PtiffserveError
from ptiffserve.geometry import Box, Level, Pyramid, Size, ceil_div, tiles_across
from ptiffserve.protocols import deepzoom, iiif
from ptiffserve.protocols.base import Offer
from ptiffserve.slide import Fingerprint, Slide

OFFER = Offer(("jpg", "png", "webp"), 8192, 8192, 1 << 24)
SOAK = settings(deadline=None, max_examples=20000 if os.environ.get("PTIFFSERVE_SOAK") else 400)


@pytest.fixture(scope="module")
def small(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """Cantaloupe's 64 x 56 picture, a wide one of 10000 x 1, and one of 2000 x 1500 for grids."""
    folder = tmp_path_factory.mktemp("protocols") / "p"
    folder.mkdir()
    write(Tiny(64, 56, 32), folder / "X.tif")
    write(Tiny(10000, 1, 256), folder / "wide.tif")
    write(Tiny(2000, 1500, 256), folder / "grid.tif")
    client = serve(folder)
    settle(client, 3)
    return client


# Cantaloupe 904412b, the image resource tests of IIIF 3: region/size/rotation/quality.format -> size or status.
CASES3 = {
    "full/max/0/default.jpg": (64, 56),
    "square/max/0/default.jpg": (56, 56),
    "20,20,100,100/max/0/default.jpg": (44, 36),
    "pct:20,20,50,50/max/0/default.jpg": (32, 28),
    "pct:20.2,20.6,50.2,50.6/max/0/default.jpg": (32, 28),
    "0,0,99999,99999/max/0/default.jpg": (64, 56),
    "0,0,0,0/max/0/default.jpg": 400,
    "99999,99999,50,50/max/0/default.jpg": 400,
    "64,0,10,10/max/0/default.jpg": 400,
    "0,56,10,10/max/0/default.jpg": 400,
    "63,55,10,10/max/0/default.jpg": (1, 1),
    "ca%20ioU/max/0/default.jpg": 400,
    "full/50,/0/default.jpg": (50, 44),
    "full/,50/0/default.jpg": (57, 50),
    "full/100,/0/default.jpg": 400,
    "full/,100/0/default.jpg": 400,
    "full/pct:110/0/default.jpg": 400,
    "0,0,4,4/pct:101/0/default.jpg": 400,
    "full/100,20/0/default.jpg": 400,
    "full/20,100/0/default.jpg": 400,
    "full/!300,300/0/default.jpg": 400,
    "full/^100,/0/default.jpg": (100, 88),
    "full/^,100/0/default.jpg": (114, 100),
    "full/^pct:110/0/default.jpg": (70, 62),
    "full/^100,100/0/default.jpg": (100, 100),
    "full/^!100,100/0/default.jpg": (100, 88),
    "full/^max/0/default.jpg": (64, 56),
    "full/!30,30/0/default.jpg": (30, 26),
    "full/50,50/0/default.jpg": (50, 50),
    "full/full/0/default.jpg": 400,
    "full/pct:0/0/default.jpg": 400,
    "full/0,/0/default.jpg": 400,
    "full/,0/0/default.jpg": 400,
    "full/,/0/default.jpg": 400,
    "full/^99999,99999/0/default.jpg": 400,
    "full/^pct:100000/0/default.jpg": 400,
    "full/max/15.5/default.jpg": 200,
    "full/max/360/default.jpg": (64, 56),
    "full/max/90/default.jpg": (56, 64),
    "full/max/!270.0/default.jpg": (56, 64),
    "full/max/!15/default.jpg": 200,
    "full/max/-15/default.jpg": 400,
    "full/max/4855/default.jpg": 400,
    "full/max/360.5/default.jpg": 400,
    "full/max/0/color.jpg": (64, 56),
    "full/max/0/gray.jpg": (64, 56),
    "full/max/0/bitonal.jpg": (64, 56),
    "full/max/0/bogus.jpg": 400,
    "full/max/0/native.jpg": 400,
    "full/max/0/default.bogus": 400,
    "full/max/0/default": 400,
    "full/max/0/default.JPG": 400,
    "full/max/0/.jpg": 400,
    **{
        f"full/{up}{size}/0/default.jpg": 400
        for up in ("", "^", "!", "^!", "!^", "^^")
        for size in ("cats", "cats,50", "50,cats", "cats,", ",cats", "", "50", "50,50,50", "max,", "pct:", "pct:cats")
    },
}
CASES2 = {
    "full/full/0/default.jpg": (64, 56),
    "full/max/0/default.jpg": (64, 56),
    "full/100,/0/default.jpg": (100, 88),
    "full/,100/0/default.jpg": (114, 100),
    "full/pct:110/0/default.jpg": (70, 62),
    "full/100,20/0/default.jpg": (100, 20),
    "full/!300,300/0/default.jpg": (300, 263),
    "full/^100,/0/default.jpg": 400,
    "full/^max/0/default.jpg": 400,
    "square/10,/0/default.jpg": (10, 10),
    "full/99999,/0/default.jpg": 400,
}


@pytest.mark.parametrize(
    ("version", "parameters", "expected"), [("3", *c) for c in CASES3.items()] + [("2", *c) for c in CASES2.items()]
)
def test_iiif_case(small: TestClient, version: str, parameters: str, expected: int | tuple[int, int]) -> None:
    answer = small.get(f"/iiif/{version}/p%2FX.tif/{parameters}")
    if isinstance(expected, int):
        assert answer.status_code == expected, answer.text[:200]
        return
    assert answer.status_code == 200, answer.text[:200]
    assert jpeg_size(answer.content) == expected


def test_a_result_is_at_least_one_pixel(small: TestClient) -> None:
    assert jpeg_size(small.get("/iiif/3/p/wide.tif/full/3,/0/default.jpg").content) == (3, 1)
    assert jpeg_size(small.get("/iiif/3/p/wide.tif/full/pct:0.001/0/default.jpg").content) == (1, 1)
    assert small.get("/iiif/3/p/wide.tif/full/3,0/0/default.jpg").status_code == 400


def test_every_format_of_the_offer_is_one(small: TestClient) -> None:
    """Each declared format is made, named rightly, and decodes to the asked size by another decoder than ours."""
    info = small.get("/iiif/2/p/X.tif/info.json").json()["profile"][1]
    assert {"jpg", "png", "webp", "tif", "gif"} <= set(info["formats"])
    assert info["formats"] == [*encode.formats(), "pdf"]
    for form in info["formats"]:
        for quality in info["qualities"]:
            answer = small.get(f"/iiif/2/p/X.tif/full/40,35/0/{quality}.{form}")
            assert answer.status_code == 200, (form, quality, answer.text[:200])
            assert answer.headers["content-type"] == encode.media_type(form)
            if form not in ("avif", "jxl", "pdf"):  # Pillow's own build may lack them
                assert Image.open(io.BytesIO(answer.content)).size == (40, 35), (form, quality)


def test_info_3(small: TestClient) -> None:
    info = small.get("/iiif/3/p%2Fgrid.tif/info.json").json()
    assert info["@context"] == "http://iiif.io/api/image/3/context.json"
    assert info["id"] == "http://testserver/iiif/3/p%2Fgrid.tif"
    assert (info["type"], info["protocol"]) == ("ImageService3", "http://iiif.io/api/image")
    assert (info["profile"], info["width"], info["height"]) == ("level2", 2000, 1500)
    assert info["tiles"] == [{"width": 256, "height": 256, "scaleFactors": [1, 2, 4, 8]}]
    assert {"width": 250, "height": 188} in info["sizes"]
    assert all(type(size[side]) is int for size in info["sizes"] for side in ("width", "height"))
    assert (info["maxWidth"], info["maxHeight"], info["maxArea"]) == (8192, 8192, 1 << 24)
    assert "webp" in info["extraFormats"]
    assert {"color", "gray", "bitonal"} == set(info["extraQualities"])
    assert not {"license", "attribution", "logo", "@id"} & set(info)


def test_info_2(small: TestClient) -> None:
    info = small.get("/iiif/2/p/grid.tif/info.json").json()
    assert info["@context"] == "http://iiif.io/api/image/2/context.json"
    assert info["@id"] == "http://testserver/iiif/2/p/grid.tif"
    assert info["profile"][0] == "http://iiif.io/api/image/2/level2.json"
    assert info["profile"][1]["maxWidth"] == 8192
    assert "type" not in info and "id" not in info


def test_every_size_and_tile_of_info_json_is_served_as_stored(small: TestClient) -> None:
    """What the document offers is cheap: none of it is rendered."""
    info = small.get("/iiif/3/p/grid.tif/info.json").json()
    for size in info["sizes"]:
        answer = small.get(f"/iiif/3/p/grid.tif/full/{size['width']},{size['height']}/0/default.jpg")
        assert jpeg_size(answer.content) == (size["width"], size["height"])
    for factor in info["tiles"][0]["scaleFactors"][:-1]:
        answer = small.get(f"/iiif/3/p/grid.tif/0,0,{256 * factor},{256 * factor}/256,256/0/default.jpg")
        assert answer.headers["server-timing"].startswith("stored"), factor


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/ld+json"),
        ("*/*", "application/ld+json"),
        ("application/json", "application/json"),
        ("application/ld+json", "application/ld+json"),
        ("application/json, application/ld+json;q=0.5", "application/ld+json"),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", "application/ld+json"),
    ],
)
def test_info_json_is_negotiated(small: TestClient, version: str, accept: str | None, media_type: str) -> None:
    answer = small.get(f"/iiif/{version}/p/X.tif/info.json", headers={"accept": accept} if accept else {})
    said, _, profile = answer.headers["content-type"].partition(";")
    assert said == media_type
    if media_type == "application/ld+json":
        assert profile == f'profile="http://iiif.io/api/image/{version}/context.json"'
    assert "Accept" in answer.headers["vary"]
    assert json.loads(answer.content)["width"] == 64


@pytest.mark.parametrize("base", ["/iiif/3/p%2FX.tif", "/iiif/3/p/X.tif", "/iiif/2/p%2fX%2Etif", "/iiif/3/p/X.tif/"])
def test_base_uri_redirects(small: TestClient, base: str) -> None:
    """303, to an absolute URL that spells the slide as the client did."""
    answer = small.get(base)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"http://testserver{base.rstrip('/')}/info.json"
    assert small.get(answer.headers["location"]).json()["width"] == 64


def test_documents_say_the_address_they_were_asked_at(small: TestClient) -> None:
    headers = {"host": "slides.example.org:8443"}
    said = small.get("/iiif/3/p/X.tif/info%2Ejson", headers=headers).json()
    assert said["id"] == "http://slides.example.org:8443/iiif/3/p/X.tif"
    said = small.get("/tiles/p/X.tif/tilejson%2Ejson", headers=headers).json()
    assert said["tiles"] == ["http://slides.example.org:8443/tiles/p/X.tif/{z}/{x}/{y}.jpg"]


@pytest.mark.parametrize(
    ("url", "canonical", "version"),
    [
        ("/iiif/3/p%2FX.tif/pct:50,50,50,50/,50/15/gray.jpg", "/32,28,32,28/^57,50/15/gray.jpg", 3),
        ("/iiif/3/p%2FX.tif/pct:50,50,50,50/^,50/15.50/gray.jpg", "/32,28,32,28/^57,50/15.5/gray.jpg", 3),
        ("/iiif/2/p%2FX.tif/pct:50,50,50,50/,50/15/gray.jpg", "/32,28,32,28/57,/15/gray.jpg", 2),
        ("/iiif/3/p%2FX.tif/0,0,64,56/pct:100/360/color.jpg", "/full/max/0/default.jpg", 3),
        ("/iiif/2/p%2FX.tif/0,0,64,56/pct:100/!0/color.jpg", "/full/full/!0/default.jpg", 2),
        ("/iiif/3/p/X.tif/32,0,99,99/pct:50/0/default.png", "/32,0,32,56/16,28/0/default.png", 3),
        ("/iiif/3/p/X.tif/0,0,32,32/!32,99/0/default.jpg", "/0,0,32,32/max/0/default.jpg", 3),
        ("/iiif/2/p/X.tif/full/10,50/.5/default.jpg", "/full/10,50/0.5/default.jpg", 2),
    ],
)
def test_links(small: TestClient, url: str, canonical: str, version: int) -> None:
    """The canonical URI is absolute, keeps the client's spelling of the slide, and names itself as canonical."""
    answer = small.get(url)
    if "^" in canonical and "^" not in url:
        assert answer.status_code == 400
        return
    expected = f"http://testserver{url.rsplit('/', 4)[0]}{canonical}"
    assert answer.links["canonical"]["url"] == expected
    assert answer.links["profile"]["url"] == f"http://iiif.io/api/image/{version}/level2.json"
    again = small.get(expected)
    assert again.links["canonical"]["url"] == expected
    assert (again.headers["etag"], again.content) == (answer.headers["etag"], answer.content)


# large_image ebff610: the four corner tiles of every level are there, one step outside is not.
@pytest.mark.parametrize("form", ["/tiles/p/grid.tif/{z}/{x}/{y}.jpg", "/deepzoom/p/grid.tif_files/{z}/{x}_{y}.jpg"])
def test_corner_tiles(small: TestClient, form: str) -> None:
    deepest = 3 if form.startswith("/tiles") else 11
    for z in range(deepest + 1):
        scale = 2 ** (deepest - z)
        cols, rows = (ceil_div(ceil_div(side, scale), 256) for side in (2000, 1500))
        for x, y in ((0, 0), (cols - 1, 0), (0, rows - 1), (cols - 1, rows - 1)):
            assert small.get(form.format(z=z, x=x, y=y)).status_code == 200, (z, x, y)
        for x, y in ((cols, 0), (0, rows), (cols, rows), (9999999999, 0)):
            assert small.get(form.format(z=z, x=x, y=y)).status_code == 404, (z, x, y)
    for bad in ("-1", "abc", "1e1", "00", "", "+1", "1.0", "٣", "1_0", "0x1", "12345678901"):
        for place in ({"z": bad, "x": 0, "y": 0}, {"z": 0, "x": bad, "y": 0}, {"z": 0, "x": 0, "y": bad}):
            assert small.get(form.format(**place)).status_code == 400, place
    assert small.get(form.format(z=deepest + 1, x=0, y=0)).status_code == 404


@pytest.mark.parametrize("query", ["width=0", "height=0", "width=-5", "width=invalid", "width=1e3", "width=9000"])
def test_bad_thumbnails(small: TestClient, query: str) -> None:
    assert small.get(f"/slides/p/X.tif/thumbnail.jpg?{query}").status_code == 400
    assert small.get("/slides/p/X.tif/thumbnail.exe").status_code == 400


def test_a_thumbnail_is_bounded_by_its_result(small: TestClient) -> None:
    """A side that is said alone must not drag the other one past the limits."""
    assert small.get("/slides/p/wide.tif/thumbnail.jpg?height=5").status_code == 400
    assert small.get("/slides/p/wide.tif/thumbnail.jpg?width=9000&height=5").status_code == 400
    assert jpeg_size(small.get("/slides/p/X.tif/thumbnail.jpg?width=99999&height=7").content) == (8, 7)


def test_tilejson(small: TestClient) -> None:
    said = small.get("/tiles/p%2Fgrid.tif/tilejson.json").json()
    assert said["tiles"] == ["http://testserver/tiles/p%2Fgrid.tif/{z}/{x}/{y}.jpg"]
    assert (said["minzoom"], said["maxzoom"], said["size"]) == (0, 3, [2000, 1500])
    assert small.get(said["tiles"][0].format(z=3, x=7, y=5)).status_code == 200


# From here on no server: the protocols alone.


def slide_of(width: int, height: int, tile: int = 256, levels: int = 4) -> Slide:
    tiles = Size(tile, tile)
    sizes = [Size(ceil_div(width, 1 << k), ceil_div(height, 1 << k)) for k in range(levels)]
    pyramid = Pyramid(
        tuple(Level(size, tiles, tiles_across(size, tiles), 1 << k, "jpg") for k, size in enumerate(sizes))
    )
    fingerprint = Fingerprint(1, 2, 3, 4)
    return Slide(
        id="0" * 24, store="s", path="a", fingerprint=fingerprint, state="ready", added=0, changed=0, pyramid=pyramid
    )


SLIDE = slide_of(5000, 3000)
# Text that is nearly right is the dangerous kind: pieces of the syntax in any order, and anything at all.
PIECES = [
    "full",
    "max",
    "square",
    "pct:",
    "^",
    "!",
    ",",
    ".",
    "-",
    "0",
    "1",
    "90",
    "100",
    "256",
    "512",
    "1e3",
    "nan",
    "inf",
]
PIECES += [
    "default",
    "color",
    "gray",
    "bitonal",
    "jpg",
    "png",
    "%2C",
    " ",
    "٣",
    "_",
    "+",
    "\x00",
    "99999999999",
    "½",
    "𝟗",
]
near_text = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=40)


@SOAK
@given(st.sampled_from("23"), near_text, near_text, near_text, near_text)
def test_any_text_is_a_view_or_malformed(version: str, region: str, size: str, rotation: str, last: str) -> None:
    for asked in (
        (version, region, "max", "0", "default.jpg"),
        (version, "full", size, "0", "default.jpg"),
        (version, "full", "max", rotation, "default.jpg"),
        (version, "full", "max", "0", last),
        (version, region, size, rotation, last),
    ):
        try:
            found = iiif.resolve((*asked, WHITE), SLIDE, OFFER)
        except Malformed:
            continue
        assert isinstance(found, Tile | View)
        if isinstance(found, View):
            box, whole = found.box, Box(0, 0, 5000, 3000)
            assert 0 <= box.x < box.x + box.width <= whole.width and 0 <= box.y < box.y + box.height <= whole.height
            assert 1 <= found.size.width <= 8192 and 1 <= found.size.height <= 8192
            assert found.size.width * found.size.height <= 1 << 24


@SOAK
@given(
    st.sampled_from(["iiif", "deepzoom", "tiles", "slides"]),
    st.lists(near_text | st.sampled_from(["2", "3", "a.dzi", "a_files", "info.json", "tq.jpg", "0_0.jpg"]), max_size=7),
    st.dictionaries(st.sampled_from(["origin", "width", "height"]), near_text),
)
def test_any_path_is_answered_or_refused(first: str, segments: list[str], query: dict[str, str]) -> None:
    dialect = PROTOCOLS[first]
    for reading in dialect.parse([first, *segments], urlencode(query).encode()):
        try:
            dialect.resolve(reading.asked, SLIDE, OFFER)
        except PtiffserveError as fault:
            assert isinstance(fault, Malformed | NotFound)


sides = st.integers(1, 10**7)


def half_up(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


@SOAK
@given(sides, sides, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_pixel_regions_are_exact(width: int, height: int, x: int, y: int, w: int, h: int) -> None:
    inside = x < width and y < height and w > 0 and h > 0
    if not inside:
        with pytest.raises(Malformed):
            iiif.region_box(f"{x},{y},{w},{h}", Size(width, height))
        return
    box = iiif.region_box(f"{x},{y},{w},{h}", Size(width, height))
    assert box == Box(x, y, min(w, width - x), min(h, height - y))


percents = st.decimals(0, 100, places=3)


@SOAK
@given(sides, sides, st.tuples(percents, percents, percents, percents))
def test_percent_regions_are_exact(width: int, height: int, parts: tuple[Decimal, ...]) -> None:
    """Each number is rounded once, from the exact quotient; nothing is lost in a float."""
    x, y, w, h = (Fraction(part) for part in parts)
    text = "pct:" + ",".join(str(part) for part in parts)
    left, top = half_up(x * width / 100), half_up(y * height / 100)
    if w == 0 or h == 0 or left >= width or top >= height:
        with pytest.raises(Malformed):
            iiif.region_box(text, Size(width, height))
        return
    wide, high = max(1, half_up(w * width / 100)), max(1, half_up(h * height / 100))
    assert iiif.region_box(text, Size(width, height)) == Box(
        left, top, min(wide, width - left), min(high, height - top)
    )


@SOAK
@given(sides, sides, st.integers(1, 8192), st.integers(1, 8192))
def test_sizes_are_exact(width: int, height: int, w: int, h: int) -> None:
    box, free = Box(0, 0, width, height), Offer(("jpg",), 1 << 60, 1 << 60, 1 << 120)
    tall, wide = max(1, half_up(Fraction(w * height, width))), max(1, half_up(Fraction(h * width, height)))
    assert iiif.output_size(f"{w},", box, "2", free) == Size(w, tall)
    assert iiif.output_size(f",{h}", box, "2", free) == Size(wide, h)
    assert iiif.output_size(f"{w},{h}", box, "2", free) == Size(w, h)
    inside = iiif.output_size(f"!{w},{h}", box, "2", free)
    assert inside == (Size(w, tall) if Fraction(w, width) <= Fraction(h, height) else Size(wide, h))
    assert inside.width <= w and inside.height <= h
    larger = w > width or tall > height
    if larger:
        with pytest.raises(Malformed):
            iiif.output_size(f"{w},", box, "3", free)
    else:
        assert iiif.output_size(f"{w},", box, "3", free) == Size(w, tall)
    assert iiif.output_size(f"^{w},", box, "3", free) == Size(w, tall)


@SOAK
@given(sides, sides, st.integers(1, 20000), st.integers(1, 20000), st.integers(1, 10**8))
def test_max_is_within_the_limits(width: int, height: int, most_wide: int, most_high: int, area: int) -> None:
    offer = Offer(("jpg",), most_wide, most_high, max(area, most_wide, most_high))
    size = iiif.output_size("max", Box(0, 0, width, height), "3", offer)
    assert offer.check(size) == size
    assert size.width <= width and size.height <= height
    if width <= most_wide and height <= most_high and width * height <= offer.max_area:
        assert size == Size(width, height)


@SOAK
@given(st.integers(1, 40000), st.integers(1, 40000), st.sampled_from([128, 256, 512, 1024]))
def test_deepzoom_levels_tile_the_slide(width: int, height: int, tile: int) -> None:
    """Level k has ceil(side / 2^(deepest - k)) pixels; its last tile ends at the slide's edge and the next does not exist."""
    slide = slide_of(width, height, tile)
    deepest = ceil(log2(max(width, height)))
    for level in {0, deepest // 2, deepest}:
        across = -(-width // 2 ** (deepest - level))
        last = (across - 1) // tile
        found = deepzoom.resolve(("tile", str(level), f"{last}_0.png", "clip", WHITE), slide, OFFER)
        assert isinstance(found, View)
        assert found.box.x + found.box.width == width
        assert last * tile + found.size.width == across
        with pytest.raises(NotFound):
            deepzoom.resolve(("tile", str(level), f"{last + 1}_0.png", "clip", WHITE), slide, OFFER)


def test_keys_that_look_like_parameters(serve: Serve, tmp_path: Path) -> None:
    """The catalogue decides where a name ends: a slide called like a size, and one in folders called like a request."""
    folder = tmp_path / "full"
    (folder / "full" / "max" / "0").mkdir(parents=True)
    write(Tiny(64, 56, 32), folder / "full" / "max" / "0" / "default.jpg.tif")
    write(Tiny(32, 48, 32), folder / "a b,c;d=e%2Ff#g?h+é.tif")
    client = serve(folder)
    settle(client, 2)
    for key, width in (("full/full/max/0/default.jpg.tif", 64), ("full/a b,c;d=e%2Ff#g?h+é.tif", 32)):
        for name in (quote(key), quote(key, safe="")):
            assert client.get(f"/iiif/3/{name}/info.json").json()["width"] == width
            assert client.get(f"/iiif/3/{name}").status_code == 303
            assert client.get(f"/iiif/3/{name}/full/max/0/default.jpg").status_code == 200
            assert client.get(f"/tiles/{name}/0/0/0.jpg").status_code == 200
            assert client.get(f"/deepzoom/{name}.dzi").status_code == 200
