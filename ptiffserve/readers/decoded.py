"""Decoded tiles, so that neighbouring regions do not decode the same tile twice. Holds pixels; decodes nothing."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock

from ptiffserve.raster import Raster


class DecodedTiles:
    """Whole tiles as pixels, least recently used first, bounded by bytes; for all slides and threads.

    A region takes a window of each tile, which costs less than the tile. So a tile is worth keeping once it is wanted again
    before as many others were wanted as could be kept.
    """

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._held = 0
        self._tiles: OrderedDict[Hashable, Raster] = OrderedDict()
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._noted = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> Raster | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def again(self, key: Hashable, nbytes: int) -> bool:
        """Notes that a tile of so many bytes is wanted; whether it was before, lately."""
        with self._lock:
            before = self._seen.pop(key, 0)
            self._noted -= before
            if before:
                return True
            self._seen[key] = nbytes
            self._noted += nbytes
            while self._noted > self._nbytes:
                self._noted -= self._seen.popitem(last=False)[1]
            return False

    def put(self, key: Hashable, tile: Raster) -> None:
        """Keeps a tile that nobody will change, unless it is larger than everything that may be kept."""
        size = len(tile.data)
        with self._lock:
            if key in self._tiles or size > self._nbytes:
                return
            self._tiles[key] = tile
            self._held += size
            while self._held > self._nbytes:
                self._held -= len(self._tiles.popitem(last=False)[1].data)
