"""A region made of tiles: decoded side by side, and none twice that may be kept."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from drawn import LOSSLESS, SOAK, Pixels, coding, dicom, difference, opened, picture, regions

from ptiffserve import encode
from ptiffserve.errors import TooCostly
from ptiffserve.geometry import Box, Part, Size
from ptiffserve.raster import Raster
from ptiffserve.readers.base import ALONE, Means, in_turn
from ptiffserve.readers.decoded import DecodedTiles
from ptiffserve.readers.region import Tiles
from ptiffserve.slide import Fingerprint


@pytest.fixture(scope="module")
def side_by_side() -> Iterator[Callable[[Callable[[Part], None], Sequence[Part]], None]]:
    with ThreadPoolExecutor(4) as pool:
        yield lambda call, parts: [None for _ in pool.map(call, parts)] and None


def array(raster: Raster) -> Pixels:
    return np.frombuffer(raster.data, np.uint8).reshape(raster.height, raster.width, 3)


@pytest.mark.parametrize("name", [*LOSSLESS, "jp2k", "webp"])
def test_threads_and_kept_tiles_show_the_same(tmp_path: Path, side_by_side: object, name: str) -> None:
    reader, means = opened(coding(tmp_path / "a.tif", name)), Means(side_by_side, DecodedTiles(1 << 20))
    for seed in range(2 * SOAK):
        for box, cut in regions(reader, 0, seed):
            assert difference(array(reader.pixels(0, box, means=means)), picture()[cut]) == 0


def test_openslides_tiles_too(shared: Path, side_by_side: object) -> None:
    reader, means = opened(dicom(shared)), Means(side_by_side, DecodedTiles(1 << 20))
    box = Box(200, 300, 700, 500)
    first = array(reader.pixels(0, box))
    for _ in range(3):
        assert difference(array(reader.pixels(0, box, means=means)), first) == 0


@pytest.mark.parametrize("name", ["jp2k", "webp", "lzw"])
def test_a_pan_decodes_no_tile_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    reader, means = (
        opened(coding(tmp_path / "a.tif", name)),
        Means(lambda call, parts: [call(part) for part in parts] and None, DecodedTiles(16 << 20)),
    )
    settled: list[object] = []
    real = encode.settled
    monkeypatch.setattr(encode, "settled", lambda made: (settled.append(made), real(made))[1])
    for x in range(0, 320, 10):
        reader.pixels(0, Box(x, 0, 100, 60), means=means)
    pictures = [made for made in settled if not isinstance(made, Raster)]
    assert len(pictures) == 5, "one row of five tiles"


def drawn(cuts: bool, log: list[Box]) -> Tiles:
    return Tiles((Fingerprint(1, 2, 3, 4), 0, 1), Size(64, 64), lambda part, onto: log.append(part.box), cuts)


def test_what_can_be_cut_is_decoded_whole_once_it_is_wanted_again() -> None:
    log: list[Box] = []
    means = Means(in_turn, DecodedTiles(1 << 20))
    for _ in range(4):
        drawn(True, log).region(Box(10, 10, 20, 20), means)
    assert log == [Box(10, 10, 20, 20), Box(0, 0, 64, 64)]
    log.clear()
    for _ in range(4):
        drawn(False, log).region(Box(70, 70, 20, 20), means)
    assert log == [Box(0, 0, 64, 64)]


@pytest.mark.parametrize("cuts", [True, False])
def test_too_much_is_refused_before_anything_is_drawn(cuts: bool) -> None:
    log: list[Box] = []
    for box in (Box(0, 0, 20_000, 20_000), Box(0, 0, 64 * 5000, 1)):
        with pytest.raises(TooCostly):
            drawn(cuts, log).region(box, ALONE)
    assert not log
