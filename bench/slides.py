"""The slides that the benchmarks read, drawn once into bench/out/slides. Measures nothing."""

from hashlib import blake2b
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.sample import Sample, write
from ptiffserve.sources.file import FileSource

FOLDER = Path(__file__).parent / "out" / "slides"

# Qualities that give tissue tiles of about 60 KB at 512 px and 16 KB at 256 px.
TILES_512 = Sample(width=20480, height=20480, tile=512, quality=90, seed=11)
TILES_256 = Sample(width=16384, height=16384, tile=256, quality=88, seed=12)
LARGE = Sample(width=100_000, height=100_000, seed=13)
# Philips pads level 0 to whole tiles; at the levels below, the last column is clipped.
EDGES = Sample(width=5000, height=3700, tile=512, quality=85, seed=14)


def slide(sample: Sample) -> Path:
    """The slide's file, in the page cache. Another sample has another name; `make clean` or hand removes them."""
    path = FOLDER / f"{sample.width}x{sample.height}-{blake2b(repr(sample).encode(), digest_size=4).hexdigest()}.tiff"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"drawing {path.name} (once)")
            write(sample, path, lambda done, total: progress.update(task, completed=done, total=total))
    warm(path)
    return path


def warm(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def opened(path: Path) -> Reader:
    return open_slide(FileSource(path), path.name)


def tissue(reader: Reader) -> list[tuple[int, int]]:
    """(col, row) of the level-0 tiles that show tissue, each stored picture once: sample slides share equal tiles."""
    grid = reader.pyramid.levels[0].grid
    seen: dict[bytes, tuple[int, int]] = {}
    for row in range(grid.height):
        for col in range(grid.width):
            data = reader.tile(0, col, row)
            if data:
                seen.setdefault(data, (col, row))
    least = max(map(len, seen)) / 2
    return [place for data, place in seen.items() if len(data) >= least]
