"""Tiled TIFFs whose tiles are no JPEGs: JPEG 2000, WebP, LZW, deflate, zstd, plain bytes. Decoded tile by tile, never whole.

JPEG 2000 and WebP tiles are complete files in themselves and are decoded from their bytes: libvips 8.14 shows compressions
33003 and 33005 in false colours and does not know 34712. The others are libtiff's, through libvips.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ptiffserve import encode
from ptiffserve._ptiff import Directory, Grid, TiffError
from ptiffserve.encode import PixelFault, Pixels
from ptiffserve.errors import NotFound, SlideChanged, SlideUnreadable, TileTruncated
from ptiffserve.geometry import Box, Part, Pyramid
from ptiffserve.raster import Raster, paste
from ptiffserve.readers import webp
from ptiffserve.readers.base import ALONE, Means
from ptiffserve.readers.region import Tiles
from ptiffserve.readers.tiff import (
    DESCRIPTION,
    GRAY,
    JPEG,
    RGB,
    Picture,
    Plane,
    check_samples,
    grid_of,
    plane_of_any,
    table_of,
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
# As on the compiled path: copying a larger tile takes longer than handing it to a thread.
MAX_NOW_BYTES = 1 << 20

Where = tuple[int, int]  # offset and byte count of a tile


class Page(NamedTuple):
    """A level: its plane, where its tiles lie, and how libtiff finds it: page of the file, SubIFD of the page or -1.

    `ycc`: its JPEG 2000 tiles hold YCbCr and do not say so. `stored`: as in Level.
    """

    plane: Plane
    grid: Grid
    compression: int
    number: int
    sub: int
    ycc: bool
    stored: str


class PageReader:
    """An open tiled TIFF of which every request is rendered, but for WebP tiles that are asked for as WebP."""

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
        page = self._pages[level]
        if not page.stored or page.grid.locate(col, row)[1] > MAX_NOW_BYTES:
            return None
        return self._sent(page, col, row, self._source.read_now)

    def tile(self, level: int, col: int, row: int) -> bytes:
        page = self._pages[level]
        if not page.stored:
            raise NotFound(f"the tiles of level {level} cannot be sent as they are stored")
        return self._sent(page, col, row, self._source.read) or b""

    def _sent(self, page: Page, col: int, row: int, read: Callable[[int, int], bytes | None]) -> bytes | None:
        where = self._located(page, col, row)
        data = read(*where) if where else b""
        self._check_unchanged()
        if data:
            try:
                webp.check(data, page.plane.tile)
            except webp.NotWebp as error:
                raise page.grid.corrupt(col, row, str(error)) from error
        return data

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        page = self._pages[level]
        tiles = Tiles((self._source.fingerprint(), level, shrink), page.plane.tile, self._draw(page), cuts=False)
        try:
            return tiles.region(box, means)
        finally:
            self._check_unchanged()

    def _draw(self, page: Page) -> Callable[[Part, Raster], None]:
        """What draws a tile of a level as a whole."""
        decode = self._decoder(page)

        def draw(part: Part, onto: Raster) -> None:
            where = self._located(page, part.col, part.row)
            if where is None:
                return
            try:
                paste(encode.settled(decode(part, where)), part, onto)
            except PixelFault as fault:
                raise page.grid.corrupt(part.col, part.row, encode.reason(fault)) from fault

        return draw

    def _decoder(self, page: Page) -> Callable[[Part, Where], Pixels]:
        read, tile = self._source.read, page.plane.tile
        if page.compression == JPEG:
            return lambda part, where: encode.decode(page.grid.whole(read(*where), part.col, part.row))
        if page.compression == WEBP:
            return lambda part, where: encode.decode_webp(read(*where), tile)
        if page.compression not in LIBTIFF:
            return lambda part, where: encode.decode_jp2k(read(*where), tile, page.plane.samples, page.ycc)
        return self._by_libtiff(page)

    def _by_libtiff(self, page: Page) -> Callable[[Part, Where], Pixels]:
        """By an open file for each thread that decodes at the same time: libtiff reads one tile of a file after another."""
        idle: list[Pixels] = []
        size, tile = page.plane.size, page.plane.tile

        def decode(part: Part, where: Where) -> Raster:
            try:
                image = idle.pop()
            except IndexError:
                image = self._image(page)
            x, y = part.col * tile.width, part.row * tile.height
            inside = Box(x, y, min(tile.width, size.width - x), min(tile.height, size.height - y))
            decoded = encode.settled(encode.place(encode.cut(image, inside), 0, 0, tile))
            idle.append(image)
            return decoded

        return decode

    def _image(self, page: Page) -> Pixels:
        assert self._source.file is not None
        image = encode.tiff_level(self._source.file.fileno(), page.number, page.sub)
        if (image.width, image.height) != (page.plane.size.width, page.plane.size.height):
            raise PixelFault(f"its level is read by libtiff as {image.width} x {image.height}")
        return image

    def _located(self, page: Page, col: int, row: int) -> Where | None:
        """None where the tile is sparse."""
        offset, count = page.grid.locate(col, row)
        if not count:
            return None
        if offset + count > self._source.fingerprint().size:
            self._check_unchanged()
            name = f"tile {col},{row} of level {page.grid.level}"
            raise TileTruncated(self._name, f"{name} reaches past the end of the file")
        if count > MAX_TILE_BYTES:
            raise page.grid.corrupt(col, row, f"it has {count} bytes")
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
    compression = plane.compression
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
    compression = plane.compression
    if compression == JPEG:
        grid, _ = grid_of(plane, source, name, level)
    else:
        grid = table_of(plane, source, name, level)
    # Aperio's 33003 is YCbCr; Bio-Formats writes the same number over RGB.
    ycc = compression == JP2K_YCC and plane.directory.text(DESCRIPTION, 16).startswith("Aperio")
    return Page(plane, grid, compression, *where, ycc, _stored(plane, grid, compression, source))


def _stored(plane: Plane, grid: Grid, compression: int, source: Source) -> str:
    """ "webp" where a tile of the level can be sent as it is. Opaque ones only: a viewer shows what lies behind."""
    where = grid.some_stored()
    if compression != WEBP or plane.samples != 3:
        return ""
    if where is None:
        return "webp"
    offset, count = where
    try:
        webp.check(source.read(offset, min(count, MAX_TILE_BYTES)), plane.tile)
    except webp.NotWebp:
        return ""
    return "webp"
