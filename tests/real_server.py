"""The server as users start it: `python -m ptiffserve serve`, in a process of its own, spoken to over raw sockets."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class RealServer(NamedTuple):
    port: int
    process: "subprocess.Popen[bytes]"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, request: bytes) -> Reply:
        """One request on a connection of its own."""
        with self.connect() as connection:
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                return read_reply(stream, request.startswith(b"HEAD"))

    def get(self, target: str, *headers: str, method: str = "GET") -> Reply:
        lines = [f"{method} {target} HTTP/1.1", "Host: a.test", "Connection: close", *headers, "", ""]
        return self.raw("\r\n".join(lines).encode("latin-1"))


def read_reply(stream: object, head: bool = False) -> Reply:
    """The next answer of a connection. EOFError where it was closed without one."""
    first = stream.readline()  # type: ignore[attr-defined]
    if not first:
        raise EOFError("closed without an answer")
    headers = {}
    while (line := stream.readline().strip()) != b"":  # type: ignore[attr-defined]
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    status = int(first.split()[1])
    if head or status in (204, 304):
        return Reply(status, headers, b"")
    if "content-length" in headers:
        return Reply(status, headers, stream.read(int(headers["content-length"])))  # type: ignore[attr-defined]
    return Reply(status, headers, stream.read())  # type: ignore[attr-defined]


@contextmanager
def running(folder: Path, state: Path, *options: str, slides: int = 0) -> Iterator[RealServer]:
    """A server on a free port with its catalogue in `state`, all its slides (or so many) listed; stopped at the end.

    `folder`: of slides, or a configuration.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    what = ["--config", str(folder)] if folder.suffix == ".toml" else [str(folder)]
    command = [sys.executable, "-m", "ptiffserve", "serve", *what, "--port", str(port), *options]
    log = state / "server.log"
    state.mkdir(exist_ok=True)
    env = {**os.environ, "XDG_STATE_HOME": str(state), "PYTHONPATH": str(Path(__file__).parents[1])}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=state, start_new_session=True)
    server = RealServer(port, process)
    try:
        _await(server, slides or sum(1 for path in folder.rglob("*.tif*") if path.is_file()), log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # our own session: this server and its workers
            process.wait()


def _await(server: RealServer, slides: int, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.process.poll() is None:
        try:
            if server.get("/api/slides?limit=1000").body.count(b'"key"') >= slides:
                return
        except (OSError, EOFError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server did not list {slides} slides: {log.read_text('utf-8', 'replace')[-2000:]}")
