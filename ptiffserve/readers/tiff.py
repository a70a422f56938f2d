"""Tiled TIFF pyramids on the compiled path, whoever wrote them. Which directories form the pyramid is decided elsewhere."""

import math
from collections.abc import Callable, Mapping, Set
from functools import lru_cache
from typing import NamedTuple, cast

from ptiffserve import _jpeg, encode
from ptiffserve._ptiff import Directory, Grid, TiffError, prefix, sniff
from ptiffserve.encode import PixelFault
from ptiffserve.errors import NotFound, TileCorrupt
from ptiffserve.geometry import Box, Level, Part, Pyramid, Size, tiles_across, whole_scale
from ptiffserve.icc import labelled
from ptiffserve.raster import Raster
from ptiffserve.readers.base import ALONE, Means
from ptiffserve.readers.region import Tiles
from ptiffserve.sources.base import Source

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 254, 256, 257, 258, 259, 262, 270
SAMPLES, X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, SOFTWARE = 277, 282, 283, 284, 296, 305
STRIP_OFFSETS, STRIP_COUNTS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 273, 279, 322, 323, 324
JPEG_TABLES, IMAGE_DEPTH = 347, 32997

JPEG = 7
GRAY, RGB, YCBCR = 1, 2, 6
# (photometric, samples) of JPEG tiles.
COLOURS = {(GRAY, 1), (RGB, 3), (YCBCR, 3)}
_SIDES = (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT)
_SHAPE = (*_SIDES, SAMPLES, PHOTOMETRIC, COMPRESSION, PLANAR)
MAX_SIDE = 2**31 - 1
MAX_TILE = 8192
MAX_TABLES = 65536
MAX_PICTURE = 64 << 20
# Enough of a tile to hold its frame header even behind an Exif segment.
HEAD_BYTES = 4096

Picture = Callable[[], bytes]


class Plane(NamedTuple):
    """One tiled directory that can be a level: its size as the tags say it, its tiles, its JPEG colour."""

    directory: Directory
    size: Size
    tile: Size
    grid: Size
    samples: int
    photometric: int
    compression: int
    planar: int


class TiffReader:
    """An open tiled TIFF."""

    shrinks: tuple[int, ...] = (1, 2, 4, 8)  # by libjpeg's scaled transforms

    def __init__(
        self, source: Source, form: str, pyramid: Pyramid, grids: list[Grid], pictures: Mapping[str, Picture]
    ) -> None:
        self.format = form
        self.pyramid = pyramid
        self.barcode = ""
        self.fault = ""
        self.profile = b""
        self.nbytes = sum(grid.nbytes() for grid in grids)
        self._source = source
        self.file = source.file
        self.grids = grids
        self._pictures = pictures

    def tile_now(self, level: int, col: int, row: int) -> bytes | None:
        return self.grids[level].tile_now(self.file, col, row) if self.file else None

    def tile(self, level: int, col: int, row: int) -> bytes:
        grid = self.grids[level]
        if self.file:
            return grid.tile(self.file, col, row)
        offset, count = grid.locate(col, row)
        try:
            return grid.whole(self._source.read(offset, count), col, row) if count else b""
        except OSError as error:
            raise grid.corrupt(col, row, str(error)) from error

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        tile = self.pyramid.levels[level].tile
        size = Size(tile.width // shrink, tile.height // shrink)
        key = self._source.fingerprint(), level, shrink
        tiles = Tiles(key, size, lambda part, picture: self._decode(level, shrink, part, picture), cuts=True)
        picture = tiles.region(box, means)
        if self.file and self.file.changed():
            raise self.grids[level].changed()
        return picture

    def _decode(self, level: int, shrink: int, part: Part, picture: Raster) -> None:
        """Draws the part of a tile; leaves it white where the tile is sparse."""
        data = self.tile(level, part.col, part.row)
        if not data:
            return
        tile, box, stride = self.pyramid.levels[level].tile, part.box, 3 * picture.width
        try:
            _jpeg.decode(
                data,
                (tile.width, tile.height),
                (box.x, box.y, box.width, box.height),
                picture.data,
                at=part.y * stride + 3 * part.x,
                stride=stride,
                shrink=shrink,
            )
        except _jpeg.JpegError as error:
            raise self.grids[level].corrupt(part.col, part.row, str(error)) from error

    def associated(self) -> tuple[str, ...]:
        return tuple(self._pictures)

    def picture(self, name: str) -> bytes:
        if name not in self._pictures:
            raise NotFound(f"the slide has no {name}")
        return self._pictures[name]()

    def tables(self) -> list[tuple[int, int, int]]:
        size = self._source.fingerprint().size
        return [grid.census(size) for grid in self.grids]


def plane_of(directory: Directory) -> Plane:
    """The directory as a possible level of JPEG tiles. TiffError with the reason where it is none."""
    plane = plane_of_any(directory)
    if plane.compression != JPEG:
        raise TiffError(f"directory {directory.index} has compression {plane.compression}, not JPEG")
    check_samples(plane, COLOURS)
    return plane


def plane_of_any(directory: Directory) -> Plane:
    """The directory as tiles of any coding. TiffError where its sizes cannot be."""
    *sides, samples, photometric, compression, planar = directory.firsts(_SHAPE)
    if None in sides:
        raise TiffError(f"directory {directory.index} lacks tag {_SIDES[sides.index(None)]}")
    width, height, tile_width, tile_height = cast(list[int], sides)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise TiffError(f"directory {directory.index} is {width} x {height} pixels")
    if tile_width % 16 or tile_height % 16 or not (0 < tile_width <= MAX_TILE and 0 < tile_height <= MAX_TILE):
        raise TiffError(f"directory {directory.index} has tiles of {tile_width} x {tile_height} pixels")
    size, tile = Size(width, height), Size(tile_width, tile_height)
    return Plane(
        directory,
        size,
        tile,
        tiles_across(size, tile),
        1 if samples is None else samples,
        -1 if photometric is None else photometric,
        1 if compression is None else compression,
        1 if planar is None else planar,
    )


def check_samples(plane: Plane, colours: Set[tuple[int, int]]) -> None:
    """8 bits, interleaved, one of the (photometric, samples) that come out right. TiffError says which it is not."""
    directory = plane.directory
    bits = directory.ints(BITS, 8) or (1,)
    if (plane.photometric, plane.samples) not in colours:
        fault = f"photometric interpretation {plane.photometric} with {plane.samples} samples"
    elif set(bits) != {8} or len(bits) < plane.samples:
        fault = f"{bits} bits per sample"
    elif plane.planar != 1:
        fault = "its samples in separate planes"
    else:
        return
    raise TiffError(f"directory {directory.index} has {fault}")


class Coding(NamedTuple):
    """What can be done with a level's tiles as they are stored; as the fields of Level."""

    stored: str = "jpg"
    unit: Size = Size(0, 0)
    luma: bool = False


def table_of(plane: Plane, source: Source, name: str, level: int) -> Grid:
    """The level's tile table. TiffError where it is not inside the file."""
    return Grid(plane.directory, name, level, cols=plane.grid.width, rows=plane.grid.height, file=source.file)


def grid_of(plane: Plane, source: Source, name: str, level: int, profile: bytes = b"") -> tuple[Grid, Coding]:
    """The level's tile table, ready to serve, and how its tiles are coded, going by one that is stored.

    `profile`: the ICC profile that they are sent with, b"" for none.
    """
    grid = table_of(plane, source, name, level)
    frame = _first_frame(grid, source)
    grid.expect(labelled(_head(plane, frame), profile), plane.tile.width, plane.tile.height, plane.samples)
    if frame is None or frame[0] != plane.samples:
        return grid, Coding()
    return grid, _coding(plane.photometric, plane.tile, frame[2])


# As with their tables, below: one answer for many levels.
@lru_cache(maxsize=256)
def _coding(photometric: int, tile: Size, sampling: bytes) -> Coding:
    """`sampling`: a byte for each component, its factors across and down."""
    # Browsers differ on RGB with subsampled components, and libjpeg never writes it (iipsrv re-encodes it too).
    if photometric == RGB and len(set(sampling)) > 1:
        return Coding("")
    across, down = max(each >> 4 for each in sampling), max(each & 15 for each in sampling)
    unit = Size(8 * across, 8 * down) if len(sampling) > 1 else Size(8, 8)
    if not across or not down or tile.width % unit.width or tile.height % unit.height:
        unit = Size(0, 0)
    return Coding("jpg", unit, photometric != RGB)


def _first_frame(grid: Grid, source: Source) -> tuple[int, bytes, bytes] | None:
    where = grid.some_stored()
    if where is None:
        return None
    offset, count = where
    return sniff(source.read(offset, min(count, HEAD_BYTES)))


def _head(plane: Plane, frame: tuple[int, bytes, bytes] | None) -> bytes:
    """The prefix of the level's tiles. The photometric tag decides colour: Aperio writes RGB and no marker."""
    tables = plane.directory.blob(JPEG_TABLES, MAX_TABLES) if JPEG_TABLES in plane.directory else None
    transform = 0 if plane.photometric == RGB else None
    if plane.photometric == YCBCR and frame is not None and frame[1] == b"RGB":
        transform = 1
    try:
        return _prefix(tables, transform)
    except ValueError as error:
        raise TiffError(f"directory {plane.directory.index}: {error}") from error


# The levels of a slide have the same tables, and so have most slides of a scanner.
_prefix = lru_cache(maxsize=256)(prefix)


def level_of(plane: Plane, base: Size, coding: Coding) -> Level:
    return Level(plane.size, plane.tile, plane.grid, whole_scale(base, plane.size), *coding)


def strip_picture(directory: Directory, source: Source, name: str) -> bytes:
    """An associated image kept in strips, as a JPEG where it is stored as one JPEG strip, else as PNG."""
    try:
        offsets, counts = directory.ints(STRIP_OFFSETS), directory.ints(STRIP_COUNTS)
        if directory.first(COMPRESSION) == JPEG and len(offsets) == 1 and len(counts) == 1:
            return _jpeg_strip(directory, source, name, offsets[0], counts[0])
    except ValueError as error:  # TiffError is one
        raise TileCorrupt(name, f"directory {directory.index}: {error}") from error
    return page_picture(directory, source, name)


def _jpeg_strip(directory: Directory, source: Source, name: str, offset: int, count: int) -> bytes:
    data = source.read(offset, min(count, MAX_PICTURE))
    tables = directory.blob(JPEG_TABLES, MAX_TABLES) if JPEG_TABLES in directory else None
    if len(data) != count or data[:2] != b"\xff\xd8":
        raise TileCorrupt(name, f"directory {directory.index} holds no JPEG strip")
    return prefix(tables, 0 if directory.first(PHOTOMETRIC) == RGB else None) + data[2:]


def page_picture(directory: Directory, source: Source, name: str) -> bytes:
    """A directory decoded by libvips, as PNG: LZW labels, macros in many strips."""
    if source.file is None:
        raise NotFound("this picture can only be read from a local file")
    try:
        page = encode.tiff_page(source.file.fileno(), directory.index, MAX_PICTURE)
        return encode.encode(page, "png")
    except PixelFault as error:
        raise TileCorrupt(name, f"directory {directory.index} cannot be decoded: {error}") from error


def positive(text: str) -> float | None:
    """A number as slide files write it (decimal comma or point): finite and over 0, else None."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
