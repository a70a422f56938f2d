"""Syncs of many files beside `find`: the first, and one of which nothing changed. `sync.py [--files N] [--rounds R]`.

The tree is made of real small slides, each with bytes of its own. `find -printf` of the same facts on the same tree takes
turns with the sync; both are timed warm, in processor seconds and by the clock. The last line is JSON.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from files import content  # noqa: E402 - of the tests

from ptiffserve.catalogue.embedded import Embedded  # noqa: E402
from ptiffserve.config import Store  # noqa: E402
from ptiffserve.sync.run import sync  # noqa: E402

FIND = ["find", "{root}", "-type", "f", "-printf", "%p %s %T@ %i %D\n"]


def make(root: Path, files: int) -> None:
    """1,000 slides to a folder, old enough to be taken at once."""
    for number in range(files):
        path = root / f"folder-{number // 1000:04}" / f"slide-{number:07}.tiff"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(number))
        os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(processor seconds, seconds by the clock) of this process and its children."""
    before, started = os.times(), time.perf_counter()
    work()
    after, seconds = os.times(), time.perf_counter() - started
    return sum(after[:4]) - sum(before[:4]), seconds


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def measured(root: Path, rounds: int, files: int) -> dict[str, float]:
    store, catalogue = Store(root=str(root), label="S"), Embedded(root.parent / "catalogue.db")
    start = resident()
    first, seconds = timed(lambda: sync(store, catalogue))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - start
    command = [part.format(root=root) for part in FIND]
    again, find = [], []
    for _ in range(rounds):
        find.append(timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)))
        again.append(timed(lambda: sync(store, catalogue)))
    catalogue.close()
    return {
        "files": files,
        "first_slides_per_cpu_second": files / first,
        "first_slides_per_second": files / seconds,
        "first_bytes_per_slide": grown / files,
        "find_cpu": statistics.median(cpu for cpu, _ in find),
        "again_cpu": statistics.median(cpu for cpu, _ in again),
        "ratio_cpu": statistics.median(a / f for (a, _), (f, _) in zip(again, find, strict=True)),
        "ratio_clock": statistics.median(a / f for (_, a), (_, f) in zip(again, find, strict=True)),
    }


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--files", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    said = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "slides"
        make(root, said.files)
        found = measured(root, said.rounds, said.files)
    for name, value in found.items():
        print(f"{name:28} {value:10.2f}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
