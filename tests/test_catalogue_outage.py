"""The catalogue's server stopped, killed, cut off and away from the start: what is known is served, the rest says 503."""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from contract_catalogue import record
from mongo_server import MongoServer
from real_server import RealServer, Reply, running

from ptiffserve.catalogue.mongo import Mongo
from ptiffserve.errors import Unavailable

CUTS = 300 if os.environ.get("PTIFFSERVE_SOAK") else 6
TILE = "/tiles/slides/one.tiff/0/0/0.jpg"
REGION = "/iiif/3/slides%2Fone.tiff/0,0,100,80/50,/0/default.jpg"
# What a machine with other work may add to a second.
SECOND = 1.6


@pytest.fixture
def mongo(tmp_path: Path) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path / "mongo")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def config(mongo: MongoServer, slides: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    shutil.copy(slides / "one.tiff", folder)
    path = tmp_path / "c.toml"
    path.write_text(f'[catalogue]\nurl = "{mongo.url("slides")}"\n[[store]]\nroot = "{folder}"\n')
    return path


def timed(server: RealServer, target: str) -> tuple[Reply, float]:
    started = time.monotonic()
    reply = server.get(target)
    return reply, time.monotonic() - started


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.05)


def check_away(server: RealServer, tile: bytes, seconds: float) -> None:
    """For so long: what is known is served at once and whole, and everything else is 503 within a second."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        for target in (TILE, REGION, "/deepzoom/slides/one.tiff.dzi"):
            reply, took = timed(server, target)
            assert reply.status == 200, target
            assert took < SECOND, target
            assert reply.body == tile or target != TILE
        for target in (
            f"/tiles/slides/none-{number}.tiff/0/0/0.jpg",
            "/api/slides",
            "/api/stores",
            "/api/slides/slides/one.tiff",
        ):
            reply, took = timed(server, target)
            assert (reply.status, reply.headers.get("retry-after")) == (503, "1"), target
            assert took < SECOND, target
    assert server.get("/health").status == 200


def test_a_running_server(mongo: MongoServer, config: Path, tmp_path: Path) -> None:
    with running(config, tmp_path / "state", slides=1) as server:
        tile = server.get(TILE).body
        assert [server.get(REGION).status, server.get("/deepzoom/slides/one.tiff.dzi").status] == [200, 200]
        before = server.get("/api/slides").body
        mongo.signal(signal.SIGSTOP)
        check_away(server, tile, 3)
        mongo.signal(signal.SIGCONT)
        until(lambda: server.get("/api/slides").status == 200)
        until(lambda: server.get("/tiles/slides/never.tiff/0/0/0.jpg").status == 404)
        mongo.kill()
        check_away(server, tile, 2)
        mongo.start()
        until(lambda: server.get("/api/slides").status == 200)
        assert server.get("/api/slides").body == before, "what was acknowledged is there after a kill"
        assert server.get(TILE).body == tile


def test_a_server_that_starts_without_it(mongo: MongoServer, config: Path, tmp_path: Path) -> None:
    mongo.kill()
    started = time.monotonic()
    with running(config, tmp_path / "state") as server:
        assert time.monotonic() - started < 5 * SECOND
        assert server.get("/health").status == 200
        assert server.get("/api/slides").status == 503
        assert server.get(TILE).status == 503
        mongo.start()
        until(lambda: server.get(TILE).status == 200)
        assert server.get("/api/stores/slides").status == 200


def test_acknowledged_records_survive_a_kill(mongo: MongoServer) -> None:
    catalogue = Mongo(mongo.url("kept"))
    said: list[str] = []

    def write() -> None:
        try:
            for n in range(10**6):
                catalogue.put([record(n)])
                said.append(record(n).id)
        except Unavailable:
            return

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(said) > 30)
    mongo.kill()
    writer.join()
    catalogue.close()
    mongo.start()
    again = Mongo(mongo.url("kept"))
    known = {slide.id for slide in again.each("A")}
    again.close()
    assert set(said) <= known
    assert len(known) <= len(said) + 1


class CuttingProxy:
    """Passes everything on, but for the next answer once `armed`: the connection ends in its place, or within it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.armed = threading.Event()
        self.keep = 0
        self.cuts = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            back = threading.Thread(target=self._pass, args=(server, client, True))
            back.start()
            self._pass(client, server, False)
            back.join()

    def _pass(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if answers and self.armed.is_set():
                    self.armed.clear()
                    self.cuts += 1
                    other.sendall(data[: self.keep])
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """After the clients' connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def test_a_write_whose_outcome_is_unknown_doubles_nothing(mongo: MongoServer) -> None:
    proxy = CuttingProxy(mongo.port)
    catalogue = Mongo(f"mongodb://127.0.0.1:{proxy.port}/cut?directConnection=true")
    catalogue.put([record(10**6)])
    for n in range(CUTS):
        proxy.keep = n % 40
        proxy.armed.set()
        batch = [record(3 * n + k) for k in range(3)]
        for _ in range(10):
            try:
                catalogue.put(batch)
                break
            except Unavailable:
                time.sleep(0.05)
        else:
            raise AssertionError("the put never succeeded")
    catalogue.close()
    proxy.close()
    direct = Mongo(mongo.url("cut"))
    known = [slide.id for slide in direct.each("A")]
    direct.close()
    assert proxy.cuts >= CUTS // 2
    assert sorted(known) == sorted(record(n).id for n in [*range(3 * CUTS), 10**6])
