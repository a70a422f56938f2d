"""The JPEG engine alone, on tissue tiles of 512 px: coefficients against pixels, and a window against the whole tile."""

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest
from conftest import Versus
from pytest_benchmark.fixture import BenchmarkFixture
from slides import EDGES, opened, slide, tissue

from ptiffserve._jpeg import decode, encode, transcode

TILE = (512, 512)
NUMBER = 12
Box = tuple[int, int, int, int]
# The edge of a slide of 5000 px, and tiles that lie across those of another grid.
EDGE, JOIN, PART = (0, 0, 392, 512), (256, 256, 512, 512), (192, 192, 128, 128)


@pytest.fixture(scope="module")
def tiles() -> list[bytes]:
    reader = opened(slide(EDGES))
    found = [reader.tile(0, *place) for place in tissue(reader)[:NUMBER]]
    assert len(found) == NUMBER
    return found


def rendered(four: list[bytes], across: int, box: Box) -> bytes:
    """The same pixels by way of decoded windows, placed and encoded."""
    x, y, width, height = box
    out = bytearray(3 * width * height)
    for row in range(y // 512, (y + height - 1) // 512 + 1):
        for col in range(x // 512, (x + width - 1) // 512 + 1):
            left, top = max(x - 512 * col, 0), max(y - 512 * row, 0)
            right, bottom = min(x + width - 512 * col, 512), min(y + height - 512 * row, 512)
            at = 3 * ((512 * row + top - y) * width + 512 * col + left - x)
            part = (left, top, right - left, bottom - top)
            decode(four[row * across + col], TILE, part, out, at=at, stride=3 * width)
    return encode(out, width, height)


def calls(tiles: list[bytes], across: int, box: Box, how: str) -> Callable[[], object]:
    """Each call takes the next tiles."""
    step = across * across
    groups = cycle([tiles[i : i + step] for i in range(0, NUMBER, step)])
    if how == "pixels":
        return lambda: rendered(next(groups), across, box)
    turn = 90 if how == "turned" else 0
    return lambda: transcode(next(groups), across, TILE, box, turn=turn)


def windows(tiles: list[bytes], box: Box, shrink: int = 1) -> Callable[[], object]:
    turns, out = cycle(tiles), np.empty((512, 512, 3), np.uint8)
    return lambda: decode(next(turns), TILE, box, out, stride=1536, shrink=shrink)


@pytest.mark.parametrize("how", ["coefficients", "turned", "pixels"])
@pytest.mark.parametrize(("across", "box"), [(1, EDGE), (2, JOIN)], ids=["edge", "join"])
@pytest.mark.benchmark(group="JPEG out of JPEGs")
def test_answers(benchmark: BenchmarkFixture, tiles: list[bytes], across: int, box: Box, how: str) -> None:
    if how == "turned":
        box = (box[0], box[1], 384, 512)
    assert benchmark(calls(tiles, across, box, how))


@pytest.mark.parametrize(
    ("box", "shrink"),
    [((0, 0, *TILE), 1), (PART, 1), ((0, 384, 512, 128), 1), ((0, 0, 256, 256), 2), ((0, 0, 64, 64), 8)],
    ids=["whole", "128 px in the middle", "last 128 rows", "whole at 1/2", "whole at 1/8"],
)
@pytest.mark.benchmark(group="pixels out of a JPEG")
def test_decode(benchmark: BenchmarkFixture, tiles: list[bytes], box: Box, shrink: int) -> None:
    benchmark(windows(tiles, box, shrink))


def test_edge_against_pixels(versus: Versus, tiles: list[bytes]) -> None:
    ours, theirs = (calls(tiles, 1, EDGE, how) for how in ("coefficients", "pixels"))
    versus("edge crop: coefficients / pixels", ours, theirs, 0.65, calls=NUMBER)


def test_join_against_pixels(versus: Versus, tiles: list[bytes]) -> None:
    ours, theirs = (calls(tiles, 2, JOIN, how) for how in ("coefficients", "pixels"))
    versus("2 x 2 join: coefficients / pixels", ours, theirs, 0.8, calls=NUMBER // 4)


def test_window_against_whole(versus: Versus, tiles: list[bytes]) -> None:
    versus("decode: 128 px of 512 / all", windows(tiles, PART), windows(tiles, (0, 0, *TILE)), 0.6, calls=NUMBER)
