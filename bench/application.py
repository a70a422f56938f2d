"""The endpoint over one slide, called without a server: what a request costs before any socket. Measures nothing."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from ptiffserve.address import Plan
from ptiffserve.app import offer_of
from ptiffserve.auth.open import Open
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.catalogue.lookup import Lookup
from ptiffserve.config import Config, Store
from ptiffserve.endpoint import PROTOCOLS, Endpoint
from ptiffserve.service import OpenSlides, Service
from ptiffserve.sources.file import FileSource
from ptiffserve.sync.index import index

T = TypeVar("T")
LABEL = "bench"
# What a browser sends with a tile's request.
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"),
    (b"accept", b"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"),
    (b"sec-fetch-mode", b"no-cors"),
    (b"referer", b"http://127.0.0.1:8000/"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"accept-language", b"en-GB,en;q=0.9"),
]


class Application:
    """One slide, listed and open."""

    def __init__(self, path: Path, state: Path) -> None:
        config = Config()
        store = Store(root=str(path.parent), label=LABEL)
        self.catalogue = Embedded(state / "catalogue.db")
        self.slide = index(store, path.name, FileSource(path).fingerprint(), None)
        self.catalogue.put([self.slide])
        self.lookup = Lookup(self.catalogue, [LABEL])
        self.service = Service(
            OpenSlides(lambda slide: FileSource(path.parent / slide.path, slide.key), 1000, 512 << 20), 2, 256
        )
        self.offer = offer_of(config)
        self.endpoint = Endpoint(self.lookup, self.service, Open(False), self.offer, config.server, lambda slide: slide)
        self.reader = self.service.slides.open(self.slide)
        self.runner = asyncio.Runner()

    def close(self) -> None:
        self.runner.close()
        self.service.close()
        self.catalogue.close()

    def plan(self, url: str) -> Plan:
        """How the URL is understood: parse and resolve, as the endpoint calls them."""
        _, first, *segments = url.split("/")
        dialect = PROTOCOLS[first]
        reading = next(each for each in dialect.parse([first, *segments], b"") if each.name == self.slide.key)
        return dialect.resolve(reading.asked, self.slide, self.offer)  # type: ignore[return-value]

    def made(self, plan: Plan) -> bytes:
        """The answer through the threads of the service."""
        return self.runner.run(self.service.answer(plan)).data

    def get(self, scope: dict[str, Any]) -> list[dict[str, Any]]:
        """What the endpoint sends for a request that it answers in place."""
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        run_in_place(self.endpoint(scope, _receive, send))
        return sent


async def _receive() -> dict[str, Any]:
    raise AssertionError("a tile request has no body")


def run_in_place(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


def scope_of(url: str, *more: tuple[bytes, bytes]) -> dict[str, Any]:
    """The ASGI scope of a GET, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 40000),
        "scheme": "http",
        "root_path": "",
        "state": {},
        "method": "GET",
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "headers": [*HEADERS, *more],
    }
