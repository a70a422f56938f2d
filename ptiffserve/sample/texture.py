"""Procedural tissue stained with haematoxylin and eosin, as seamless textures. Decides nothing about where each is."""

from dataclasses import dataclass
from functools import lru_cache

import pyvips

from ptiffserve.sample.noise import Image, Torus, lasting, ramp

GLASS = (250.0, 249.0, 250.5)
HAEMATOXYLIN = (0.95, 1.12, 0.52)  # optical density of one unit of stain in R, G, B
EOSIN = (0.10, 0.86, 0.42)


@dataclass(frozen=True, slots=True)
class Materials:
    """RGB textures of one period, in memory: connective tissue, tumour with glands, fat, and the bare glass."""

    stroma: Image
    tumour: Image
    fat: Image
    glass: Image


@lru_cache(maxsize=2)
def materials(torus: Torus, width: int, height: int) -> Materials:
    """Every texture, cut to what a slide needs of it. Kept: slides made in a row mostly want the same."""
    made = (_stroma(torus), _tumour(torus), _fat(torus), _glass(torus))
    return Materials(*(lasting(image.crop(0, 0, width, height)) for image in made))


def _stroma(torus: Torus) -> Image:
    bend = (torus.shift(150, 512, 1) + torus.shift(28, 128, 2)).copy_memory()
    strands = sum(torus.perlin(cell, cell, 8) * part for cell, part in ((32, 0.5), (16, 0.35), (8, 0.3)))
    fibres = torus.warp(strands, bend, 8).copy_memory()
    clefts = ramp(torus.warp(torus.perlin(64, 3, 8), bend, 8) + fibres * 0.5, 0.42, 0.62)
    tone = torus.perlin(512, 4) * 0.10 + torus.perlin(128, 5) * 0.06
    eosin = (fibres.abs() * -0.55 + tone + 0.60) * (clefts * -0.85 + 1)
    return _stained(torus, _fibroblasts(torus, bend) + _lymphocytes(torus) + 0.03, eosin, 10)


def _fibroblasts(torus: Torus, bend: Image) -> Image:
    """Spindle-shaped nuclei that lie along the fibres."""
    near = torus.warp(torus.distance(64, 11, 2), bend, 2)
    radius = ramp(torus.perlin(128, 12) + torus.perlin(32, 13) * 0.5, -0.5, 0.7) * 11 - 2
    return ramp(radius - near, 0.0, 2.4) * (torus.perlin(8, 14) * 0.2 + 0.75)


def _lymphocytes(torus: Torus) -> Image:
    """Small round dark nuclei, in crowds."""
    crowd = ramp(torus.perlin(256, 21) + torus.perlin(64, 22) * 0.5, 0.5, 0.95)
    return ramp(crowd * 13 - 2 - torus.distance(44, 23), 0.0, 2.4) * (torus.perlin(8, 24) * 0.2 + 0.95)


def _tumour(torus: Torus) -> Image:
    wobble = (torus.shift(5, 32, 31) + torus.shift(40, 256, 32)).copy_memory()
    gland = torus.warp(torus.distance(512, 33), torus.shift(60, 128, 34) + torus.shift(110, 512, 35))
    gland = (gland - (torus.perlin(512, 36) * 34 + 62)).copy_memory()  # 0 on the wall of the lumen
    wall = ramp(gland, 0, 8)
    lining = ramp(gland, 70, 45) * wall
    eosin = (torus.perlin(64, 37) * 0.10 + torus.perlin(16, 38) * 0.08 + lining * 0.1 + 0.36) * (wall * 0.93 + 0.07)
    nuclei = _tumour_nuclei(torus, wobble, ramp(gland, 8, 22), lining)
    return _stained(torus, nuclei + wall * 0.11, eosin, 30)


def _tumour_nuclei(torus: Torus, wobble: Image, allowed: Image, lining: Image) -> Image:
    near = torus.warp(torus.distance(64, 41), wobble).copy_memory()
    radius = (torus.perlin(64, 42) * 5 + lining * 2 + 17) * allowed - 2
    chromatin = torus.perlin(8, 43) * 0.22 + torus.perlin(16, 44) * 0.16 + lining * 0.12 + 0.52
    rim = ramp(near - radius, -5, -1) * 0.25
    return ramp(radius - near, 0.0, 2.5) * (chromatin + rim)


def _fat(torus: Torus) -> Image:
    """Adipocytes: empty cells between thin walls. The walls are the creases of a distance field."""
    near = torus.warp(torus.distance(256, 51), torus.shift(16, 64, 52) + torus.shift(40, 256, 53))
    crease = torus.around(near, 12, lambda wide: _crease(wide)).copy_memory()
    wall = ramp(crease, 0.08, 0.30)
    eosin = wall * (torus.perlin(16, 54) * 0.12 + 0.42) + torus.perlin(32, 55) * 0.012 + 0.03
    nuclei = ramp(torus.distance(128, 56), 11, 8) * ramp(crease, 0.03, 0.14)
    return _stained(torus, nuclei * 0.9 + wall * 0.05, eosin, 50)


def _crease(distance: Image) -> Image:
    """Large where the surface folds downwards, as it does half way between two points."""
    smooth = distance.gaussblur(2.2)
    return smooth.conv(pyvips.Image.new_from_array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])).gaussblur(1.2)


def _glass(torus: Torus) -> Image:
    dust = (torus.perlin(64, 61) * 0.5 + torus.grain(1.0, 62)).copy_memory()
    return _bytes(dust.bandjoin([dust, dust]) + list(GLASS))


def _stained(torus: Torus, haematoxylin: Image, eosin: Image, salt: int) -> Image:
    """Light through the stains (Beer and Lambert), seen by a camera with some noise."""
    blue, pink = haematoxylin.copy_memory(), eosin.copy_memory()  # or libvips would compute them for every band
    density = blue.bandjoin([blue, blue]) * list(HAEMATOXYLIN) + pink.bandjoin([pink, pink]) * list(EOSIN)
    grain = torus.around(torus.grain(6.0, salt + 9), 8, lambda wide: wide.gaussblur(0.7))
    return _bytes((density * -1).exp() * list(GLASS) + grain)


def _bytes(image: Image) -> Image:
    return image.rint().cast("uchar").copy(interpretation="srgb")
