"""A MongoDB-compatible server over a socket, in a process of its own: secantusd, or the one that MONGODB_URI names."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import PyMongoError


class MongoServer:
    """On a port that stays the same over restarts, with its data in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"mongodb://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        program = shutil.which(
            "secantusd-py", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        )
        if program is None:
            pytest.skip("secantusd-py is not installed")
        self.folder.mkdir(exist_ok=True, parents=True)
        where = ["--storage-path", str(self.folder / "data"), "--port", str(self.port), "--sync-on-commit"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([program, *where], cwd=self.folder, stdout=log, stderr=log)
        self._await()

    def _await(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        with pymongo.MongoClient(self.url("admin"), serverSelectionTimeoutMS=500) as client:
            while True:
                try:
                    client.admin.command("ping")
                    return
                except PyMongoError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Elsewhere:
    """A server that somebody else runs: databases of our own names, dropped by the tests that made them."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str) -> str:
        base, _, query = self._url.partition("?")
        host = "/".join(base.split("/")[:3])
        return f"{host}/{database}" + (f"?{query}" if query else "")
