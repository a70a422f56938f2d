"""Seamless noise: images that tile the plane with a given period. Knows nothing of tissue and nothing of colour."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyvips

Image: TypeAlias = Any  # pyvips ships no annotations


@dataclass(frozen=True, slots=True)
class Torus:
    """Noise of one period (pixels, a power of two), each kind from its own `salt`: equal seeds give equal pixels."""

    period: int
    seed: int

    def perlin(self, cell: int, salt: int, stretch: int = 1) -> Image:
        """Smooth noise, mostly in -1..1, features of about `cell` pixels (`stretch` times narrower in x than shown)."""
        width = self.period // stretch
        return pyvips.Image.perlin(width, self.period, cell_size=cell, seed=self._seed(salt)) * 1.6

    def distance(self, cell: int, salt: int, stretch: int = 1) -> Image:
        """Distance in pixels to the nearest of some scattered points, a few for each square of `cell` pixels."""
        width = self.period // stretch
        return pyvips.Image.worley(width, self.period, cell_size=cell, seed=self._seed(salt))

    def grain(self, sigma: float, salt: int) -> Image:
        """White noise around zero."""
        return pyvips.Image.gaussnoise(self.period, self.period, mean=0, sigma=sigma, seed=self._seed(salt))

    def shift(self, size: float, cell: int, salt: int) -> Image:
        """A field of displacements (two bands, pixels) for `warp`."""
        return self.perlin(cell, salt).bandjoin(self.perlin(cell, salt + 500)) * size

    def warp(self, image: Image, shift: Image, stretch: int = 1) -> Image:
        """`image`, made `stretch` times wider, looked up through the displacements; stays seamless."""
        source = image.copy_memory()
        index = pyvips.Image.xyz(self.period, self.period) + shift
        index = index * [1 / stretch, 1] + [source.width, source.height]
        return source.replicate(3, 3).mapim(index)

    def around(self, image: Image, margin: int, do: Callable[[Image], Image]) -> Image:
        """A neighbourhood operation done so that the result is seamless again; `margin` is its reach in pixels."""
        size, period = self.period + 2 * margin, self.period
        wide = image.copy_memory().replicate(3, 3).crop(period - margin, period - margin, size, size)
        return do(wide).crop(margin, margin, period, period)

    def _seed(self, salt: int) -> int:
        return (self.seed * 1_000_003 + salt * 7919) & 0x7FFFFFFF


def lasting(image: Image) -> Image:
    """The pixels, computed now. What is made of them later is computed by the thread that asks, and no other.

    The mark is handed down by libvips. For a tile, starting its own threads costs more than they save.
    """
    kept = image.copy_memory().copy()
    kept.set_type(pyvips.GValue.gint_type, "vips-concurrency", 1)
    return kept


def ramp(image: Image, low: float, high: float) -> Image:
    """0 below `low`, 1 above `high`, straight in between (`low` may be the larger: then it falls)."""
    return cover(image, low, high) / 255


def cover(image: Image, low: float, high: float) -> Image:
    """As `ramp`, but 0 to 255 in bytes: a mask to mix two images with."""
    scale = 255 / (high - low)
    return image.linear(scale, 0.5 - low * scale, uchar=True)  # libvips cuts off at 0 and 255, and does not round
