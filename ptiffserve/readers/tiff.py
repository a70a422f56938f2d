"""Tiled TIFF pyramids on the compiled path, whoever wrote them. Which directories form the pyramid is decided elsewhere."""

import math
from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

from ptiffserve import encode
from ptiffserve._ptiff import Directory, Grid, TiffError, prefix, sniff
from ptiffserve.encode import PixelFault, Pixels
from ptiffserve.errors import NotFound, TileCorrupt, TooCostly
from ptiffserve.geometry import Box, Level, Pyramid, Size, tiles_across, whole_scale
from ptiffserve.sources.base import Source

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 254, 256, 257, 258, 259, 262, 270
SAMPLES, X_RESOLUTION, Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, SOFTWARE = 277, 282, 283, 284, 296, 305
STRIP_OFFSETS, STRIP_COUNTS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS = 273, 279, 322, 323, 324
JPEG_TABLES, IMAGE_DEPTH = 347, 32997

JPEG = 7
GRAY, RGB, YCBCR = 1, 2, 6
MAX_SIDE = 2**31 - 1
MAX_TILE = 8192
MAX_TABLES = 65536
MAX_PICTURE = 64 << 20
# What one region may decode before it is cut and resampled.
MAX_DECODED = 100_000_000
# Enough of a tile to hold its frame header even behind an Exif segment.
HEAD_BYTES = 4096

Picture = Callable[[], bytes]


class Plane(NamedTuple):
    """One tiled directory that can be a level: its size as the tags say it, its tiles, its JPEG colour."""

    directory: Directory
    size: Size
    tile: Size
    samples: int
    photometric: int

    @property
    def grid(self) -> Size:
        return tiles_across(self.size, self.tile)


class TiffReader:
    """An open tiled TIFF."""

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
        return grid.whole(self._source.read(offset, count), col, row) if count else b""

    def pixels(self, level: int, box: Box) -> Pixels:
        tile = self.pyramid.levels[level].tile
        first_col, first_row = box.x // tile.width, box.y // tile.height
        across = (box.x + box.width - 1) // tile.width - first_col + 1
        down = (box.y + box.height - 1) // tile.height - first_row + 1
        if across * down * tile.width * tile.height > MAX_DECODED:
            raise TooCostly("the region needs too many pixels to be decoded")
        tiles = [self._decoded(level, first_col + i % across, first_row + i // across) for i in range(across * down)]
        inner = Box(box.x - first_col * tile.width, box.y - first_row * tile.height, box.width, box.height)
        return encode.cut(encode.mosaic(tiles, across), inner)

    def _decoded(self, level: int, col: int, row: int) -> Pixels:
        data = self.tile(level, col, row)
        return encode.decode(data) if data else encode.canvas(self.pyramid.levels[level].tile)

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
    if (compression := directory.first(COMPRESSION, 1)) != JPEG:
        raise TiffError(f"directory {directory.index} has compression {compression}, not JPEG")
    check_samples(plane, {(GRAY, 1), (RGB, 3), (YCBCR, 3)})
    return plane


def plane_of_any(directory: Directory) -> Plane:
    """The directory as tiles of any coding. TiffError where its sizes cannot be."""
    size = Size(_needed(directory, WIDTH), _needed(directory, HEIGHT))
    tile = Size(_needed(directory, TILE_WIDTH), _needed(directory, TILE_HEIGHT))
    if not (0 < size.width <= MAX_SIDE and 0 < size.height <= MAX_SIDE):
        raise TiffError(f"directory {directory.index} is {size.width} x {size.height} pixels")
    if any(side % 16 or not 0 < side <= MAX_TILE for side in (tile.width, tile.height)):
        raise TiffError(f"directory {directory.index} has tiles of {tile.width} x {tile.height} pixels")
    return Plane(directory, size, tile, directory.first(SAMPLES, 1) or 0, directory.first(PHOTOMETRIC, -1) or 0)


def _needed(directory: Directory, tag: int) -> int:
    value = directory.first(tag)
    if value is None:
        raise TiffError(f"directory {directory.index} lacks tag {tag}")
    return value


def check_samples(plane: Plane, colours: Set[tuple[int, int]]) -> None:
    """8 bits, interleaved, one of the (photometric, samples) that come out right. TiffError says which it is not."""
    directory = plane.directory
    where = f"directory {directory.index}"
    if (plane.photometric, plane.samples) not in colours:
        raise TiffError(f"{where} has photometric interpretation {plane.photometric} with {plane.samples} samples")
    bits = directory.ints(BITS, 8) or (1,)
    if set(bits) != {8} or len(bits) < plane.samples:
        raise TiffError(f"{where} has {bits} bits per sample")
    if directory.first(PLANAR, 1) != 1:
        raise TiffError(f"{where} keeps its samples in separate planes")


def grid_of(plane: Plane, source: Source, name: str, level: int, profile: bytes = b"") -> tuple[Grid, str]:
    """The level's tile table, ready to serve, and the format its tiles can be sent in as stored ("" if in none).

    `profile`: the ICC profile that they are sent with, b"" for none.
    """
    grid = Grid(plane.directory, name, level, cols=plane.grid.width, rows=plane.grid.height)
    frame = _first_frame(grid, source)
    grid.expect(_head(plane, frame, profile), plane.tile.width, plane.tile.height, plane.samples)
    # Browsers differ on RGB with subsampled components, and libjpeg never writes it (iipsrv re-encodes it too).
    subsampled_rgb = plane.photometric == RGB and frame is not None and len(set(frame[2])) > 1
    return grid, "" if subsampled_rgb else "jpg"


def _first_frame(grid: Grid, source: Source) -> tuple[int, bytes, bytes] | None:
    where = grid.first_stored()
    if where is None:
        return None
    offset, count = grid.locate(*where)
    return sniff(source.read(offset, min(count, HEAD_BYTES)))


def _head(plane: Plane, frame: tuple[int, bytes, bytes] | None, profile: bytes) -> bytes:
    """The prefix of the level's tiles. The photometric tag decides colour: Aperio writes RGB and no marker."""
    tables = plane.directory.blob(JPEG_TABLES, MAX_TABLES) if JPEG_TABLES in plane.directory else None
    transform = 0 if plane.photometric == RGB else None
    if plane.photometric == YCBCR and frame is not None and frame[1] == b"RGB":
        transform = 1
    try:
        return prefix(tables, transform, profile)
    except ValueError as error:
        raise TiffError(f"directory {plane.directory.index}: {error}") from error


def level_of(plane: Plane, base: Size, stored: str, size: Size | None = None) -> Level:
    """The level a plane gives; `size` where the true size is not the one in the tags."""
    true = size or plane.size
    return Level(true, plane.tile, plane.grid, whole_scale(base, true), stored)


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
