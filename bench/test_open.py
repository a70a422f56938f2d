"""Opening a slide of 100,000 x 100,000 px: time beside OpenSlide's on the same file, and memory that it keeps."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openslide
import pytest
from conftest import Goal, Versus
from pytest_benchmark.fixture import BenchmarkFixture
from slides import LARGE, opened, slide

MEMORY = Path(__file__).parent / "memory.py"
SLIDES = 50
# The tags of a Philips file count whole tiles.
PADDED = tuple(-(-side // LARGE.tile) * LARGE.tile for side in (LARGE.width, LARGE.height))


def with_openslide(path: Path) -> tuple[int, int]:
    with openslide.OpenSlide(path) as other:
        return other.dimensions


def with_ptiffserve(path: Path) -> tuple[int, int]:
    size = opened(path).pyramid.size
    return size.width, size.height


@pytest.mark.parametrize("open_it", [with_ptiffserve, with_openslide])
@pytest.mark.benchmark(group="open 100,000 x 100,000")
def test_open(benchmark: BenchmarkFixture, open_it: Callable[[Path], tuple[int, int]]) -> None:
    assert benchmark(open_it, slide(LARGE)) == PADDED


def test_open_against_openslide(versus: Versus) -> None:
    path = slide(LARGE)
    versus("open: ptiffserve / OpenSlide", lambda: with_ptiffserve(path), lambda: with_openslide(path), 0.2, calls=3)


def test_memory_of_an_open_slide(goal: Callable[[Goal], None], tmp_path: Path) -> None:
    """Distinct names of one file: distinct readers, no bytes shared between them."""
    original = slide(LARGE)
    names = [tmp_path / f"{number}.tiff" for number in range(SLIDES + 1)]
    for name in names:
        name.symlink_to(original)
    found = subprocess.run(
        [sys.executable, MEMORY, *names],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    told = json.loads(found.stdout)
    limit = (16 * told["tiles"] + (256 << 10)) / 1024
    how = f"{SLIDES} open; {told['tiles']:,} tiles; tables say {told['said'] / 1024:,.0f} KB"
    goal(Goal("memory of an open slide", told["bytes"] / 1024, limit, "KB", how))
    assert told["bytes"] > told["said"] / 2, "the measurement missed the tables"
