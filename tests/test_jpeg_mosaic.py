"""Joined, turned and greyed JPEGs: every coefficient is a stored one, as read by another binding's own libjpeg."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import jpeglib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import (
    SAMPLINGS,
    SOAK,
    Size,
    coefficients,
    frame,
    pixels,
    quantisers,
    saved,
    split,
    stored,
    up,
)
from PIL import Image

from ptiffserve._jpeg import NotLossless, mcu, transcode

Box = tuple[int, int, int, int]
Planes = list[np.ndarray]
SIGNS = np.where(np.arange(8) % 2, -1, 1)
ZIGZAG = sorted(range(64), key=lambda i: (s := i // 8 + i % 8, i // 8 if s % 2 else i % 8))
CODINGS: tuple[dict[str, object], ...] = ({}, {"progressive": True}, {"restart_marker_blocks": 5}, {"optimize": True})


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jpeg") / "x.jpg"


def planes(data: bytes, scratch: Path) -> Planes:
    """An array (rows of blocks, columns of blocks, 8, 8) a component."""
    scratch.write_bytes(data)
    read = jpeglib.read_dct(str(scratch))
    return [plane.astype(int) for plane in (read.Y, read.Cb, read.Cr) if plane is not None]


def test_the_two_oracles_agree(scratch: Path) -> None:
    for sampling in SAMPLINGS:
        data = stored(sampling, (90, 70))
        for ours, theirs in zip(coefficients(data), planes(data, scratch), strict=True):
            assert np.array_equal(ours, theirs.reshape(*theirs.shape[:2], 64)[:, :, ZIGZAG])


# ---- any request -------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """Tiles by number, None where one is sparse; each number is another picture in another coding."""

    sampling: str
    tile: Size
    across: int
    numbers: list[int | None]
    box: Box
    turn: int
    mirror: bool
    gray: bool

    def answer(self, **options: object) -> bytes:
        tiles = [None if n is None else tile(self.sampling, self.tile, n) for n in self.numbers]
        turning = {"turn": self.turn, "mirror": self.mirror, "gray": self.gray}
        return transcode(tiles, self.across, self.tile, self.box, **turning, **options)

    def touched(self) -> list[int | None]:
        x, y, width, height = self.box
        rows = range(y // self.tile[1], up(y + height, self.tile[1]))
        cols = range(x // self.tile[0], up(x + width, self.tile[0]))
        return [self.numbers[row * self.across + col] for row in rows for col in cols]

    def possible(self) -> bool:
        if not any(n is not None for n in self.touched()) or (self.gray and self.sampling == "rgb"):
            return False
        unit = mcu(tile(self.sampling, self.tile, 0))
        parts = [length % side for length, side in zip(self.box[2:], unit, strict=True)]
        return not any(part and self.first(edge) for part, edge in zip(parts, ((1, 0), (0, 1)), strict=True))

    def first(self, edge: Size) -> bool:
        """Whether the edge that looks this way looks left or up in the answer."""
        x, y = (-edge[0], edge[1]) if self.mirror else edge
        for _ in range(self.turn // 90):
            x, y = -y, x
        return x + y < 0


@cache
def tile(sampling: str, size: Size, number: int) -> bytes:
    return stored(sampling, size, seed=number, **CODINGS[number % 4])


@cache
def tile_planes(sampling: str, size: Size, number: int, scratch: Path) -> Planes:
    return planes(tile(sampling, size, number), scratch)


def white(like: np.ndarray, quantiser: int) -> np.ndarray:
    plane = np.zeros_like(like)
    plane[:, :, 0, 0] = up(1016, quantiser) if quantiser else 0
    return plane


def mosaic(asked: Asked, scratch: Path) -> Planes:
    """All tiles, side by side."""
    like = tile_planes(asked.sampling, asked.tile, 0, scratch)
    steps = [table[0] for table in quantisers(tile(asked.sampling, asked.tile, 0))]
    if asked.sampling != "rgb":
        steps[1:] = [0] * (len(steps) - 1)
    blank = [white(plane, step) for plane, step in zip(like, steps, strict=True)]
    cells = [blank if n is None else tile_planes(asked.sampling, asked.tile, n, scratch) for n in asked.numbers]
    rows = [cells[i : i + asked.across] for i in range(0, len(cells), asked.across)]
    return [np.concatenate([np.concatenate([cell[i] for cell in row], 1) for row in rows], 0) for i in range(len(like))]


def turned(plane: np.ndarray, turn: int, mirror: bool) -> np.ndarray:
    plane = plane[:, ::-1] * SIGNS if mirror else plane
    for _ in range(turn // 90):
        plane = plane.transpose(1, 0, 3, 2)[:, ::-1] * SIGNS
    return plane


def expected(asked: Asked, scratch: Path) -> Planes:
    (x, y, width, height), out = asked.box, []
    parts = frame(split(tile(asked.sampling, asked.tile, 0)))[2]
    most = max(part[1] for part in parts), max(part[2] for part in parts)
    for plane, (_, h, v, _) in zip(mosaic(asked, scratch), parts, strict=True):
        left, right = x * h // (8 * most[0]), x * h // (8 * most[0]) + up(width * h, 8 * most[0])
        top, bottom = y * v // (8 * most[1]), y * v // (8 * most[1]) + up(height * v, 8 * most[1])
        out.append(turned(plane[top:bottom, left:right], asked.turn, asked.mirror))
    return out[:1] if asked.gray else out


def ends(side: int, unit: int) -> st.SearchStrategy[tuple[int, int]]:
    """(first, count) from a line of the grid to anywhere, often to a line."""
    starts = st.integers(0, (side - 1) // unit).map(lambda n: n * unit)
    return starts.flatmap(
        lambda at: st.tuples(
            st.just(at), st.integers(1, side - at) | st.integers(1, max(1, (side - at) // unit)).map(lambda n: n * unit)
        ).filter(lambda pair: pair[0] + pair[1] <= side)
    )


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    across, down = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sampling, size = draw(st.sampled_from(SAMPLINGS)), (64, 96)
    if across == down == 1 and sampling not in ("440", "411") and draw(st.booleans()):
        size = (50, 75)
    numbers = st.lists(st.sampled_from((0, 1, 2, 3, None)), min_size=across * down, max_size=across * down)
    unit = mcu(tile(sampling, size, 0))
    (x, width), (y, height) = draw(ends(across * size[0], unit[0])), draw(ends(down * size[1], unit[1]))
    turning = draw(st.sampled_from((0, 90, 180, 270))), draw(st.booleans()), draw(st.booleans())
    return Asked(sampling, size, across, draw(numbers), (x, y, width, height), *turning)


@given(requests(), st.booleans())
@settings(max_examples=1500 * SOAK, deadline=None, database=None)
def test_every_coefficient_is_a_stored_one(scratch: Path, asked: Asked, optimize: bool) -> None:
    if not asked.possible():
        with pytest.raises(NotLossless):
            asked.answer(optimize=optimize)
        return
    data = asked.answer(optimize=optimize)
    size = asked.box[2:] if asked.turn % 180 == 0 else asked.box[:1:-1]
    assert frame(split(data))[:2] == size
    for ours, theirs in zip(planes(data, scratch), expected(asked, scratch), strict=True):
        assert np.array_equal(ours, theirs)


@given(requests())
@settings(max_examples=200 * SOAK, deadline=None, database=None)
def test_quantisers_turn_along(asked: Asked) -> None:
    if not asked.possible():
        return
    ours, theirs = quantisers(asked.answer()), quantisers(tile(asked.sampling, asked.tile, 0))
    order = [ZIGZAG.index(ZIGZAG[i] % 8 * 8 + ZIGZAG[i] // 8) for i in range(64)] if asked.turn % 180 else range(64)
    assert ours == [bytes(table[i] for i in order) for table in theirs][: len(ours)]


# ---- what it looks like ------------------------------------------------------------------------------------


def stepped(width: int, height: int) -> Image.Image:
    """No symmetry of a rectangle maps it to itself: it brightens to the right, reddens downwards, one corner is marked."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([255 * y // height, 255 * x // width, np.full_like(x, 90)], -1).astype(np.uint8)
    image[: height // 4, : width // 4, 2] = 250
    return Image.fromarray(image)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_the_picture_is_mirrored_then_turned(subsampling: int, turn: int, mirror: bool) -> None:
    data = saved(stepped(128, 64), quality=90, subsampling=subsampling)
    image = Image.fromarray(pixels(data))
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else image
    theirs = np.asarray(image.rotate(-turn, expand=True)).astype(int)
    ours = pixels(transcode([data], 1, (128, 64), (0, 0, 128, 64), turn=turn, mirror=mirror))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 4  # the transform's rounding is not symmetric


@pytest.mark.parametrize("name", ["hgsc_nest.jpg", "hgsc_stromal_he.jpg", "histoprep-slide.jpeg"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_join_shows_the_tiles_but_for_chroma_along_seams(shared: Path, name: str, subsampling: int) -> None:
    with Image.open(shared / "texture" / name) as opened:
        texture = opened.convert("RGB").crop((300, 300, 1068, 1068))
    places = [(x, y, x + 256, y + 256) for y in (0, 256, 512) for x in (0, 256, 512)]
    tiles = [saved(texture.crop(place), quality=85, subsampling=subsampling) for place in places]
    whole = np.zeros((768, 768, 3), int)
    for data, (left, top, right, bottom) in zip(tiles, places, strict=True):
        whole[top:bottom, left:right] = pixels(data)
    off = np.abs(pixels(transcode(tiles, 3, (256, 256), (0, 0, 768, 768))) - whole).max(2)
    near = np.zeros((768, 768), bool)
    near[:, [255, 256, 511, 512]] |= subsampling > 0
    near[[255, 256, 511, 512]] |= subsampling > 1
    assert not off[~near].any()
    assert off.max() <= 20
    assert (off > 4).mean() <= 0.003


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_sparse_tiles_are_white(sampling: str) -> None:
    tiles = [stored(sampling, (64, 64), quality=35), None, None, None]
    shown = pixels(transcode(tiles, 2, (64, 64), (0, 0, 128, 128)))
    assert (shown[:62, 66:] == 255).all()
    assert (shown[66:] == 255).all()
    assert shown[:62, :62].mean() < 200


def test_gray_is_the_luma() -> None:
    data = stored("420")
    gray = transcode([data], 1, (96, 96), (16, 32, 70, 60), gray=True)
    assert frame(split(gray)) == (70, 60, [(1, 1, 1, 0)])
    assert np.array_equal(pixels(gray), pixels(data, "L")[32:92, 16:86])
