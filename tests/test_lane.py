"""The short cut answers what the long road answers: the same raw requests down both, every byte compared."""

import os
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn

from ptiffserve.app import create_app, labelled
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.catalogue.lookup import INTERVAL
from ptiffserve.config import Catalogue, Config, Limits, Store
from ptiffserve.endpoint import Endpoint
from ptiffserve.lane import LaneProtocol
from ptiffserve.sync.apply import apply
from ptiffserve.sync.scan import scan

COUNT = 100_000 if os.environ.get("PTIFFSERVE_SOAK") == "1" else 3_000
CHANGING = re.compile(rb"date: [^\r]*|dur=[0-9.]+")


class Running(NamedTuple):
    port: int
    server: uvicorn.Server
    thread: threading.Thread


def run(app: Endpoint, http: object) -> Running:
    config = uvicorn.Config(
        app, http=http, port=0, loop="uvloop", ws="none", log_level="critical", access_log=False, server_header=False,
        timeout_keep_alive=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    return Running(server.servers[0].sockets[0].getsockname()[1], server, thread)


@pytest.fixture(scope="module")
def config(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = tmp_path_factory.mktemp("lane") / "catalogue.db"
    store = labelled([Store(root=str(slides))])
    catalogue = Embedded(path)
    apply(store[0], scan(store[0]), catalogue)
    catalogue.close()
    return Config(store=store, catalogue=Catalogue(f"sqlite:///{path}"))


@pytest.fixture(scope="module")
def roads(config: Config) -> Iterator[tuple[Running, Running]]:
    """The same slides with and without the short cut."""
    both = run(create_app(config), LaneProtocol), run(create_app(config), "httptools")
    yield both
    for running in both:
        running.server.should_exit = True
        running.thread.join(20)


def table(running: Running) -> int:
    """How many rows the server's short cut holds."""
    shortcut = running.server.lifespan.state["shortcut"]
    return len(shortcut.table)


class Got(NamedTuple):
    """What came back. Not `whole`: the connection was reset, and what was under way is lost by chance."""

    data: bytes
    whole: bool


def exchange(port: int, pieces: list[bytes], heads: int, wait: float = 3.0) -> Got:
    """Everything that comes back until `heads` whole answers are there, the other side closes, or nothing comes."""
    got, whole = bytearray(), True
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.001 if len(pieces) > 1 else 0)
            while answers(got) < heads and (data := connection.recv(1 << 20)):
                got += data
        except TimeoutError:
            got += b"<nothing more>"
        except ConnectionError:
            whole = False
    return Got(CHANGING.sub(b"", bytes(got)), whole)


def answers(got: bytearray) -> int:
    """How many whole answers to GET lie in `got`."""
    count, at = 0, 0
    while (end := got.find(b"\r\n\r\n", at)) >= 0:
        length = re.search(rb"content-length: ([0-9]+)", got[at:end])
        at = end + 4 + (int(length[1]) if length and b" 304 " not in got[at:end] else 0)
        count += at <= len(got)
    return count


# Levels as clients spell them; {t} is the tile behind it.
PREFIXES = [
    "/deepzoom/slides/big420.tiff_files/11/",
    "/deepzoom/slides/big420.tiff_files/10/",
    "/deepzoom/slides%2Fbig420.tiff_files/10/",
    "/deepzoom/slides/rgb.tiff_files/11/",
    "/deepzoom/slides/classic422.tiff_files/8/",
    "/deepzoom/slides/none.tiff_files/8/",
    "/deepzoom/slides/big420.tiff_files/99/",
    "/tiles/slides/big444.tiff/4/",
    "/tiles/slides/big420.tiff/2/",
    "/tiles/slides/big420.tiff/9/",
]
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "9",
    "12",
    "99",
    "1000000000",
    "00",
    "01",
    "-1",
    "1e1",
    "",
    "1.0",
    "٣",
    "+1",
]
ENDINGS = [".jpg"] * 8 + [
    ".jpeg",
    ".png",
    ".JPG",
    ".jp",
    "",
    ".jpg?v=abc",
    ".jpg?",
    ".jpg?a=%zz&b",
    ".jpg?edge=clip",
    ".jpg?edge=pad",
    ".jpg?edge=frob",
    ".jpg?v=1&edge=clip",
    ".jpg?v=1&background=00ff00",
    ".jpg?%65dge=clip",
    ".jpg#x",
    ".jpg/",
    ".jpg%20",
]
HEADERS = [
    b"Accept: image/*", b"accept-encoding: gzip", b"User-Agent: x (y; z) \"q\"", b"X-Y: \t a", b"Cookie: a=b; c=d",
    b"Connection: keep-alive", b"Connection: Keep-Alive", b"Connection: upgrade", b"Connection: close", b"Origin: https://a.example",
    b'If-None-Match: "x"', b"If-None-Match: *", b"If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT", b"Range: bytes=0-9",
    b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: h2c",
    b"Host: b", b"host:b", b"Bad Header: x", b": x", b"X:", b"X-\xff: y", b"X: \x01", b" folded: x", b"TE: trailers",
    b"Foo:bar\x7f",
]  # fmt: skip
HOSTS = [b"Host: 127.0.0.1"] * 8 + [b"", b"Host: ", b"Host: a b", b"Host: a/b", b"HOST: x:80", b"Host:[::1]:9"]


def tile(chance: random.Random) -> str:
    prefix = chance.choice(PREFIXES)
    between = "-" if chance.random() < 0.03 else "_" if prefix.startswith("/deepzoom") else "/"
    col, row = (chance.choice(NUMBERS[:8] if chance.random() < 0.8 else NUMBERS) for _ in range(2))
    ending = chance.choice(ENDINGS[:8] if chance.random() < 0.8 else ENDINGS)
    return f"{prefix}{col}{between}{row}{ending}"


def request(chance: random.Random) -> bytes:
    """Mostly plain; now and then something that is not."""
    odd = chance.random() < 0.35
    method = chance.choice([b"GET"] * 12 + [b"OPTIONS", b"POST", b"get"]) if odd else b"GET"
    version = chance.choice([b"HTTP/1.1"] * 9 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"]) if odd else b"HTTP/1.1"
    lines = [chance.choice(HOSTS) if odd else HOSTS[0]]
    lines += chance.sample(HEADERS if odd else HEADERS[:6], chance.randint(0, 3))
    chance.shuffle(lines)
    target = tile(chance).encode() if chance.random() < 0.99 else b"*"
    space = b"  " if odd and chance.random() < 0.03 else b" "
    return b"\r\n".join([method + space + target + b" " + version, *[line for line in lines if line], b"", b""])


def test_both_roads_answer_alike(roads: tuple[Running, Running]) -> None:
    chance = random.Random(20261122)
    lane, long = roads
    time.sleep(2 * INTERVAL)  # the first look at the catalogue's generation empties the table
    for prefix in PREFIXES:
        between = b"_" if prefix.startswith("/deepzoom") else b"/"
        plain = b"GET %b0%b0.jpg HTTP/1.1\r\nHost: a\r\n\r\n" % (prefix.encode(), between)
        assert exchange(lane.port, [plain], 1) == exchange(long.port, [plain], 1)
    assert table(lane) >= 6
    compared = 0
    for number in range(COUNT):
        requests = [request(chance) for _ in range(chance.choice([1, 1, 1, 1, 2, 3]))]
        data = b"".join(requests)
        cut = sorted(chance.sample(range(1, len(data)), chance.choice([0, 0, 0, 1, 2])))
        pieces = [data[a:b] for a, b in zip([0, *cut], [*cut, len(data)], strict=True)]
        wait = 0.3
        one, two = (exchange(road.port, pieces, len(requests), wait) for road in (lane, long))
        # uvicorn answers a malformed request at once, before those that are pipelined ahead of it: a race of its own.
        racing = len(requests) > 1 and any(b"Invalid HTTP request" in got.data for got in (one, two))
        if one.whole and two.whole and not racing:
            compared += 1
            assert one == two, f"request {number}: {pieces!r}"
        elif not racing:
            shorter, longer = sorted((one.data, two.data), key=len)
            assert longer.startswith(shorter), f"request {number}: {pieces!r}"
    assert compared > 0.8 * COUNT


def test_the_short_cut_was_taken(roads: tuple[Running, Running]) -> None:
    lane, long = roads
    plain = b"GET /deepzoom/slides/big420.tiff_files/10/1_1.jpg HTTP/1.1\r\nHost: a\r\n\r\n"
    shortcut = lane.server.lifespan.state["shortcut"]
    exchange(lane.port, [plain], 1)
    taken: list[bytes] = []
    real = shortcut.table

    class Counting:
        def answer(self, data: bytes, start: bytes) -> bytes | None:
            answer: bytes | None = real.answer(data, start)
            if answer is not None:
                taken.append(answer)
            return answer

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    shortcut.table = Counting()
    try:
        right = exchange(long.port, [plain], 1)
        for _ in range(5):
            assert exchange(lane.port, [plain], 1) == right
    finally:
        shortcut.table = real
    assert len(taken) == 5


def test_a_silent_connection_is_closed_and_a_busy_one_is_not(roads: tuple[Running, Running]) -> None:
    plain = b"GET /deepzoom/slides/big420.tiff_files/10/1_1.jpg HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", roads[0].port), timeout=10) as connection:
        for _ in range(8):
            connection.sendall(plain)
            got = bytearray()
            while answers(got) < 1:
                data = connection.recv(1 << 20)
                assert data, "closed while busy"
                got += data
            time.sleep(0.3)
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert time.monotonic() - began < 5


def test_a_slow_reader_does_not_grow_memory(roads: tuple[Running, Running]) -> None:
    """Nobody reads: the server stops answering when the transport's buffer is full, and answers all in the end."""
    plain = b"GET /deepzoom/slides/big444.tiff_files/11/1_1.jpg HTTP/1.1\r\nHost: a\r\n\r\n"
    one = exchange(roads[1].port, [plain], 1).data
    count = 400
    with socket.create_connection(("127.0.0.1", roads[0].port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sender = threading.Thread(target=connection.sendall, args=(plain * count,))
        sender.start()
        time.sleep(1.0)
        waiting = max(len(c.pipeline) for c in roads[0].server.server_state.connections)
        buffered = max(c.transport.get_write_buffer_size() for c in roads[0].server.server_state.connections)
        assert buffered < 2 * len(one) + 256 * 1024
        assert waiting <= count
        total = 0
        while total < count * (len(one) - 100):
            total += len(connection.recv(1 << 20))
        sender.join()


def test_a_closed_slide_leaves_the_table(config: Config) -> None:
    from ptiffserve.endpoint import PROTOCOLS

    app = create_app(Config(store=config.store, catalogue=config.catalogue, limits=Limits(slides_open=1)))
    running = run(app, LaneProtocol)
    try:
        for name in ("big420", "rgb", "big420"):
            plain = b"GET /deepzoom/slides/%b.tiff_files/11/0_0.jpg HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode()
            assert b" 200 " in exchange(running.port, [plain], 1).data
            assert table(running) == 1
    finally:
        running.server.should_exit = True
        running.thread.join(20)
    assert "deepzoom" in PROTOCOLS
