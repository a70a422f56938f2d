"""Writes a sample slide: scene, plan, tiles on all cores, directories, rename. The other modules know nothing of files."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pyvips

from ptiffserve.sample import associated, jpeg, xml
from ptiffserve.sample.draw import Studio
from ptiffserve.sample.layout import Grid, pyramid
from ptiffserve.sample.noise import Image
from ptiffserve.sample.options import Sample, check
from ptiffserve.sample.philips_tiff import UNDEFINED, Field, Tags, TiffFile, long, short, text
from ptiffserve.sample.plan import WHITE, Plan, plan
from ptiffserve.sample.scene import scene

Progress: TypeAlias = Callable[[int, int], object]
Tiles: TypeAlias = list[tuple[int, jpeg.Stream]]

SOFTWARE = "Philips DP v1.0"
_BRANCHES = 256
_OVERVIEW = 4096


@dataclass(slots=True)
class Stored:
    """Where each picture lies in the file, by its number; (0, 0) where a tile is left out."""

    places: dict[int, tuple[int, int]] = field(default_factory=lambda: {WHITE: (0, 0)})
    tables: bytes = b""


def write(sample: Sample, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
    """Write the slide under a temporary name beside `path`, then move it there.

    `progress` is called with the number of distinct tiles done, and of all. Raises Malformed for options that cannot be.
    """
    check(sample)
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            _slide(sample, TiffFile(file, sample.classic), progress or (lambda done, total: None))
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _slide(sample: Sample, file: TiffFile, progress: Progress) -> None:
    view = scene(sample)
    made = plan(view, pyramid(sample.width, sample.height, sample.tile), sample.sparse)
    studio = Studio(view, made, _overview_grid(made).level)
    stored = _store(file, _encoded(sample, made, studio), len(made.pictures) - 1, progress)
    pictures = _pictures(sample, made, studio)
    _levels(sample, file, made, stored, {kind: stream.whole for kind, (_, _, stream) in pictures.items()})
    for description, image, stream in pictures.values():
        _strip(file, description, image, stream)


def _store(file: TiffFile, encoded: Iterable[Tiles], total: int, progress: Progress) -> Stored:
    """Append every distinct tile once, in an order that does not depend on the threads."""
    stored = Stored()
    for tiles in encoded:
        for number, stream in tiles:
            assert stored.tables in (b"", stream.tables), "the tiles of a slide disagree about their tables"
            stored.tables = stream.tables
            stored.places[number] = file.append(stream.data), len(stream.data)
        progress(len(stored.places) - 1, total)
    return stored


def _encoded(sample: Sample, made: Plan, studio: Studio) -> Iterator[Tiles]:
    """The distinct tiles: the lower levels branch by branch on all cores, then the few that join the branches."""
    middle = next(grid.level for grid in made.grids if grid.cols * grid.rows <= _BRANCHES)
    done: set[int] = {WHITE}

    def branch(numbers: list[int]) -> Tiles:
        return [(number, _tile(sample, studio.draw(number))) for number in numbers]

    with ThreadPoolExecutor(os.cpu_count() or 1, "sample") as pool:
        for level in range(middle, len(made.grids)):
            work = [[number for number in numbers if number not in done] for numbers in made.branches(level)]
            done.update(number for numbers in work for number in numbers)
            yield from _in_order(pool, branch, work)


def _in_order(pool: ThreadPoolExecutor, do: Callable[[list[int]], Tiles], work: list[list[int]]) -> Iterator[Tiles]:
    """Results in the order of the work, with only a few waiting: memory stays flat when the disk is slow."""
    waiting: deque[Future[Tiles]] = deque()
    for numbers in work:
        waiting.append(pool.submit(do, numbers))
        if len(waiting) > 2 * (os.cpu_count() or 1):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _tile(sample: Sample, image: Image) -> jpeg.Stream:
    return jpeg.encode(image, sample.quality, sample.photometric, sample.chroma)


def _pictures(sample: Sample, made: Plan, studio: Studio) -> dict[str, tuple[str, Image, jpeg.Stream]]:
    """Description, pixels and JPEG of the pictures asked for, by the name Philips has for each."""
    found: dict[str, tuple[str, Image]] = {}
    paper = associated.label(sample.barcode, sample.seed) if sample.label else None
    if sample.macro:
        description = associated.macro_description(sample.width, sample.height)
        found["MACROIMAGE"] = description, associated.macro(_overview(sample, made, studio), paper)
    if paper is not None:
        found["LABELIMAGE"] = "Label", paper
    return {kind: (words, image, jpeg.encode(image, 80, "ycbcr", "420")) for kind, (words, image) in found.items()}


def _overview_grid(made: Plan) -> Grid:
    """The level from which the macro is drawn: a few times as large as it shows the slide."""
    small = [grid for grid in made.grids if max(grid.width, grid.height) <= _OVERVIEW]
    return small[0] if small else made.grids[-1]


def _overview(sample: Sample, made: Plan, studio: Studio) -> Image:
    """The whole slide, at half the size of that level."""
    grid = _overview_grid(made)
    halves = [studio.half(number) for number in made.tiles[grid.level]]
    image = pyvips.Image.arrayjoin(halves, across=grid.cols)
    scale = 2 ** (grid.level + 1)
    return image.crop(0, 0, max(1, sample.width // scale), max(1, sample.height // scale)).copy_memory()


def _levels(sample: Sample, file: TiffFile, made: Plan, stored: Stored, pictures: dict[str, bytes]) -> None:
    facts = xml.Facts(
        grids=made.grids,
        quality=sample.quality,
        rgb=sample.photometric == "rgb",
        big=not sample.classic,
        barcode=sample.barcode,
        pictures=pictures,
    )
    for grid in made.grids:
        places = [stored.places[number] for number in made.tiles[grid.level]]
        description = xml.level_description(grid.level, sample.quality) if grid.level else xml.document(facts)
        tags = _image(grid.width, grid.height, description, stored.tables) | _colour(sample) | _tiled(grid)
        tags[254] = long(1 if grid.level else 0)
        tags[324] = file.offsets([offset for offset, _ in places])
        tags[325] = file.offsets([count for _, count in places])
        file.directory(tags)


def _image(width: int, height: int, description: str, tables: bytes) -> Tags:
    return {
        256: long(width),
        257: long(height),
        258: short(8, 8, 8),
        259: short(7),
        270: text(description),
        277: short(3),
        284: short(1),
        305: text(SOFTWARE),
        347: Field(UNDEFINED, tables),
    }


def _colour(sample: Sample) -> Tags:
    if sample.photometric == "rgb":
        return {262: short(2)}
    return {262: short(6), 530: short(*{"420": (2, 2), "422": (2, 1), "444": (1, 1)}[sample.chroma])}


def _tiled(grid: Grid) -> Tags:
    return {322: short(grid.tile), 323: short(grid.tile)}


def _strip(file: TiffFile, description: str, image: Image, stream: jpeg.Stream) -> None:
    """An associated image: one strip, with tables of its own."""
    tags = _image(image.width, image.height, description, stream.tables)
    tags |= {254: long(0), 262: short(6), 530: short(2, 2), 278: long(image.height)}
    tags[273] = file.offsets([file.append(stream.data)])
    tags[279] = file.offsets([len(stream.data)])
    file.directory(tags)
