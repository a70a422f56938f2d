"""The real OpenSeadragon (npm, in Node without a browser), asked which tiles it would ask for."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PACKAGES = ("openseadragon@6.1.1", "jsdom@24.1.3")


class Asked(NamedTuple):
    """A tile that OpenSeadragon asks for: its place in the level's grid, and how much of it will be drawn, in parts of
    pixels at the edges."""

    level: int
    x: int
    y: int
    width: float
    height: float


@cache
def library() -> Path:
    """A folder with OpenSeadragon and jsdom in its node_modules, filled by npm once."""
    folder = HERE.parent / "build" / "osd"
    if not all((folder / "node_modules" / package.partition("@")[0]).is_dir() for package in PACKAGES):
        assert shutil.which("npm"), "npm is needed to fetch OpenSeadragon: apt install npm"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), *PACKAGES]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder / "node_modules"


def tiles_of(images: list[dict[str, object]]) -> list[dict[str, Asked]]:
    """For each image, the URLs that the library asks for. One Node process for all."""
    done = subprocess.run(
        ["node", str(HERE / "osd_urls.js")],
        input=json.dumps(images),
        env={**os.environ, "NODE_PATH": str(library())},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [{tile[-1]: Asked(*tile[:-1]) for tile in json.loads(line)} for line in done.stdout.splitlines()]
