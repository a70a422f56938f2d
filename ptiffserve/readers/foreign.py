"""Slides that a foreign library reads, in processes of its own (foreign_pool.py). All of it is rendered.

The library opens by path and reads the file again later, so the path is compared with the pinned file around every read.
Of a slide in many files only the one that was opened is watched.
"""

from functools import partial
from typing import Any

from ptiffserve import encode
from ptiffserve.errors import NotFound, SlideChanged, SlideUnreadable, TileCorrupt
from ptiffserve.geometry import Box, Level, Part, Pyramid, Size, tiles_across, whole_scale
from ptiffserve.icc import usable
from ptiffserve.raster import Raster, paste
from ptiffserve.readers.base import ALONE, Means
from ptiffserve.readers.foreign_pool import Failed, Pool
from ptiffserve.readers.region import Tiles
from ptiffserve.readers.tiff import MAX_PICTURE, MAX_SIDE, positive
from ptiffserve.slide import Fingerprint, tag
from ptiffserve.sources.file import FileSource

TILE = Size(512, 512)
MAX_TILE_AREA = 1 << 26
# What the description of a slide takes here, as a guess; the handle is the other process's.
SLIDE_BYTES = 1 << 16


class ForeignReader:
    """A slide that the library behind `pool` opens; `form` is its name here."""

    shrinks: tuple[int, ...] = (1,)

    def __init__(self, source: FileSource, name: str, form: str, pool: Pool) -> None:
        """SlideUnreadable with the library's reason."""
        self.format = form
        self.fault = ""
        self.nbytes = SLIDE_BYTES
        self._source = source
        self._name = name
        self._pool = pool
        try:
            said, profile = self._ask(what="describe")
        except TileCorrupt as error:
            raise SlideUnreadable(name, error.reason) from error
        properties = said["properties"]
        try:
            self.pyramid = _pyramid(said["sizes"], properties)
        except ValueError as error:
            raise SlideUnreadable(name, f"{form}: {error}") from error
        self.profile = usable(profile)
        self.barcode: str = properties.get("openslide.barcode", "")
        self._background = _colour(properties.get("openslide.background-color", ""))
        self._pictures = _pictures(said["associated"], properties)

    def tile_now(self, level: int, col: int, row: int) -> bytes | None:
        return None

    def tile(self, level: int, col: int, row: int) -> bytes:
        raise NotFound(f"the tiles of level {level} cannot be sent as they are stored")

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        tile, key = self.pyramid.levels[level].tile, (self._source.fingerprint(), level, shrink)
        draw = partial(self._draw, level)
        picture = Tiles(key, tile, draw, cuts=True).region(box, means)
        self._check_unchanged()
        return picture

    def _draw(self, level: int, part: Part, onto: Raster) -> None:
        tile, box = self.pyramid.levels[level].tile, part.box
        x, y = part.col * tile.width + box.x, part.row * tile.height + box.y
        shown = self._flat(*self._ask(what="region", x=x, y=y, level=level, width=box.width, height=box.height))
        paste(shown, Part(part.col, part.row, Box(0, 0, box.width, box.height), part.x, part.y), onto)

    def _flat(self, said: dict[str, Any], data: bytes) -> Raster:
        return encode.settled(encode.from_rgba(data, Size(said["width"], said["height"]), self._background))

    def associated(self) -> tuple[str, ...]:
        return self._pictures

    def picture(self, name: str) -> bytes:
        if name not in self._pictures:
            raise NotFound(f"the slide has no {name}")
        return encode.encode(self._flat(*self._ask(what="picture", name=name)), "png")

    def tables(self) -> list[tuple[int, int, int]]:
        """No library says which tiles are stored: all count as such."""
        return [(level.grid.width * level.grid.height, 0, 0) for level in self.pyramid.levels]

    def _ask(self, **asked: Any) -> tuple[dict[str, Any], bytes]:
        """TileCorrupt with the library's reason; SlideChanged where the file is not the one that was opened."""
        self._check_unchanged()
        version = tag(self._source.fingerprint())
        try:
            answer = self._pool.ask({"path": str(self._source.path), "version": version, **asked})
        except Failed as error:
            self._check_unchanged()
            raise TileCorrupt(self._name, f"{self.format}: {safe(error, self._source)}") from error
        self._check_unchanged()
        return answer

    def _check_unchanged(self) -> None:
        try:
            found = self._source.path.stat()
        except OSError as error:
            raise SlideChanged(self._name, "the file is gone") from error
        if Fingerprint(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) != self._source.fingerprint():
            raise SlideChanged(self._name, "the file was replaced or written while it was open")


def _pyramid(sizes: list[list[int]], said: dict[str, str]) -> Pyramid:
    """ValueError where it cannot be served."""
    if not sizes or not all(0 < side <= MAX_SIDE for size in sizes for side in size):
        raise ValueError(f"its levels have the sizes {sizes}")
    base = Size(*sizes[0])
    levels = tuple(_level(base, Size(*size), _tile(said, number)) for number, size in enumerate(sizes))
    x, y = (positive(said.get(f"openslide.mpp-{axis}", "")) for axis in "xy")
    return Pyramid(levels, (x, y) if x and y else None)


def _level(base: Size, size: Size, tile: Size) -> Level:
    return Level(size, tile, tiles_across(size, tile), whole_scale(base, size))


def _tile(said: dict[str, str], level: int) -> Size:
    """The slide's own tiles where they make sense to a viewer: NDPI's are strips, MIRAX gives none.

    ValueError where one would not fit into memory, before OpenSlide tries.
    """
    width, height = (int(said.get(f"openslide.level[{level}].tile-{side}", "0")) for side in ("width", "height"))
    if width * height > MAX_TILE_AREA:
        raise ValueError(f"level {level} has tiles of {width} x {height} pixels")
    return Size(width, height) if width == height and 128 <= width <= 2048 else TILE


def _colour(text: str) -> tuple[int, int, int]:
    """`RRGGBB`, else white."""
    try:
        red, green, blue = bytes.fromhex(text)
    except ValueError:
        return 255, 255, 255
    return red, green, blue


def _pictures(names: list[str], said: dict[str, str]) -> tuple[str, ...]:
    return tuple(name for name in ("label", "macro", "thumbnail") if name in names and _affordable(said, name))


def _affordable(said: dict[str, str], name: str) -> bool:
    width, height = (int(said.get(f"openslide.associated.{name}.{side}", "0")) for side in ("width", "height"))
    return 0 < width * height <= MAX_PICTURE


def safe(error: Failed, source: FileSource) -> str:
    """Without the path, which names folders of the server."""
    return str(error).replace(str(source.path), source.path.name).replace(str(source.path.parent), "")[:300]
