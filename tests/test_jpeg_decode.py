"""Decoded windows: bit for bit those of a whole decode, which is Pillow's own libjpeg's."""

import io
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import SAMPLINGS, SOAK, Size, flat, picture, reframed, saved, separate, stored
from PIL import Image

from ptiffserve._jpeg import JpegError, decode, mcu

Window = tuple[int, int, int, int]
SIZES = ((96, 96), (256, 128), (33, 47), (1, 1), (2, 3), (5, 90), (100, 17), (17, 16), (250, 130))
CODINGS: dict[str, dict[str, object]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "fine": {"quality": 97},
}
# Luma's and chroma's factors that no encoder here writes.
ODD = {
    "4x2": (0x42, 0x11, 0x11),
    "4x1": (0x41, 0x11, 0x11),
    "1x4": (0x14, 0x11, 0x11),
    "3x1": (0x31, 0x11, 0x11),
    "2x2, 2x1, 1x2": (0x22, 0x21, 0x12),
    "luma is smaller": (0x11, 0x22, 0x22),
    "gray of 2x2": (0x22,),
    "gray of 4x4": (0x44,),
}


def shrunk(size: Size, shrink: int) -> Size:
    return -(-size[0] // shrink), -(-size[1] // shrink)


def window(data: bytes, size: Size, box: Window, shrink: int = 1) -> np.ndarray:
    """Into rows with some bytes between them, which must stay as they were; so must those around."""
    _, _, width, height = box
    out = np.full((height + 2, 3 * width + 7), 77, np.uint8)
    decode(data, size, box, out, at=out.shape[1] + 3, stride=out.shape[1], shrink=shrink)
    inner = out[1:-1, 3 : 3 + 3 * width].reshape(height, width, 3).copy()
    out[1:-1, 3 : 3 + 3 * width] = 77
    assert (out == 77).all()
    return inner


def whole(data: bytes, size: Size, shrink: int = 1) -> np.ndarray:
    return window(data, size, (0, 0, *shrunk(size, shrink)), shrink)


def pillow(data: bytes, shrink: int = 1) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        if shrink > 1:
            image.draft(image.mode, (max(1, image.width // shrink), max(1, image.height // shrink)))
        return np.asarray(image.convert("RGB"))


@cache
def made(sampling: str, coding: str, size: Size) -> bytes:
    if sampling in ODD:
        return flat(size, ODD[sampling])
    if coding == "progressive" and sampling in ("440", "411"):
        size = -(-size[0] // 32) * 32, -(-size[1] // 32) * 32
    return stored(sampling, size, **CODINGS[coding])


def size_of(data: bytes) -> Size:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


@pytest.mark.parametrize("sampling", [*SAMPLINGS, *ODD])
@pytest.mark.parametrize("coding", CODINGS)
def test_whole_pictures_are_pillows(sampling: str, coding: str) -> None:
    for size in SIZES:
        data = made(sampling, coding, size)
        size = size_of(data)
        assert np.array_equal(whole(data, size), pillow(data))


@pytest.mark.parametrize("shrink", [2, 4, 8])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_shrunk_pictures_are_pillows(sampling: str, shrink: int) -> None:
    """Pillow shrinks only as far as both sides allow, so the sides are divisible."""
    for coding in CODINGS:
        for size in ((96, 96), (256, 128), (32, 64)):
            data = made(sampling, coding, size)
            assert np.array_equal(whole(data, size, shrink), pillow(data, shrink))


@cache
def reference(data: bytes, size: Size, shrink: int) -> np.ndarray:
    return whole(data, size, shrink)


@st.composite
def windows(draw: st.DrawFn) -> tuple[bytes, Size, Window, int]:
    data = made(
        draw(st.sampled_from([*SAMPLINGS, *ODD])), draw(st.sampled_from([*CODINGS])), draw(st.sampled_from(SIZES))
    )
    size, shrink = size_of(data), draw(st.sampled_from((1, 2, 4, 8)))
    (x, width), (y, height) = (draw(parts(side)) for side in shrunk(size, shrink))
    return data, size, (x, y, width, height), shrink


def parts(side: int) -> st.SearchStrategy[tuple[int, int]]:
    """(first, count) along a side: any, one pixel, to the end."""
    first = st.integers(0, side - 1)
    return (
        st.tuples(first, first).map(lambda ends: (min(ends), max(ends) - min(ends) + 1))
        | first.map(lambda x: (x, 1))
        | first.map(lambda x: (x, side - x))
    )


@given(windows())
@settings(max_examples=4000 * SOAK, deadline=None, database=None)
def test_a_window_is_the_whole_cut(case: tuple[bytes, Size, Window, int]) -> None:
    data, size, (x, y, width, height), shrink = case
    expected = reference(data, size, shrink)[y : y + height, x : x + width]
    assert np.array_equal(window(data, size, (x, y, width, height), shrink), expected)


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
@pytest.mark.parametrize("sampling", [*SAMPLINGS, "4x2"])
def test_every_pixel_alone(sampling: str, shrink: int) -> None:
    """And every row and column start: no border of blocks is left out."""
    data = made(sampling, "baseline", (96, 96))
    expected = whole(data, (96, 96), shrink)
    for y, x in np.ndindex(expected.shape[:2]):
        if x in (0, 95) or y in (0, 95) or (x + y * 7) % 5 == 0 or shrink > 2:
            assert np.array_equal(window(data, (96, 96), (x, y, 1, 1), shrink)[0, 0], expected[y, x])


def test_scans_one_component_each() -> None:
    assert np.array_equal(window(separate(), (96, 96), (31, 40, 9, 9)), pillow(separate())[40:49, 31:40])


def test_rows_below_are_not_read() -> None:
    data = stored("420", (96, 96), quality=90)
    expected, cut = whole(data, (96, 96)), data[: len(data) // 2]
    assert np.array_equal(window(cut, (96, 96), (0, 0, 96, 16)), expected[:16])
    with pytest.raises(JpegError, match="Premature end"):
        window(cut, (96, 96), (0, 80, 1, 1))


@pytest.mark.parametrize(
    ("box", "options"),
    [
        ((0, 0, 97, 96), {}),
        ((0, 0, 96, 97), {}),
        ((96, 0, 1, 1), {}),
        ((-1, 0, 1, 1), {}),
        ((0, 0, 0, 1), {}),
        ((0, 0, 1, 0), {}),
        ((0, 0, 49, 1), {"shrink": 2}),
        ((12, 0, 1, 1), {"shrink": 8}),
        ((0, 0, 96, 96), {"shrink": 3}),
        ((0, 0, 96, 96), {"shrink": 0}),
        ((0, 0, 96, 96), {"at": 1}),
        ((0, 0, 96, 96), {"at": -1}),
        ((0, 0, 96, 96), {"stride": 287}),
        ((0, 0, 96, 96), {"stride": 289}),
        ((0, 0, 96, 96), {"stride": -288}),
        ((0, 0, 96, 96), {"stride": (1 << 63) - 1}),
        ((0, 0, 96, 2), {"stride": (1 << 63) - 1, "at": 5}),
        ((0, 0, 1, 1), {"at": 96 * 96 * 3 - 2}),
        ((0, 0, 1, 1), {"at": (1 << 63) - 1}),
    ],
)
def test_nothing_is_written_past_the_buffer(box: Window, options: dict[str, int]) -> None:
    out = bytearray(96 * 96 * 3)
    with pytest.raises(ValueError, match=r"px|rows|shrunk") as caught:
        decode(stored("420"), (96, 96), box, out, **{"stride": 288, **options})  # type: ignore[arg-type]
    assert type(caught.value) is ValueError
    assert not any(out)


def test_the_last_byte_of_the_buffer_is_used() -> None:
    out = bytearray(96 * 96 * 3)
    decode(stored("420"), (96, 96), (95, 95, 1, 1), out, at=len(out) - 3, stride=(1 << 63) - 1)
    assert any(out[-3:])
    assert not any(out[:-3])


def test_buffers() -> None:
    data, out = stored("420"), bytearray(96 * 96 * 3)
    for source in (bytearray(data), memoryview(b"x" + data + b"y")[1:-1], np.frombuffer(data, np.uint8)):
        decode(source, (96, 96), (0, 0, 96, 96), out, stride=288)
    for target in (bytes(out), memoryview(out).toreadonly(), np.zeros((96, 600), np.uint8)[:, ::2], "text"):
        with pytest.raises((TypeError, ValueError, BufferError)):
            decode(data, (96, 96), (0, 0, 9, 9), target, stride=288)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        decode("text", (96, 96), (0, 0, 9, 9), out, stride=288)  # type: ignore[arg-type]
    assert len(out.copy() + b"x") == len(out) + 1
    out.append(1)  # nobody holds the buffer


def test_another_size_is_refused_whatever_the_window() -> None:
    with pytest.raises(JpegError, match="96x96 px, expected 96x95"):
        window(stored("420"), (96, 95), (0, 0, 1, 1))


def test_mcu() -> None:
    units = {
        "444": (8, 8),
        "rgb": (8, 8),
        "gray": (8, 8),
        "422": (16, 8),
        "420": (16, 16),
        "440": (8, 16),
        "411": (32, 8),
    }
    assert {sampling: mcu(stored(sampling)) for sampling in SAMPLINGS} == units
    assert mcu(stored("420", progressive=True)[:-500]) == (16, 16)
    assert mcu(reframed(saved(picture(9, 9).convert("L")), (9, 9), 0x22)) == (8, 8)
    assert mcu(flat((9, 9), (0x11, 0x22, 0x22))) == (16, 16)
