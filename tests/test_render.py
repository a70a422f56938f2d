"""Rendering: never aliasing, whichever decoder's scale it takes; tiles decoded once; threads and limits."""

import io
import math
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import reference
import tiny_tiff
from drawn import opened
from numpy.typing import NDArray
from PIL import Image
from served import drawn
from tiny_tiff import Tiny

from ptiffserve import render
from ptiffserve.address import View, plan
from ptiffserve.encode import settled
from ptiffserve.errors import TileTruncated, TooCostly
from ptiffserve.geometry import Box, Part, Pyramid, Size
from ptiffserve.raster import Raster, white
from ptiffserve.readers import region, tiff
from ptiffserve.readers.base import ALONE, Means, Reader, in_turn
from ptiffserve.readers.decoded import DecodedTiles
from ptiffserve.sample import Sample
from ptiffserve.service import OpenSlides, Service
from ptiffserve.slide import Fingerprint, Slide
from ptiffserve.sources.file import FileSource

Pixels = NDArray[np.uint8]
TALL = Sample(width=3600, height=3000, tile=256, quality=90, seed=9)


@pytest.fixture(scope="module")
def path() -> Path:
    return drawn(TALL)


@pytest.fixture(scope="module")
def truth(path: Path) -> Pixels:
    return reference.level(path, 0)


@pytest.fixture
def reader(path: Path) -> Reader:
    return opened(path)


def alone(reader: Reader) -> Slide:
    """The slide with all but its finest level taken away: whatever is shown is made of that."""
    reader.pyramid = Pyramid(reader.pyramid.levels[:1])
    nothing = Fingerprint(0, 0, 0, 0)
    return Slide(
        id="0" * 24, store="s", path="p", fingerprint=nothing, state="ready", added=0, changed=0, pyramid=reader.pyramid
    )


def shown(view: View, reader: Reader, means: Means = ALONE) -> Pixels:
    picture = settled(render._scaled(view, reader, means))
    return as_array(picture)


def as_array(picture: Raster) -> Pixels:
    return np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 3)


def psnr(a: Pixels, b: Pixels) -> float:
    error = float(np.mean((a.astype(float) - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


@pytest.mark.parametrize("factor", [1.1, 1.5, 2, 2.9, 3.1, 4, 5.9, 6.1, 8, 11.9, 12.1, 17, 40])
def test_reductions_of_level_0(path: Path, truth: Pixels, reader: Reader, factor: float) -> None:
    """At least 40 dB from Pillow's Lanczos of level 0, wherever the region lies and whatever the decoder shrinks by."""
    slide, rng = alone(reader), random.Random(str(factor))
    for _ in range(5):
        width, height = rng.randrange(900, 2500), rng.randrange(900, 2500)
        x, y = rng.randrange(3584 - width), rng.randrange(2816 - height)
        size = max(1, round(width / factor)), max(1, round(height / factor))
        got = shown(View(slide, Box(x, y, width, height), Size(*size)), reader)
        image = Image.fromarray(truth).resize(size, Image.Resampling.LANCZOS, box=(x, y, x + width, y + height))
        assert psnr(got, np.asarray(image)) >= 40, (x, y, width, height)


def test_every_scale_of_the_decoder_is_used(reader: Reader) -> None:
    slide = alone(reader)
    used = set()
    for side in (2048, 1024, 600, 300, 150, 50):
        view = View(slide, Box(0, 0, 2048, 2048), Size(side, side))
        used.add(render._shrink(reader, 0, view.box, view.size))
    assert used == set(reader.shrinks) == {1, 2, 4, 8}


# ---- lossless: what plan() promises ------------------------------------------------------------------------


def turned(pixels: Pixels, turn: int, mirror: bool) -> Pixels:
    return np.rot90(pixels[:, ::-1] if mirror else pixels, -(turn // 90))


@pytest.mark.parametrize("name", ["big420", "classic422", "big444", "rgb"])
def test_lossless_views_show_the_level(slides: Path, name: str) -> None:
    """Random views on the grid of every level, turned, mirrored and gray: the lossless lane, with OpenSlide's pixels but
    for chroma beside seams and borders, where smoothing has other neighbours."""
    reader = opened(slides / f"{name}.tiff")
    slide = msgspec.structs.replace(alone(opened(slides / f"{name}.tiff")), pyramid=reader.pyramid)
    for view in aligned(slide, random.Random(name), 60):
        planned = plan(view)
        assert isinstance(planned, View) and planned.level >= 0, view
        blob = render.view(planned, reader, ALONE)
        assert blob.lane in ("lossless", "blank")
        level = slide.pyramid.levels[planned.level]  # type: ignore[union-attr]
        box = Box(view.box.x // level.scale, view.box.y // level.scale, view.size.width, view.size.height)
        whole = reference.level(slides / f"{name}.tiff", planned.level)
        want = turned(whole[box.y : box.y + box.height, box.x : box.x + box.width], int(view.turn), view.mirror)
        got = decoded(blob.data)
        assert got.shape == want.shape
        if view.quality == "gray":
            want = np.asarray(Image.fromarray(want).convert("L").convert("RGB"))
        off = np.abs(got.astype(int) - want).max(axis=2)
        assert np.quantile(off, 0.9) <= 2, view
        assert off.mean() < 1.5, view


def decoded(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def aligned(slide: Slide, rng: random.Random, number: int) -> Iterator[View]:
    pyramid = slide.pyramid
    assert pyramid is not None
    while number:
        level = rng.choice(pyramid.levels)
        unit, d = level.unit, level.scale
        x, y = (
            unit_ * rng.randrange(-(-side // unit_)) for unit_, side in zip(sides(unit), sides(level.size), strict=True)
        )
        width, height = rng.randint(1, level.size.width - x), rng.randint(1, level.size.height - y)
        turn, mirror = rng.choice([0, 90, 180, 270]), rng.random() < 0.5
        if turn or mirror:
            width, height = max(1, width // unit.width) * unit.width, max(1, height // unit.height) * unit.height
        if x + width > level.size.width or y + height > level.size.height or (width, height) == sides(level.tile):
            continue
        gray = level.luma and rng.random() < 0.3
        box = Box(x * d, y * d, width * d, height * d)
        yield View(slide, box, Size(width, height), "jpg", "gray" if gray else "color", float(turn), mirror)
        number -= 1


def sides(size: Size) -> tuple[int, int]:
    return size.width, size.height


# ---- decoded tiles -----------------------------------------------------------------------------------------


def picture(nbytes: int) -> Raster:
    return Raster(bytes(nbytes), nbytes // 3, 1)


def test_kept_by_bytes_least_recently_used_first() -> None:
    kept = DecodedTiles(900)
    for name in "abc":
        kept.put(name, picture(300))
    assert kept.get("a")
    kept.put("d", picture(300))
    assert [kept.get(name) is not None for name in "abcd"] == [True, False, True, True]
    kept.put("e", picture(903))
    assert kept.get("e") is None and kept.get("a")


def test_wanted_again() -> None:
    kept = DecodedTiles(900)
    assert [kept.again("a", 300) for _ in range(3)] == [False, True, False]
    assert [kept.again(name, 300) for name in "bca"] == [False, False, True]
    assert [kept.again(name, 300) for name in "defb"] == [False, False, False, False], "too many others between"
    assert not kept.again("larger than all", 901)
    assert not kept.again("larger than all", 901)


def test_neighbours_do_not_decode_twice(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions that overlap: each tile is decoded as a window, then whole, then no more; the pixels are the same."""
    calls: list[tuple[int, int]] = []
    decode = tiff.TiffReader._decode

    def counted(self: tiff.TiffReader, level: int, shrink: int, part: Part, onto: Raster) -> None:
        calls.append((part.col, part.row))
        decode(self, level, shrink, part, onto)

    monkeypatch.setattr(tiff.TiffReader, "_decode", counted)
    means = Means(in_turn, DecodedTiles(64 << 20))
    for step in range(12):
        box = Box(300 + 7 * step, 400 + 3 * step, 260, 240)
        assert reader.pixels(0, box, 1, means) == reader.pixels(0, box), step
        calls_with = [call for call in calls if call == (1, 1)]
    # Half of the calls are those of the reader alone.
    assert len(calls_with) == 12 + 2


def test_another_file_of_the_same_name_has_tiles_of_its_own(tmp_path: Path, slides: Path) -> None:
    means = Means(in_turn, DecodedTiles(64 << 20))
    for name in ("big420", "rgb"):
        link = tmp_path / "x.tiff"
        link.unlink(missing_ok=True)
        link.symlink_to(slides / f"{name}.tiff")
        reader = opened(link)
        for _ in range(3):
            assert reader.pixels(1, Box(5, 5, 100, 100), 1, means) == reader.pixels(1, Box(5, 5, 100, 100))


# ---- threads and limits ------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(
        OpenSlides(lambda slide: FileSource(tmp_path / slide.path, slide.key), 1, 1 << 20), renders=2, queue=2
    )
    yield service
    service.close()


def some(number: int) -> list[Part]:
    return [Part(i, 0, Box(0, 0, 1, 1), 0, 0) for i in range(number)]


def test_parts_are_done_side_by_side(service: Service) -> None:
    together = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def call(part: Part) -> None:
        if part.col < 2:
            together.wait()
        done.append(part.col)

    service._side_by_side(call, some(9))
    assert sorted(done) == list(range(9))


@pytest.mark.parametrize("bad", [0, 1, 8])
def test_what_a_part_raises_is_raised(service: Service, bad: int) -> None:
    def call(part: Part) -> None:
        if part.col == bad:
            raise TileTruncated("s", str(bad))

    with pytest.raises(TileTruncated):
        service._side_by_side(call, some(9))


def test_pixels_are_the_same_side_by_side(service: Service, reader: Reader) -> None:
    means = Means(service._side_by_side, DecodedTiles(64 << 20))
    for _ in range(3):
        assert reader.pixels(0, Box(13, 17, 900, 800), 1, means) == reader.pixels(0, Box(13, 17, 900, 800))


def test_too_many_tiles_are_refused_before_one_is_read(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    monkeypatch.setattr(region, "MAX_TILES", 20)
    monkeypatch.setattr(tiff.TiffReader, "tile", lambda *asked: read.append(asked))
    with pytest.raises(TooCostly):
        reader.pixels(0, Box(0, 0, 1, 256 * 20 + 1))
    with pytest.raises(TooCostly):
        reader.pixels(0, Box(0, 0, 20_000, 20_000))
    assert not read


def test_sparse_tiles_are_white(slides: Path) -> None:
    reader = opened(slides / "classic422.tiff")
    grid = reader.pyramid.levels[0].grid
    cells = ((col, row) for row in range(grid.height) for col in range(grid.width))
    col, row = next(cell for cell in cells if not reader.tile(0, *cell))
    for shrink in reader.shrinks:
        box = Box(col * 256 // shrink, row * 256 // shrink, 30, 30)
        assert reader.pixels(0, box, shrink) == white(Size(30, 30))


MEMORY = """
import resource, sys
from pathlib import Path
from ptiffserve import render
from ptiffserve.address import View, plan
from ptiffserve.geometry import Box, Size
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import ALONE
from ptiffserve.slide import Slide
from ptiffserve.sources.file import FileSource
def mark(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def show(path):
    source = FileSource(Path(path))
    reader = open_slide(source, "s")
    size = reader.pyramid.size
    slide = Slide(id="0" * 24, store="s", path="p", fingerprint=source.fingerprint(), state="ready", added=0, changed=0,
                  pyramid=reader.pyramid)
    whole = Box(0, 0, size.width, size.height)
    return size, len(render.view(plan(View(slide, whole, Size(200, 200))), reader, ALONE).data)
small, large = sys.argv[1:]
show(small)
before = mark()
size, length = show(large)
assert size.width >= 100_000 and length > 1000
print(mark() - before)
"""


def test_a_small_picture_of_a_vast_slide_takes_little_memory(tmp_path: Path, slides: Path) -> None:
    """OSS-Lite took 40 GB: 100,000 x 100,000 pixels of level 0."""
    vast = tmp_path / "vast.tiff"
    tiny_tiff.write(Tiny(100_000, 100_000, 512, philips=True, padded=True), vast)
    said = run(MEMORY, str(slides / "big420.tiff"), str(vast))
    assert int(said) < 64


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
