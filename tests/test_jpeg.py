"""The lossless crop against a coefficient decoder written here from ITU-T T.81, Pillow's pixels, and bad input."""

import io
import random
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ptiffserve import _jpeg
from ptiffserve._jpeg import JpegError, crop

Segments = list[tuple[int, bytes]]
SOF0, SOF2, DHT, SOS, DQT, DRI, APP0, APP14, COM, SCAN = 0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE, 0
SAMPLINGS = ("444", "422", "420", "440", "411", "gray", "rgb")
SIZES = ((1, 1), (1, 96), (96, 1), (17, 96), (2, 3), (4, 5), (8, 8), (16, 16), (32, 64), (31, 47), (95, 95), (96, 96))
RANDOM = random.Random(20)
CROPS = SIZES + tuple((RANDOM.randint(1, 96), RANDOM.randint(1, 96)) for _ in range(20))


# ---- making ------------------------------------------------------------------------------------------------


def up(a: int, b: int) -> int:
    return -(-a // b)


def picture(width: int, height: int, seed: int = 1) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def split(data: bytes) -> Segments:
    """(marker, body) up to the first SOS, then (SCAN, everything from there to the EOI)."""
    segments, at = [], 2
    while not segments or segments[-1][0] != SOS:
        length = int.from_bytes(data[at + 2 : at + 4])
        segments.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return [*segments, (SCAN, data[at:-2])]


def segment(marker: int, body: bytes) -> bytes:
    return body if marker == SCAN else struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def joined(segments: Segments) -> bytes:
    return b"\xff\xd8" + b"".join(segment(*one) for one in segments) + b"\xff\xd9"


def without(data: bytes, *markers: int) -> bytes:
    return joined([one for one in split(data) if one[0] not in markers])


def reframed(data: bytes, size: tuple[int, int], sampling: int) -> bytes:
    """The same scan in another frame: Pillow writes no 4:4:0 or 4:1:1, but 4:2:2 and 4:2:0 have as many blocks."""
    return joined(
        [
            (m, b[:1] + struct.pack(">HH", size[1], size[0]) + b[5:7] + bytes([sampling]) + b[8:] if m == SOF0 else b)
            for m, b in split(data)
        ]
    )


def stored(sampling: str, **options: object) -> bytes:
    """A JPEG of 96x96 px."""
    if sampling == "440":
        return reframed(saved(picture(192, 48), subsampling=1, **options), (96, 96), 0x12)
    if sampling == "411":
        return reframed(saved(picture(48, 192), subsampling=2, **options), (96, 96), 0x41)
    image = picture(96, 96)
    if sampling == "gray":
        return saved(image.convert("L"), **options)
    if sampling == "rgb":
        return saved(image, keep_rgb=True, **options)
    return saved(image, subsampling=("444", "422", "420").index(sampling), **options)


def scans(width: int, height: int, count: int) -> bytes:
    """A black gray progressive JPEG of `count` lawful scans: one of DC, then empty ones of AC in a few bytes each."""
    blocks = (width // 8) * (height // 8)
    end_of_bands = (DHT, bytes([0x10, 1] + [0] * 15 + [0xC0]))  # one code, "0": a run of 2^12 + 12 bits empty blocks
    runs = bytes(up(13 * up(blocks, 4096), 8))
    head = [
        (DQT, bytes([0] + [1] * 64)),
        (SOF2, struct.pack(">BHHB3B", 8, height, width, 1, 1, 0x11, 0)),
        (DHT, bytes([0x00, 1] + [0] * 15 + [0])),
        end_of_bands,
        (SOS, bytes([1, 1, 0, 0, 0, 0])),
        (SCAN, bytes(blocks // 8)),
    ]
    return joined(head + [(SOS, bytes([1, 1, 0, 1, 63, 0])), (SCAN, runs)] * (count - 1))


# ---- the oracle: coefficients of a baseline scan without restarts ------------------------------------------


def codes(segments: Segments) -> dict[int, dict[str, int]]:
    """Huffman tables: class and number -> {"0101": symbol}."""
    tables: dict[int, dict[str, int]] = {}
    for body in (body for marker, body in segments if marker == DHT):
        at = 0
        while at < len(body):
            table = tables[body[at]] = {}
            code, symbol = 0, at + 17
            for length in range(1, 17):
                for _ in range(body[at + length]):
                    table[format(code, f"0{length}b")] = body[symbol]
                    code, symbol = code + 1, symbol + 1
                code *= 2
            at = symbol
    return tables


class Bits:
    def __init__(self, scan: bytes) -> None:
        self.text = "".join(format(byte, "08b") for byte in scan.replace(b"\xff\x00", b"\xff"))
        self.at = 0

    def symbol(self, table: dict[str, int]) -> int:
        for length in range(1, 17):
            found = table.get(self.text[self.at : self.at + length])
            if found is not None:
                self.at += length
                return found
        raise AssertionError(f"no code at bit {self.at}")

    def value(self, size: int) -> int:
        text = self.text[self.at : self.at + size]
        self.at += size
        return 0 if not size else int(text, 2) if text[0] == "1" else int(text, 2) - (1 << size) + 1

    def block(self, dc: dict[str, int], ac: dict[str, int], before: int) -> list[int]:
        """64 coefficients in zigzag order."""
        out, k = [before + self.value(self.symbol(dc))] + [0] * 63, 1
        while k < 64 and (symbol := self.symbol(ac)):
            k += symbol >> 4
            out[k] = self.value(symbol & 15)
            k += 1
        return out


def frame(segments: Segments) -> tuple[int, int, list[tuple[int, int, int, int]]]:
    """(width, height, [(id, h, v, quantisation table)])"""
    body = next(body for marker, body in segments if SOF0 <= marker <= SOF2)
    parts = [(body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(6, len(body), 3)]
    return int.from_bytes(body[3:5]), int.from_bytes(body[1:3]), parts


def coefficients(data: bytes) -> list[np.ndarray]:
    """An array (rows of blocks, columns of blocks, 64) a component, without the blocks that only fill the last unit."""
    segments = split(data)
    width, height, parts = frame(segments)
    tables, selectors = codes(segments), dict(segments)[SOS]
    bits = Bits(segments[-1][1])
    if len(parts) == 1:
        parts = [(parts[0][0], 1, 1, parts[0][3])]
    across, down = max(p[1] for p in parts), max(p[2] for p in parts)
    units = up(width, 8 * across), up(height, 8 * down)
    planes = [np.zeros((units[1] * v, units[0] * h, 64), int) for _, h, v, _ in parts]
    dc = [0] * len(parts)
    for unit in range(units[0] * units[1]):
        for i, (_, h, v, _) in enumerate(parts):
            chosen = selectors[2 + 2 * i]
            for y, x in np.ndindex(v, h):
                block = bits.block(tables[chosen >> 4], tables[16 + (chosen & 15)], dc[i])
                planes[i][unit // units[0] * v + y, unit % units[0] * h + x] = block
                dc[i] = block[0]
    assert set(bits.text[bits.at :]) <= {"1"}
    assert len(bits.text) - bits.at < 8
    return [
        plane[: up(up(height * v, down), 8), : up(up(width * h, across), 8)]
        for plane, (_, h, v, _) in zip(planes, parts, strict=True)
    ]


def quantisers(data: bytes) -> list[bytes]:
    """The 64 bytes of each component's table."""
    tables: dict[int, bytes] = {}
    segments = split(data)
    for body in (body for marker, body in segments if marker == DQT):
        tables |= {body[i]: body[i + 1 : i + 65] for i in range(0, len(body), 65)}
    return [tables[part[3]] for part in frame(segments)[2]]


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


def pixels(data: bytes, mode: str | None = None) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        if mode:
            image.draft(mode, image.size)
        return np.asarray(image)


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


def test_threads_agree_and_any_buffer_will_do() -> None:
    data = stored("420")
    buffers = [
        data,
        bytearray(data),
        memoryview(data),
        memoryview(b"x" + data + b"y")[1:-1],
        np.frombuffer(data, np.uint8),
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: crop(buffers[i % len(buffers)], 50, 60, 96, 96), range(800)))
    assert set(answers) == {crop(data, 50, 60, 96, 96)}


# ---- markers and colour ------------------------------------------------------------------------------------


def markers(data: bytes) -> list[int]:
    return [marker for marker, _ in split(data)]


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


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        (0, 5, 96, 96),
        (5, 0, 96, 96),
        (-1, 5, 96, 96),
        (97, 5, 96, 96),
        (5, 97, 96, 96),
        (5, 5, 65501, 96),
        (1 << 40, 5, 1 << 40, 96),
    ],
)
def test_a_crop_must_fit_the_tile(size: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot crop") as raised:
        crop(stored("gray"), *size)
    assert not isinstance(raised.value, JpegError)


def test_arguments_of_the_wrong_type() -> None:
    for wrong in (("text", 5, 5), (b"", 5.5, 5), (b"", None, 5)):
        with pytest.raises(TypeError):
            crop(*wrong, 96, 96)  # type: ignore[arg-type]
    with pytest.raises(BufferError):
        crop(memoryview(stored("gray"))[::2], 5, 5, 96, 96)


def changed(marker: int, at: int, value: bytes, data: bytes | None = None) -> bytes:
    """A 4:2:0 JPEG (or `data`) with bytes of its first `marker` segment replaced."""
    segments = split(data or stored("420"))
    i = [m for m, _ in segments].index(marker)
    body = segments[i][1]
    return joined([*segments[:i], (marker, body[:at] + value + body[at + len(value) :]), *segments[i + 1 :]])


def framed_as(kind: int) -> bytes:
    return stored("420").replace(b"\xff\xc0", bytes([0xFF, kind]), 1)


def separate(*lost: int) -> bytes:
    """4:4:4 black in three baseline scans, each with its tables but for the scans named in `lost`."""
    out = [(DQT, bytes([0] + [1] * 64)), (SOF0, struct.pack(">BHHB9B", 8, 96, 96, 3, 1, 17, 0, 2, 17, 0, 3, 17, 0))]
    for i in range(3):
        tables = [
            (DHT, bytes([0x00 + (i > 0), 1] + [0] * 15 + [0])),
            (DHT, bytes([0x10 + (i > 0), 1] + [0] * 15 + [0])),
        ]
        out += [] if i in lost else tables
        out += [(SOS, bytes([1, i + 1, 0x11 * (i > 0), 0, 63, 0])), (SCAN, bytes(144 * 2 // 8))]
    return joined(out)


def progressive_cut() -> bytes:
    data = stored("420", progressive=True)
    return data[: data.rindex(b"\xff\xda")] + b"\xff\xd9"


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
def test_hostile(name: str) -> None:
    make, message = HOSTILE[name]
    for optimize in (True, False):
        with pytest.raises(JpegError, match=message):
            crop(make(), 40, 40, 96, 96, optimize=optimize)


def test_the_limits_themselves_pass() -> None:
    assert pixels(crop(scans(96, 96, 100), 40, 40, 96, 96)).max() < 129
    assert pixels(crop(separate(), 40, 40, 96, 96)).shape == (40, 40, 3)
    assert crop(stored("420") + b"\0\0trailing", 40, 40, 96, 96) == crop(stored("420"), 40, 40, 96, 96)


def test_thousands_of_scans_and_gigapixels_fail_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(JpegError, match="more than 100 scans"):
        crop(scans(512, 512, 80_000), 9, 9, 512, 512)
    with pytest.raises(JpegError, match="Backing store not supported"):
        crop(changed(SOF0, 1, struct.pack(">HH", 65500, 65500)), 9, 9, 65500, 65500)
    assert time.perf_counter() - start < 1


def test_a_cut_anywhere_is_an_error() -> None:
    for data in (saved(picture(24, 24), quality=50), saved(picture(24, 24), quality=50, progressive=True)):
        for end in range(len(data)):
            with pytest.raises(JpegError):
                crop(data[:end], 9, 9, 24, 24)


def test_a_cut_closed_by_an_eoi_is_an_error() -> None:
    for data in (saved(picture(24, 24), quality=50), saved(picture(24, 24), quality=50, progressive=True)):
        for end in range(2, len(data) - 3):
            with pytest.raises(JpegError):
                crop(data[:end] + b"\xff\xd9", 9, 9, 24, 24)


def test_20_000_flips_give_a_jpeg_or_an_error() -> None:
    rng = random.Random(7)
    seeds = [saved(picture(40, 40), quality=60, subsampling=s, progressive=p) for s in (0, 1, 2) for p in (False, True)]
    decoded = 0
    for i in range(20_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 5))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            part = crop(data, 33, 17, 40, 40, optimize=bool(i % 2))
        except JpegError:
            continue
        assert crop(part, 33, 17, 33, 17)  # strict: no warning
        assert pixels(part).shape[:2] == (17, 33)
        decoded += 1
    assert 0 < decoded < 20_000


def test_the_error_is_a_value_error_of_this_module() -> None:
    assert issubclass(_jpeg.JpegError, ValueError)
    assert _jpeg.JpegError.__module__ == "ptiffserve._jpeg"
