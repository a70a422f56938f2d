"""The tile grids of a Philips pyramid: pure arithmetic, no pixels and no file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """One level: `cols` x `rows` tiles, each `tile` pixels square; level 0 is full resolution."""

    level: int
    cols: int
    rows: int
    tile: int

    @property
    def width(self) -> int:
        return self.cols * self.tile

    @property
    def height(self) -> int:
        return self.rows * self.tile


def pyramid(width: int, height: int, tile: int) -> tuple[Grid, ...]:
    """Grids from full resolution down to a single tile. Philips halves the tile counts, rounding up."""
    grids = [Grid(0, -(-width // tile), -(-height // tile), tile)]
    while grids[-1].cols > 1 or grids[-1].rows > 1:
        last = grids[-1]
        grids.append(Grid(last.level + 1, -(-last.cols // 2), -(-last.rows // 2), tile))
    return tuple(grids)
