"""From a plan to bytes: open slides, lanes, threads, limits. Knows no HTTP."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from ptiffserve import beside, encode, readers, render
from ptiffserve.address import Associated, Blob, Plan, Thumb, Tile, View, pyramid_of
from ptiffserve.encode import PixelFault
from ptiffserve.errors import NotFound, Overloaded, SlideChanged, TileCorrupt
from ptiffserve.geometry import Part
from ptiffserve.readers.base import Means, Reader
from ptiffserve.readers.decoded import DecodedTiles
from ptiffserve.slide import Fingerprint, Icc, Slide
from ptiffserve.sources.base import Source

T = TypeVar("T")
SlideKey = tuple[str, Fingerprint, Icc]
# What an open slide may hold besides its tile tables: reader, grids, parsed directories. bench/test_open.py measures it
# (48 KB for a slide of 100,000 x 100,000 px); the rest is for long descriptions.
SLIDE_OVERHEAD = 256 << 10
# Enough for the tiles around a few screens.
DECODED = 64 << 20


class OpenSlides:
    """Open readers, least recently used first, bounded by number and bytes. Keyed by the whole fingerprint.

    `source_of` gives the bytes of a slide, as its store has them now.
    """

    def __init__(self, source_of: Callable[[Slide], Source], number: int, nbytes: int) -> None:
        self._source_of = source_of
        self._number = number
        self._nbytes = nbytes
        self._held = 0
        self._readers: OrderedDict[SlideKey, tuple[Reader, Source]] = OrderedDict()
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
        source = self._source_of(slide)
        if source.fingerprint() != slide.fingerprint:
            raise SlideChanged(slide.key, "the file is not the one in the catalogue")
        reader = readers.open_slide(source, slide.key, slide.icc)
        self._keep(self.key(slide), reader, source)
        return reader

    def _keep(self, key: SlideKey, reader: Reader, source: Source) -> None:
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

    def __init__(self, slides: OpenSlides, renders: int, queue: int, decoded: int = DECODED) -> None:
        """`decoded`: bytes of decoded tiles that may be kept."""
        self.slides = slides
        self._readers = ThreadPoolExecutor(4 * (os.cpu_count() or 1), "read")
        self._renderers = ThreadPoolExecutor(renders, "render")
        self._decoders = ThreadPoolExecutor(renders, "decode")
        self._means = Means(self._side_by_side, DecodedTiles(decoded))
        self._threads = renders
        self._queue = queue
        self._waiting = 0

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._renderers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

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

    def _made(self, plan: View | Associated | Thumb) -> Blob:
        reader = self.slides.open(plan.slide)
        try:
            if isinstance(plan, Associated):
                return beside.associated(plan, reader)
            if isinstance(plan, Thumb):
                return beside.thumb(plan, reader, self._means)
            return render.view(plan, reader, self._means)
        except PixelFault as fault:
            raise TileCorrupt(plan.slide.key, f"a tile cannot be decoded: {str(fault).strip()}") from fault

    def _side_by_side(self, call: Callable[[Part], None], parts: Sequence[Part]) -> None:
        """Calls for each part in this thread and in those of the decoders that are free: it waits for none that is busy."""
        left = iter(parts)  # next() of a list's iterator is atomic

        def work() -> None:
            for part in left:
                call(part)

        helpers = [self._decoders.submit(work) for _ in range(min(len(parts), self._threads) - 1)]
        try:
            work()
        finally:
            for _ in left:
                pass  # after a failure nobody needs the rest
            for helper in helpers:
                if not helper.cancel():
                    helper.result()


def _tile_blob(tile: Tile, data: bytes) -> Blob:
    level = pyramid_of(tile.slide).levels[tile.level]
    media_type = encode.media_type(level.stored)
    if data:
        return Blob(data, media_type, "stored")
    if tile.stored:
        raise NotFound(f"the tile {tile.col},{tile.row} is sparse")
    return Blob(encode.blank(level.tile, level.stored), media_type, "blank")
