"""Every tile that the real OpenSeadragon asks for is there, with the very size it expects, in each of its protocols.

The URLs come from the library itself (npm, in Node without a browser), the sizes are read out of the answers' JPEG headers.
"""

import io
import math
import os
import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from direct import Answer, ask_all
from osd import Asked, tiles_of
from PIL import Image
from served import Serve, settle, told_apart
from starlette.testclient import TestClient
from tiny_tiff import FLAT, Tiny, jpeg_size, triangle, wave, write

IMAGES = 200 * (5 if os.environ.get("PTIFFSERVE_SOAK") else 1)
DIALECTS = ("iiif2", "iiif3", "dzi", "zoomify", "iip")
# The sizes that the rules of viewers trip over: 1 px edges, single pixels, lines, powers of two and one beside them.
ODD = [
    Tiny(1025, 1537, 512),
    Tiny(1025, 1537, 512, floors=True),
    Tiny(1025, 1537, 512, philips=True, floors=True),
    Tiny(1025, 1537, 512, philips=True, padded=True),
    Tiny(1, 1, 128),
    Tiny(1, 1, 1024, philips=True),
    Tiny(1, 3000, 256),
    Tiny(3000, 1, 256, floors=True),
    Tiny(2, 999, 128, philips=True),
    Tiny(512, 512, 512),
    Tiny(513, 511, 512),
    Tiny(1024, 1024, 256, philips=True, padded=True),
    Tiny(1023, 1025, 256, levels=1),
    Tiny(4097, 2049, 1024, levels=2),
    Tiny(6000, 300, 144),
    Tiny(300, 6000, 1008, philips=True),
]


def stated(url: str, asked: Asked, whole: tuple[int, int]) -> tuple[int, int]:
    """The size that the answer must have: what the URL says in IIIF, else whole pixels. `whole`: the slide's."""
    if "/iiif/" not in url:
        return math.ceil(asked.width), math.ceil(asked.height)
    region, size = url.split("/")[-4:-2]
    width, height = whole if region == "full" else (int(side) for side in region.split(",")[2:])
    if size in ("full", "max"):
        return width, height
    wide, high = size.split(",")
    assert abs(int(wide) - asked.width) < 1, (url, asked)
    assert not high or abs(int(high) - asked.height) < 1, (url, asked)
    return int(wide), int(high) if high else max(1, math.floor(Fraction(height * int(wide), width) + Fraction(1, 2)))


def random_slide(chance: random.Random) -> Tiny:
    philips = chance.random() < 0.5
    width, height = round(6000 ** chance.random()), round(6000 ** chance.random())
    return Tiny(
        width=width,
        height=height,
        tile=16 * round(8 * 8 ** chance.random() ** 1.5),
        philips=philips,
        padded=philips and chance.random() < 0.6,
        floors=chance.random() < 0.5,
        levels=chance.choice((1, 2, 32, 32)) if width * height < 1 << 21 else 32,
    )


@pytest.fixture(scope="module")
def odd(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> tuple[TestClient, dict[str, Tiny]]:
    """A server of IMAGES slides with all kinds of sizes, and what each of them is."""
    folder = tmp_path_factory.mktemp("osd") / "odd"
    folder.mkdir()
    chance = random.Random(20260)
    slides = [*ODD, *(random_slide(chance) for _ in range(IMAGES - len(ODD)))]
    named = {f"{number}.tiff": slide for number, slide in enumerate(slides)}
    for name, slide in named.items():
        write(slide, folder / name)
        told_apart(folder / name)
    client = serve(folder)
    settle(client, len(named), 60)
    return client, named


def document(client: TestClient, dialect: str, key: str) -> dict[str, object]:
    """What OpenSeadragon is given to begin with: the document and the URL it was fetched from."""
    url = {
        "dzi": f"/deepzoom/{key}.dzi",
        "zoomify": f"/zoomify/{key}/ImageProperties.xml",
        "iip": f"/iip?FIF={key}&obj=IIP,1.0&obj=Max-size&obj=Tile-size&obj=Resolution-number&obj=Resolutions",
    }.get(dialect, f"/iiif/{dialect[-1]}/{key}/info.json")
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    said, address = answer.text, str(answer.url)
    if dialect == "dzi":
        return {"kind": "dzi", "url": address, "xml": said}
    if dialect == "zoomify":
        width, height, tile = (int(re.findall(rf'{name}="(\d+)"', said)[0]) for name in ("WIDTH", "HEIGHT", "TILESIZE"))
        return {
            "kind": dialect,
            "url": address.rpartition("/")[0] + "/",
            "width": width,
            "height": height,
            "tile": tile,
        }
    if dialect == "iip":
        return {"kind": dialect, "url": address.partition("?")[0], "image": key, "text": said}
    return {"kind": "iiif", "url": address, "info": answer.json()}


def whole_size(said: dict[str, object]) -> tuple[int, int]:
    """The slide's size, for URLs that mean it without saying it."""
    if said["kind"] == "iiif":
        return said["info"]["width"], said["info"]["height"]  # type: ignore[index]
    return 0, 0  # no URL of the others says it


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_tile_has_the_size_that_openseadragon_expects(
    odd: tuple[TestClient, dict[str, Tiny]], dialect: str
) -> None:
    client, named = odd
    documents = [document(client, dialect, f"odd/{name}") for name in named]
    found = tiles_of(documents)
    assert len(found) == len(named)
    expected = {
        url: stated(url, asked, whole_size(said))
        for said, tiles in zip(documents, found, strict=True)
        for url, asked in tiles.items()
    }
    wrong: list[str] = []

    def see(answer: Answer) -> None:
        size = jpeg_size(answer.body) if answer.status == 200 else answer.body
        if size != expected[answer.url]:
            wrong.append(f"{answer.url}: {answer.status} {size!r}, not {expected[answer.url]}")

    assert ask_all(client.app, expected, see) == len(expected) > 5 * len(named)
    assert not wrong, f"{len(wrong)} of {len(expected)}: {wrong[:10]}"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("slide", [Tiny(1500, 1100, 256, paint=wave), Tiny(1025, 777, 128, levels=2, paint=wave)])
def test_tiles_show_the_place_they_were_asked_for(serve: Serve, tmp_path: Path, slide: Tiny, dialect: str) -> None:
    """Where a tile lies follows from OpenSeadragon's own grid, so a wrong region or a shift by a pixel shows."""
    folder = tmp_path / "wave"
    folder.mkdir()
    write(slide, folder / "wave.tiff")
    client = serve(folder)
    settle(client, 1)
    (tiles,) = tiles_of([document(client, dialect, "wave/wave.tiff")])
    deepest = max(asked.level for asked in tiles.values())
    for url, asked in tiles.items():
        scale = 2 ** (deepest - asked.level)
        if scale <= 32:  # beyond, a pixel spans a good part of the wave
            pixels = np.asarray(Image.open(io.BytesIO(client.get(url).content)), np.int16)
            for axis, (place, side) in enumerate(zip(asked[1:3], (slide.width, slide.height), strict=True)):
                off = astray(pixels, axis, place * slide.tile * scale, scale, side)
                assert off <= 1, (url, axis, off)


def astray(pixels: np.ndarray, axis: int, start: int, scale: int, side: int) -> float:
    """How far the wave along an axis is from where it should be, in the tolerance (an edge pixel may be stretched)."""
    count = pixels.shape[1 - axis]
    extent = min(count * scale, side - start)
    level0 = start + (np.arange(count) + 0.5) * extent / count
    line = pixels[:, :, axis].mean(axis=axis)
    corner = np.minimum(level0 % 256, 256 - level0 % 256) < 2 * scale + 2  # there the wave is blunted
    off = np.abs(line - triangle(level0))[~corner]
    tolerance = 3 + scale * (0.3 if extent == count * scale else 1)
    return float(off.max(initial=0)) / tolerance


def test_flat_slides_stay_flat(odd: tuple[TestClient, dict[str, Tiny]]) -> None:
    """The odd slides are one colour, so any white seam or foreign pixel in a picture of a whole level shows."""
    client, named = odd
    for name in list(named)[: len(ODD)]:
        for url in (f"/iiif/2/odd/{name}/full/!500,500/0/default.png", f"/deepzoom/odd/{name}_files/0/0_0.png"):
            answer = client.get(url)
            assert answer.status_code == 200, answer.text
            pixels = np.asarray(Image.open(io.BytesIO(answer.content)), np.int16)
            assert np.abs(pixels - np.array(FLAT)).max() <= 3, url
