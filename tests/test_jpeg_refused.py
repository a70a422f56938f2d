"""What a transcode refuses: JPEGs whose coefficients do not do, and arguments that make no sense."""

import pytest
from jpegs import (
    APP0,
    DQT,
    SOF0,
    SOS,
    changed,
    frame,
    joined,
    split,
    stored,
    without,
)

from ptiffserve._jpeg import JpegError, NotLossless, transcode

Box = tuple[int, int, int, int]

# ---- what cannot be done -----------------------------------------------------------------------------------


def adobe(transform: int) -> bytes:
    """A marker between the SOI and the rest."""
    data = stored("444")
    return data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]) + data[2:]


def identified(data: bytes, first: int) -> bytes:
    """Other component ids."""
    for i in range(3):
        data = changed(SOF0, 6 + 3 * i, bytes([first + i]), changed(SOS, 1 + 2 * i, bytes([first + i]), data))
    return data


OTHERS = {
    "quantisation": (stored("420", quality=75), stored("420", quality=76)),
    "sampling": (stored("420"), stored("422")),
    "sampling or component ids": (stored("420"), identified(stored("420"), 5)),
    "3 and of 1 components": (stored("420"), stored("gray")),
    "different colours": (stored("444"), without(stored("444"), APP0)),
    "tell of different": (stored("444"), adobe(1)),
    "of different colours": (adobe(1), adobe(0)),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_unlike_tiles(reason: str) -> None:
    one, other = OTHERS[reason]
    for tiles in ([one, other], [None, one, None, other]):
        with pytest.raises(NotLossless, match=reason):
            transcode(tiles, len(tiles), (96, 96), (0, 0, 96 * len(tiles), 96))
    assert transcode([one, other], 2, (96, 96), (96, 0, 96, 96)) == transcode([other], 1, (96, 96), (0, 0, 96, 96))


@pytest.mark.parametrize(
    ("sampling", "box", "options", "reason"),
    [
        ("420", (8, 0, 16, 16), {}, "grid of 16x16"),
        ("420", (0, 8, 16, 16), {}, "grid of 16x16"),
        ("422", (8, 0, 16, 16), {}, "grid of 16x8"),
        ("gray", (4, 0, 16, 16), {}, "grid of 8x8"),
        ("420", (8, 0, 16, 16), {"gray": True}, "grid of 16x16"),
        ("420", (0, 0, 24, 16), {"mirror": True}, "part of a block"),
        ("420", (0, 0, 24, 16), {"turn": 180}, "part of a block"),
        ("420", (0, 0, 16, 24), {"turn": 90}, "part of a block"),
        ("420", (0, 0, 24, 16), {"turn": 270}, "part of a block"),
        ("rgb", (0, 0, 16, 16), {"gray": True}, "RGB"),
        ("420", (0, 0, 16, 16), {"sampling": (2, 1)}, "sampling 2x2, expected 2x1"),
    ],
)
def test_what_the_grid_does_not_allow(sampling: str, box: Box, options: dict[str, object], reason: str) -> None:
    with pytest.raises(NotLossless, match=reason) as caught:
        transcode([stored(sampling)], 1, (96, 96), box, **options)
    assert not isinstance(caught.value, JpegError)


def test_what_the_grid_allows() -> None:
    data = stored("420")
    for box, options in (
        ((0, 0, 24, 16), {"turn": 90}),
        ((0, 0, 16, 24), {"turn": 270}),
        ((16, 0, 16, 9), {"mirror": True}),
        ((16, 0, 9, 16), {"turn": 180, "mirror": True}),
        ((80, 80, 1, 1), {"gray": True, "sampling": (2, 2)}),
    ):
        assert transcode([data], 1, (96, 96), box, **options)


def test_tiles_that_end_within_a_unit_cannot_be_joined() -> None:
    data = stored("420", (88, 96))
    with pytest.raises(NotLossless, match="grid"):
        transcode([data, data], 2, (88, 96), (0, 0, 100, 96))
    assert transcode([data, data], 2, (88, 96), (88, 0, 88, 96)) == transcode([data], 1, (88, 96), (0, 0, 88, 96))
    assert frame(split(transcode([data, data], 1, (88, 96), (0, 0, 88, 192))))[:2] == (88, 192)


def test_nothing_but_sparse_tiles() -> None:
    for tiles, box in (([None], (0, 0, 96, 96)), ([None, stored("420")], (0, 0, 96, 96))):
        with pytest.raises(NotLossless, match="no tile is stored"):
            transcode(tiles, len(tiles), (96, 96), box)


@pytest.mark.parametrize("step", [0, 4001, 65535])
def test_quantisers_without_a_white(step: int) -> None:
    data = stored("gray")
    table = next(body for marker, body in split(data) if marker == DQT)
    coarse = b"\x10" + b"".join(bytes([0, n]) for n in table[1:])
    data = joined([(m, coarse[:1] + step.to_bytes(2) + coarse[3:] if m == DQT else b) for m, b in split(data)])
    with pytest.raises(NotLossless, match="no white"):
        transcode([data, None], 2, (96, 96), (0, 0, 192, 96))


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "tile"),
    [
        ((0, 0, 0, 5), (96, 96)),
        ((0, 0, 5, 0), (96, 96)),
        ((0, 0, -1, 5), (96, 96)),
        ((-16, 0, 32, 5), (96, 96)),
        ((0, 0, 97, 5), (96, 96)),
        ((0, 0, 5, 97), (96, 96)),
        ((96, 0, 1, 1), (96, 96)),
        ((0, 0, 5, 5), (65501, 96)),
        ((0, 0, 5, 5), (96, 0)),
        ((0, 0, 1 << 40, 5), (1 << 40, 5)),
    ],
)
def test_the_box_must_lie_in_the_mosaic(box: Box, tile: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="px") as raised:
        transcode([stored("gray")], 1, tile, box)
    assert type(raised.value) is ValueError


def test_arguments_that_make_no_sense() -> None:
    data = stored("gray")
    for options in ({"turn": 45}, {"turn": -90}, {"sampling": (0, 1)}):
        with pytest.raises(ValueError):
            transcode([data], 1, (96, 96), (0, 0, 9, 9), **options)
    for tiles, across in (([data], 0), ([data], -1), ([data], 2), ([data] * 3, 2), ([], 1)):
        with pytest.raises(ValueError):
            transcode(tiles, across, (96, 96), (0, 0, 9, 9))
    for wrong in ("text", 5, bytearray(data)):
        with pytest.raises(TypeError):
            transcode([wrong], 1, (96, 96), (0, 0, 9, 9))  # type: ignore[list-item]
    with pytest.raises(TypeError):
        transcode([data], 1, (96, 96), (0, 0, 9, None))  # type: ignore[arg-type]
