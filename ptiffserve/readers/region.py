"""A region made of tiles, for every reader that decodes tile by tile: side by side, and none anew that is at hand."""

from collections.abc import Callable

from ptiffserve.errors import TooCostly
from ptiffserve.geometry import Box, Part, Size, parts
from ptiffserve.raster import Raster, paste, white
from ptiffserve.readers.base import Means
from ptiffserve.slide import Fingerprint

# What one region may decode before it is resampled: pixels, and tiles whose bytes are read for them.
MAX_DECODED = 100_000_000
MAX_TILES = 4096

Key = tuple[Fingerprint, int, int]


class Tiles:
    """The tiles of one level at one shrink. `draw(part, picture)` decodes a part of one; it leaves a sparse one white.

    `key` is theirs alone. `cuts`: a part of a tile is decoded at less than the cost of the whole.
    """

    def __init__(self, key: Key, size: Size, draw: Callable[[Part, Raster], None], cuts: bool) -> None:
        self._key = key
        self._size = size
        self._draw = draw
        self._cuts = cuts

    def region(self, box: Box, means: Means) -> Raster:
        """RGB of `box`. TooCostly, and what `draw` raises."""
        touched = list(parts(box, self._size))
        if len(touched) > MAX_TILES or self._decoded(box, len(touched)) > MAX_DECODED:
            raise TooCostly("the region needs too many tiles or pixels to be decoded")
        picture = white(Size(box.width, box.height))
        means.run(lambda part: self._paint(part, picture, means), touched)
        return picture

    def _decoded(self, box: Box, tiles: int) -> int:
        return box.width * box.height if self._cuts else tiles * self._size.width * self._size.height

    def _paint(self, part: Part, picture: Raster, means: Means) -> None:
        whole = self._whole(part, means)
        if whole is None:
            self._draw(part, picture)
        else:
            paste(whole, part, picture)

    def _whole(self, part: Part, means: Means) -> Raster | None:
        """The whole tile if it is at hand or worth decoding: at once where a part costs as much, else when wanted again."""
        key = *self._key, part.col, part.row
        whole = means.decoded.get(key)
        if whole is None and (not self._cuts or means.decoded.again(key, 3 * self._size.width * self._size.height)):
            whole = white(self._size)
            self._draw(Part(part.col, part.row, Box(0, 0, self._size.width, self._size.height), 0, 0), whole)
            means.decoded.put(key, whole)
        return whole
