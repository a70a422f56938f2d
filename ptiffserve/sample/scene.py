"""The pixels of level 0: textures, composed by the kind of tissue and cut out by its outline. Any tile, on its own."""

from dataclasses import dataclass
from enum import IntEnum

import pyvips

from ptiffserve.sample import tissue
from ptiffserve.sample.lattice import Lattice
from ptiffserve.sample.noise import Image, Torus, cover, lasting, ramp
from ptiffserve.sample.options import Sample
from ptiffserve.sample.texture import Materials, materials

_LONGEST_PERIOD = 2048
_EDGE = 3.0  # pixels over which tissue fades into glass
_TO_FAT, _TO_TUMOUR = 0.5, 1.5  # between the kinds of tissue
_BLEND = 0.012
_STEP = 2  # masks are made at half the resolution


class State(IntEnum):
    """What a tile shows."""

    GLASS = 0
    TISSUE = 1
    BORDER = 2


@dataclass(frozen=True, slots=True)
class Patterns:
    """Everything that repeats: the textures, what roughens the outline, and what moves the borders between kinds."""

    materials: Materials
    rough: Image
    drift: Image
    drift_bounds: dict[tuple[int, int], tuple[float, float]]  # of the tile at a place in the period, once it was asked


@dataclass(frozen=True, slots=True)
class Scene:
    """A slide as something that can be looked at. Two tiles with equal `key` have equal pixels."""

    width: int
    height: int
    tile: int
    period: int
    patterns: Patterns
    outline: Lattice
    kinds: Lattice
    roughness: float

    def depth(self, x: int, y: int) -> tuple[float, float]:
        """Least and greatest depth below the tissue's edge within the tile at (x, y), in pixels."""
        low, high = self.outline.bounds(x, y, self.tile)
        return low - self.roughness, high + self.roughness

    def state(self, x: int, y: int) -> State:
        low, high = self.depth(x, y)
        if high < -_EDGE:
            return State.GLASS
        whole = x + self.tile <= self.width and y + self.tile <= self.height
        return State.TISSUE if low > _EDGE and whole else State.BORDER

    def key(self, x: int, y: int, state: State) -> tuple[float, ...]:
        """What the pixels of a tile depend on."""
        if state is State.BORDER:
            return (state, x, y)
        phase = (state, x % self.period, y % self.period)
        if state is State.GLASS:
            return (*phase, min(self.tile, self.width - x), min(self.tile, self.height - y))
        return (*phase, *self.kinds.corners(x, y, self.tile))

    def pixels(self, x: int, y: int, state: State) -> Image:
        """The tile at (x, y), RGB; white beyond the slide's edge."""
        if state is State.GLASS:
            image = self._cut(self.patterns.materials.glass, x, y)
        elif state is State.TISSUE:
            image = self._tissue(x, y)
        else:
            image = self._border(x, y)
        return self._padded(image, x, y)

    def _tissue(self, x: int, y: int) -> Image:
        made = self.patterns.materials
        image = self._cut(made.stroma, x, y)
        fat, tumour = self._mixed(x, y)
        if not fat and not tumour:
            return image
        kind = self._field(self.kinds, self.patterns.drift, x, y).copy_memory()
        if fat:
            image = _over(image, self._cut(made.fat, x, y), cover(kind, _TO_FAT + _BLEND, _TO_FAT - _BLEND))
        if tumour:
            image = _over(image, self._cut(made.tumour, x, y), cover(kind, _TO_TUMOUR - _BLEND, _TO_TUMOUR + _BLEND))
        return image

    def _mixed(self, x: int, y: int) -> tuple[bool, bool]:
        """Whether there may be fat, and tumour, in the tile at (x, y)."""
        low, high = self.kinds.bounds(x, y, self.tile)
        least, most = self._drift_bounds(x % self.period, y % self.period)
        return low + least < _TO_FAT + _BLEND, high + most > _TO_TUMOUR - _BLEND

    def _drift_bounds(self, left: int, top: int) -> tuple[float, float]:
        known = self.patterns.drift_bounds
        if (left, top) not in known:
            here = _cut(self.patterns.drift, left // _STEP, top // _STEP, self.tile // _STEP)
            known[left, top] = here.min(), here.max()
        return known[left, top]

    def _border(self, x: int, y: int) -> Image:
        depth = self._field(self.outline, self.patterns.rough, x, y)
        glass = self._cut(self.patterns.materials.glass, x, y)
        return _over(self._tissue(x, y), glass, cover(depth, _EDGE, -_EDGE))

    def _field(self, lattice: Lattice, pattern: Image, x: int, y: int) -> Image:
        """A function over the tile, roughened by a pattern; on a coarser raster, for speed."""
        left, top, size = x % self.period // _STEP, y % self.period // _STEP, self.tile // _STEP
        return lattice.image(x, y, self.tile, _STEP) + _cut(pattern, left, top, size)

    def _cut(self, pattern: Image, x: int, y: int) -> Image:
        return _cut(pattern, x % self.period, y % self.period, self.tile)

    def _padded(self, image: Image, x: int, y: int) -> Image:
        across, down = min(self.tile, self.width - x), min(self.tile, self.height - y)
        if (across, down) == (self.tile, self.tile):
            return image
        return image.crop(0, 0, across, down).embed(0, 0, self.tile, self.tile, extend="white")


def _over(below: Image, above: Image, mask: Image) -> Image:
    """`above` where the (coarse) mask is 255, `below` where it is 0, mixed in between."""
    return mask.zoom(_STEP, _STEP).ifthenelse(above, below, blend=True)


def _cut(pattern: Image, left: int, top: int, size: int) -> Image:
    """A square of something that repeats."""
    across, down = -(-(left + size) // pattern.width), -(-(top + size) // pattern.height)
    wide = pattern.replicate(across, down) if across > 1 or down > 1 else pattern
    return wide.crop(left, top, size, size)


def scene(sample: Sample) -> Scene:
    """The slide that the options describe."""
    width, height = sample.width, sample.height
    period = _period(width, height)
    outline = tissue.outline(width, height, sample.seed)
    roughness = min(30.0, outline.pitch * 0.5)
    return Scene(
        width=width,
        height=height,
        tile=sample.tile,
        period=period,
        patterns=_patterns(Torus(period, sample.seed), width, height, roughness),
        outline=outline,
        kinds=tissue.kinds(width, height, period, sample.seed),
        roughness=roughness,
    )


def _period(width: int, height: int) -> int:
    period = 1024
    while period < min(max(width, height), _LONGEST_PERIOD):
        period *= 2
    return period


def _patterns(torus: Torus, width: int, height: int, roughness: float) -> Patterns:
    rough = torus.perlin(256, 71) * 0.55 + torus.perlin(64, 72) * 0.3 + torus.perlin(16, 73) * 0.1
    drift = torus.perlin(512, 74) * 0.5 + torus.perlin(128, 75) * 0.25 + torus.perlin(32, 76) * 0.06
    bounded = ramp(rough, -1, 1).linear(2 * roughness, -roughness)
    rough, drift = (lasting(pattern.subsample(_STEP, _STEP)) for pattern in (bounded, drift))
    size = min(width, torus.period), min(height, torus.period)
    return Patterns(materials(torus, *size), rough, drift, {})


def blank(size: int) -> Image:
    """What a sparse tile shows: white."""
    return lasting(pyvips.Image.black(size, size, bands=3).linear(1, 255, uchar=True).copy(interpretation="srgb"))
