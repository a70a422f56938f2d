"""Regions as JPEG, beside OpenSlide + Pillow and pyvips on the same slide; encoders beside libvips's on ready pixels."""

import io
import random
from collections.abc import Callable
from functools import partial
from itertools import cycle

import openslide
import pytest
import pyvips
from conftest import Versus
from PIL import Image
from slides import TILES_512, opened, slide, tissue

from ptiffserve import _jpeg, encode, render
from ptiffserve.address import View, plan
from ptiffserve.geometry import Box, Size, parts
from ptiffserve.raster import Raster
from ptiffserve.readers.base import ALONE, Means, in_turn
from ptiffserve.readers.decoded import DecodedTiles
from ptiffserve.slide import Fingerprint, Slide

PATH = slide(TILES_512)
READER = opened(PATH)
RECORD = Slide(
    id="0" * 24,
    store="s",
    path=PATH.name,
    fingerprint=Fingerprint(0, 0, 0, 0),
    state="ready",
    added=0,
    changed=0,
    pyramid=READER.pyramid,
)
QUALITY = encode.JPEG_QUALITY
Place = tuple[int, int]


def places(number: int) -> list[Place]:
    """Corners of regions in tissue, on no grid. Of tiles that are all stored: libtiff fails at others."""
    rng = random.Random(5)
    found = []
    for col, row in tissue(READER):
        if all(READER.tile(0, col + x, row + y) for x in range(3) for y in range(3)):
            found.append((col * 512 + rng.randrange(1, 512, 2), row * 512 + rng.randrange(1, 512, 2)))
    return found[:number]


def ours(place: Place, side: int, to: int, means: Means = ALONE) -> bytes:
    view = plan(View(RECORD, Box(*place, side, side), Size(to, to)))
    assert isinstance(view, View)
    return render.view(view, READER, means).data


def with_openslide(handle: openslide.OpenSlide, place: Place, side: int, to: int) -> bytes:
    """As its manual has it: the best level, over white, resampled, encoded."""
    level = handle.get_best_level_for_downsample(side / to)
    read = round(side / handle.level_downsamples[level])
    region = handle.read_region(place, level, (read, read))
    picture = Image.new("RGB", region.size, (255, 255, 255))
    picture.paste(region, mask=region.getchannel("A"))
    if read != to:
        picture = picture.resize((to, to), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def with_pyvips(image: pyvips.Image, place: Place, side: int) -> bytes:
    data: bytes = image.crop(*place, side, side).jpegsave_buffer(Q=QUALITY, strip=True)
    return data


def over(call: Callable[[Place], object], where: list[Place]) -> Callable[[], object]:
    """The call at one place after another."""
    turn = cycle(where)
    return lambda: call(next(turn))


def compare(
    versus: Versus, name: str, a: Callable[[Place], object], b: Callable[[Place], object], limit: float
) -> None:
    where = places(80)
    versus(name, over(a, where), over(b, where), limit, calls=4)


@pytest.mark.parametrize(("side", "to", "limit"), [(512, 512, 1 / 2.2), (1024, 300, 1 / 4)])
def test_against_openslide(versus: Versus, side: int, to: int, limit: float) -> None:
    with openslide.OpenSlide(PATH) as handle:
        theirs = partial(with_openslide, handle, side=side, to=to)
        name = f"{side} px to {to} px: ptiffserve / OpenSlide + Pillow"
        compare(versus, name, partial(ours, side=side, to=to), theirs, limit)


def test_against_pyvips(versus: Versus) -> None:
    """One open file for all crops, and no cache of operations, as ptiffserve itself used it."""
    image = pyvips.Image.tiffload(str(PATH), access="random")
    theirs = partial(with_pyvips, image, side=512)
    compare(versus, "512 px off the grid: ptiffserve / pyvips", partial(ours, side=512, to=512), theirs, 1 / 2.2)


def test_a_pan_against_openslide(versus: Versus) -> None:
    """Regions that overlap, both caches warm."""
    x, y = places(1)[0]
    where = [(x + 37 * step, y + 11 * step) for step in range(24)]
    means = Means(in_turn, DecodedTiles(64 << 20))
    with openslide.OpenSlide(PATH) as handle:
        name = "pan, 512 px: ptiffserve / OpenSlide + Pillow"
        a, b = partial(ours, side=512, to=512, means=means), partial(with_openslide, handle, side=512, to=512)
        versus(name, over(a, where), over(b, where), 1 / 4, calls=24)


def test_against_libjpeg_turbo_alone(versus: Versus) -> None:
    """What remains when the region's windows are only decoded and its pixels encoded, from bytes in memory."""
    compare(
        versus, "512 px off the grid: ptiffserve / decode + encode", partial(ours, side=512, to=512), _engine(), 1.25
    )


def _engine() -> Callable[[Place], object]:
    out = bytearray(3 * 512 * 512)
    known: dict[Place, list[tuple[bytes, tuple[int, int, int, int], int]]] = {}
    for place in places(80):
        touched = parts(Box(*place, 512, 512), Size(512, 512))
        known[place] = [
            (
                READER.tile(0, part.col, part.row),
                (part.box.x, part.box.y, part.box.width, part.box.height),
                3 * (512 * part.y + part.x),
            )
            for part in touched
        ]

    def run(place: Place) -> bytes:
        for data, window, at in known[place]:
            if data:
                _jpeg.decode(data, (512, 512), window, out, at=at, stride=3 * 512)
        return _jpeg.encode(out, 512, 512, quality=QUALITY)

    return run


@pytest.mark.parametrize("form", ["webp", "avif", "png"])
def test_other_formats_against_libvips(versus: Versus, form: str) -> None:
    """The encoder's own time on pixels that are there, and ours on the same."""
    pixels = READER.pixels(0, Box(*places(1)[0], 512, 512))
    ready = encode.image(Raster(bytes(pixels.data), 512, 512)).copy_memory()
    _, operation, options = encode._SAVERS[form]
    saved = partial(getattr(ready, operation), **options)
    versus(f"{form}: ptiffserve / libvips", lambda: encode.encode(pixels, form), saved, 1.1, calls=1, turns=15)
