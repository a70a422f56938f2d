"""Pixels in memory, ready to be resampled or encoded. Moves them; decodes none."""

from typing import NamedTuple

from ptiffserve import _pixels
from ptiffserve.geometry import Part, Size, Window


class Raster(NamedTuple):
    """8 bits a sample, `bands` 3 (RGB) or 1 (gray), rows packed one after another."""

    data: bytes | bytearray | memoryview
    width: int
    height: int
    bands: int = 3


def white(size: Size) -> Raster:
    return Raster(bytearray(b"\xff") * (3 * size.width * size.height), size.width, size.height)


def paste(tile: Raster, part: Part, onto: Raster) -> None:
    """What `tile` gives to the picture `onto`. Both RGB."""
    box = part.box
    _pixels.paste(tile.data, tile.width, (box.x, box.y, box.width, box.height), onto.data, onto.width, part.x, part.y)


def resample(raster: Raster, across: Window, down: Window, size: Size) -> Raster:
    """What the windows cut out of an RGB raster that begins where they do, at exactly `size`: Lanczos3."""
    whole = (0.0, 0.0, float(size.width), float(size.height))
    part = (across.start, down.start, across.extent, down.extent)
    if part == whole and (raster.width, raster.height) == (size.width, size.height):
        return raster
    data = _pixels.resample(raster.data, (raster.width, raster.height), part, (size.width, size.height))
    return Raster(data, size.width, size.height)
