"""Where on the glass there is tissue, and of which kind. Lopsided on purpose, so that a mirrored tile shows."""

import math
from random import Random

from ptiffserve.sample.lattice import Lattice

FAT, STROMA, TUMOUR = 0.0, 1.0, 2.0
_NODES = 192  # of the outline, along the longer side

# centre x, y; half axes; turn: as shares of the slide's width and height. Holes are pieces of nothing.
_PIECES = (
    (0.31, 0.39, 0.20, 0.175, 0.5),
    (0.24, 0.61, 0.085, 0.13, -0.4),
    (0.72, 0.33, 0.10, 0.16, 0.9),
    (0.64, 0.74, 0.15, 0.10, -0.25),
)
_HOLES = (
    (0.36, 0.34, 0.024, 0.036, 0.7),
    (0.725, 0.245, 0.012, 0.045, 0.5),
)


def outline(width: int, height: int, seed: int) -> Lattice:
    """About the distance in pixels to the edge of the tissue: positive inside, negative on bare glass."""
    pitch = -(-max(width, height) // (16 * _NODES)) * 16
    cols, rows = width // pitch + 2, height // pitch + 2
    waves = _Waves(seed)
    scale = min(width, height)
    values = tuple(
        _depth(i * pitch / width, j * pitch / height, waves) * scale for j in range(rows) for i in range(cols)
    )
    return Lattice(values, cols, rows, pitch)


def kinds(width: int, height: int, pitch: int, seed: int) -> Lattice:
    """FAT, STROMA or TUMOUR at each node; regions are larger than the pitch."""
    random, waves = Random(seed), _Waves(seed + 1)  # noqa: S311 - a drawing, not a secret
    cols, rows = width // pitch + 2, height // pitch + 2
    values = []
    for j in range(rows):
        for i in range(cols):
            slow = waves.at(i * 0.045, j * 0.045) * 1.1 + random.uniform(-0.4, 0.4)
            values.append(min(TUMOUR, max(FAT, float(round(STROMA + 0.25 + slow)))))
    return Lattice(tuple(values), cols, rows, pitch)


class _Waves:
    """Slow noise, about -1..1, from a few plane waves; its period is far longer than any slide."""

    def __init__(self, seed: int) -> None:
        random = Random(seed * 31 + 7)  # noqa: S311
        turns = [random.uniform(0, math.tau) for _ in range(5)]
        self._waves = [
            (math.cos(turn) * 2.0**k * 9, math.sin(turn) * 2.0**k * 9, random.uniform(0, math.tau), 0.62**k)
            for k, turn in enumerate(turns)
        ]

    def at(self, x: float, y: float) -> float:
        return sum(math.sin(a * x + b * y + phase) * part for a, b, phase, part in self._waves) * 0.5


def _depth(x: float, y: float, waves: _Waves) -> float:
    """Signed depth at a place given in shares of the slide, as a share of its shorter side."""
    a, b = x + waves.at(x * 1.3, y * 1.3) * 0.034, y + waves.at(y * 1.4 + 3, x * 1.2 - 2) * 0.038
    depth = max(_inside(a, b, piece) for piece in _PIECES)
    depth = min(depth, *(-_inside(a, b, hole) for hole in _HOLES))
    margin = min(x, y, 1 - x, 1 - y) - 0.015
    return min(depth + waves.at(x * 4, y * 4) * 0.004, margin)


def _inside(x: float, y: float, piece: tuple[float, float, float, float, float]) -> float:
    cx, cy, half_width, half_height, turn = piece
    cos, sin = math.cos(turn), math.sin(turn)
    u = ((x - cx) * cos + (y - cy) * sin) / half_width
    v = ((y - cy) * cos - (x - cx) * sin) / half_height
    return (1 - math.hypot(u, v)) * min(half_width, half_height)
