"""A real server process with an empty folder FOLDER and an empty database GRID, which take uploads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from real_server import RealServer, running
from tus_client import ask

from ptiffserve.sources.mongo import database


class Served(NamedTuple):
    port: int
    root: Path
    mongo: str
    server: RealServer

    def holds(self, store: str) -> int:
        return len(json.loads(ask(self.port, "GET", f"/api/slides?store={store}&limit=1000").body)["slides"])

    def chunks_without_file(self) -> int:
        bucket = database(self.mongo).imagefiles
        known = [each["_id"] for each in bucket.files.find({}, {"_id": 1})]
        return bucket.chunks.count_documents({"files_id": {"$nin": known}})


@contextmanager
def upload_server(folder: Path, mongo: str, labels: str = "allow", secret: str = "") -> Iterator[Served]:
    root = folder / "root"
    root.mkdir()
    config = folder / "config.toml"
    config.write_text(
        f'[server]\nmax_upload = 50000000\n[auth]\nlabels = "{labels}"\nsecret = "{secret}"\n'
        f'[[store]]\nlabel = "FOLDER"\nroot = "{root}"\npoll = 0.2\n[[store]]\nlabel = "GRID"\nroot = "{mongo}"\npoll = 0.2\n'
    )
    with running(config, folder / "state") as server:
        yield Served(server.port, root, mongo, server)
    held = database(mongo)
    held.client.drop_database(held.name)
