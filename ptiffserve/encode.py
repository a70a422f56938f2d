"""Pixels through libvips: decode, join, cut, resample, turn, encode. Knows no slide and no file format of slides.

Pictures are lazy until an encoder or `settle` runs them; a damaged input raises PixelFault there.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyvips

from ptiffserve.errors import Malformed, UnsupportedFormat
from ptiffserve.geometry import Box, Size

Pixels = Any  # a pyvips.Image: 8 bits, 1 or 3 bands

PixelFault = pyvips.Error

# One request, one thread: parallelism comes from the render threads, and the operation cache would only hold memory.
pyvips.voperation.cache_set_max(0)
pyvips.vips_lib.vips_concurrency_set(1)

# format -> (media type, libvips operation, its options)
_SAVERS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpg": ("image/jpeg", "jpegsave_buffer", {"Q": 85, "strip": True, "optimize_coding": True}),
    "png": ("image/png", "pngsave_buffer", {"compression": 6, "strip": True}),
    "webp": ("image/webp", "webpsave_buffer", {"Q": 80, "strip": True, "effort": 2}),
    "avif": ("image/avif", "heifsave_buffer", {"Q": 60, "compression": "av1", "effort": 2, "strip": True}),
    "tif": ("image/tiff", "tiffsave_buffer", {"compression": "lzw", "strip": True}),
    "gif": ("image/gif", "gifsave_buffer", {"strip": True}),
    "jp2": ("image/jp2", "jp2ksave_buffer", {"Q": 60, "strip": True}),
    "jxl": ("image/jxl", "jxlsave_buffer", {"Q": 80, "strip": True}),
}
WHITE = [255, 255, 255]


@lru_cache
def formats() -> dict[str, str]:
    """The formats that the libvips on this machine can write, and their media types."""
    return {
        name: media_type
        for name, (media_type, operation, _) in _SAVERS.items()
        if pyvips.type_find("VipsOperation", operation)
    }


def media_type(form: str) -> str:
    """UnsupportedFormat where nothing here writes `form`."""
    try:
        return formats()[form]
    except KeyError:
        raise UnsupportedFormat(f"cannot make the format {form!r}") from None


def decode(data: bytes) -> Pixels:
    """A compressed picture (JPEG and whatever else libvips reads) as 8-bit sRGB without alpha; warnings are errors."""
    image = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
    return flat(image)


def flat(image: Pixels) -> Pixels:
    """8-bit sRGB, three bands, transparency over white."""
    if image.hasalpha():
        image = image.flatten(background=WHITE)
    if image.interpretation != "srgb" or image.bands != 3:
        image = image.colourspace("srgb")
    return image.cast("uchar")


def canvas(size: Size) -> Pixels:
    """White."""
    return pyvips.Image.black(size.width, size.height, bands=3).linear(0, 255, uchar=True).copy(interpretation="srgb")


def mosaic(tiles: Sequence[Pixels], across: int) -> Pixels:
    """Tiles of one size, row by row."""
    return tiles[0] if len(tiles) == 1 else pyvips.Image.arrayjoin(list(tiles), across=across)


def stack(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures of one width, top to bottom, each with its own height."""
    joined = pictures[0]
    for picture in pictures[1:]:
        joined = joined.join(picture, "vertical")
    return joined


def cut(image: Pixels, box: Box) -> Pixels:
    if (box.x, box.y, box.width, box.height) == (0, 0, image.width, image.height):
        return image
    return image.crop(box.x, box.y, box.width, box.height)


def resample(image: Pixels, size: Size) -> Pixels:
    """To exactly `size`: Lanczos3 down, bicubic up."""
    if (image.width, image.height) == (size.width, size.height):
        return image
    return image.thumbnail_image(size.width, height=size.height, size="force")


def place(image: Pixels, x: int, y: int, size: Size) -> Pixels:
    """`image` at (x, y) on white of `size`."""
    if (x, y, image.width, image.height) == (0, 0, size.width, size.height):
        return image
    return image.embed(x, y, size.width, size.height, extend="background", background=WHITE)


def turned(image: Pixels, turn: float, mirror: bool) -> Pixels:
    """Mirrored left to right, then turned clockwise; corners that open are white."""
    if mirror:
        image = image.fliphor()
    quarter = {0.0: None, 90.0: "d90", 180.0: "d180", 270.0: "d270"}.get(turn, "")
    if quarter == "":
        return image.copy_memory().rotate(turn, background=WHITE)
    return image.copy_memory().rot(quarter) if quarter else image


def toned(image: Pixels, quality: str) -> Pixels:
    """color, gray, or bitonal (black below half brightness)."""
    if quality == "color":
        return image
    gray = image.colourspace("b-w")
    if quality == "gray":
        return gray
    if quality == "bitonal":
        return gray > 127
    raise Malformed(f"no such quality: {quality!r}")


def encode(image: Pixels, form: str) -> bytes:
    """The picture's bytes in `form`."""
    media_type(form)
    _, operation, options = _SAVERS[form]
    data: bytes = getattr(image, operation)(**options)
    return data


def settle(image: Pixels) -> Pixels:
    """The picture computed into memory, so that a damaged input shows here and not later."""
    return image.copy_memory()


@lru_cache(maxsize=256)
def blank(size: Size) -> bytes:
    """A white JPEG, made once for each size: the answer for sparse tiles."""
    return encode(canvas(size), "jpg")


def tiff_page(fd: int, page: int, max_pixels: int) -> Pixels:
    """A page of a TIFF that is open as `fd`. UnsupportedFormat where it has more than `max_pixels`."""
    # By descriptor: the path may name another file by now.
    image = pyvips.Image.tiffload(f"/proc/self/fd/{fd}", page=page, fail_on="warning")
    if image.width * image.height > max_pixels:
        raise UnsupportedFormat(f"page {page} is too large: {image.width} x {image.height}")
    return flat(image)
