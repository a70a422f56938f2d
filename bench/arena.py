"""One comparison set up: a slide, its tiles as files, the servers on their core, and the proof that they answer alike."""

import http.client
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from shutil import copyfile

import pyvips
import servers
from processes import Process
from servers import Contestant, running
from slides import opened, slide, tissue, warm

from ptiffserve.geometry import log2_ceil
from ptiffserve.readers.base import Reader
from ptiffserve.sample import Sample

NAME = "slide.tiff"
STORE = "store"
# Answers compared before any timing.
CHECKED = 50
# iipsrv decodes and encodes again at quality 75: mean difference of a tile's samples, far under that of two tiles.
NEAR = 8.0


class Different(RuntimeError):
    """Two servers do not answer the same; nothing that follows would mean anything."""


class Arena:
    """Everything it makes or starts goes on `stack`, which ends it."""

    def __init__(self, sample: Sample, folder: Path, core: int, stack: ExitStack, quality: int = 75) -> None:
        """`quality`: iipsrv's."""
        store, root = folder / STORE, folder / "static"
        store.mkdir()
        copyfile(slide(sample), store / NAME)
        warm(store / NAME)
        self._stack, self._folder, self._core = stack, folder, core
        reader = opened(store / NAME)
        places = tissue(reader)
        # Neighbours in the file must not be neighbours in time, for any of the servers.
        random.Random(1).shuffle(places)
        self.paths = _tile_files(reader, places, root)
        self.sizes = [(root / path[1:]).stat().st_size for path in self.paths]
        iipsrv = self._run(lambda: servers.iipsrv(store, folder, core, quality))
        nginx = self._run(lambda: servers.nginx(root, folder, core, iipsrv.port))
        ours = self._run(lambda: servers.ptiffserve(store, folder, core))
        self.contestants = [
            Contestant("ptiffserve", [("ptiffserve", ours)], self.paths),
            Contestant("nginx", [("nginx", nginx)], self.paths),
            Contestant("iipsrv", [("nginx", nginx), ("iipsrv", iipsrv)], [_iip(path) for path in self.paths]),
        ]
        _until_listed(ours.port, self.paths[0])
        self._check()

    def add_floor(self) -> None:
        """Bare uvicorn with one tile of median size in memory."""
        middle = sorted(zip(self.sizes, self.paths, strict=True))[len(self.paths) // 2][1]
        tile = self._folder / "static" / middle[1:]
        process = self._run(lambda: servers.floor(tile, self._folder, self._core))
        self.contestants.append(Contestant("bare uvicorn", [("uvicorn", process)], self.paths))

    def lists(self) -> dict[str, Path]:
        """For each contestant a file of its paths, as wrk's script reads it."""
        found = {}
        for contestant in self.contestants:
            found[contestant.name] = self._folder / f"{contestant.name}.txt"
            found[contestant.name].write_text("\n".join(contestant.paths) + "\n", "ascii")
        return found

    def _run(self, start: Callable[[], Process]) -> Process:
        return running(start, self._stack.callback)

    def _check(self) -> None:
        """The same bytes from ptiffserve and nginx, the same picture from iipsrv. Different."""
        ours, nginx, iipsrv = self.contestants
        for index in range(0, len(self.paths), max(1, len(self.paths) // CHECKED)):
            path = self.paths[index]
            body = get(ours.port, path)
            if body != get(nginx.port, path):
                raise Different(f"ptiffserve and nginx differ in {path}")
            if _distance(body, get(iipsrv.port, iipsrv.paths[index])) > NEAR:
                raise Different(f"iipsrv shows another picture: {iipsrv.paths[index]}")


def _tile_files(reader: Reader, places: list[tuple[int, int]], root: Path) -> list[str]:
    """Each tile as a file, at the path that ptiffserve serves it under."""
    level = log2_ceil(max(reader.pyramid.size.width, reader.pyramid.size.height))
    base = f"/deepzoom/{STORE}/{NAME}_files/{level}"
    (root / base[1:]).mkdir(parents=True)
    paths = [f"{base}/{col}_{row}.jpg" for col, row in places]
    for path, (col, row) in zip(paths, places, strict=True):
        (root / path[1:]).write_bytes(reader.tile(0, col, row))
    return paths


def _iip(path: str) -> str:
    return path.replace(f"/deepzoom/{STORE}/", "/fcgi-bin/iipsrv.fcgi?DeepZoom=")


def get(port: int, path: str) -> bytes:
    """The body of a 200. Different for any other status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise Different(f"{answer.status} for {path}: {body[:200]!r}")
    return body


def _until_listed(port: int, path: str, seconds: float = 30) -> None:
    """The first scan runs behind the first answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            get(port, path)
            return
        except Different:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _distance(ours: bytes, theirs: bytes) -> float:
    a, b = pyvips.Image.new_from_buffer(ours, ""), pyvips.Image.new_from_buffer(theirs, "")
    if (a.width, a.height, a.bands) != (b.width, b.height, b.bands):
        return 255.0
    return float((a.cast("short") - b.cast("short")).abs().avg())
