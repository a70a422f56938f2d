"""Sizes, boxes, levels and pyramids, and the only arithmetic on them. Knows no file and no protocol.

Coordinates are (col, row), (x, y), (width, height). Level 0 is full resolution.
"""

from collections.abc import Iterator
from math import ceil

from msgspec import Struct


class Size(Struct, frozen=True, gc=False):
    """Pixels, or columns and rows."""

    width: int
    height: int


class Box(Struct, frozen=True, gc=False):
    """A rectangle of pixels: top left corner and extent."""

    x: int
    y: int
    width: int
    height: int


class Level(Struct, frozen=True, gc=False):
    """One resolution of a slide.

    `size` is the picture without padding; `grid` the stored columns and rows, which may reach past it or fall short.
    `scale` is how many level-0 pixels a pixel spans where that is a whole number, else 0.
    `stored` is the format ("jpg", "webp") in which its tiles can be sent as they lie in the file, "" where they cannot.
    `unit` is the grid on which they can be cut without loss (0 x 0: nowhere), `luma` whether their brightness is kept apart.
    """

    size: Size
    tile: Size
    grid: Size
    scale: int
    stored: str = ""
    unit: Size = Size(0, 0)
    luma: bool = False


class Pyramid(Struct, frozen=True, gc=False):
    """The levels of a slide, finest first, and its microns per pixel (x, y) at level 0 where known."""

    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None = None

    @property
    def size(self) -> Size:
        return self.levels[0].size

    @property
    def tile(self) -> Size:
        return self.levels[0].tile


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def log2_ceil(n: int) -> int:
    """Smallest k with 2**k >= n; 0 for n <= 1. Exact, where a float logarithm is not."""
    return (max(1, n) - 1).bit_length()


def whole_scale(base: Size, size: Size) -> int:
    """The whole number d for which each side of `size` is that of `base` / d, rounded down or up; 0 where there is none.

    Small levels fit several: then a power of two, as pyramids have them, else the one nearest to the sides' ratio.
    """
    sides = ((base.width, size.width), (base.height, size.height))
    low = max(a // (b + 1) + 1 for a, b in sides)
    high = min((a - 1) // (b - 1) if b > 1 else max(base.width, base.height) for a, b in sides)
    if low > high:
        return 0
    power = 1 << log2_ceil(low)
    a, b = max(sides)
    return power if power <= high else min(max(low, round(a / b)), high)


def tiles_across(size: Size, tile: Size) -> Size:
    return Size(ceil_div(size.width, tile.width), ceil_div(size.height, tile.height))


def clip(box: Box, size: Size) -> Box:
    """The part of `box` inside (0, 0, size); its extent is 0 or less where there is none."""
    x, y = max(0, box.x), max(0, box.y)
    return Box(x, y, min(box.x + box.width, size.width) - x, min(box.y + box.height, size.height) - y)


def fit(box: Box | Size, within: Size) -> Size:
    """The largest size of `box`'s shape inside `within`, at least 1 x 1, rounded to the nearest pixel."""
    if within.width * box.height <= within.height * box.width:
        return Size(within.width, scaled(box.height, within.width, box.width))
    return Size(scaled(box.width, within.height, box.height), within.height)


def scaled(n: int, numerator: int, denominator: int) -> int:
    """n * numerator / denominator rounded half up, at least 1. Exact for any integers."""
    return max(1, (2 * n * numerator + denominator) // (2 * denominator))


def downsample(pyramid: Pyramid, level: Level) -> float:
    """Level-0 pixels that a pixel of `level` spans, as the mean of both sides where it is no whole number."""
    if level.scale:
        return float(level.scale)
    base = pyramid.size
    return (base.width / level.size.width + base.height / level.size.height) / 2


def best_level(pyramid: Pyramid, box: Box, size: Size) -> int:
    """The coarsest level that still has at least a pixel for each pixel of `size` shown of `box` (level 0 at worst)."""
    wanted = min(box.width / size.width, box.height / size.height)
    chosen = 0
    for index, level in enumerate(pyramid.levels):
        if downsample(pyramid, level) <= wanted * (1 + 1e-9):
            chosen = index
    return chosen


class Part(Struct, frozen=True, gc=False):
    """What one tile gives to a picture: `box` in the tile goes to (x, y) of the picture."""

    col: int
    row: int
    box: Box
    x: int
    y: int


def parts(box: Box, tile: Size) -> Iterator[Part]:
    """The tiles that `box` touches, row by row."""
    for row in range(box.y // tile.height, ceil_div(box.y + box.height, tile.height)):
        for col in range(box.x // tile.width, ceil_div(box.x + box.width, tile.width)):
            left, top = col * tile.width, row * tile.height
            x, y = max(box.x, left), max(box.y, top)
            width, height = (
                min(box.x + box.width, left + tile.width) - x,
                min(box.y + box.height, top + tile.height) - y,
            )
            yield Part(col, row, Box(x - left, y - top, width, height), x - box.x, y - box.y)


class Window(Struct, frozen=True, gc=False):
    """Whole pixels of one axis (`first`, `count`) and the part of them that was asked for: `extent` pixels from `start`."""

    first: int
    count: int
    start: float
    extent: float


# What a resampling filter reads beside a window that cuts pixels.
MARGIN = 3


def window(start: float, extent: float, limit: int) -> Window:
    """The whole pixels inside 0..limit that cover `extent` pixels from `start`, at least one; with a margin where the
    window cuts pixels. Closer to a whole pixel than a millionth is on it."""
    end = start + extent
    first, last = int(start + 1e-6), ceil(end - 1e-6)
    if abs(start - first) < 1e-6 and abs(end - last) < 1e-6:
        first = min(first, limit - 1)
        count = max(1, min(last, limit) - first)
        return Window(first, count, 0.0, float(last - first))
    first = max(0, min(first, limit - 1) - MARGIN)
    return Window(first, min(limit, last + MARGIN) - first, start - first, extent)
