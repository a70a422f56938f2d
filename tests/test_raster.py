"""Pictures in memory: resampled by the filter's definition, copied within bounds, cut into parts that cover them once."""

import math
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from ptiffserve import _pixels
from ptiffserve.geometry import Box, Size, clip, parts
from ptiffserve.raster import Raster


def as_array(picture: Raster) -> NDArray[np.uint8]:
    return np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 3)


def test_stripes_finer_than_the_answer_become_gray() -> None:
    """What a reduction must not do: turn a pattern that cannot be shown into one that can."""
    lines = np.zeros((400, 400, 3), np.uint8)
    lines[::2] = 255
    for side in (190, 133, 60):
        got = np.frombuffer(_pixels.resample(lines.tobytes(), (400, 400), (0, 0, 400, 400), (side, side)), np.uint8)
        middle = got.reshape(side, side, 3)[4:-4, 4:-4].astype(int)
        assert np.abs(middle - 127.5).max() < 16, side


def lanczos(start: float, extent: float, side: int, pixels: int) -> NDArray[np.float64]:
    """The matrix that resamples one axis, written down from the filter's definition."""
    scale = extent / pixels
    middles = np.clip(start + (np.arange(pixels) + 0.5) * scale, 0, side)[:, None]
    x = (np.arange(side) + 0.5 - middles) / max(1.0, scale)
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(40))
def test_resampling_is_lanczos(seed: int) -> None:
    """Any part, over the edges too, any scale up or down, single pixels among them: within rounding of the definition."""
    rng = random.Random(seed)
    width, height = rng.randint(1, 90), rng.randint(1, 90)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    x, y = rng.uniform(-3, width * 0.7), rng.uniform(-3, height * 0.7)
    part = (x, y, rng.uniform(0.1, width - x + 3), rng.uniform(0.1, height - y + 3))
    to = rng.randint(1, 70), rng.randint(1, 70)
    got = np.frombuffer(_pixels.resample(pixels.tobytes(), (width, height), part, to), np.uint8)
    down, across = lanczos(y, part[3], height, to[1]), lanczos(x, part[2], width, to[0])
    want = np.einsum("yh,hwc,xw->yxc", down, pixels.astype(float), across).clip(0, 255)
    assert np.abs(got.reshape(want.shape) - want).max() < 0.51


def test_what_lies_past_the_picture_is_its_edge() -> None:
    got = _pixels.resample(bytes([10, 20, 30] * 2), (2, 1), (-4, -3, 10, 7), (5, 3))
    assert (as_array(Raster(got, 5, 3)) == [10, 20, 30]).all()


@pytest.mark.parametrize(
    ("size", "part", "to"),
    [
        ((0, 1), (0, 0, 1, 1), (1, 1)),
        ((2, 1), (0, 0, 1, 1), (1, 1)),
        ((1, 1), (0, 0, 0, 1), (1, 1)),
        ((1, 1), (0, 0, math.nan, 1), (1, 1)),
        ((1, 1), (math.inf, 0, 1, 1), (1, 1)),
        ((1, 1), (0, 0, 1, 1), (0, 1)),
        ((1, 1), (0, 0, 1, 1), (1, 2**31)),
    ],
)
def test_resampling_refuses(size: tuple[int, int], part: tuple[float, ...], to: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        _pixels.resample(bytes(3), size, part, to)


@pytest.mark.parametrize(
    ("box", "x", "y"),
    [((0, 0, 3, 1), 0, 0), ((-1, 0, 1, 1), 0, 0), ((0, 2, 1, 1), 0, 0), ((0, 0, 1, 1), 2, 0), ((0, 0, 0, 1), 0, 0)],
)
def test_paste_refuses(box: tuple[int, int, int, int], x: int, y: int) -> None:
    with pytest.raises(ValueError):
        _pixels.paste(bytes(12), 2, box, bytearray(12), 2, x, y)


def test_parts_cover_a_box_once() -> None:
    rng = random.Random(1)
    for _ in range(300):
        box = Box(rng.randrange(99), rng.randrange(99), rng.randint(1, 90), rng.randint(1, 90))
        tile = Size(rng.randint(1, 40), rng.randint(1, 40))
        seen = np.zeros((box.height, box.width), int)
        for part in parts(box, tile):
            inner = part.box
            assert clip(inner, tile) == inner
            assert box.x + part.x == part.col * tile.width + inner.x
            assert box.y + part.y == part.row * tile.height + inner.y
            seen[part.y : part.y + inner.height, part.x : part.x + inner.width] += 1
        assert (seen == 1).all()
