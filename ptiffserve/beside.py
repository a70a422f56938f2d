"""Pictures beside the slide: label, macro, its barcode as a symbol, those put together, and SlideAtlas's thumb.

Runs in the thread of whoever calls it. Knows no HTTP.
"""

from ptiffserve import barcode, encode, render
from ptiffserve.address import Associated, Blob, Thumb, Tile, View
from ptiffserve.encode import PixelFault
from ptiffserve.errors import NotFound, TileCorrupt, TileTruncated, TooCostly
from ptiffserve.geometry import Box, Part, Size, fit, scaled, window
from ptiffserve.raster import Raster, paste, resample, white
from ptiffserve.readers.base import Means, Reader

JPEG = "image/jpeg"
# Pixels for each module of a symbol: what a scanner still reads off a screen.
MODULE = 3
MARGIN = 20
# Height of SlideAtlas's thumb, and the side of what it falls back to.
THUMB = 100
FALLBACK = Size(256, 256)
# A label or macro of more pixels is no photograph of a slide, but decoding it would be felt.
MOST = 1 << 25
_BROKEN = (NotFound, TileCorrupt, TileTruncated, TooCostly, PixelFault)


def associated(asked: Associated, reader: Reader) -> Blob:
    """NotFound where the slide has none of it, TileCorrupt, TooCostly; PixelFault from libvips."""
    if asked.name == "barcode":
        return _barcode(asked)
    if asked.name == "composed":
        picture = _composed(asked.slide.barcode, reader)
        return _encoded(picture if asked.size is None else _fitted(picture, asked.size), asked.format)
    data = reader.picture(asked.name)
    if asked.size is None and asked.format == "jpg" and data[:2] == b"\xff\xd8":
        return Blob(data, JPEG, "stored")
    picture = _decoded(data)
    return _encoded(picture if asked.size is None else _fitted(picture, asked.size), asked.format)


def _decoded(data: bytes) -> Raster:
    picture = encode.decode(data)
    if picture.width * picture.height > MOST:
        raise TooCostly(f"a picture of {picture.width} x {picture.height} beside the slide")
    return encode.settled(picture)


def _encoded(picture: Raster, form: str) -> Blob:
    return Blob(encode.encode(picture, form), encode.media_type(form), "render")


def _fitted(picture: Raster, within: Size) -> Raster:
    return _resized(picture, fit(Size(picture.width, picture.height), within))


def _resized(picture: Raster, size: Size) -> Raster:
    across, down = (window(0, side, side) for side in (picture.width, picture.height))
    return resample(picture, across, down, size)


def _barcode(asked: Associated) -> Blob:
    text = asked.slide.barcode
    if asked.format == "txt":
        return Blob(text.encode(), "text/plain; charset=utf-8", "render")
    if asked.format == "svg":
        return Blob(barcode.svg(text, MODULE), "image/svg+xml", "render")
    return _encoded(_symbol(text, asked.size), asked.format)


def _symbol(text: str, within: Size | None) -> Raster:
    """The symbol with whole pixels for its modules wherever `within` has room for them."""
    if within is None:
        return _coloured(barcode.symbol(text, MODULE))
    least = barcode.symbol(text, 1)
    scale = min(within.width // least.width, within.height // least.height)
    if not scale:
        return _fitted(_coloured(least), within)
    return _coloured(barcode.symbol(text, scale))


def _coloured(gray: Raster) -> Raster:
    return encode.settled(encode.flat(encode.image(gray)))


def _composed(text: str, reader: Reader) -> Raster:
    """The scanned label, and right of it symbol and text; either alone where the other is missing or broken."""
    label = _picture("label", reader)
    if not text:
        if label is None:
            raise NotFound("the slide has neither label nor barcode")
        return label
    panel = _panel(text)
    return panel if label is None else _beside(label, panel)


def _panel(text: str) -> Raster:
    """The symbol over its text, both in the middle."""
    symbol = _symbol(text, None)
    width = max(symbol.width, 4 * THUMB)
    words = encode.lettering(text, width)
    parts = [symbol, words] if words else [symbol]
    width = max(part.width for part in parts)
    onto = white(Size(width + 2 * MARGIN, sum(part.height + MARGIN for part in parts) + MARGIN))
    top = MARGIN
    for part in parts:
        _put(part, onto, (onto.width - part.width) // 2, top)
        top += part.height + MARGIN
    return onto


def _beside(left: Raster, right: Raster) -> Raster:
    height = max(left.height, right.height)
    onto = white(Size(left.width + right.width, height))
    _put(left, onto, 0, (height - left.height) // 2)
    _put(right, onto, left.width, (height - right.height) // 2)
    return onto


def _put(picture: Raster, onto: Raster, x: int, y: int) -> None:
    paste(picture, Part(0, 0, Box(0, 0, picture.width, picture.height), x, y), onto)


def _picture(name: str, reader: Reader) -> Raster | None:
    """None where it is missing or broken."""
    try:
        return _decoded(reader.picture(name))
    except _BROKEN:
        return None


def thumb(asked: Thumb, reader: Reader, means: Means) -> Blob:
    """A JPEG. Whatever is missing or damaged gives way to the next best, a white picture at last."""
    if asked.labels:
        label, macro = _picture("label", reader), _picture("macro", reader)
        if label is not None and macro is not None:
            return _encoded(_labelled(label, macro), "jpg")
    root = _tile(asked.root, reader, means)
    if root is not None:
        return root
    return _encoded(_mosaic([_tile(quarter, reader, means) for quarter in asked.quarters]), "jpg")


def _labelled(label: Raster, macro: Raster) -> Raster:
    """The label, turned to stand as the slide lies, and the macro; 100 pixels high."""
    upright = encode.settled(encode.turned(label, 270, mirror=False))
    if macro.height > THUMB:
        macro = _resized(macro, Size(scaled(macro.width, THUMB, macro.height), THUMB))
    onto = white(Size(THUMB + macro.width, THUMB))
    _put(_resized(upright, Size(THUMB, THUMB)), onto, 0, 0)
    _put(macro, onto, THUMB, 0)
    return onto


def _tile(asked: Tile | View | None, reader: Reader, means: Means) -> Blob | None:
    """None where it is missing, sparse or damaged."""
    if asked is None:
        return None
    try:
        if isinstance(asked, View):
            return render.view(asked, reader, means)
        data = reader.tile(asked.level, asked.col, asked.row)
    except _BROKEN:
        return None
    return Blob(data, JPEG, "stored") if data else None


def _shown(blob: Blob | None) -> Raster | None:
    try:
        return _decoded(blob.data) if blob else None
    except _BROKEN:
        return None


def _mosaic(quarters: list[Blob | None]) -> Raster:
    """Four tiles, clockwise from the top left, made small; white where there is none."""
    pictures = [_shown(blob) for blob in quarters]
    found = [picture for picture in pictures if picture]
    if not found:
        return white(FALLBACK)
    width, height = found[0].width, found[0].height
    onto = white(Size(2 * width, 2 * height))
    for picture, (x, y) in zip(pictures, ((0, 0), (width, 0), (width, height), (0, height)), strict=True):
        if picture:
            _put(picture, onto, x, y)
    return _resized(onto, FALLBACK)
