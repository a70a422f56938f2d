"""Which pictures a slide needs, each once: the pyramid as a tree in which equal branches are one. Holds no pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from ptiffserve.sample.layout import Grid
from ptiffserve.sample.scene import Scene, State

WHITE = 0  # the picture of a tile that is left out

Spot: TypeAlias = tuple[int, int, State]  # x, y in level 0, and what is there
Four: TypeAlias = tuple[
    int, int, int, int
]  # the pictures it is made of: top left, top right, bottom left, bottom right


@dataclass(slots=True)
class Plan:
    """`tiles[level][row * cols + col]` is the number of a picture; a picture is a Spot of level 0, or Four others."""

    grids: tuple[Grid, ...]
    pictures: list[Spot | Four | None] = field(default_factory=lambda: [None])
    tiles: list[list[int]] = field(default_factory=list)

    def branches(self, level: int) -> Iterator[list[int]]:
        """For each new picture of a level, itself and what it is made of, parts first; every picture occurs once."""
        seen = {WHITE}
        for number in self.tiles[level]:
            if number not in seen:
                yield list(self._new(number, seen))

    def _new(self, number: int, seen: set[int]) -> Iterator[int]:
        seen.add(number)
        made = self.pictures[number]
        if made is not None and len(made) == 4:
            for part in made:
                if part not in seen:
                    yield from self._new(part, seen)
        yield number


def plan(scene: Scene, grids: tuple[Grid, ...], sparse: float) -> Plan:
    """Everything that is to be drawn and where it goes; `sparse` is the share of glass tiles left out."""
    made = Plan(grids)
    made.tiles.append(_ground(scene, grids[0], sparse, made.pictures))
    for below, grid in pairwise(grids):
        made.tiles.append(_above(made.tiles[-1], below, grid, made.pictures))
    return made


def _ground(scene: Scene, grid: Grid, sparse: float, pictures: list[Spot | Four | None]) -> list[int]:
    places = [(col * grid.tile, row * grid.tile) for row in range(grid.rows) for col in range(grid.cols)]
    states = [scene.state(x, y) for x, y in places]
    left_out = _left_out(scene, places, states, sparse)
    known: dict[tuple[float, ...], int] = {}
    numbers = []
    for index, ((x, y), state) in enumerate(zip(places, states, strict=True)):
        if index in left_out:
            numbers.append(WHITE)
            continue
        number = known.setdefault(scene.key(x, y, state), len(pictures))
        if number == len(pictures):
            pictures.append((x, y, state))
        numbers.append(number)
    return numbers


def _left_out(scene: Scene, places: list[tuple[int, int]], states: list[State], sparse: float) -> set[int]:
    """Glass tiles not stored: those farthest from tissue first, as if the scanner had been told where the tissue is."""
    glass = [index for index, state in enumerate(states) if state is State.GLASS]
    if sparse < 1:
        glass.sort(key=lambda index: scene.depth(*places[index])[1])
    return set(glass[: round(len(glass) * sparse)])


def _above(tiles: list[int], below: Grid, grid: Grid, pictures: list[Spot | Four | None]) -> list[int]:
    """The tiles of a level from those of the level below."""

    def part(col: int, row: int) -> int:
        return tiles[row * below.cols + col] if col < below.cols and row < below.rows else WHITE

    known: dict[Four, int] = {(WHITE,) * 4: WHITE}
    numbers = []
    for row in range(0, 2 * grid.rows, 2):
        for col in range(0, 2 * grid.cols, 2):
            four = part(col, row), part(col + 1, row), part(col, row + 1), part(col + 1, row + 1)
            number = known.setdefault(four, len(pictures))
            if number == len(pictures):
                pictures.append(four)
            numbers.append(number)
    return numbers
