"""What can be asked of a sample slide, and which values make sense. Draws nothing."""

from typing import Literal, TypeAlias

import msgspec

from ptiffserve.errors import Malformed

Subsampling: TypeAlias = Literal["420", "422", "444"]
Photometric: TypeAlias = Literal["ycbcr", "rgb"]

LARGEST_SIDE = 1 << 20
MOST_TILES = 1 << 22


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A slide to be made. Equal values make equal files, byte for byte.

    `sparse` is the share of the full-resolution tiles showing nothing but glass that are left out of the file.
    """

    width: int = 16384
    height: int = 12288
    tile: int = 512
    quality: int = 80
    sparse: float = 1.0
    subsampling: Subsampling = "420"
    photometric: Photometric = "ycbcr"
    classic: bool = False
    macro: bool = True
    label: bool = True
    barcode: str = "S26-001234"
    seed: int = 1

    @property
    def chroma(self) -> Subsampling:
        """The subsampling of the stored tiles: RGB has no chroma to thin out."""
        return "444" if self.photometric == "rgb" else self.subsampling


def check(sample: Sample) -> None:
    """Raise Malformed, naming the option, for the first value that cannot be."""
    _within("width", sample.width, 1, LARGEST_SIDE)
    _within("height", sample.height, 1, LARGEST_SIDE)
    _within("tile", sample.tile, 16, 8192)
    if sample.tile % 16:
        raise Malformed(f"tile: {sample.tile} is not a multiple of 16")
    tiles = -(-sample.width // sample.tile) * -(-sample.height // sample.tile)
    if tiles > MOST_TILES:
        raise Malformed(f"tile: {sample.tile} makes {tiles} tiles of this slide; at most {MOST_TILES} are written")
    _within("quality", sample.quality, 1, 100)
    _within("sparse", sample.sparse, 0, 1)
    _one_of("subsampling", sample.subsampling, ("420", "422", "444"))
    _one_of("photometric", sample.photometric, ("ycbcr", "rgb"))
    _within("seed", sample.seed, 0, (1 << 31) - 1)
    if len(sample.barcode) > 64 or not sample.barcode.isprintable():
        raise Malformed("barcode: at most 64 printable characters")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise Malformed(f"{name}: {value} is not within {low}..{high}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise Malformed(f"{name}: {value!r} is none of {', '.join(allowed)}")
