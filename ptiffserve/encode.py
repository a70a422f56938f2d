"""Pixels through libvips: decode, join, cut, resample, turn, encode. Knows no slide and no file format of slides.

Pictures are lazy until an encoder or `settle` runs them; a damaged input raises PixelFault there.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyvips

from ptiffserve import pdf
from ptiffserve._ptiff import profile_segments
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
# What goes over those options where a picture is black and white: one bit a pixel if the format can, else no loss.
_BITONAL: dict[str, dict[str, object]] = {
    "png": {"bitdepth": 1},
    "tif": {"bitdepth": 1, "compression": "ccittfax4"},
    "gif": {"bitdepth": 1},
    "webp": {"lossless": True},
    "avif": {"lossless": True},
    "jp2": {"lossless": True},
    "jxl": {"lossless": True},
}
# Where corners that a turn opens are transparent, as IIIF recommends. What libvips writes as JPEG 2000 with four
# components is not read by everybody.
CLEAR = frozenset({"png", "webp", "tif", "gif", "avif", "jxl"})
# Where libvips writes an ICC profile; JPEG gets it from us, like stored tiles.
_PROFILED = frozenset({"png", "webp", "tif", "avif", "jxl"})
# Not among formats(): a page and no picture, which only IIIF has a use for.
PDF = "application/pdf"
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
    if form == "pdf":
        return PDF
    try:
        return formats()[form]
    except KeyError:
        raise UnsupportedFormat(f"cannot make the format {form!r}") from None


def decode(data: bytes) -> Pixels:
    """A compressed picture (JPEG and whatever else libvips reads) as 8-bit sRGB without alpha; warnings are errors."""
    image = pyvips.Image.new_from_buffer(data, "", fail_on="warning")
    return flat(image)


def decode_jp2k(data: bytes, size: Size, bands: int, ycc: bool) -> Pixels:
    """A JPEG 2000 file or bare codestream of exactly that size, 8 bits and number of bands, else PixelFault.

    `ycc`: its three components are YCbCr where it does not say what they are.
    """
    image = pyvips.Image.jp2kload_buffer(data, fail_on="warning")
    _check_header(image, size)
    if image.format != "uchar" or image.bands != bands:
        raise PixelFault(f"the tile is {image.bands} x {image.format}, not {bands} x uchar")
    # Subsampled components are already taken for YCbCr by libvips.
    if ycc and bands == 3 and not _subsampled(data):
        image = _from_ycc(image)
    return flat(image.copy(interpretation="srgb" if bands == 3 else "b-w"))


def _check_header(image: Pixels, size: Size) -> None:
    """What the header says, before anything is decoded: no picture of another size is drawn into a tile."""
    if (image.width, image.height) != (size.width, size.height):
        raise PixelFault(f"the tile is {image.width} x {image.height}, not {size.width} x {size.height}")


def _subsampled(data: bytes) -> bool:
    """Whether the second component of the codestream has fewer samples (SIZ marker, ISO 15444-1 A.5.1)."""
    at = data.find(b"\xff\x4f\xff\x51")
    return at >= 0 and data[at + 46 : at + 48] != b"\x01\x01"


def _from_ycc(image: Pixels) -> Pixels:
    """YCbCr as in JFIF to RGB."""
    matrix = pyvips.Image.new_from_array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
    return (image - [0, 128, 128]).recomb(matrix).rint().cast("uchar")


def decode_webp(data: bytes, size: Size) -> Pixels:
    """A WebP of exactly that size, else PixelFault."""
    image = pyvips.Image.webpload_buffer(data, fail_on="warning")
    _check_header(image, size)
    return flat(image)


def from_rgba(data: bytes, size: Size, background: tuple[int, int, int]) -> Pixels:
    """Raw RGBA, not premultiplied, over a background colour."""
    image = pyvips.Image.new_from_memory(data, size.width, size.height, 4, "uchar")
    return image.copy(interpretation="srgb").flatten(background=list(background))


def reason(fault: Exception) -> str:
    """What libvips says went wrong, in one line and without file names."""
    lines = (re.sub(r"/\S+", "the file", line.strip()) for line in str(fault).splitlines())
    return "; ".join(dict.fromkeys(line for line in lines if line))[:300]


def flat(image: Pixels) -> Pixels:
    """8-bit sRGB, three bands, transparency over white. No profile: whose colours they are, the reader knows."""
    if image.get_typeof("icc-profile-data"):
        image = image.copy()
        image.remove("icc-profile-data")
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


def shifted(image: Pixels, x: float, y: float) -> Pixels:
    """The picture from the point (x, y) on, which may lie inside a pixel; the last pixels go on past the edge."""
    if x == 0 and y == 0:
        return image
    area = [0, 0, max(1, image.width - int(x)), max(1, image.height - int(y))]
    bicubic = pyvips.Interpolate.new("bicubic")
    return image.affine([1, 0, 0, 1], odx=-x, ody=-y, oarea=area, interpolate=bicubic, extend="copy")


def resample(image: Pixels, width: float, height: float, size: Size) -> Pixels:
    """Its first `width` x `height` pixels, which need not be whole, at exactly `size`: Lanczos3 down, bicubic up."""
    if (width, height) == (image.width, image.height) == (size.width, size.height):
        return image
    if (width, height) == (image.width, image.height):
        return image.thumbnail_image(size.width, height=size.height, size="force")
    # The edge is carried on far enough that rounding cannot leave the result a pixel short.
    more_x, more_y = (1 + int(2 * extent / pixels) for extent, pixels in ((width, size.width), (height, size.height)))
    image = image.embed(0, 0, image.width + more_x, image.height + more_y, extend="copy")
    image = image.resize(size.width / width, vscale=size.height / height)
    return image.crop(0, 0, size.width, size.height)


def place(image: Pixels, x: int, y: int, size: Size) -> Pixels:
    """`image` at (x, y) on white of `size`."""
    if (x, y, image.width, image.height) == (0, 0, size.width, size.height):
        return image
    return image.embed(x, y, size.width, size.height, extend="background", background=WHITE)


def turned(image: Pixels, turn: float, mirror: bool, clear: bool = False) -> Pixels:
    """Mirrored left to right, then turned clockwise. Corners that open are white, or where `clear` is said transparent:
    then the picture has alpha, if anything opened."""
    if mirror:
        image = image.fliphor()
    quarter = {0.0: None, 90.0: "d90", 180.0: "d180", 270.0: "d270"}.get(turn, "")
    if quarter == "":
        image = image.copy_memory()
        return image.addalpha().rotate(turn, background=[*WHITE, 0]) if clear else image.rotate(turn, background=WHITE)
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


def encode(image: Pixels, form: str, bitonal: bool = False, profile: bytes = b"") -> bytes:
    """The picture's bytes in `form`. `bitonal`: it is black and white only, and stays so where the format can.

    `profile`: the ICC profile of its three bands, which goes along where the format and libvips know how.
    """
    media_type(form)
    if form == "pdf":
        return _page(image, bitonal, profile)
    _, operation, options = _SAVERS[form]
    if bitonal:
        options = options | _BITONAL.get(form, {})
    if profile and form in _PROFILED:
        image, options = _labelled(image, profile), options | {"strip": False}
    data: bytes = getattr(image, operation)(**options)
    return with_profile(data, profile) if form == "jpg" else data


def with_profile(data: bytes, profile: bytes) -> bytes:
    """A JPEG that says whose colours it has: behind APP0 and APP14, which some decoders want first."""
    at = 2
    while data[at : at + 2] in (b"\xff\xe0", b"\xff\xee"):
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return data[:at] + profile_segments(profile) + data[at:] if profile else data


def _labelled(image: Pixels, profile: bytes) -> Pixels:
    """The picture with that profile and nothing else beside its pixels: no name that its file said."""
    bare = pyvips.Image.new_from_memory(image.write_to_memory(), image.width, image.height, image.bands, "uchar")
    bare = bare.copy(interpretation="srgb")
    bare.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return bare


def to_srgb(image: Pixels, profile: bytes) -> Pixels:
    """A picture of three bands in the colours of an ICC profile, as sRGB; unchanged where lcms cannot read that."""
    return _labelled(image, profile).icc_transform("srgb", embedded=True, intent="perceptual")


def _page(image: Pixels, bitonal: bool, profile: bytes) -> bytes:
    size = Size(image.width, image.height)
    if bitonal:
        return pdf.of_png(encode(image, "png", bitonal), size)
    return pdf.of_jpeg(encode(image, "jpg"), size, image.bands, profile)


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


def tiff_level(fd: int, page: int, sub: int) -> Pixels:
    """A tiled page of a TIFF that is open as `fd`, or one of its SubIFDs (-1: itself). Reads the tiles that are touched."""
    return flat(pyvips.Image.tiffload(f"/proc/self/fd/{fd}", page=page, subifd=sub, fail_on="warning"))
