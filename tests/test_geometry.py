"""Geometry: nine real Philips files as golden vectors, and the arithmetic against exact fractions."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import NamedTuple

import pytest
import reference
from dpufs import document, levels, nominal, opened, pair, picture, written, wsi
from hypothesis import assume, given
from hypothesis import strategies as st
from pages import LONG, Page

from ptiffserve.geometry import (
    MARGIN,
    Box,
    Level,
    Pyramid,
    Size,
    Window,
    best_level,
    ceil_div,
    clip,
    downsample,
    fit,
    log2_ceil,
    scaled,
    tiles_across,
    whole_scale,
    window,
)

Sizes = Sequence[tuple[int, int]]


class Golden(NamedTuple):
    """A real file: stored sizes of its levels, the scanner's magnification, WSI spacing (row, column) in mm, true sizes."""

    stored: Sizes
    magnification: float
    spacing: tuple[str, str]
    true: Sizes


def halved(width: int, height: int, number: int) -> list[tuple[int, int]]:
    """Stored sizes as every file but one has them: grids halved, rounded up."""
    cols, rows = width // 512, height // 512
    return [(512 * -(-cols // 2**i), 512 * -(-rows // 2**i)) for i in range(number)]


def divided(width: int, height: int, number: int) -> list[tuple[int, int]]:
    return [(width >> i, height >> i) for i in range(number)]


ONE = (
    *((45056, 35840), (22528, 17920), (11264, 9216), (5632, 4608)),
    *((3072, 2560), (1536, 1536), (1024, 1024), (512, 512)),
)
ONE_TRUE = (
    *((45056, 35840), (22528, 17920), (11264, 8960), (5632, 4480)),
    *((2816, 2240), (1408, 1120), (704, 560), (352, 280)),
)
FOUR = (
    *((91136, 68096), (45568, 34304), (23040, 17408), (11776, 8704), (6144, 4608)),
    *((3072, 2560), (1536, 1536), (1024, 1024), (512, 512)),
)
FOUR_TRUE = (
    *((91136, 68096), (45568, 34048), (22784, 17024), (11392, 8512), (5696, 4256)),
    *((2848, 2128), (1424, 1064), (712, 532), (356, 266)),
)
SHORT_OF_A_ROW = [*halved(155136, 78336, 10)]
SHORT_OF_A_ROW[3] = (19456, 9728)
HAMAMATSU, HISTECH = ("0.000226891", "0.000226907"), ("0.000243094", "0.000243094")
PHILIPS = ("0.00025", "0.00025")

GOLDEN = {
    "Philips-1": Golden(ONE, 44, HAMAMATSU, ONE_TRUE),
    "Philips-2": Golden(halved(97280, 217600, 10), 41, HISTECH, divided(97280, 217600, 10)),
    "Philips-3": Golden(halved(131072, 100352, 9), 44, HAMAMATSU, [*divided(131072, 100352, 8), (512, 392)]),
    "Philips-4": Golden(FOUR, 40, PHILIPS, FOUR_TRUE),
    "CAMELYON16 test_001": Golden(halved(86016, 89600, 9), 44, HAMAMATSU, [*divided(86016, 89600, 8), (336, 350)]),
    "CAMELYON16 normal_001": Golden(halved(97792, 221184, 10), 41, HISTECH, divided(97792, 221184, 10)),
    "CAMELYON17 patient_080_node_2": Golden(SHORT_OF_A_ROW, 41, HISTECH, divided(155136, 78336, 10)),
    "tifffile sample": Golden(halved(188416, 93696, 10), 40, PHILIPS, divided(188416, 93696, 10)),
    "openslide #235": Golden(halved(143872, 38400, 10), 44, HAMAMATSU, divided(143872, 38400, 10)),
}


def test_the_golden_files_are_what_was_seen() -> None:
    """The formula gives what is known of the real files."""
    assert halved(45056, 35840, 8) == list(ONE)
    assert halved(91136, 68096, 9) == list(FOUR)
    assert halved(86016, 89600, 9)[1] == (43008, 45056)
    assert halved(155136, 78336, 10)[3] == (19456, 10240)
    assert all(one.stored[-1] == (512, 512) for one in GOLDEN.values())


def xml_of(golden: Golden) -> str:
    spacings = [nominal(golden.magnification, i) for i in range(len(golden.stored))]
    return document(wsi(spacings, pair(*golden.spacing)), picture("MACROIMAGE", ""))


def check(path: Path, golden: Golden) -> None:
    pyramid = opened(path).pyramid
    assert [(level.size.width, level.size.height) for level in pyramid.levels] == list(golden.true)
    assert [level.scale for level in pyramid.levels] == [1 << i for i in range(len(golden.true))]
    grids = [(level.grid.width * 512, level.grid.height * 512) for level in pyramid.levels]
    assert grids == list(golden.stored)
    assert pyramid.mpp == pytest.approx((1000 * float(golden.spacing[1]), 1000 * float(golden.spacing[0])), rel=1e-9)
    assert all(opened(path).tile(i, 0, 0) == b"" for i in range(len(golden.true)))


def check_openslide(path: Path, golden: Golden) -> None:
    facts = reference.facts(path)
    assert isinstance(facts, reference.Facts), facts
    assert facts.vendor == "philips"
    assert facts.sizes == tuple(golden.true)
    assert facts.downsamples == tuple(float(1 << i) for i in range(len(golden.true)))
    mpp = [float(facts.properties[f"openslide.mpp-{axis}"]) for axis in "xy"]
    assert mpp == pytest.approx([1000 * float(golden.spacing[1]), 1000 * float(golden.spacing[0])], rel=1e-9)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(tmp_path: Path, name: str) -> None:
    golden = GOLDEN[name]
    path = written(tmp_path, levels(golden.stored, xml_of(golden), golden.magnification))
    check(path, golden)
    check_openslide(path, golden)


def test_the_real_xml_of_philips_1(tmp_path: Path, shared: Path) -> None:
    xml = (shared / "philips" / "Philips-1.ImageDescription.xml").read_text()
    path = written(tmp_path, levels(ONE, xml, 44))
    check(path, GOLDEN["Philips-1"])
    check_openslide(path, GOLDEN["Philips-1"])
    assert opened(path).barcode == "3311940"
    assert opened(path).associated() == ()


def test_the_quirks_of_slideio(tmp_path: Path, shared: Path) -> None:
    """Attributes in any order, empty ones, lower-case hexadecimals; a label that is no picture, a macro without data."""
    xml = (shared / "philips" / "slideio-mini-quirks.xml").read_text()
    path = written(tmp_path, levels(FOUR[:2], xml))
    check(path, Golden(FOUR[:2], 40, ("0.00025", "0.00026"), FOUR_TRUE[:2]))
    assert opened(path).associated() == ()


@pytest.mark.parametrize("prolog", ["", "\ufeff", '\ufeff<?xml version="1.0"?>', "\r\n\t <?xml version='1.0'?>\n"])
def test_whatever_stands_before_the_xml(tmp_path: Path, prolog: str) -> None:
    """Philips-4 has no prolog; other writers put a byte order mark there."""
    golden = GOLDEN["Philips-4"]
    xml = prolog + xml_of(golden).split("?>", 1)[1].lstrip()
    check(written(tmp_path, levels(golden.stored, xml)), golden)


def with_depth(made: list[Page]) -> list[Page]:
    for one in made:
        one.say("Philips DP v1.1", 305)
        one.tags |= {32997: (LONG, [len(made)]), 32998: (LONG, [len(made)])}
    return made


@pytest.mark.parametrize("name", ["Philips-1", "CAMELYON17 patient_080_node_2"])
def test_version_1_1_with_its_depth_tags(tmp_path: Path, name: str) -> None:
    golden = GOLDEN[name]
    check(written(tmp_path, with_depth(levels(golden.stored, xml_of(golden), golden.magnification))), golden)


@pytest.mark.parametrize("level", [1, 2, 5])
@pytest.mark.parametrize("extra", [(512, 0), (0, 512), (512, 512)], ids=["column", "row", "both"])
def test_a_row_or_column_too_many(tmp_path: Path, level: int, extra: tuple[int, int]) -> None:
    """The stride is the stored one, the size is not."""
    golden = GOLDEN["Philips-4"]
    stored = list(golden.stored)
    stored[level] = stored[level][0] + extra[0], stored[level][1] + extra[1]
    path = written(tmp_path, levels(stored, xml_of(golden)))
    check(path, golden._replace(stored=stored))
    check_openslide(path, golden)


@pytest.mark.parametrize("level", [1, 3])
def test_a_level_of_which_more_is_missing_is_none(tmp_path: Path, level: int) -> None:
    """Two rows short is no rounding: the others serve without it."""
    golden = GOLDEN["Philips-4"]
    stored = list(golden.stored)
    stored[level] = stored[level][0], stored[level][1] - 1024
    scales = [one.scale for one in opened(written(tmp_path, levels(stored, xml_of(golden)))).pyramid.levels]
    assert scales == [1 << i for i in range(9) if i != level]


def test_nominal_spacings_make_the_levels_and_the_measured_one_the_scale(tmp_path: Path) -> None:
    """A measured spacing half a percent off must not move any level (tifffile before 2024.5.3 did that)."""
    golden = GOLDEN["Philips-1"]._replace(spacing=("0.000228", "0.000229"))
    check(written(tmp_path, levels(golden.stored, xml_of(golden), 44)), golden)


@given(st.floats(0.1, 400), st.integers(1, 9))
def test_six_digits_are_enough_for_whole_downsamples(magnification: float, level: int) -> None:
    first, other = (float(nominal(magnification, i).split('"')[1]) for i in (0, level))
    assert round(other / first) == 1 << level


# ---- arithmetic --------------------------------------------------------------------------------------------

SIDES = st.integers(1, 2**31)
SIZES = st.builds(Size, SIDES, SIDES)
NUMBERS = st.integers(1, 2**40)


@given(st.integers(-5, 2**70))
def test_log2_ceil(n: int) -> None:
    k = log2_ceil(n)
    assert 2**k >= n
    assert k == 0 if n <= 1 else 2 ** (k - 1) < n


@given(st.integers(2, 60))
def test_log2_ceil_at_powers_of_two(k: int) -> None:
    """Where a float logarithm fails."""
    assert [log2_ceil(2**k + off) for off in (-1, 0, 1)] == [k, k, k + 1]


@given(st.integers(-(2**60), 2**60), NUMBERS)
def test_ceil_div(a: int, b: int) -> None:
    assert ceil_div(a, b) == ceil(Fraction(a, b))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_scaled(n: int, numerator: int, denominator: int) -> None:
    assert scaled(n, numerator, denominator) == max(1, floor(Fraction(n * numerator, denominator) + Fraction(1, 2)))


@given(SIZES, SIZES)
def test_fit(box: Size, within: Size) -> None:
    size = fit(box, within)
    assert size.width <= within.width
    assert size.height <= within.height
    assert within.width == size.width or within.height == size.height
    factor = min(Fraction(within.width, box.width), Fraction(within.height, box.height))
    assert abs(size.width - max(1, box.width * factor)) <= Fraction(1, 2)
    assert abs(size.height - max(1, box.height * factor)) <= Fraction(1, 2)
    assert fit(Box(7, 9, box.width, box.height), within) == size


@given(SIZES, st.integers(1, 4096), st.booleans(), st.booleans())
def test_whole_scale_of_a_level(base: Size, d: int, up: bool, high: bool) -> None:
    """Rounded down or up, each side by itself: the downsample is found, unless another fits as well."""
    wide = ceil_div(base.width, d) if up else base.width // d
    tall = ceil_div(base.height, d) if high else base.height // d
    assume(min(wide, tall) >= 1 and d <= max(base.width, base.height))
    found = whole_scale(base, Size(wide, tall))
    assert found >= 1
    assert fits(base, Size(wide, tall), found)
    if max(wide, tall) > (3 if d & (d - 1) == 0 else 4 * d):
        assert found == d


def fits(base: Size, size: Size, d: int) -> bool:
    pairs = ((base.width, size.width), (base.height, size.height))
    return all(floor(Fraction(a, d)) <= b <= ceil(Fraction(a, d)) for a, b in pairs)


@given(SIZES, SIZES)
def test_whole_scale_is_never_hopeful(base: Size, size: Size) -> None:
    d = whole_scale(base, size)
    assert d == 0 or fits(base, size, d)


def test_whole_scale_of_what_is_no_whole_number() -> None:
    """libdicom #79, and a level whose sides disagree."""
    assert whole_scale(Size(104448, 55296), Size(53699, 28429)) == 0
    assert whole_scale(Size(1000, 1000), Size(500, 333)) == 0
    assert whole_scale(Size(10, 10), Size(20, 20)) == 0


@given(SIZES, SIZES)
def test_tiles_across(size: Size, tile: Size) -> None:
    grid = tiles_across(size, tile)
    assert (grid.width - 1) * tile.width < size.width <= grid.width * tile.width
    assert (grid.height - 1) * tile.height < size.height <= grid.height * tile.height


SMALL = st.integers(-30, 30)


@given(SMALL, SMALL, st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20))
def test_clip(x: int, y: int, width: int, height: int, across: int, down: int) -> None:
    """The pixels of the box that are in the picture, counted one by one."""
    both = [(i, j) for i in range(x, x + width) for j in range(y, y + height) if 0 <= i < across and 0 <= j < down]
    part = clip(Box(x, y, width, height), Size(across, down))
    if not both:
        assert part.width <= 0 or part.height <= 0
    else:
        assert (part.x, part.y) == min(both)
        assert (part.x + part.width - 1, part.y + part.height - 1) == max(both)


@given(st.data())
def test_window(data: st.DataObject) -> None:
    """Fractions of a level whose sides come from integers: no pixel that is touched is left out, and it begins exactly."""
    base, d = data.draw(st.integers(1, 200_000)), data.draw(st.integers(1, 512))
    limit = max(1, base // d)
    start = data.draw(st.integers(0, base - 1))
    extent = data.draw(st.integers(1, base - start))
    found = window(start * limit / base, extent * limit / base, limit)
    exact, exact_end = Fraction(start * limit, base), Fraction((start + extent) * limit, base)
    assert 0 <= found.first < limit
    assert 1 <= found.count <= limit - found.first
    assert abs(found.first + found.start - exact) < Fraction(1, 10**5)
    assert found.first + found.count >= exact_end - Fraction(1, 10**5)
    assert found.first + found.count - exact_end < MARGIN + 1
    assert exact - found.first < MARGIN + 1


@given(st.integers(1, 2**20), st.integers(0, 10), st.integers(0, 1000), st.integers(1, 1000))
def test_window_of_whole_pixels_is_exact(side: int, power: int, start: int, count: int) -> None:
    limit = start + count + side
    d = 1 << power
    found = window(start * d * limit / (limit * d), count * d * limit / (limit * d), limit)
    assert found == Window(start, count, 0.0, float(count))


def pyramid(sizes: Sizes) -> Pyramid:
    base = Size(*sizes[0])
    made = (Level(Size(*one), Size(256, 256), Size(1, 1), whole_scale(base, Size(*one))) for one in sizes)
    return Pyramid(tuple(made))


@given(st.integers(1, 2048), st.integers(1, 2048))
def test_best_level(width: int, height: int) -> None:
    """The coarsest with a pixel for each pixel shown."""
    slide = pyramid(divided(4096, 4096, 6))
    chosen = best_level(slide, Box(0, 0, 2048, 2048), Size(width, height))
    wanted = min(Fraction(2048, width), Fraction(2048, height))
    assert chosen == max((i for i in range(6) if 1 << i <= wanted), default=0)


def test_levels_that_are_no_whole_downsample() -> None:
    slide = pyramid([(2220, 2967), (1141, 1525)])
    assert slide.levels[1].scale == 0
    assert downsample(slide, slide.levels[1]) == pytest.approx(1.9456, abs=1e-3)
    assert best_level(slide, Box(0, 0, 2220, 2967), Size(1110, 1483)) == 1
    assert best_level(slide, Box(0, 0, 2220, 2967), Size(1300, 1737)) == 0
