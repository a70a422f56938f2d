"""The short cut in front of ASGI: a plain request for a stored tile of an open slide is answered as it arrives.

It learns from the long road, refuses whatever is unusual, and answers nothing that the long road would answer otherwise.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ptiffserve import _ptiff, encode, wire
from ptiffserve.address import Tile, pyramid_of
from ptiffserve.catalogue.lookup import INTERVAL, Lookup
from ptiffserve.config import Server
from ptiffserve.errors import Unavailable
from ptiffserve.geometry import Level, Size, tiles_across
from ptiffserve.readers.tiff import TiffReader
from ptiffserve.service import OpenSlides
from ptiffserve.slide import edition

log = logging.getLogger("ptiffserve.lane")

Headers = list[tuple[bytes, bytes]]

# What may stand behind a prefix, and which tiles of a level are sent as stored there: DeepZoom clips edges, z/x/y does not.
_TAILS: tuple[tuple[re.Pattern[bytes], Callable[[Level], Size]], ...] = (
    (re.compile(rb"(/deepzoom/.+/)[0-9]+_[0-9]+\.jpg"), lambda level: _inner(level)),
    (re.compile(rb"(/tiles/.+/)[0-9]+/[0-9]+\.jpg"), lambda level: tiles_across(level.size, level.tile)),
)
# A server that ends answers what was sent to it just before, on connections that it goes on holding for so long.
LEAVING_SECONDS = 0.5
# Levels of slides, as spelled by clients; a flood of spellings starts the table anew.
MAX_ROWS = 65536


def _inner(level: Level) -> Size:
    """Columns and rows of whole tiles."""
    return Size(level.size.width // level.tile.width, level.size.height // level.tile.height)


class Shortcut:
    """The table of one process. Rows hold for one generation of the catalogue, and while their slide is open."""

    def __init__(self, slides: OpenSlides, lookup: Lookup, server: Server) -> None:
        self.table = _ptiff.Lane()
        self._slides = slides
        self._lookup = lookup
        self._server = server
        self._generation = lookup.generation
        self._defaults: Headers = []
        self._start = b""
        slides.on_close = self.table.forget

    def learn(self, path: bytes, tile: Tile) -> None:
        """Notes that `path` was answered with that tile: its neighbours need not ask again."""
        reader = self._slides.get(tile.slide)
        level = pyramid_of(tile.slide).levels[tile.level]
        for tail, reach in _TAILS:
            found = tail.fullmatch(path)
            if found and isinstance(reader, TiffReader) and reader.file is not None:
                if len(self.table) >= MAX_ROWS:
                    self.table.forget()
                within = reach(level)
                self.table.learn(
                    found[1],
                    _ptiff.Row(
                        reader.grids[tile.level],
                        reader.file,
                        self._head(tile),
                        encode.blank(level.tile),
                        cols=within.width,
                        rows=within.height,
                        slide=self._slides.key(tile.slide),
                    ),
                )

    def _head(self, tile: Tile) -> tuple[bytes, ...]:
        """The response's head as wire makes it, cut where a tile's own numbers go."""
        fingerprint = tile.slide.fingerprint
        name = f'"{edition(tile.slide)}-{tile.level}-\0"'
        response = wire.picture(b"", "image/jpeg", name, fingerprint.mtime_ns, self._server.cache_control)
        response.headers.append((b"server-timing", b"\0"))
        wire.cors(response, None, self._server.cors)
        lines = [b"%b: %b\r\n" % pair for pair in response.headers]
        text = b"".join(lines).replace(b"content-length: 0\r\n", b"content-length: \0\r\n") + b"\r\n"
        return tuple(text.split(b"\0"))

    def start(self, defaults: Headers) -> bytes:
        """The status line and uvicorn's own headers (the date), which change once a second."""
        if defaults is not self._defaults:
            self._defaults = defaults
            self._start = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in defaults)
        return self._start

    async def keep(self) -> None:
        """Follows the catalogue, until cancelled: when it changes, forgets all and closes slides that are gone. Keeps busy
        slides from being closed as unused."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self._lookup.soon(self._lookup.notice)
            except Unavailable:
                pass  # what was known last is served until the catalogue answers again; Lookup has told
            except Exception:
                # A catalogue that is broken may have changed: nobody is answered from memory alone.
                log.exception("the catalogue did not give its generation")
                self.table.forget()
            if self._lookup.generation != self._generation:
                self._generation = self._lookup.generation
                self.table.forget()
                await asyncio.to_thread(self._slides.prune)
            for key in self.table.busy():
                self._slides.touch(key)


class LaneProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the short cut before its parser. `app_state["shortcut"]` is the process's Shortcut or None."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._shortcut: Shortcut | None = self.app_state.get("shortcut")
        self._in_message = False
        self._answered = 0.0
        self._leaving = False

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            super().data_received(data)
            if self.cycle is not None:
                self.cycle.keep_alive = False
            return
        shortcut = self._shortcut
        if shortcut is not None and self._at_rest():
            answer = shortcut.table.answer(data, shortcut.start(self.server_state.default_headers))
            if answer is not None:
                self.transport.write(answer)
                self._stay_alive()
                return
        super().data_received(data)

    def _at_rest(self) -> bool:
        """No request half read or unanswered, and a client that takes what it is sent."""
        return (
            not self._in_message
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def shutdown(self) -> None:
        """What may be on its way is answered, as the last on its connection; uvicorn would close it unread."""
        self._leaving = True
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        else:
            self.loop.call_later(LEAVING_SECONDS, self._leave)

    def _leave(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _stay_alive(self) -> None:
        self.server_state.total_requests += 1
        self._answered = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_silence(self.timeout_keep_alive)

    def _wait_for_silence(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """One timer for many answers: it goes on waiting where the connection was not silent."""
        left = self._answered + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._wait_for_silence(left)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        self._in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._shortcut = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()
