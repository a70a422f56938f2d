"""Pixels against OpenSlide: every tile of every sample through every protocol, on the lane that it must take.

The twin of the compiled part (oracle.py) says which tiles are stored; OpenSlide, in a process of its own, what they show.
"""

import io
import os
import random
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oracle
import pytest
import reference
from PIL import Image
from served import SAMPLES, Serve, settle
from starlette.testclient import TestClient

MANY = 10 if os.environ.get("PTIFFSERVE_SOAK") else 1
NAMES = sorted(SAMPLES)
# Chroma samples across and down, as drawn.
CHROMA = {"big420": (2, 2), "classic422": (2, 1), "big444": (1, 1), "rgb": (1, 1), "one": (2, 2)}
# dB against Pillow's Lanczos. The lowest of 2,000 regions each: 39.0 where the region lies on the pixels of its level, 30.9
# for that as JPEG (small pictures), and 26.7 where it lies between them: then it is moved by up to a pixel of the level.
PRECISION = [(True, "png", 36), (True, "jpg", 28), (False, "png", 24)]
PHILIPS = ("mini-bigtiff-ycbcr420-sparse.tiff", "mini-classic-ycbcr422-dense.tiff")


class Answer(NamedTuple):
    pixels: np.ndarray
    lane: str
    etag: str
    body: bytes


class Ground:
    """What is true of a slide: `levels` by the twin, sizes and pixels by OpenSlide."""

    def __init__(self, path: Path, key: str, chroma: tuple[int, int]) -> None:
        self.path, self.key, self.chroma = path, key, chroma
        facts = reference.facts(path)
        assert isinstance(facts, reference.Facts), facts
        self.sizes = facts.sizes
        self.scales = tuple(int(scale) for scale in facts.downsamples)
        assert self.scales == facts.downsamples

    @cached_property
    def levels(self) -> list[oracle.Directory]:
        found = [one for one in oracle.walk(self.path.read_bytes())[0] if oracle.OFFSETS in one.entries]
        return found[: len(self.sizes)]

    @cached_property
    def tables(self) -> list[dict[tuple[int, int], tuple[int, int]]]:
        return [oracle.table(one) for one in self.levels]

    @property
    def tile(self) -> int:
        return self.levels[0].ints(oracle.TILE_WIDTH)[0]

    def pixels(self, level: int) -> np.ndarray:
        return reference.level(self.path, level)

    def cells(self, level: int) -> Iterator[tuple[int, int]]:
        """The tiles that show a part of the level."""
        width, height = self.sizes[level]
        for row in range(-(-height // self.tile)):
            for col in range(-(-width // self.tile)):
                yield col, row

    def window(self, level: int, col: int, row: int) -> np.ndarray:
        """What a tile shows of its level: its visible part only."""
        side = self.tile
        return self.pixels(level)[row * side : (row + 1) * side, col * side : (col + 1) * side]


@pytest.fixture(scope="module", params=NAMES)
def ground(request: pytest.FixtureRequest, slides: Path) -> Ground:
    name = request.param
    return Ground(slides / f"{name}.tiff", f"slides%2F{name}.tiff", CHROMA[name])


def ask(client: TestClient, url: str) -> Answer:
    response = client.get(url)
    assert response.status_code == 200, f"{url}: {response.text}"
    with Image.open(io.BytesIO(response.content)) as image:
        pixels = np.asarray(image.convert("RGB"))
    lane = response.headers["server-timing"].split(";")[0]
    return Answer(pixels, lane, response.headers["etag"], response.content)


# ---- whole tiles -------------------------------------------------------------------------------------------


def check_whole(answer: Answer, ground: Ground, level: int, col: int, row: int) -> None:
    """The very bytes of the file where the tile is stored, with OpenSlide's pixels; white where it is not."""
    assert answer.pixels.shape == (ground.tile, ground.tile, 3)
    if (col, row) not in ground.tables[level]:
        assert answer.lane == "blank"
        assert answer.pixels.min() == 255
        return
    assert answer.lane == "stored"
    assert answer.body == oracle.tile(ground.levels[level], col, row)
    window = ground.window(level, col, row)
    assert np.array_equal(answer.pixels[: window.shape[0], : window.shape[1]], window)


def depth(ground: Ground) -> int:
    """The z of full resolution: the doublings from one tile to all of level 0."""
    return max(-(-side // ground.tile) - 1 for side in ground.sizes[0]).bit_length()


def test_z_x_y(client: TestClient, ground: Ground) -> None:
    assert depth(ground) == len(ground.sizes) - 1
    for level in range(len(ground.sizes)):
        z = depth(ground) - level
        for col, row in ground.cells(level):
            check_whole(ask(client, f"/tiles/{ground.key}/{z}/{col}/{row}.jpg"), ground, level, col, row)
        for outside in (f"{z}/{col + 1}/{row}", f"{z}/{col}/{row + 1}"):
            assert client.get(f"/tiles/{ground.key}/{outside}.jpg").status_code == 404
    assert client.get(f"/tiles/{ground.key}/{depth(ground) + 1}/0/0.jpg").status_code == 404


def test_samples_hold_every_kind_of_tile(slides: Path) -> None:
    """What the other tests rest on: stored and sparse tiles, and edges that are clipped on both sides."""
    grounds = [Ground(slides / f"{name}.tiff", "", CHROMA[name]) for name in NAMES]
    sparse = sum(len(list(one.cells(i))) - len(one.tables[i]) for one in grounds for i in range(len(one.sizes)))
    stored = sum(len(table) for one in grounds for table in one.tables)
    assert sparse > 10
    assert stored > 100
    clipped = [
        one.window(i, *cell).shape[:2] for one in grounds for i in range(len(one.sizes)) for cell in one.cells(i)
    ]
    sides = {(height < 128, width < 128) for height, width in clipped}
    assert sides == {(False, False), (False, True), (True, False), (True, True)}


def quad(z: int, x: int, y: int, letters: str) -> str:
    """`letters` of the quadrants in the order top left, top right, bottom left, bottom right."""
    return "t" + "".join(letters[2 * (y >> bit & 1) + (x >> bit & 1)] for bit in reversed(range(z)))


def test_quad_names(client: TestClient, ground: Ground) -> None:
    """Clockwise from the top left: q r s t. SlideAtlas's other function gives the same index the letters upside down."""
    assert [quad(1, x, y, "qrts") for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))] == ["tq", "tr", "ts", "tt"]
    assert (quad(2, 1, 0, "qrts"), quad(5, 8, 16, "tsqr")) == ("tqr", "tqsttt")
    for level in range(len(ground.sizes)):
        z = depth(ground) - level
        for col, row in ground.cells(level):
            same = ask(client, f"/tiles/{ground.key}/{z}/{col}/{row}.jpg")
            for name in (quad(z, col, row, "qrts") + ".jpg", quad(z, col, row, "tsqr") + ".jpg?origin=bottom"):
                answer = ask(client, f"/tiles/{ground.key}/{name}")
                assert (answer.body, answer.etag, answer.lane) == (same.body, same.etag, same.lane)


def test_quadrants_are_where_they_show(client: TestClient, slides: Path) -> None:
    """The four quarters put together by their letters are the level above, coarsely: a flip or a swap would not be."""
    ground = Ground(slides / "big420.tiff", "slides%2Fbig420.tiff", (2, 2))
    parts = {letter: ask(client, f"/tiles/{ground.key}/t{letter}.jpg").pixels for letter in "qrst"}
    joined = np.vstack([np.hstack([parts["q"], parts["r"]]), np.hstack([parts["t"], parts["s"]])])
    whole = ask(client, f"/tiles/{ground.key}/t.jpg").pixels
    assert psnr(np.asarray(Image.fromarray(joined).resize(whole.shape[1::-1], Image.Resampling.BOX)), whole) > 30
    assert psnr(whole, whole[::-1]) < 25
    assert psnr(whole, whole[:, ::-1]) < 25


def test_whole_tiles_in_another_format(client: TestClient, ground: Ground) -> None:
    """PNG says what was decoded: OpenSlide's pixels, and white past the edge of the level."""
    for level in range(len(ground.sizes)):
        for col, row in ground.cells(level):
            answer = ask(client, f"/tiles/{ground.key}/{depth(ground) - level}/{col}/{row}.png")
            window = ground.window(level, col, row)
            expected = np.full((ground.tile, ground.tile, 3), 255, np.uint8)
            expected[: window.shape[0], : window.shape[1]] = window
            assert answer.lane == "render"
            assert np.array_equal(answer.pixels, expected)


# ---- clipped tiles -----------------------------------------------------------------------------------------


def exact(length: int, kept: int, factor: int) -> int:
    """How many of `kept` px must equal the stored tile's: libjpeg smooths chroma with the sample beyond the cut."""
    return kept - 1 if factor == 2 and kept % 2 == 0 and kept < length else kept


def check_clipped(answer: Answer, ground: Ground, level: int, col: int, row: int) -> None:
    """A tile that ends where the level ends, and is stored, cut losslessly, or blank: never rendered."""
    window = ground.window(level, col, row)
    assert answer.pixels.shape == window.shape
    height, width = window.shape[:2]
    if (col, row) not in ground.tables[level]:
        assert answer.lane == "blank"
        assert answer.pixels.min() == 255
    elif (width, height) == (ground.tile, ground.tile):
        check_whole(answer, ground, level, col, row)
    else:
        assert answer.lane == "lossless"
        w, h = (exact(ground.tile, kept, factor) for kept, factor in zip((width, height), ground.chroma, strict=True))
        assert np.array_equal(answer.pixels[:h, :w], window[:h, :w])
        assert np.abs(answer.pixels.astype(int) - window).max() < 64


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def test_deepzoom(client: TestClient, ground: Ground) -> None:
    width, height = ground.sizes[0]
    deepest = (max(width, height) - 1).bit_length()
    for below in range(deepest + 1):
        scale = 1 << below
        size = ceil(width, scale), ceil(height, scale)
        level = ground.scales.index(scale) if scale in ground.scales else None
        for row in range(ceil(size[1], ground.tile)):
            for col in range(ceil(size[0], ground.tile)):
                url = f"/deepzoom/{ground.key}_files/{deepest - below}/{col}_{row}"
                answer = ask(client, f"{url}.jpg")
                if level is not None:
                    check_clipped(answer, ground, level, col, row)
                    continue
                # Smaller than the pyramid goes: made of its last level. A few pixels are no measure of JPEG.
                assert answer.pixels.shape[1::-1] == size
                check_rendered(answer, ground, (0, 0, width, height), 25)
                check_rendered(ask(client, f"{url}.png"), ground, (0, 0, width, height), 32)
        assert client.get(f"/deepzoom/{ground.key}_files/{deepest - below}/{col + 1}_0.jpg").status_code == 404
    assert client.get(f"/deepzoom/{ground.key}_files/{deepest + 1}/0_0.jpg").status_code == 404


@pytest.mark.parametrize("version", ["2", "3"])
def test_iiif_as_openseadragon_asks(client: TestClient, ground: Ground, version: str) -> None:
    info = client.get(f"/iiif/{version}/{ground.key}/info.json").json()
    assert (info["width"], info["height"]) == ground.sizes[0]
    factors = info["tiles"][0]["scaleFactors"]
    assert factors == list(ground.scales)
    for level, scale in enumerate(factors):
        for col, row in ground.cells(level):
            asked = as_openseadragon(ground, version, level, scale, col, row)
            answer = ask(client, f"/iiif/{version}/{ground.key}/{asked}/0/default.jpg")
            check_clipped(answer, ground, level, col, row)


def as_openseadragon(ground: Ground, version: str, level: int, scale: int, col: int, row: int) -> str:
    """`region/size` by the rules of OpenSeadragon's IIIF tile source."""
    (width, height), side = ground.sizes[0], ground.tile
    lw, lh = ceil(width, scale), ceil(height, scale)
    everything = {"2": "full", "3": "max"}[version]
    if lw < side and lh < side:
        said = f"{lw}," if version == "2" else f"{lw},{lh}"
        return "full/" + (everything if (lw, lh) == (width, height) else said)
    x, y = col * side * scale, row * side * scale
    w, h = min(side * scale, width - x), min(side * scale, height - y)
    region = "full" if (x, y, w, h) == (0, 0, width, height) else f"{x},{y},{w},{h}"
    tw, th = min(side, lw - col * side), min(side, lh - row * side)
    return f"{region}/" + (everything if (tw, th) == (width, height) else f"{tw},{th}")


# ---- rendered regions --------------------------------------------------------------------------------------


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(float) - b) ** 2))
    return 100.0 if error == 0 else 10 * np.log10(255**2 / error)


def wanted(ground: Ground, box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """OpenSlide's best level for that scale, resampled by Pillow's Lanczos from exactly that part of it."""
    scale = min(box[2] / size[0], box[3] / size[1])
    level = max((i for i, d in enumerate(ground.scales) if d <= scale), default=0)
    d = ground.scales[level]
    part = (box[0] / d, box[1] / d, (box[0] + box[2]) / d, (box[1] + box[3]) / d)
    image = Image.fromarray(ground.pixels(level))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box=part))


def check_rendered(answer: Answer, ground: Ground, box: tuple[int, int, int, int], least: float) -> None:
    expected = wanted(ground, box, (answer.pixels.shape[1], answer.pixels.shape[0]))
    assert answer.lane == "render"
    found = psnr(answer.pixels, expected)
    assert found >= least, f"{found:.1f} dB at {box}"


def iiif(ground: Ground, box: tuple[int, int, int, int], rest: str) -> str:
    return f"/iiif/2/{ground.key}/{','.join(map(str, box))}/{rest}"


def boxes(ground: Ground, number: int, grid: int) -> Iterator[tuple[tuple[int, int, int, int], tuple[int, int]]]:
    """Random regions on a grid of so many pixels, and sizes from a twentieth to all of them."""
    rng = random.Random(grid)
    width, height = (side // grid for side in ground.sizes[0])
    for _ in range(number):
        x, y = rng.randrange(width), rng.randrange(height)
        box = x * grid, y * grid, rng.randint(1, width - x) * grid, rng.randint(1, height - y) * grid
        yield box, (scaled(box[2], rng.uniform(0.05, 1)), scaled(box[3], rng.uniform(0.05, 1)))


def scaled(side: int, factor: float) -> int:
    return max(1, round(side * factor))


@pytest.mark.parametrize(("aligned", "form", "least"), PRECISION)
def test_random_regions(client: TestClient, ground: Ground, aligned: bool, form: str, least: float) -> None:
    for box, (width, height) in boxes(ground, 40 * MANY, ground.scales[-1] if aligned else 1):
        answer = ask(client, iiif(ground, box, f"{width},{height}/0/default.{form}"))
        assert answer.pixels.shape == (height, width, 3)
        check_rendered(answer, ground, box, least)


def test_regions_between_the_pixels_of_their_level(client: TestClient, slides: Path) -> None:
    ground = Ground(slides / "big420.tiff", "slides%2Fbig420.tiff", (2, 2))
    answer = ask(client, iiif(ground, (257, 434, 98, 314), "11,39/0/default.png"))
    check_rendered(answer, ground, (257, 434, 98, 314), 32)


def test_regions_over_the_edge(client: TestClient, ground: Ground) -> None:
    """IIIF cuts the region at the slide's edge before it is scaled."""
    width, height = ground.sizes[0]
    for x, y in ((width - 40, height - 30), (0, height - 30), (width - 40, 0)):
        inside = x, y, min(200, width - x), min(100, height - y)
        answer = ask(client, iiif(ground, (x, y, 200, 100), "full/0/default.png"))
        assert np.array_equal(answer.pixels, region(ground, inside))
    for outside in ((width, 0, 10, 10), (0, height, 10, 10)):
        assert client.get(iiif(ground, outside, "full/0/default.png")).status_code == 400


def region(ground: Ground, box: tuple[int, int, int, int]) -> np.ndarray:
    return ground.pixels(0)[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]


def test_one_pixel(client: TestClient, ground: Ground) -> None:
    width, height = ground.sizes[0]
    for x, y in ((0, 0), (width - 1, height - 1), (width // 3, height // 3)):
        answer = ask(client, iiif(ground, (x, y, 1, 1), "1,1/0/default.png"))
        assert np.array_equal(answer.pixels, region(ground, (x, y, 1, 1)))
    for box in ((0, 0, width, height), (0, height // 2, width, 1), (width // 2, 0, 1, height)):
        answer = ask(client, iiif(ground, box, "1,1/0/default.png"))
        assert answer.pixels.shape == (1, 1, 3)
        mean = region(ground, box).mean(axis=(0, 1))
        assert np.abs(answer.pixels[0, 0] - mean).max() < 12
    for box, said in (((0, 7, width, 1), (width, 1)), ((7, 0, 1, height), (1, height))):
        answer = ask(client, iiif(ground, box, f"{said[0]},{said[1]}/0/default.png"))
        assert np.array_equal(answer.pixels, region(ground, box))


@pytest.mark.parametrize("mirror", ["", "!"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270, 360])
def test_turned_clockwise_behind_the_mirror(client: TestClient, ground: Ground, turn: int, mirror: str) -> None:
    """1:1 and off every grid, as PNG: pixel for pixel what OpenSlide shows."""
    box = (31, 17, 133, 71)
    expected = region(ground, box)
    expected = expected[:, ::-1] if mirror else expected
    expected = np.rot90(expected, -(turn // 90))
    answer = ask(client, iiif(ground, box, f"full/{mirror}{turn}/default.png"))
    assert answer.lane == "render"
    assert np.array_equal(answer.pixels, expected)


def test_turned_tiles(client: TestClient, ground: Ground) -> None:
    """A stored tile that is turned is another picture, whichever lane makes it."""
    side = ground.tile
    if min(ground.sizes[0]) < side:
        pytest.fail("no whole tile")
    for turn in (90, 180, 270):
        answer = ask(client, iiif(ground, (0, 0, side, side), f"{side},{side}/{turn}/default.jpg"))
        assert psnr(answer.pixels, np.rot90(ground.window(0, 0, 0), -(turn // 90))) > 30


def test_gray(client: TestClient, ground: Ground) -> None:
    """Brightness by whatever weights: between the darkest and the brightest colour of each pixel, and the same in all bands."""
    box = (31, 17, 133, 71)
    answer = ask(client, iiif(ground, box, "full/0/gray.png"))
    colour = region(ground, box)
    gray = answer.pixels[..., 0].astype(int)
    assert (answer.pixels == answer.pixels[..., :1]).all()
    assert (gray >= colour.min(axis=2) - 1.5).all()
    assert (gray <= colour.max(axis=2) + 1.5).all()
    assert np.abs(gray - colour @ [0.299, 0.587, 0.114]).mean() < 12


def test_thumbnails(client: TestClient, ground: Ground) -> None:
    width, height = ground.sizes[0]
    for query, side in (("", 256), ("?width=100&height=100", 100), ("?width=64&height=64", 64)):
        answer = ask(client, f"/slides/{ground.key}/thumbnail.png{query}")
        longer = max(answer.pixels.shape[:2])
        assert longer == side
        assert abs(min(answer.pixels.shape[:2]) - min(width, height) * side / max(width, height)) <= 0.5
        check_rendered(answer, ground, (0, 0, width, height), 40)
    assert ask(client, f"/slides/{ground.key}/thumbnail.jpg?width=90").pixels.shape[1] == 90


# ---- real slides -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(serve: Serve, shared: Path) -> TestClient:
    real = serve(shared / "philips", shared / "svs", shared / "tiff")
    settle(real, 10)
    return real


@pytest.mark.parametrize("name", PHILIPS)
def test_philips_minis(real: TestClient, shared: Path, name: str) -> None:
    ground = Ground(shared / "philips" / name, f"philips/{name}", (2, 2) if "420" in name else (2, 1))
    stored = 0
    for level in range(len(ground.sizes)):
        for col, row in ground.cells(level):
            z = depth(ground) - level
            check_whole(ask(real, f"/tiles/{ground.key}/{z}/{col}/{row}.jpg"), ground, level, col, row)
            check_clipped(ask(real, deepzoom(ground, level, col, row)), ground, level, col, row)
            stored += (col, row) in ground.tables[level]
    assert stored > 30


def deepzoom(ground: Ground, level: int, col: int, row: int) -> str:
    deepest = (max(ground.sizes[0]) - 1).bit_length()
    return f"/deepzoom/{ground.key}_files/{deepest - level}/{col}_{row}.jpg"


@pytest.mark.parametrize("name", ["svs/CMU-1-Small-Region.svs", "tiff/wsic-CMU-1-Small-Region.jpeg.tiff"])
def test_other_tiled_slides(real: TestClient, shared: Path, name: str) -> None:
    """One level whose size is no multiple of the tile: RGB with tables, and whole JPEGs."""
    ground = Ground(shared / name, name, (1, 1) if name.endswith("svs") else (2, 2))
    for col, row in ground.cells(0):
        check_whole(ask(real, f"/tiles/{ground.key}/{depth(ground)}/{col}/{row}.jpg"), ground, 0, col, row)
        check_clipped(ask(real, deepzoom(ground, 0, col, row)), ground, 0, col, row)
