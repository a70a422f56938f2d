"""From a plan to bytes: open slides, lanes, threads, limits. Knows no HTTP."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TypeVar

from ptiffserve import _jpeg, encode, readers
from ptiffserve.address import Associated, Blob, Plan, Tile, View, pyramid_of, tile_of
from ptiffserve.encode import PixelFault, Pixels
from ptiffserve.errors import Overloaded, SlideChanged, TileCorrupt
from ptiffserve.geometry import Box, Size, best_level, clip, fit, scaled, window
from ptiffserve.readers.base import Reader
from ptiffserve.slide import Fingerprint, Icc, Slide
from ptiffserve.sources.file import FileSource, inside

T = TypeVar("T")
SlideKey = tuple[str, Fingerprint, Icc]
JPEG = "image/jpeg"
# What an open slide may hold besides its tile tables: reader, grids, parsed directories. bench/test_open.py measures it
# (48 KB for a slide of 100,000 x 100,000 px); the rest is for long descriptions.
SLIDE_OVERHEAD = 256 << 10


class OpenSlides:
    """Open readers, least recently used first, bounded by number and bytes. Keyed by the whole fingerprint."""

    def __init__(self, root_of: Callable[[str], Path], number: int, nbytes: int) -> None:
        self._root_of = root_of
        self._number = number
        self._nbytes = nbytes
        self._held = 0
        self._readers: OrderedDict[SlideKey, tuple[Reader, FileSource]] = OrderedDict()
        self._lock = Lock()
        # Told of each slide that is closed, for those who hold parts of its reader.
        self.on_close: Callable[[SlideKey], None] = lambda key: None

    def __len__(self) -> int:
        return len(self._readers)

    def get(self, slide: Slide) -> Reader | None:
        """The reader if the slide is open; no I/O."""
        return self.touch(self.key(slide))

    @staticmethod
    def key(slide: Slide) -> SlideKey:
        return slide.id, slide.fingerprint, slide.icc

    def touch(self, key: SlideKey) -> Reader | None:
        """The reader, which now is the one used last."""
        with self._lock:
            held = self._readers.get(key)
            if held is None:
                return None
            self._readers.move_to_end(key)
        return held[0]

    def prune(self) -> None:
        """Closes slides whose file was removed or replaced: an open descriptor keeps gigabytes on the disk."""
        with self._lock:
            for key in [key for key, (_, source) in self._readers.items() if source.removed()]:
                self._close(key)

    def open(self, slide: Slide) -> Reader:
        """The reader, opened if need be; waits for the disk. SlideChanged where the file is not the recorded one."""
        reader = self.get(slide)
        if reader is not None:
            return reader
        pyramid_of(slide)
        source = FileSource(inside(self._root_of(slide.store), slide.path), slide.key)
        if source.fingerprint() != slide.fingerprint:
            raise SlideChanged(slide.key, "the file is not the one in the catalogue")
        reader = readers.open_slide(source, slide.key, slide.icc)
        self._keep(self.key(slide), reader, source)
        return reader

    def _keep(self, key: SlideKey, reader: Reader, source: FileSource) -> None:
        with self._lock:
            if key in self._readers:
                return
            self._readers[key] = reader, source
            self._held += reader.nbytes + SLIDE_OVERHEAD
            while len(self._readers) > self._number or (self._held > self._nbytes and len(self._readers) > 1):
                self._close(next(iter(self._readers)))

    def _close(self, key: SlideKey) -> None:
        reader, _ = self._readers.pop(key)
        self._held -= reader.nbytes + SLIDE_OVERHEAD
        self.on_close(key)


class Service:
    """Answers plans. `answer_now` is for the event loop and never waits; `answer` is for everything else."""

    def __init__(self, slides: OpenSlides, renders: int, queue: int) -> None:
        self.slides = slides
        self._readers = ThreadPoolExecutor(4 * (os.cpu_count() or 1), "read")
        self._renderers = ThreadPoolExecutor(renders, "render")
        self._queue = queue
        self._waiting = 0

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._renderers.shutdown(cancel_futures=True)

    def answer_now(self, plan: Plan) -> Blob | None:
        """The answer if it is at hand: a stored tile in the page cache, or a blank one. None where it takes waiting."""
        if not isinstance(plan, Tile):
            return None
        reader = self.slides.get(plan.slide)
        data = reader.tile_now(plan.level, plan.col, plan.row) if reader is not None else None
        return None if data is None else _tile_blob(plan, data)

    async def answer(self, plan: Plan) -> Blob:
        """Overloaded where too much is waiting already; slide errors as the reader raises them."""
        if isinstance(plan, Tile):
            return await self._in(self._readers, self._stored, plan)
        if self._waiting >= self._queue:
            raise Overloaded("too many renders are waiting")
        self._waiting += 1
        try:
            return await self._in(self._renderers, self._made, plan)
        finally:
            self._waiting -= 1

    async def waiting(self, call: Callable[..., T], *arguments: object) -> T:
        """Runs a call that may wait for the disk on a reader thread."""
        return await self._in(self._readers, call, *arguments)

    async def _in(self, pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)

    def _stored(self, tile: Tile) -> Blob:
        return _tile_blob(tile, self.slides.open(tile.slide).tile(tile.level, tile.col, tile.row))

    def _made(self, plan: View | Associated) -> Blob:
        reader = self.slides.open(plan.slide)
        try:
            if isinstance(plan, Associated):
                return _associated(plan, reader)
            return _lossless(plan, reader) if plan.level >= 0 else _rendered(plan, reader)
        except PixelFault as fault:
            raise TileCorrupt(plan.slide.key, f"a tile cannot be decoded: {str(fault).strip()}") from fault


def _tile_blob(tile: Tile, data: bytes) -> Blob:
    if data:
        return Blob(data, JPEG, "stored")
    return Blob(encode.blank(pyramid_of(tile.slide).levels[tile.level].tile), JPEG, "blank")


def _lossless(view: View, reader: Reader) -> Blob:
    """The top left part of one stored tile, cut in the coefficient domain."""
    tile = tile_of(view)
    full = reader.pyramid.levels[tile.level].tile
    data = reader.tile(tile.level, tile.col, tile.row)
    if not data:
        return Blob(encode.blank(view.size), JPEG, "blank")
    try:
        cut = _jpeg.crop(data, view.size.width, view.size.height, full.width, full.height, optimize=False)
    except _jpeg.JpegError as error:
        raise TileCorrupt(view.slide.key, f"tile {tile.col},{tile.row} of level {tile.level}: {error}") from error
    return Blob(encode.with_profile(cut, reader.profile), JPEG, "lossless")


def _rendered(view: View, reader: Reader) -> Blob:
    media_type = encode.media_type(view.format)
    bitonal = view.quality == "bitonal"
    clear = view.format in encode.CLEAR and not bitonal
    image = encode.turned(_scaled_view(view, reader), view.turn, view.mirror, clear)
    # A profile of red, green and blue says nothing of a gray.
    profile = reader.profile if view.quality == "color" else b""
    data = encode.encode(encode.toned(image, view.quality), view.format, bitonal, profile)
    return Blob(data, media_type, "render")


def _scaled_view(view: View, reader: Reader) -> Pixels:
    """The view's box from the best level, at the view's size; what lies past the slide is white."""
    inner = clip(view.box, reader.pyramid.size)
    if inner.width <= 0 or inner.height <= 0:
        return encode.canvas(view.size)
    index = best_level(reader.pyramid, view.box, view.size)
    box, size = view.box, view.size
    part = Size(scaled(inner.width, size.width, box.width), scaled(inner.height, size.height, box.height))
    image = _resampled(inner, part, index, reader)
    at_x, at_y = (inner.x - box.x) * size.width // box.width, (inner.y - box.y) * size.height // box.height
    return encode.place(image, at_x, at_y, size)


def _resampled(box: Box, size: Size, index: int, reader: Reader) -> Pixels:
    """A box inside the slide, from a level whose pixels it may cut, at exactly `size`."""
    base, level = reader.pyramid.size, reader.pyramid.levels[index].size
    across = window(box.x * level.width / base.width, box.width * level.width / base.width, level.width)
    down = window(box.y * level.height / base.height, box.height * level.height / base.height, level.height)
    image = reader.pixels(index, Box(across.first, down.first, across.count, down.count))
    image = encode.shifted(image, across.start, down.start)
    return encode.resample(image, across.extent, down.extent, size)


def _associated(asked: Associated, reader: Reader) -> Blob:
    """Sent as stored where that is what was asked for, else decoded, fitted and encoded."""
    data = reader.picture(asked.name)
    if asked.size is None and asked.format == "jpg" and data[:2] == b"\xff\xd8":
        return Blob(data, JPEG, "stored")
    media_type = encode.media_type(asked.format)
    image = encode.decode(data)
    if asked.size is not None:
        image = encode.resample(image, image.width, image.height, fit(Size(image.width, image.height), asked.size))
    return Blob(encode.encode(image, asked.format), media_type, "render")
