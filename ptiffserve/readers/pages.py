"""Tiled TIFFs whose tiles are no JPEGs: JPEG 2000, WebP, LZW, deflate, zstd, plain bytes. Decoded tile by tile, never whole.

JPEG 2000 and WebP tiles are complete files in themselves and are decoded from their bytes: libvips 8.14 shows compressions
33003 and 33005 in false colours and does not know 34712. The others are libtiff's, through libvips.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ptiffserve import encode
from ptiffserve._ptiff import Directory, Grid, TiffError
from ptiffserve.encode import PixelFault, Pixels
from ptiffserve.errors import NotFound, SlideChanged, SlideUnreadable, TileCorrupt, TileTruncated, TooCostly
from ptiffserve.geometry import Box, Pyramid, ceil_div
from ptiffserve.raster import Raster
from ptiffserve.readers.base import ALONE, Means
from ptiffserve.readers.tiff import (
    COMPRESSION,
    DESCRIPTION,
    GRAY,
    JPEG,
    MAX_DECODED,
    RGB,
    Picture,
    Plane,
    check_samples,
    grid_of,
    plane_of_any,
)
from ptiffserve.sources.base import Source

EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
UNSIGNED = 1
WHITE_IS_ZERO = 0
ASSOCIATED, UNASSOCIATED = 1, 2  # ExtraSamples: the two kinds of alpha
JP2K_YCC, JP2K_RGB, JP2K = 33003, 33005, 34712
WEBP = 50001
# Compressions that libtiff decodes, and that give an error where a tile ends early (tested: no half tile comes out).
LIBTIFF = {1: "none", 5: "LZW", 8: "deflate", 32773: "packbits", 32946: "deflate", 34925: "LZMA", 50000: "zstd"}
# Larger tiles than this are no tiles of ours: 8192 x 8192 x 4 bytes, and what an incompressible one adds.
MAX_TILE_BYTES = 320 << 20

Draw = Callable[[int, int], Pixels]


class Page(NamedTuple):
    """A level: its plane, where its tiles lie, and how libtiff finds it: page of the file, SubIFD of the page or -1.

    `ycc`: its JPEG 2000 tiles hold YCbCr and do not say so.
    """

    plane: Plane
    grid: Grid
    compression: int
    number: int
    sub: int
    ycc: bool


class PageReader:
    """An open tiled TIFF of which every request is rendered."""

    shrinks: tuple[int, ...] = (1,)

    def __init__(
        self, source: Source, name: str, pyramid: Pyramid, pages: list[Page], pictures: Mapping[str, Picture]
    ) -> None:
        """SlideUnreadable where the source is no local file and libtiff has to decode."""
        if source.file is None and any(page.compression in LIBTIFF for page in pages):
            raise SlideUnreadable(name, f"compression {pages[0].compression} can only be read from a local file")
        self.format = "tiled"
        self.pyramid = pyramid
        self.barcode = ""
        self.fault = ""
        self.profile = b""
        self.nbytes = sum(page.grid.nbytes() for page in pages)
        self._source = source
        self._name = name
        self._pages = pages
        self._pictures = pictures

    def tile_now(self, level: int, col: int, row: int) -> bytes | None:
        return None

    def tile(self, level: int, col: int, row: int) -> bytes:
        raise NotFound(f"the tiles of level {level} cannot be sent as they are stored")

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        tile = self.pyramid.levels[level].tile
        cols = range(box.x // tile.width, ceil_div(box.x + box.width, tile.width))
        rows = range(box.y // tile.height, ceil_div(box.y + box.height, tile.height))
        if len(cols) * len(rows) * tile.width * tile.height > MAX_DECODED:
            raise TooCostly("the region needs too many pixels to be decoded")
        inner = Box(box.x - cols.start * tile.width, box.y - rows.start * tile.height, box.width, box.height)
        try:
            draw = self._draw(level)
            tiles = [draw(col, row) for row in rows for col in cols]
            return encode.settled(encode.cut(encode.mosaic(tiles, len(cols)), inner))
        except PixelFault as fault:
            raise TileCorrupt(self._name, f"level {level} cannot be decoded: {encode.reason(fault)}") from fault
        finally:
            self._check_unchanged()

    def _draw(self, level: int) -> Draw:
        """What gives the tiles of a level, each in full size."""
        page = self._pages[level]
        if page.compression == JPEG:
            return lambda col, row: self._jpeg_tile(page, level, col, row)
        if page.compression not in LIBTIFF:
            return lambda col, row: self._whole_tile(page, level, col, row)
        assert self._source.file is not None
        image = encode.tiff_level(self._source.file.fileno(), page.number, page.sub)
        if (image.width, image.height) != (page.plane.size.width, page.plane.size.height):
            raise TileCorrupt(self._name, f"level {level} is read by libtiff as {image.width} x {image.height}")
        return lambda col, row: self._page_tile(page, image, level, col, row)

    def _jpeg_tile(self, page: Page, level: int, col: int, row: int) -> Pixels:
        where = self._located(page, level, col, row)
        if where is None:
            return encode.canvas(page.plane.tile)
        return encode.decode(page.grid.whole(self._source.read(*where), col, row))

    def _whole_tile(self, page: Page, level: int, col: int, row: int) -> Pixels:
        """A tile that is a JPEG 2000 or WebP file; its header is compared with the level before anything is decoded."""
        where = self._located(page, level, col, row)
        if where is None:
            return encode.canvas(page.plane.tile)
        data = self._source.read(*where)
        if page.compression == WEBP:
            return encode.decode_webp(data, page.plane.tile)
        return encode.decode_jp2k(data, page.plane.tile, page.plane.samples, page.ycc)

    def _page_tile(self, page: Page, image: Pixels, level: int, col: int, row: int) -> Pixels:
        size, tile = page.plane.size, page.plane.tile
        if self._located(page, level, col, row) is None:
            return encode.canvas(tile)
        x, y = col * tile.width, row * tile.height
        inside = Box(x, y, min(tile.width, size.width - x), min(tile.height, size.height - y))
        return encode.place(encode.cut(image, inside), 0, 0, tile)

    def _located(self, page: Page, level: int, col: int, row: int) -> tuple[int, int] | None:
        """The tile's (offset, byte count), None where it is sparse."""
        offset, count = page.grid.locate(col, row)
        if not count:
            return None
        if offset + count > self._source.fingerprint().size:
            self._check_unchanged()
            raise TileTruncated(self._name, f"tile {col},{row} of level {level} reaches past the end of the file")
        if count > MAX_TILE_BYTES:
            raise TileCorrupt(self._name, f"tile {col},{row} of level {level} has {count} bytes")
        return offset, count

    def _check_unchanged(self) -> None:
        if self._source.file is not None and self._source.file.changed():
            raise SlideChanged(self._name, "the file was written while it was open")

    def associated(self) -> tuple[str, ...]:
        return tuple(self._pictures)

    def picture(self, name: str) -> bytes:
        if name not in self._pictures:
            raise NotFound(f"the slide has no {name}")
        return self._pictures[name]()

    def tables(self) -> list[tuple[int, int, int]]:
        size = self._source.fingerprint().size
        return [page.grid.census(size) for page in self._pages]


def page_plane(directory: Directory) -> Plane:
    """The directory as a possible level that is not JPEG. TiffError with the reason where it is none."""
    plane = plane_of_any(directory)
    compression = directory.first(COMPRESSION, 1)
    if compression not in LIBTIFF and compression not in (JP2K_YCC, JP2K_RGB, JP2K, WEBP):
        raise TiffError(f"directory {directory.index} has compression {compression}, which is not decoded here")
    check_samples(plane, _colours(directory, compression))
    if set(directory.ints(SAMPLE_FORMAT, 8)) - {UNSIGNED}:
        raise TiffError(f"directory {directory.index} has samples that are no unsigned integers")
    return plane


def _colours(directory: Directory, compression: int) -> set[tuple[int, int]]:
    """(photometric, samples) that come out right. A fourth sample must be said to be alpha."""
    colours = {(GRAY, 1), (RGB, 3)}
    if compression in LIBTIFF:
        colours.add((WHITE_IS_ZERO, 1))
    if compression in (*LIBTIFF, WEBP) and directory.first(EXTRA_SAMPLES) in (ASSOCIATED, UNASSOCIATED):
        colours.add((RGB, 4))
    return colours


def page_of(plane: Plane, where: tuple[int, int], source: Source, name: str, level: int) -> Page:
    """The level that a plane gives; `where` is libtiff's (page, SubIFD) for it."""
    compression = plane.directory.first(COMPRESSION, 1) or 0
    if compression == JPEG:
        grid, _ = grid_of(plane, source, name, level)
    else:
        grid = Grid(plane.directory, name, level, cols=plane.grid.width, rows=plane.grid.height)
    # Aperio's 33003 is YCbCr; Bio-Formats writes the same number over RGB.
    ycc = compression == JP2K_YCC and plane.directory.text(DESCRIPTION, 16).startswith("Aperio")
    return Page(plane, grid, compression, *where, ycc)
