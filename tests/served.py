"""What tests that are served need by name: the sample slides, how they are drawn, how to wait for them."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from starlette.testclient import TestClient

import ptiffserve.sample
from ptiffserve.sample import Sample, write

# Every way a Philips file differs that the compiled path must see; sizes are no multiple of the tile at any level.
SAMPLES = {
    "big420": Sample(width=1500, height=1100, tile=256, seed=1),
    "classic422": Sample(width=1300, height=900, tile=256, subsampling="422", classic=True, sparse=0.5, seed=2),
    "big444": Sample(width=700, height=1201, tile=128, subsampling="444", sparse=0.0, seed=3),
    "rgb": Sample(width=1100, height=700, tile=256, photometric="rgb", seed=4),
    "one": Sample(width=200, height=90, tile=256, macro=False, label=False, seed=5),
}


Serve = Callable[..., TestClient]


def settle(client: TestClient, number: int, seconds: float = 20) -> None:
    """Waits until the catalogue lists `number` slides."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(client.get("/api/slides?limit=1000").json()["slides"]) >= number:
            return
        time.sleep(0.05)
    raise AssertionError(f"{number} slides were not listed within {seconds} s")


def told_apart(path: Path) -> None:
    """Gives a file bytes of its own, behind all that is read: the same bytes twice in a store are one slide."""
    before = path.stat()
    with path.open("ab") as file:
        file.write(path.name.encode())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def copied(source: Path, path: Path) -> None:
    """Another slide that looks the same and is as old."""
    shutil.copy2(source, path)
    told_apart(path)


def drawn(sample: Sample) -> Path:
    """The slide, drawn once for this version of the writer: kept in the temporary folder from one run to the next."""
    sources = sorted(Path(ptiffserve.sample.__file__).parent.glob("*.py"))
    said = repr(sample).encode() + b"".join(source.read_bytes() for source in sources)
    path = Path(tempfile.gettempdir()) / "ptiffserve-samples" / f"{blake2b(said, digest_size=12).hexdigest()}.tiff"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write(sample, path)
    return path
