"""Symbols of barcodes: Code 128 or Data Matrix by what they say. Draws no letters and reads no symbol."""

from functools import lru_cache
from typing import Any

import zxingcpp

from ptiffserve.errors import UnsupportedFormat
from ptiffserve.raster import Raster

# A longer Code 128 is wider than a label at a size that hand scanners read.
LINEAR = 24


def linear(text: str) -> bool:
    """Whether Code 128 says it: short printable ASCII. The separators of GS1 and other scripts take a Data Matrix."""
    return len(text) <= LINEAR and text.isascii() and text.isprintable()


@lru_cache(maxsize=256)
def _symbol(text: str) -> zxingcpp.Barcode:
    try:
        if linear(text):
            return zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.Code128)
        # Other letters are said to be UTF-8, for readers guess without it.
        said = {} if text.isascii() else {"eci": "UTF-8"}
        return zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.DataMatrix, **said)
    except ValueError:
        raise UnsupportedFormat("the barcode is too long for a symbol") from None


def symbol(text: str, scale: int) -> Raster:
    """Black on white, one band, a quiet zone around it; `scale` pixels for each module. UnsupportedFormat where it is
    too long: a Data Matrix holds 1,556 bytes."""
    drawn: Any = _symbol(text).to_image(scale=scale)
    height, width = drawn.shape
    return Raster(memoryview(drawn).tobytes(), width, height, 1)


def svg(text: str, scale: int) -> bytes:
    """As `symbol`, in rectangles."""
    drawn: str = _symbol(text).to_svg(scale=scale)
    return drawn.encode()
