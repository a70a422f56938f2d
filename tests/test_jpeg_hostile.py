"""Bad JPEGs (J1 to J11) for everything that decodes or transcodes one, and what lies just inside the limits."""

import random
import struct
import time
from collections.abc import Callable
from functools import partial

import pytest
from jpegs import (
    APP0,
    DHT,
    DQT,
    DRI,
    SCAN,
    SOF0,
    SOS,
    changed,
    framed_as,
    joined,
    picture,
    pixels,
    progressive_cut,
    saved,
    scans,
    separate,
    split,
    stored,
    without,
)

from ptiffserve import _jpeg
from ptiffserve._jpeg import JpegError, NotLossless, decode, mcu, transcode

Size = tuple[int, int]


def decoded(data: bytes, size: Size, shrink: int = 1, at: Size = (0, 0)) -> bytes:
    """From `at` to the bottom right, so that the whole file is looked at."""
    width, height = (-(-side // shrink) - first for side, first in zip(size, at, strict=True))
    out = bytearray(3 * width * height)
    decode(data, size, (*at, width, height), out, stride=3 * width, shrink=shrink)
    return bytes(out)


def transcoded(data: bytes, size: Size, **options: object) -> bytes:
    return transcode([data], 1, size, (0, 0, *size), **options)


WAYS: dict[str, Callable[[bytes, Size], bytes]] = {
    "decoded": decoded,
    "shrunk": partial(decoded, shrink=8),
    "window": partial(decoded, at=(3, 5)),
    "cut": transcoded,
    "optimized": partial(transcoded, optimize=True),
    "turned": partial(transcoded, turn=90, mirror=True),
    "gray": partial(transcoded, gray=True),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[bytes, Size], bytes]:
    return WAYS[request.param]


def crop(data: bytes, width: int, height: int, *tile: int, optimize: bool = True) -> bytes:
    return transcode([data], 1, tile, (0, 0, width, height), optimize=optimize)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "Premature end"),
    "not a JPEG": (lambda: b"\xfe\xd8" + stored("420")[2:], "Not a JPEG file: starts with 0xfe 0xd8"),
    "text": (lambda: b"<html>", "Not a JPEG"),
    "tables only": (lambda: without(stored("420"), APP0, SOF0, SOS, SCAN), "contains no image"),
    "bomb": (lambda: changed(SOF0, 1, struct.pack(">HH", 65500, 65500)), "65500x65500 px, expected 96x96"),
    "over every limit": (
        lambda: changed(SOF0, 1, struct.pack(">HH", 65535, 65535)),
        "Maximum supported image dimension",
    ),
    "smaller": (lambda: crop(stored("420"), 95, 96, 96, 96), "95x96 px, expected 96x96"),
    "no height": (lambda: changed(SOF0, 1, b"\0\0"), "Empty JPEG image"),
    "no DHT": (lambda: without(stored("420"), DHT), "Huffman table 0x00 was not defined"),
    "no DHT, progressive": (lambda: without(stored("420", progressive=True), DHT), "Huffman table"),
    "no DHT for the second scan": (lambda: separate(1, 2), "Huffman table 0x01 was not defined"),
    "no DQT": (lambda: without(stored("420"), DQT), "Quantization table 0x00 was not defined"),
    "quantisation table 3": (lambda: changed(SOF0, 8, b"\3"), "Quantization table 0x03 was not defined"),
    "no SOF": (lambda: without(stored("420"), SOF0), "SOS before SOF"),
    "two SOFs": (lambda: joined([(SOF0, dict(split(stored("420")))[SOF0]), *split(stored("420"))]), "two SOF markers"),
    "CMYK": (lambda: saved(picture(96, 96).convert("CMYK")), "4 components is not served"),
    "12 bits": (lambda: changed(SOF0, 0, b"\x0c"), "Unsupported JPEG data precision 12"),
    "arithmetic": (lambda: framed_as(0xC9), "arithmetic coding is not served"),
    "lossless": (lambda: framed_as(0xC3), "Unsupported JPEG process: SOF type 0xc3"),
    "sampling 0": (lambda: changed(SOF0, 7, b"\x02"), "Bogus sampling factors"),
    "sampling 5": (lambda: changed(SOF0, 7, b"\x51"), "Bogus sampling factors"),
    "18 blocks a unit": (lambda: changed(SOF0, 7, b"\x44"), "Sampling factors too large"),
    "marker length 1": (
        lambda: stored("420").replace(b"\xff\xdb\x00\x43", b"\xff\xdb\x00\x01", 1),
        "Bogus marker length",
    ),
    "marker length 0": (
        lambda: stored("420").replace(b"\xff\xdb\x00\x43", b"\xff\xdb\x00\x00", 1),
        "Bogus marker length",
    ),
    "APP0 of length 0": (
        lambda: stored("420").replace(b"\xff\xe0\x00\x10", b"\xff\xe0\x00\x00", 1),
        "extraneous bytes",
    ),
    "marker past the end": (
        lambda: stored("420").replace(b"\xff\xdb\x00\x43", b"\xff\xfe\xff\xff", 1),
        "Premature end",
    ),
    "wild restart interval": (lambda: joined([(DRI, b"\0\1"), *split(stored("420"))]), "Corrupt JPEG data"),
    "junk before the EOI": (lambda: stored("420")[:-2] + b"junk\xff\xd9", "extraneous bytes"),
    "no EOI": (lambda: stored("420")[:-2], "Premature end"),
    "101 scans": (lambda: scans(96, 96, 101), "more than 100 scans"),
    "a component in no scan": (
        lambda: separate()[: separate().rindex(b"\xff\xda")] + b"\xff\xd9",
        "component 2 is in no scan",
    ),
    "a progressive scan left out": (progressive_cut, "progressive scans are missing"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, way: Callable[[bytes, Size], bytes]) -> None:
    make, message = HOSTILE[name]
    with pytest.raises(JpegError, match=message):
        way(make(), (96, 96))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_between_good_ones(name: str) -> None:
    """The message says which of the tiles it is."""
    tiles, (make, message) = [stored("420")] * 6, HOSTILE[name]
    tiles[4] = make()
    with pytest.raises(JpegError, match=f"tile 1,1: .*{message}"):
        transcode(tiles, 3, (96, 96), (48, 48, 240, 144))
    assert transcode(tiles, 3, (96, 96), (48, 48, 240, 48))


def test_the_limits_themselves_pass(way: Callable[[bytes, Size], bytes]) -> None:
    for data in (scans(96, 96, 100), separate()):
        assert way(data, (96, 96))
    assert way(stored("420") + b"\0\0trailing", (96, 96)) == way(stored("420"), (96, 96))
    assert pixels(crop(scans(96, 96, 100), 40, 40, 96, 96)).max() < 129
    assert pixels(crop(separate(), 40, 40, 96, 96)).shape == (40, 40, 3)


def test_j1_j3_thousands_of_scans_and_gigapixels_fail_at_once(way: Callable[[bytes, Size], bytes]) -> None:
    start = time.perf_counter()
    with pytest.raises(JpegError, match="more than 100 scans"):
        way(scans(512, 512, 80_000), (512, 512))
    bomb = stored("420", progressive=True)
    for data in (stored("420"), bomb):
        with pytest.raises(JpegError, match="65500x65500 px, expected 96x96"):
            way(data.replace(b"\x08\0\x60\0\x60", b"\x08\xff\xdc\xff\xdc"), (96, 96))
    with pytest.raises(JpegError, match="Backing store not supported"):
        crop(bomb.replace(b"\x08\0\x60\0\x60", b"\x08\xff\xdc\xff\xdc"), 9, 9, 65500, 65500)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_j4_a_cut_anywhere_is_an_error(
    way: Callable[[bytes, Size], bytes], options: dict[str, object], end: bytes
) -> None:
    data = saved(picture(24, 24), quality=50, **options)
    for length in range(2 if end else 0, len(data) - 2 - len(end) // 2):
        with pytest.raises(JpegError):
            way(data[:length] + end, (24, 24))


def test_j4_what_is_not_needed_may_be_missing_but_never_changes_an_answer() -> None:
    """The first 16 of 48 rows: cut anywhere it is the same picture or an error."""
    data = saved(picture(40, 48), quality=50, subsampling=2)
    head = data.index(b"\xff\xda")
    box = (0, 0, 40, 16)
    whole, served = transcode([data], 1, (40, 48), box), 0
    for length in range(len(data)):
        try:
            assert transcode([data[:length]], 1, (40, 48), box) == whole
            served += 1
        except JpegError:
            continue
    assert 0.5 * (len(data) - head) < served < 0.8 * (len(data) - head)


def test_mcu_of_bad_headers() -> None:
    for data in (b"", b"\xfe\xd8", stored("420")[:100], without(stored("420"), SOF0), framed_as(0xC3)):
        with pytest.raises(JpegError):
            mcu(data)


def flipped(rng: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 5))):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(data)


def test_20_000_flips_give_a_jpeg_or_an_error() -> None:
    rng = random.Random(7)
    seeds = [saved(picture(40, 40), quality=60, subsampling=s, progressive=p) for s in (0, 1, 2) for p in (False, True)]
    good = 0
    for i in range(20_000):
        turn, data = rng.choice((0, 0, 90, 180)), flipped(rng, seeds)
        size = (33, 17) if turn == 0 else (32, 16)
        try:
            part = transcode([data], 1, (40, 40), (0, 0, *size), optimize=bool(i % 2), turn=turn)
        except (JpegError, NotLossless):
            continue
        size = size[::-1] if turn == 90 else size
        assert crop(part, *size, *size)  # strict: no warning
        assert pixels(part).shape[:2] == size[::-1]
        good += 1
    assert 0 < good < 20_000


def test_the_error_is_a_value_error_of_this_module() -> None:
    assert issubclass(_jpeg.JpegError, ValueError)
    assert _jpeg.JpegError.__module__ == "ptiffserve._jpeg"
