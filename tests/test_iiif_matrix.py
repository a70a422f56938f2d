"""Every cell of IIIF's tables: region x size x rotation x quality x format, in both versions, against another renderer.

The reference is OpenSlide's level 0 (in a process of its own) and Pillow; sizes are exact rational arithmetic. With
PTIFFSERVE_SOAK all cells of version 3, and of version 2 what it spells in another way; else some, so chosen that each value
of each table occurs.
"""

import io
import os
import random
from fractions import Fraction
from functools import lru_cache
from itertools import product, zip_longest
from math import cos, radians, sin
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import pyvips
import reference
from drawn import Pixels
from PIL import Image, ImageChops
from served import Serve, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, write

from ptiffserve import encode

WIDTH, HEIGHT = 350, 250
REGIONS = ["full", "square", "31,17,133,111", "240,150,500,500", "pct:10,20,30,40", "pct:12.5,7.3,50.1,33.3"]
SIZES = {
    "3": [
        "max",
        "77,",
        ",61",
        "pct:37.5",
        "90,40",
        "!80,80",
        "^max",
        "^200,",
        "^,170",
        "^pct:130",
        "^!260,260",
        "^190,210",
    ],
    "2": ["full", "max", "77,", ",61", "pct:37.5", "90,40", "!80,80", "200,", ",170", "pct:130", "!260,260", "190,210"],
}
ROTATIONS = ["0", "90", "180", "270", "360", "!0", "!90", "!180", "!270", "33.3", "!201.75"]
QUALITIES = ["default", "color", "gray", "bitonal"]
FORMATS = [*encode.formats(), "pdf"]
# Formats that keep black and white as it is.
EXACT = {"png", "tif", "gif", "webp", "avif", "jp2", "jxl", "pdf"}
# dB; the lossless ones differ by the resampling alone, also where a turn lies between the quarters.
LEAST = {"png": 42, "tif": 42, "jpg": 36, "webp": 36, "avif": 36, "jp2": 38, "jxl": 34, "pdf": 36, "gif": 29}
SOAK = bool(os.environ.get("PTIFFSERVE_SOAK"))
NUMBER = 500


class Cell(NamedTuple):
    version: str
    region: str
    size: str
    rotation: str
    quality: str
    form: str

    @property
    def straight(self) -> bool:
        return float(self.rotation.removeprefix("!")) % 90 == 0

    @property
    def path(self) -> str:
        return f"{self.region}/{self.size}/{self.rotation}/{self.quality}.{self.form}"


def painted(level: int, width: int, height: int) -> Pixels:
    """Another picture however it is turned or mirrored: red grows to the right, green downwards, blue swings."""
    x, y = ((np.arange(side) + 0.5) * 2**level for side in (width, height))
    out = np.empty((height, width, 3), np.uint8)
    out[..., 0], out[..., 1] = (255 * x / WIDTH)[None, :].clip(0, 255), (255 * y / HEIGHT)[:, None].clip(0, 255)
    out[..., 2] = 128 + 100 * np.sin(x / 41)[None, :] * np.cos(y / 53)[:, None]
    return out


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix") / "m"
    folder.mkdir()
    write(Tiny(WIDTH, HEIGHT, 128, paint=painted), folder / "painted.tif")
    return folder / "painted.tif"


@pytest.fixture(scope="module")
def client(serve: Serve, path: Path) -> TestClient:
    client = serve(path.parent)
    settle(client, 1)
    return client


def cells() -> list[Cell]:
    """All that can differ, or so many: first the values of each table side by side in random order, over and over."""
    tables = {version: (REGIONS, SIZES[version], ROTATIONS, QUALITIES, FORMATS) for version in "23"}
    if SOAK:
        every = [Cell("3", *said) for said in product(*tables["3"])]
        return every + [Cell("2", *said, "default", "png") for said in product(*tables["2"][:3])]
    rng, found = random.Random(6), []
    while len(found) < NUMBER:
        for version, table in tables.items():
            shuffled = [rng.sample(column, len(column)) for column in table]
            filled = (
                [said or rng.choice(column) for said, column in zip(row, table, strict=True)]
                for row in zip_longest(*shuffled)
            )
            found += [Cell(version, *row) for row in filled]
    return found


# ---- what is expected --------------------------------------------------------------------------------------


def half_up(value: Fraction) -> int:
    return max(1, int(value + Fraction(1, 2)))


def box_of(region: str) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    if region == "full":
        return 0, 0, WIDTH, HEIGHT
    if region == "square":
        return (WIDTH - HEIGHT) // 2, 0, (WIDTH + HEIGHT) // 2, HEIGHT
    numbers = [Fraction(part) for part in region.removeprefix("pct:").split(",")]
    if region.startswith("pct:"):
        numbers = [Fraction(half_up(n * side / 100)) for n, side in zip(numbers, (WIDTH, HEIGHT) * 2, strict=True)]
    x, y, w, h = map(int, numbers)
    return x, y, min(x + w, WIDTH), min(y + h, HEIGHT)


def size_of(said: str, width: int, height: int) -> tuple[int, int]:
    said = said.removeprefix("^")
    if said in ("full", "max"):
        return width, height
    if said.startswith("pct:"):
        factor = Fraction(said[4:]) / 100
        return half_up(width * factor), half_up(height * factor)
    w, h = (Fraction(part) if part else None for part in said.removeprefix("!").split(","))
    if said.startswith("!") and w and h:
        factor = min(w / width, h / height)
        return half_up(width * factor), half_up(height * factor)
    return int(w) if w else half_up(width * h / height), int(h) if h else half_up(height * w / width)  # type: ignore


@lru_cache(maxsize=4)
def flat_of(path: Path, region: str, size: str, mirror: bool) -> Image.Image:
    """Cut, scaled and mirrored; not turned yet."""
    box = box_of(region)
    said = size_of(size, box[2] - box[0], box[3] - box[1])
    image = Image.fromarray(reference.level(path, 0)).resize(said, Image.Resampling.LANCZOS, box=box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else image


class Expected(NamedTuple):
    """`size`: exactly, before it is whole pixels. `inside`, `outside`: pixels that surely show the picture, or none of it."""

    size: tuple[float, float]
    pixels: Pixels
    inside: Pixels
    outside: Pixels


@lru_cache(maxsize=4)
def expected(path: Path, region: str, size: str, rotation: str, canvas: tuple[int, int]) -> Expected:
    """The picture on its canvas: that of a turn between the quarters has any whole size around it, and one centre."""
    image, turn = flat_of(path, region, size, "!" in rotation), float(rotation.removeprefix("!")) % 360
    if turn % 90 == 0:
        pixels = np.rot90(np.asarray(image), -int(turn // 90))
        shows = np.ones(pixels.shape[:2], bool)
        return Expected((pixels.shape[1], pixels.shape[0]), pixels, shows, ~shows)
    turned, mask = (rotated(one, turn, canvas) for one in (image, Image.new("L", image.size, 255)))
    shifts = [ImageChops.offset(mask, x, y) for x in (-3, 0, 3) for y in (-3, 0, 3)]
    stack = np.stack([np.asarray(one) for one in shifts])
    return Expected(around(*image.size, turn), np.asarray(turned), (stack == 255).all(0), (stack == 0).all(0))


def rotated(image: Image.Image, turn: float, canvas: tuple[int, int]) -> Image.Image:
    """Clockwise around its centre, which comes to lie in that of the canvas. Pillow asks where a pixel comes from."""
    c, s = cos(radians(turn)), sin(radians(turn))
    (x, y), (u, v) = ((side / 2 for side in size) for size in (canvas, image.size))
    inverse = c, s, u - c * x - s * y, -s, c, v + s * x - c * y
    return image.transform(canvas, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)


def around(width: int, height: int, turn: float) -> tuple[float, float]:
    """The box around a picture that was turned."""
    c, s = abs(cos(radians(turn))), abs(sin(radians(turn)))
    return width * c + height * s, width * s + height * c


# ---- what came ---------------------------------------------------------------------------------------------


def decoded(data: bytes, form: str) -> Pixels:
    """RGBA; by other decoders than ours where there are any."""
    if form == "jxl":
        image = Image.fromarray(pyvips.Image.jxlload_buffer(data).colourspace("srgb").numpy())
    elif form == "pdf":
        image = Image.fromarray(pyvips.Image.pdfload_buffer(data, dpi=72).numpy())
    else:
        image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGBA"))


def psnr(a: Pixels, b: Pixels) -> float:
    error = float(np.mean((a.astype(float) - b) ** 2))
    return 100.0 if error == 0 else 10 * np.log10(255**2 / error)


def check(cell: Cell, data: bytes, path: Path) -> float:
    """By how many dB the picture is better than it must be."""
    got, slack = decoded(data, cell.form), 0 if cell.straight else 1
    want = expected(path, cell.region, cell.size, cell.rotation, got.shape[1::-1])
    assert all(abs(a - b) <= slack for a, b in zip(want.size, got.shape[1::-1], strict=True)), (got.shape, want.size)
    check_corners(cell, got[want.outside])
    return check_tone(cell, got[want.inside], want.pixels[want.inside]) - LEAST[cell.form]


def check_corners(cell: Cell, corners: Pixels) -> None:
    """Transparent where the format can, except in pictures of two values; else white."""
    if cell.form in encode.CLEAR and cell.quality != "bitonal":
        assert (corners[..., 3] <= 8).all()
    else:
        assert (corners >= 200).all()
        assert (corners[..., 3] == 255).all()


def check_tone(cell: Cell, got: Pixels, want: Pixels) -> float:
    assert (got[..., 3] >= 250).all()
    colour, want = got[..., :3].astype(int), want.astype(int)
    if cell.quality in ("default", "color"):
        return psnr(colour, want)
    assert (colour == colour[..., :1]).all() or cell.form in ("webp", "avif", "gif")
    slack = 3 if cell.form in ("png", "tif") else 24
    gray, low, high = colour[..., 1], want.min(axis=-1) - slack, want.max(axis=-1) + slack
    if cell.quality == "gray":
        # Brightness by whatever weights lies between the darkest and the brightest component.
        assert ((gray >= low) & (gray <= high)).mean() > 0.995
        return 100.0
    if cell.form in EXACT:
        assert set(np.unique(colour)) <= {0, 255}
    assert (gray[low > 150] > 150).mean() > 0.99 if (low > 150).any() else True
    assert (gray[high < 100] < 100).mean() > 0.99 if (high < 100).any() else True
    return 100.0


def test_every_cell(client: TestClient, path: Path) -> None:
    seen = set()
    for cell in cells():
        answer = client.get(f"/iiif/{cell.version}/m/painted.tif/{cell.path}")
        assert answer.status_code == 200, (cell, answer.text)
        assert answer.headers["content-type"] == encode.media_type(cell.form)
        try:
            assert check(cell, answer.content, path) >= 0
        except AssertionError as error:
            raise AssertionError(f"{cell.path} of version {cell.version}: {error}") from error
        seen |= set(cell)
    assert seen == {*"23", *REGIONS, *SIZES["2"], *SIZES["3"], *ROTATIONS, *QUALITIES, *FORMATS}


def test_a_wrong_turn_would_be_seen(path: Path) -> None:
    """What the bounds are worth: any other orientation is far below each of them."""
    right = np.asarray(Image.fromarray(reference.level(path, 0)).crop((0, 0, 250, 250)))
    for turn, mirror in product(range(4), (False, True)):
        other = np.rot90(right[:, ::-1] if mirror else right, turn)
        assert (psnr(other, right) > 20) == (turn == 0 and not mirror)
