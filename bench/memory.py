"""Resident bytes of open slides: `memory.py FILE…` opens each and prints one line of JSON. Run in a process of its own."""

import gc
import json
import sys
from pathlib import Path

from slides import opened

from ptiffserve.readers.base import Reader


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def complete(path: Path) -> Reader:
    """The slide as it is after a tile of each level was asked for: tile tables are read when they are needed."""
    reader = opened(path)
    reader.tables()
    return reader


def main() -> None:
    first, *rest = map(Path, sys.argv[1:])
    kept = [complete(first)]  # the first pays for what all of them share
    before = resident()
    kept.extend(map(complete, rest))
    grown = resident() - before
    tiles = sum(level.grid.width * level.grid.height for level in kept[0].pyramid.levels)
    print(json.dumps({"bytes": grown / len(rest), "tiles": tiles, "said": kept[0].nbytes}))


if __name__ == "__main__":
    main()
