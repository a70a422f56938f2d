"""Cut, joined, turned and greyed JPEGs against coefficients read by others, Pillow's pixels and the stored markers."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from jpegs import (
    APP0,
    APP14,
    DRI,
    SAMPLINGS,
    coefficients,
    frame,
    joined,
    markers,
    picture,
    pixels,
    quantisers,
    saved,
    scans,
    split,
    stored,
    without,
)

from ptiffserve._jpeg import transcode

SIZES = ((1, 1), (1, 96), (96, 1), (17, 96), (2, 3), (4, 5), (8, 8), (16, 16), (32, 64), (31, 47), (95, 95), (96, 96))
Box = tuple[int, int, int, int]
RANDOM = random.Random(20)
CROPS = SIZES + tuple((RANDOM.randint(1, 96), RANDOM.randint(1, 96)) for _ in range(20))


def crop(data: bytes, width: int, height: int, *tile: int, optimize: bool = True) -> bytes:
    return transcode([data], 1, tile, (0, 0, width, height), optimize=optimize)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_every_kept_coefficient_is_the_stored_one(sampling: str, optimize: bool) -> None:
    data = stored(sampling, quality=RANDOM.choice((30, 75, 95)))
    planes, (_, _, parts) = coefficients(data), frame(split(data))
    for width, height in CROPS:
        part = crop(data, width, height, 96, 96, optimize=optimize)
        assert frame(split(part)) == (width, height, parts)
        assert quantisers(part) == quantisers(data)
        for kept, plane in zip(coefficients(part), planes, strict=True):
            assert np.array_equal(kept, plane[: kept.shape[0], : kept.shape[1]])


# ---- pixels, through Pillow's own libjpeg ------------------------------------------------------------------


def smoothed(length: int, kept: int, factor: int) -> int:
    """How many of `kept` px along one axis must equal the original's.

    Chroma of factor 2 is smoothed with the sample beyond, so the last pixel changes where the cut lies behind a whole
    sample. Factors 1 and 4 are not smoothed.
    """
    return kept - 1 if factor == 2 and kept % 2 == 0 and kept < length else kept


@pytest.mark.parametrize("quality", [40, 90])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_decoded_crop_is_the_window_of_the_decoded_original(sampling: str, quality: int) -> None:
    data = stored(sampling, quality=quality)
    whole, luma = pixels(data), pixels(data, "L")
    across, down = {"422": (2, 1), "420": (2, 2), "440": (1, 2)}.get(sampling, (1, 1))
    for width, height in CROPS:
        part = crop(data, width, height, 96, 96)
        if sampling != "rgb":
            assert np.array_equal(pixels(part, "L"), luma[:height, :width])
        if across == 2 and width <= 4:  # libjpeg smooths nothing where chroma is at most 2 samples wide
            continue
        w, h = smoothed(96, width, across), smoothed(96, height, down)
        assert np.array_equal(pixels(part)[:h, :w], whole[:h, :w])


def test_the_smoothed_column_is_the_only_one_that_differs() -> None:
    data = stored("420", quality=90)
    differs = pixels(crop(data, 48, 64, 96, 96)) != pixels(data)[:64, :48]
    assert differs[:, -1].any()
    assert differs[-1].any()
    assert not differs[:-1, :-1].any()


# ---- one answer, whatever the coding of the source ---------------------------------------------------------


@pytest.mark.parametrize("sampling", ["444", "422", "420", "gray", "rgb"])
def test_same_answer_from_progressive_optimised_and_restarted_sources(sampling: str) -> None:
    plain = stored(sampling)
    for options in (
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_blocks": 3},
        {"restart_marker_rows": 1},
    ):
        assert crop(stored(sampling, **options), 41, 67, 96, 96) == crop(plain, 41, 67, 96, 96)


def test_crop_of_a_crop_is_the_crop() -> None:
    data = stored("420")
    assert crop(crop(data, 70, 80, 96, 96), 33, 15, 70, 80) == crop(data, 33, 15, 96, 96)
    assert crop(crop(data, 96, 96, 96, 96), 96, 96, 96, 96) == crop(data, 96, 96, 96, 96)


def test_optimised_tables_are_smaller() -> None:
    data = stored("420")
    assert len(crop(data, 96, 96, 96, 96)) < len(crop(data, 96, 96, 96, 96, optimize=False)) <= len(data)


def test_an_answer_may_be_many_times_its_source() -> None:
    """One colour: 33 KB of runs become a code a block."""
    data = scans(4096, 4096, 2)
    assert len(crop(data, 4096, 4096, 4096, 4096, optimize=False)) > 4 * len(data)


def test_threads_agree() -> None:
    tiles = [stored("420"), stored("420", progressive=True)]
    box = (48, 16, 90, 80)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda turn: transcode(tiles, 2, (96, 96), box), range(800)))
    assert set(answers) == {transcode(tiles, 2, (96, 96), box)}


# ---- markers and colour ------------------------------------------------------------------------------------


def test_only_jfif_and_adobe_survive() -> None:
    data = saved(
        picture(96, 96), comment=b"of a patient", exif=b"Exif\0\0" + bytes(99), icc_profile=bytes(300), dpi=(300, 300)
    )
    part = crop(data, 90, 90, 96, 96)
    assert [m for m in markers(part) if m >= APP0] == [APP0]
    assert dict(split(part))[APP0] == dict(split(data))[APP0]
    assert [m for m in markers(crop(without(data, APP0), 90, 90, 96, 96)) if m >= APP0] == []
    assert DRI not in markers(crop(stored("420", restart_marker_rows=1), 90, 90, 96, 96))


def test_adobe_transform_survives_even_where_jfif_overrules_it() -> None:
    rgb = stored("rgb")
    adobe = dict(split(rgb))[APP14]
    ycbcr = split(stored("444"))
    for source in (
        rgb,
        joined([ycbcr[0], (APP14, adobe), *ycbcr[1:]]),
        joined([(APP14, adobe[:-1] + b"\1"), *ycbcr[1:]]),
    ):
        part = crop(source, 40, 50, 96, 96)
        assert dict(split(part))[APP14][-1] == dict(split(source))[APP14][-1]
        assert (APP0 in markers(part)) == (APP0 in markers(source))
        assert np.array_equal(pixels(part), pixels(source)[:50, :40])


@pytest.mark.parametrize("sampling", ["rgb", "444", "gray"])
def test_colour_without_markers_is_told_by_the_component_ids(sampling: str) -> None:
    marked = stored(sampling)
    bare = without(marked, APP0, APP14)
    part = crop(bare, 40, 50, 96, 96)
    assert not {APP0, APP14} & set(markers(part))
    assert [p[0] for p in frame(split(part))[2]] == ([82, 71, 66] if sampling == "rgb" else [1, 2, 3])[
        : len(quantisers(bare))
    ]
    assert np.array_equal(pixels(part), pixels(marked)[:50, :40])
