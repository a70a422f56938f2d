"""Pictures through libvips: decode, join, cut, turn, tone; and every format, JPEG by the compiled encoder. Knows no slide.

libvips's pictures are lazy until `encode` or `settled` runs them; a damaged input raises PixelFault there.
"""

import re
from functools import lru_cache
from html import escape
from math import ceil, cos, radians, sin
from typing import Any

import pyvips

from ptiffserve import _jpeg, icc, pdf
from ptiffserve.errors import Malformed, UnsupportedFormat
from ptiffserve.geometry import Box, Size
from ptiffserve.raster import Raster, white

Pixels = Any  # a pyvips.Image: 8 bits, 1 or 3 bands
Picture = Raster | Pixels

PixelFault = pyvips.Error

# One request, one thread: parallelism comes from the render threads, and the operation cache would only hold memory.
pyvips.voperation.cache_set_max(0)
pyvips.vips_lib.vips_concurrency_set(1)

# format -> (media type, libvips operation, its options)
_SAVERS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpg": ("image/jpeg", "jpegsave_buffer", {}),  # written by _jpeg
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
JPEG_QUALITY = 85
# Brightness as JPEG has it (BT.601), so that gray is the same whether a tile's own is kept or it is computed.
_LUMA = [0.299, 0.587, 0.114]


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


def image(picture: Picture) -> Pixels:
    """The picture as libvips has them."""
    if not isinstance(picture, Raster):
        return picture
    made = pyvips.Image.new_from_memory(picture.data, picture.width, picture.height, picture.bands, "uchar")
    return made.copy(interpretation="srgb" if picture.bands == 3 else "b-w")


def settled(picture: Picture) -> Raster:
    """The picture computed into memory, so that a damaged input shows here and not later."""
    if isinstance(picture, Raster):
        return picture
    return Raster(memoryview(picture.write_to_memory()), picture.width, picture.height, picture.bands)


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
    """8-bit sRGB, three bands, transparency over white."""
    if image.hasalpha():
        image = image.flatten(background=WHITE)
    if image.interpretation != "srgb" or image.bands != 3:
        image = image.colourspace("srgb")
    return image.cast("uchar")


def canvas(size: Size, background: str = "ffffff") -> Pixels:
    """One colour, RRGGBB."""
    black = pyvips.Image.black(size.width, size.height, bands=3)
    return black.linear([0, 0, 0], _rgb(background), uchar=True).copy(interpretation="srgb")


def _rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour))


def lettering(text: str, width: int) -> Raster | None:
    """Black on white, wrapped at `width` pixels; None on a machine without fonts."""
    plain = escape("".join(c if c.isprintable() else " " for c in text), quote=False)
    try:
        ink = pyvips.Image.text(plain, font="sans", width=width, dpi=150, wrap="word-char")
    except PixelFault:
        return None
    return settled(flat(ink.invert().copy(interpretation="b-w")))


def cut(image: Pixels, box: Box) -> Pixels:
    if (box.x, box.y, box.width, box.height) == (0, 0, image.width, image.height):
        return image
    return image.crop(box.x, box.y, box.width, box.height)


def place(picture: Picture, x: int, y: int, size: Size, background: str = "ffffff") -> Picture:
    """The picture at (x, y) on a canvas of `size`."""
    if (x, y, picture.width, picture.height) == (0, 0, size.width, size.height):
        return picture
    return image(picture).embed(x, y, size.width, size.height, extend="background", background=_rgb(background))


def turned(picture: Picture, turn: float, mirror: bool, background: str = "ffffff", clear: bool = False) -> Picture:
    """Mirrored left to right, then turned clockwise. Corners that open have the background's colour, or where `clear` is
    said are transparent: then the picture has alpha, if anything opened."""
    if not turn and not mirror:
        return picture
    made = image(picture).fliphor() if mirror else image(picture)
    quarter = {0.0: "d0", 90.0: "d90", 180.0: "d180", 270.0: "d270"}.get(turn)
    if quarter is None:
        made, colour = (made.addalpha(), [*_rgb(background), 0]) if clear else (made, _rgb(background))
        return _rotated(made.copy_memory(), radians(turn), colour)
    return made.copy_memory().rot(quarter) if turn else made


def _rotated(image: Pixels, angle: float, background: list[int]) -> Pixels:
    """Around its centre, on a canvas that holds all of it. libvips' own rotate turns around the first pixel and cuts one
    row or column off where that comes to lie last."""
    c, s = cos(angle), sin(angle)
    w, h = image.width, image.height
    wide, high = (ceil(side - 1e-6) for side in (w * abs(c) + h * abs(s), w * abs(s) + h * abs(c)))
    return image.affine(
        [c, -s, s, c],
        idx=(1 - w) / 2,
        idy=(1 - h) / 2,
        odx=(wide - 1) / 2,
        ody=(high - 1) / 2,
        oarea=[0, 0, wide, high],
        interpolate=pyvips.Interpolate.new("bicubic"),
        background=background,
    )


def toned(picture: Picture, quality: str) -> Picture:
    """color, gray, or bitonal (black below half brightness). Alpha stays."""
    if quality == "color":
        return picture
    made = image(picture)
    luma = [_LUMA] if made.bands == 3 else [[*_LUMA, 0], [0, 0, 0, 1]]
    gray = made.recomb(luma).rint().cast("uchar").copy(interpretation="b-w")
    if quality == "gray":
        return gray
    if quality == "bitonal":
        return gray > 127
    raise Malformed(f"no such quality: {quality!r}")


def encode(picture: Picture, form: str, strength: int = 0, bitonal: bool = False, profile: bytes = b"") -> bytes:
    """The picture's bytes in `form`, with a quality of 1 to 100 where it is said and the format has one. `bitonal`: it is
    black and white only, and stays so where the format can. `profile`: the ICC profile of its three bands, which goes along
    where format and libvips know how."""
    media_type(form)
    if form == "jpg":
        pixels = settled(picture)
        quality = strength or JPEG_QUALITY
        data = _jpeg.encode(pixels.data, pixels.width, pixels.height, bands=pixels.bands, quality=quality)
        return icc.labelled(data, profile)
    if form == "pdf":
        return _page(picture, strength, bitonal, profile)
    _, operation, options = _SAVERS[form]
    more = _BITONAL.get(form, {}) if bitonal else {"Q": strength} if strength and "Q" in options else {}
    if profile and form in _PROFILED:
        picture, more = _labelled(picture, profile), {**more, "strip": False}
    made: bytes = getattr(image(picture), operation)(**options | more)
    return made


def _labelled(picture: Picture, profile: bytes) -> Pixels:
    """The picture with that profile and nothing else beside its pixels: no name that its file said."""
    made = image(settled(picture)).copy(interpretation="srgb")
    made.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return made


def to_srgb(raster: Raster, profile: bytes) -> Raster:
    """RGB in the colours of an ICC profile as sRGB; unchanged where lcms cannot read that."""
    return settled(_labelled(raster, profile).icc_transform("srgb", embedded=True, intent="perceptual"))


def _page(picture: Picture, strength: int, bitonal: bool, profile: bytes) -> bytes:
    size = Size(picture.width, picture.height)
    if bitonal:
        return pdf.of_png(encode(picture, "png", bitonal=True), size)
    return pdf.of_jpeg(encode(picture, "jpg", strength), size, picture.bands, profile)


@lru_cache(maxsize=256)
def blank(size: Size, form: str = "jpg") -> bytes:
    """A white picture, made once for each size: the answer for sparse tiles."""
    if form != "jpg":
        return encode(white(size), form)
    return _jpeg.encode(white(size).data, size.width, size.height, quality=JPEG_QUALITY, optimize=True)


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
