"""A function over the slide, known at the nodes of a coarse lattice, bilinear between: as numbers and as an image."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import pyvips

from ptiffserve.sample.noise import Image


@dataclass(frozen=True, slots=True)
class Lattice:
    """Values at (i * pitch, j * pitch) pixels of level 0; the last value of a row or column goes on for ever."""

    values: tuple[float, ...]
    cols: int
    rows: int
    pitch: int

    def at(self, i: int, j: int) -> float:
        return self.values[min(j, self.rows - 1) * self.cols + min(i, self.cols - 1)]

    def value(self, x: int, y: int) -> float:
        i, j = x // self.pitch, y // self.pitch
        u, v = x / self.pitch - i, y / self.pitch - j
        above = self.at(i, j) * (1 - u) + self.at(i + 1, j) * u
        below = self.at(i, j + 1) * (1 - u) + self.at(i + 1, j + 1) * u
        return above * (1 - v) + below * v

    def bounds(self, x: int, y: int, size: int) -> tuple[float, float]:
        """Least and greatest value in a square: a bilinear patch has them at its corners."""
        points = [self.value(a, b) for b in self._stops(y, size) for a in self._stops(x, size)]
        return min(points), max(points)

    def corners(self, x: int, y: int, size: int) -> tuple[float, ...]:
        """The node values that decide the function in a square."""
        across = range(x // self.pitch, (x + size - 1) // self.pitch + 2)
        down = range(y // self.pitch, (y + size - 1) // self.pitch + 2)
        return tuple(self.at(i, j) for j in down for i in across)

    def image(self, x: int, y: int, size: int, step: int) -> Image:
        """The function at every `step`-th pixel of a square, as floats; `step` divides size, place and pitch."""
        steps, node = size // step, y // self.pitch
        down = [at / self.pitch % 1 for at in range(y, y + size, step)]
        rows = [self._row(j, x, size, step) for j in range(node, (y + size - 1) // self.pitch + 2)]
        rises = [[low - high for high, low in zip(*pair, strict=True)] for pair in pairwise(rows)]
        if all(value == rows[0][0] for row in rows for value in row):
            return _floats([rows[0][:1]]).embed(0, 0, steps, steps, extend="copy")
        share = _floats([[v] for v in down]).embed(0, 0, steps, steps, extend="copy")
        start, zoom = y % self.pitch // step, self.pitch // step
        high, rise = (_floats(part).zoom(1, zoom).crop(0, start, steps, steps) for part in (rows[:-1], rises))
        return high + rise * share

    def _row(self, j: int, x: int, size: int, step: int) -> list[float]:
        """The function along a row of nodes."""
        values: list[float] = []
        for i in range(x // self.pitch, (x + size - 1) // self.pitch + 1):
            here, rise, start = self.at(i, j), self.at(i + 1, j) - self.at(i, j), i * self.pitch
            part = range(max(x, start) - start, min(x + size, start + self.pitch) - start, step)
            values += [here + rise * (at / self.pitch) for at in part]
        return values

    def _stops(self, start: int, size: int) -> list[int]:
        first = (start // self.pitch + 1) * self.pitch
        return [start, *range(first, start + size, self.pitch), start + size]


def _floats(rows: Sequence[Sequence[float]]) -> Image:
    values = array("f", chain.from_iterable(rows))
    return pyvips.Image.new_from_memory(values.tobytes(), len(rows[0]), len(rows), 1, "float")
