"""The sample writer: what OpenSlide and tifffile see in its slides, and what a viewer would see in them."""

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference

from ptiffserve.errors import Malformed
from ptiffserve.sample import Sample, write
from ptiffserve.sample.layout import pyramid
from ptiffserve.sample.philips_tiff import TiffFile
from ptiffserve.sample.plan import WHITE, plan
from ptiffserve.sample.scene import State, scene

tifffile = pytest.importorskip("tifffile")

BASE = {"width": 1500, "height": 1100, "tile": 128}
SLIDES = {
    "plain": Sample(**BASE),
    "422": Sample(**BASE, subsampling="422"),
    "444": Sample(**BASE, subsampling="444"),
    "rgb": Sample(**BASE, photometric="rgb"),
    "classic": Sample(**BASE, classic=True),
    "dense": Sample(**BASE, sparse=0.0, macro=False),
    "half": Sample(**BASE, sparse=0.5, label=False),
    "bare": Sample(**BASE, macro=False, label=False, barcode='ÄÖ <7> & "8"'),
    "tall": Sample(width=333, height=1900, tile=208, seed=9),
    "large": Sample(width=8192, height=6144, label=False),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("samples")

    def path(name: str) -> Path:
        target = folder / f"{name}.tiff"
        if not target.exists():
            write(SLIDES[name], target)
        return target

    return path


def levels(path: Path) -> list[tifffile.TiffPage]:
    with tifffile.TiffFile(path) as tiff:
        return [page for page in tiff.pages if page.is_tiled and page.dataoffsets is not None]


def counts(path: Path, level: int = 0) -> np.ndarray:
    """Byte counts of the tiles of a level, as rows and columns."""
    page = levels(path)[level]
    return np.array(page.databytecounts).reshape(-(-page.shape[0] // page.tilelength), -1)


@cache
def states(sample: Sample) -> np.ndarray:
    grid = pyramid(sample.width, sample.height, sample.tile)[0]
    view = scene(sample)
    return np.array(
        [[view.state(x * sample.tile, y * sample.tile) for x in range(grid.cols)] for y in range(grid.rows)]
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def halved(pixels: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    cut = pixels[:height, :width].astype(float)
    return (cut[::2, ::2] + cut[1::2, ::2] + cut[::2, 1::2] + cut[1::2, 1::2]) / 4


@pytest.mark.parametrize("name", SLIDES)
def test_openslide_opens_it(made: Callable[[str], Path], name: str) -> None:
    sample, facts = SLIDES[name], reference.facts(made(name))
    assert not isinstance(facts, str), facts
    assert facts.vendor == "philips"
    grids = pyramid(sample.width, sample.height, sample.tile)
    width, height = grids[0].width, grids[0].height
    assert facts.downsamples == tuple(2.0**level for level in range(len(grids)))
    assert facts.sizes == tuple((width >> level, height >> level) for level in range(len(grids)))
    assert [float(facts.properties[f"openslide.mpp-{axis}"]) for axis in "xy"] == pytest.approx([0.226907, 0.226891])
    assert facts.properties["openslide.barcode"] == sample.barcode
    assert facts.associated == tuple(kind for kind in ("label", "macro") if getattr(sample, kind))


@pytest.mark.parametrize("name", SLIDES)
def test_geometry_is_that_of_philips(made: Callable[[str], Path], name: str) -> None:
    sample, pages = SLIDES[name], levels(made(name))
    cols, rows = -(-sample.width // sample.tile), -(-sample.height // sample.tile)
    for level, page in enumerate(pages):
        assert page.shape[:2] == (-(-rows // 2**level) * sample.tile, -(-cols // 2**level) * sample.tile)
        assert (page.subfiletype & 1) == (level > 0)
        assert page.software == "Philips DP v1.0"
        assert len(page.jpegtables) == (289 if sample.photometric == "rgb" or sample.subsampling == "422" else 574)
    assert [page.description for page in pages[1:3]] == ["level=1 mag=22 quality=80", "level=2 mag=11 quality=80"]
    assert pages[-1].shape[:2] == (sample.tile, sample.tile)


def test_tifffile_opens_it(made: Callable[[str], Path]) -> None:
    for name, big in (("plain", True), ("classic", False)):
        with tifffile.TiffFile(made(name)) as tiff:
            assert tiff.is_philips and tiff.is_bigtiff == big
            assert [series.name for series in tiff.series] == ["Baseline", "Macro", "Label"]
    with tifffile.TiffFile(made("dense")) as tiff:
        assert np.array_equal(tiff.series[0].levels[1].asarray(), reference.level(made("dense"), 1))


def test_colours_do_not_depend_on_the_coding(made: Callable[[str], Path]) -> None:
    plain = reference.level(made("444"), 0)
    for name, least in (("plain", 32), ("422", 32), ("rgb", 32), ("classic", 32)):
        assert psnr(plain, reference.level(made(name), 0)) > least, name


@pytest.mark.parametrize("name", ["plain", "422", "rgb", "dense", "half", "tall", "large"])
def test_zooming_does_not_change_what_is_seen(made: Callable[[str], Path], name: str) -> None:
    path = made(name)
    for level in range(1, len(levels(path))):
        below, here = halved(reference.level(path, level - 1)), reference.level(path, level)
        assert psnr(below[: len(here), : len(here[0])], here[: len(below), : len(below[0])]) > 30, level


@pytest.mark.parametrize("name", ["plain", "dense", "half"])
def test_only_glass_is_left_out(made: Callable[[str], Path], name: str) -> None:
    sample = SLIDES[name]
    glass = states(sample) == State.GLASS
    left_out = counts(made(name)) == 0
    assert glass.any() and not (left_out & ~glass).any()
    assert left_out.sum() == round(glass.sum() * sample.sparse)
    page = levels(made(name))[0]
    assert all(
        (offset == 0) == (count == 0) for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )


def test_a_tile_above_is_left_out_only_with_all_below_it(made: Callable[[str], Path]) -> None:
    path = made("plain")
    for level in range(1, len(levels(path))):
        below, here = counts(path, level - 1) > 0, counts(path, level) > 0
        padded = np.pad(below, [(0, len(below) % 2), (0, len(below[0]) % 2)])
        assert np.array_equal(here, padded[::2, ::2] | padded[1::2, ::2] | padded[::2, 1::2] | padded[1::2, 1::2])


def test_beyond_the_slide_it_is_white(made: Callable[[str], Path]) -> None:
    sample, pixels = SLIDES["dense"], reference.level(made("dense"), 0)
    assert pixels[sample.height + 8 :].min() >= 254
    assert pixels[:, sample.width + 8 :].min() >= 254
    assert 240 < pixels[4:60, 4:60].mean() < 253  # glass is not quite white


def test_tissue_tiles_weigh_what_real_ones_do(made: Callable[[str], Path]) -> None:
    inside = counts(made("large"))[states(SLIDES["large"]) == State.TISSUE]
    assert inside.size >= 10
    assert inside.min() > 20_000 and inside.max() < 60_000


def test_every_tissue_tile_is_another(made: Callable[[str], Path]) -> None:
    sample, path = SLIDES["plain"], made("plain")
    page, data = levels(path)[0], path.read_bytes()
    tissue = (states(sample) != State.GLASS).ravel()
    places = [
        place
        for place, here in zip(zip(page.dataoffsets, page.databytecounts, strict=True), tissue, strict=True)
        if here
    ]
    assert len({hashlib.sha256(data[offset : offset + count]).digest() for offset, count in places}) == len(places) > 20


def test_larger_slides_share_their_tiles() -> None:
    grids = pyramid(40_000, 30_000, 512)
    shared = plan(scene(Sample(width=40_000, height=30_000)), grids, 1.0)
    stored = [number for number in shared.tiles[0] if number != WHITE]
    assert len(set(stored)) < len(stored) * 0.8


def test_equal_options_give_equal_bytes(tmp_path: Path) -> None:
    small = {"width": 600, "height": 500, "tile": 64}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(Sample(**small, seed=seed), tmp_path / name)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_pictures_are_in_the_document_too(made: Callable[[str], Path]) -> None:
    text = levels(made("plain"))[0].description
    found = re.findall(
        r'>(MACROIMAGE|LABELIMAGE)</Attribute>\s*<Attribute Name="PIM_DP_IMAGE_DATA"[^>]*>([^<]*)<', text
    )
    assert [kind for kind, _ in found] == ["MACROIMAGE", "LABELIMAGE"]
    assert all(base64.b64decode(data)[:2] == b"\xff\xd8" for _, data in found)
    assert reference.associated(made("plain"), "macro").shape == (804, 1748, 3)
    label = reference.associated(made("plain"), "label")
    assert label.shape == (672, 672, 3) and 0.02 < (label.mean(axis=2) < 100).mean() < 0.5


def test_progress_counts_up_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(Sample(width=600, height=500, tile=64), tmp_path / "s.tiff", lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1]
    assert [path.name for path in tmp_path.iterdir()] == ["s.tiff"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0),
        ("height", 1 << 30),
        ("tile", 8),
        ("tile", 500),
        ("tile", 16384),
        ("quality", 101),
        ("sparse", 1.5),
        ("sparse", float("nan")),
        ("subsampling", "411"),
        ("photometric", "cmyk"),
        ("seed", -1),
        ("barcode", "a\nb"),
    ],
)
def test_a_bad_option_is_named_and_leaves_nothing(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(Malformed, match=rf"^{name}:"):
        write(Sample(**{name: value}), tmp_path / "s.tiff")
    assert not list(tmp_path.iterdir())


def test_classic_ends_at_four_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "s.tiff").open("wb") as file:
        tiff = TiffFile(file, classic=True)
        tiff._end = (1 << 32) - 8
        with pytest.raises(Malformed, match=r"^classic:"):
            tiff.append(bytes(16))
