"""Encoded pixels: byte for byte what Pillow's own libjpeg makes of them."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from jpegs import APP0, DHT, SOF0, Size, frame, markers, picture, pixels, saved, split
from PIL import Image, ImageCms

from ptiffserve._jpeg import decode, encode

SUBSAMPLINGS = ("444", "422", "420")
SIZES = ((1, 1), (1, 96), (96, 1), (17, 16), (2, 3), (33, 47), (100, 130), (3, 2000), (2000, 5))


@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("size", SIZES)
def test_rgb_is_pillows(subsampling: str, size: Size) -> None:
    image = picture(*size)
    for quality, optimize in ((85, False), (1, True), (30, False), (100, True)):
        ours = encode(image.tobytes(), *size, subsampling=subsampling, quality=quality, optimize=optimize)
        assert ours == saved(image, subsampling=SUBSAMPLINGS.index(subsampling), quality=quality, optimize=optimize)


@pytest.mark.parametrize("size", SIZES)
def test_gray_is_pillows(size: Size) -> None:
    image = picture(*size).convert("L")
    for optimize in (False, True):
        assert encode(image.tobytes(), *size, bands=1, optimize=optimize) == saved(image, quality=85, optimize=optimize)
    assert encode(image.tobytes(), *size, bands=1, gray=True) == encode(image.tobytes(), *size, bands=1)


def test_gray_of_rgb_is_the_luma_of_the_same_jpeg() -> None:
    image = picture(65, 43)
    gray = encode(image.tobytes(), 65, 43, gray=True)
    assert frame(split(gray)) == (65, 43, [(1, 1, 1, 0)])
    assert np.array_equal(pixels(gray), pixels(encode(image.tobytes(), 65, 43, subsampling="444"), "L"))


def test_the_defaults() -> None:
    image = picture(50, 40)
    plain = encode(image.tobytes(), 50, 40)
    assert plain == encode(image.tobytes(), 50, 40, bands=3, stride=150, quality=85, subsampling="420")
    assert [m for m in markers(plain) if m >= APP0] == [APP0]
    assert SOF0 in markers(plain)
    assert len(encode(image.tobytes(), 50, 40, optimize=True)) < len(plain)
    assert markers(plain).count(DHT) == 4


@pytest.mark.parametrize("size", [(3, 65500), (65500, 3)])
def test_the_longest_sides(size: Size) -> None:
    image = picture(*size)
    assert encode(image.tobytes(), *size) == saved(image, quality=85)
    assert pixels(encode(image.tobytes(), *size, optimize=True)).shape == (*size[::-1], 3)


def test_rows_may_lie_apart() -> None:
    wide = np.asarray(picture(200, 60))
    left = np.ascontiguousarray(wide[:, :70])
    assert encode(wide, 70, 60, stride=600) == encode(left, 70, 60)
    assert encode(memoryview(wide.tobytes())[: 59 * 600 + 210], 70, 60, stride=600) == encode(left, 70, 60)


@pytest.mark.parametrize("length", [1, 528, 65519, 65520, 200_000, 255 * 65519])
def test_profiles(length: int) -> None:
    profile = np.random.default_rng(3).bytes(length)
    image = picture(20, 20)
    data = encode(image.tobytes(), 20, 20, icc=profile)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.info["icc_profile"] == profile
        assert np.array_equal(np.asarray(opened), pixels(encode(image.tobytes(), 20, 20)))
    assert encode(image.tobytes(), 20, 20, icc=b"") == encode(image.tobytes(), 20, 20)


def test_a_real_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = picture(20, 20)
    assert encode(image.tobytes(), 20, 20, icc=profile) == saved(image, quality=85, icc_profile=profile)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": 0},
        {"width": -1},
        {"width": 65501},
        {"height": 65501},
        {"width": 11},
        {"height": 11},
        {"bands": 2},
        {"bands": 4},
        {"stride": 29},
        {"stride": 31},
        {"stride": -30},
        {"stride": (1 << 63) - 1},
        {"quality": 0},
        {"quality": 101},
        {"subsampling": "411"},
        {"subsampling": ""},
        {"icc": bytes(255 * 65519 + 1)},
    ],
)
def test_refusals(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"rows|size|encode") as caught:
        encode(bytes(300), **{"width": 10, "height": 10, **change})  # type: ignore[arg-type]
    assert type(caught.value) is ValueError


def test_arguments_of_the_wrong_type() -> None:
    for options in ({"icc": "text"}, {"quality": "high"}, {"subsampling": 420}, {"stride": 1.5}):
        with pytest.raises(TypeError):
            encode(bytes(300), 10, 10, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        encode("text", 10, 10)  # type: ignore[arg-type]
    with pytest.raises((BufferError, ValueError)):
        encode(np.zeros((10, 60), np.uint8)[:, ::2], 10, 10)


def test_noise_outgrows_its_first_buffer() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)
    data = encode(noise, 300, 300, quality=100, subsampling="444")
    assert len(data) > noise.nbytes // 2
    assert data == saved(Image.fromarray(noise), quality=100, subsampling=0)


def test_threads_agree() -> None:
    image = picture(90, 70).tobytes()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda turn: encode(image, 90, 70), range(400)))) == 1


def test_there_and_back() -> None:
    """The engine's own two ends: nothing but the loss of the coding."""
    image = np.asarray(picture(120, 90))
    out = np.zeros_like(image)
    decode(encode(image, 120, 90, quality=100, subsampling="444"), (120, 90), (0, 0, 120, 90), out, stride=360)
    assert np.abs(out.astype(int) - image).max() <= 4
