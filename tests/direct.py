"""Requests straight into the ASGI application, many at once and without a client in between: tens of thousands in a test."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit


class Answer(NamedTuple):
    url: str
    status: int
    headers: dict[str, str]
    body: bytes


def ask_all(app: Any, urls: Iterable[str], see: Callable[[Answer], None], at_once: int = 16) -> int:
    """GET of every URL; `see` gets each answer, in no order. Gives their number."""

    async def run() -> int:
        waiting = iter(urls)
        counts = await asyncio.gather(*(_some(app, waiting, see) for _ in range(at_once)))
        return sum(counts)

    return asyncio.run(run())


async def _some(app: Any, urls: Iterable[str], see: Callable[[Answer], None]) -> int:
    number = 0
    for url in urls:
        see(await ask(app, url))
        number += 1
    return number


async def ask(app: Any, url: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """One request, its path sent as it is written."""
    parts = urlsplit(url)
    path = parts.path.encode("latin-1", "xmlcharrefreplace")
    said = {"host": parts.netloc or "testserver", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": path,
        "query_string": parts.query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in said.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    return await _answer(app, scope, url)


async def _answer(app: Any, scope: dict[str, Any], url: str) -> Answer:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(url, sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))
