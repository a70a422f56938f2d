"""SlideAtlas's tile pyramids (sources/tiles.py) as slides: a picture in a padded square, most often at its bottom.

Where the padding is not whole tiles at its top and left, tiles of the picture are no stored ones: they are rendered.
"""

from typing import Any

from ptiffserve import encode
from ptiffserve.encode import PixelFault
from ptiffserve.errors import NotFound, SlideUnreadable, TileCorrupt
from ptiffserve.geometry import Box, Level, Part, Pyramid, Size, ceil_div, tiles_across
from ptiffserve.raster import Raster, paste
from ptiffserve.readers.base import ALONE, Means
from ptiffserve.readers.region import Tiles
from ptiffserve.readers.tiff import MAX_SIDE
from ptiffserve.sources.tiles import TileDocuments

MAX_LEVELS = 24
NBYTES = 1 << 14


class PyramidReader:
    """`offsets`: where the picture begins in the square of each level, in its pixels."""

    shrinks: tuple[int, ...] = (1,)

    def __init__(self, source: TileDocuments, name: str, pyramid: Pyramid, offsets: list[tuple[int, int]]) -> None:
        self.format = "slideatlas"
        self.barcode = ""
        self.fault = ""
        self.profile = b""
        self.nbytes = NBYTES
        self.pyramid = pyramid
        self._source = source
        self._name = name
        self._offsets = offsets

    def tile_now(self, level: int, col: int, row: int) -> bytes | None:
        return self._source.tile_now(*self._place(level, col, row))

    def tile(self, level: int, col: int, row: int) -> bytes:
        if not self.pyramid.levels[level].stored:
            raise NotFound(f"the tiles of level {level} cannot be sent as they are stored")
        data = self._source.tile(*self._place(level, col, row))
        if data and data[:2] != b"\xff\xd8":
            raise TileCorrupt(self._name, f"tile {col},{row} of level {level} is no JPEG")
        return data

    def _place(self, level: int, col: int, row: int) -> tuple[int, int, int]:
        x, y = self._offsets[level]
        tile = self.pyramid.tile.width
        return len(self.pyramid.levels) - 1 - level, col + x // tile, row + y // tile

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        x, y = self._offsets[level]
        tiles = Tiles(
            (self._source.fingerprint(), level, shrink),
            self.pyramid.tile,
            lambda part, picture: self._draw(level, part, picture),
            cuts=False,
        )
        return tiles.region(Box(box.x + x, box.y + y, box.width, box.height), means)

    def _draw(self, level: int, part: Part, picture: Raster) -> None:
        """`part` counts in the square. What is not stored stays white."""
        data = self._source.tile(len(self.pyramid.levels) - 1 - level, part.col, part.row)
        if not data:
            return
        try:
            tile = encode.settled(encode.decode(data))
        except PixelFault as error:
            raise TileCorrupt(self._name, f"a tile of level {level} cannot be decoded") from error
        if Size(tile.width, tile.height) != self.pyramid.tile or tile.bands != 3:
            raise TileCorrupt(self._name, f"a tile of level {level} has {tile.width} x {tile.height} pixels")
        paste(tile, part, picture)

    def associated(self) -> tuple[str, ...]:
        return ()

    def picture(self, name: str) -> bytes:
        raise NotFound(f"the slide has no {name}")

    def tables(self) -> list[tuple[int, int, int]]:
        """Nobody counted: all count as stored."""
        return [(level.grid.width * level.grid.height, 0, 0) for level in self.pyramid.levels]


def open(source: TileDocuments, name: str) -> PyramidReader:
    """SlideUnreadable where the image's document does not say what is needed, or what cannot be."""
    try:
        size, tile, left, top, number = _said(source.document)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SlideUnreadable(name, f"its document in images: {error}") from error
    levels, offsets = [], []
    for depth in range(number):
        x, y = _rounded(left, depth), _rounded(top, depth)
        right, bottom = ceil_div(left + size.width, 1 << depth), ceil_div(top + size.height, 1 << depth)
        shown = Size(max(1, right - x), max(1, bottom - y))
        whole = left % (tile << depth) == 0 and top % (tile << depth) == 0
        square = Size(tile, tile)
        levels.append(Level(shown, square, tiles_across(shown, square), 1 << depth, "jpg" if whole else ""))
        offsets.append((x, y))
    return PyramidReader(source, name, Pyramid(tuple(levels)), offsets)


def _rounded(offset: int, depth: int) -> int:
    """The nearest whole pixel: a level's picture then lies less than half of one off."""
    return (offset + (1 << depth >> 1)) >> depth


def _said(document: dict[str, Any]) -> tuple[Size, int, int, int, int]:
    """Size, side of tiles, left and upper padding, number of levels. ValueError and its like where they do not fit."""
    size = _size(document)
    tile = int(document.get("TileSize") or 256)
    number = int(document.get("levels") or 0)
    if not (0 < size.width <= MAX_SIDE and 0 < size.height <= MAX_SIDE and 16 <= tile <= 4096):
        raise ValueError(f"sizes {size.width} x {size.height} in tiles of {tile}")
    needed = max(ceil_div(size.width, tile), ceil_div(size.height, tile))
    if not (needed - 1).bit_length() < number <= MAX_LEVELS:
        raise ValueError(f"{number} levels do not reach {size.width} x {size.height} pixels")
    top = (tile << (number - 1)) - size.height if _at_bottom(document) else 0
    return size, tile, 0, top, number


def _size(document: dict[str, Any]) -> Size:
    dimensions = document.get("dimensions") or []
    if len(dimensions) >= 2 and dimensions[0] and dimensions[1]:
        return Size(int(dimensions[0]), int(dimensions[1]))
    left, right, top, bottom = (int(side) for side in document["bounds"][:4])
    return Size(right - left, bottom - top)


def _at_bottom(document: dict[str, Any]) -> bool:
    """Whether the padding is above. SlideAtlas's viewer reads no CoordinateSystem as Pixel and its cutouts as Photo: the
    bounds decide, which begin below the padding."""
    system = document.get("CoordinateSystem")
    bounds = document.get("bounds") or []
    if system in ("Pixel", "Photo"):
        return bool(system == "Photo")
    return not bounds or bool(bounds[2])
