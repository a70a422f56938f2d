"""JPEGs made for tests, taken apart and put together again, and an oracle for coefficients written from ITU-T T.81."""

import io
import os
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

SOAK = 20 if os.environ.get("PTIFFSERVE_SOAK") == "1" else 1
Size = tuple[int, int]
Segments = list[tuple[int, bytes]]
SOF0, SOF2, DHT, SOS, DQT, DRI, APP0, APP14, COM, SCAN = 0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE, 0
SAMPLINGS = ("444", "422", "420", "440", "411", "gray", "rgb")


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


def reframed(data: bytes, size: Size, sampling: int) -> bytes:
    """The same scans in another frame of as many blocks: Pillow writes no 4:4:0 or 4:1:1."""
    return joined(
        [
            (
                m,
                b[:1] + struct.pack(">HH", *size[::-1]) + b[5:7] + bytes([sampling]) + b[8:]
                if m in (SOF0, SOF2)
                else b,
            )
            for m, b in split(data)
        ]
    )


def stored(sampling: str, size: Size = (96, 96), seed: int = 1, **options: object) -> bytes:
    """A JPEG. 4:4:0 and 4:1:1 are made of 4:2:2 and 4:2:0; progressive they have to fill their units."""
    width, height = size
    if sampling == "440":
        image = picture(16 * up(width, 8), 8 * up(height, 16), seed)
        return reframed(saved(image, subsampling=1, **options), size, 0x12)
    if sampling == "411":
        image = picture(16 * up(width, 32), 16 * up(height, 8), seed)
        return reframed(saved(image, subsampling=2, **options), size, 0x41)
    image = picture(*size, seed)
    if sampling == "gray":
        return saved(image.convert("L"), **options)
    if sampling == "rgb":
        return saved(image, keep_rgb=True, **options)
    return saved(image, subsampling=("444", "422", "420").index(sampling), **options)


def flat(size: Size, factors: Sequence[int], seed: int = 1) -> bytes:
    """Blocks of one colour each, of any sampling: baseline with two fixed Huffman tables."""
    coded = factors if len(factors) > 1 else (0x11,)
    units = up(size[0], 8 * max(f >> 4 for f in coded)) * up(size[1], 8 * max(f & 15 for f in coded))
    steps = np.random.default_rng(seed).integers(-60, 61, units * sum((f >> 4) * (f & 15) for f in coded))
    # DC: the number of bits in 4 bits, then the bits. AC: the end of the block in 1 bit.
    bits = "".join(format(n := int(abs(d)).bit_length(), "04b") + ones(int(d), n) + "0" for d in steps)
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    parts = b"".join(bytes([i + 1, f, 0]) for i, f in enumerate(factors))
    return joined(
        [
            (DQT, bytes([0] + [8] * 64)),
            (SOF0, struct.pack(">BHHB", 8, *size[::-1], len(factors)) + parts),
            (DHT, bytes([0x00, 0, 0, 0, 12] + [0] * 12) + bytes(range(12))),
            (DHT, bytes([0x10, 1] + [0] * 15 + [0])),
            (SOS, bytes([len(factors)]) + b"".join(bytes([i + 1, 0]) for i in range(len(factors))) + b"\0\x3f\0"),
            (SCAN, scan),
        ]
    )


def ones(value: int, size: int) -> str:
    """A value in `size` bits: negative ones less one (T.81 F.1.2.1)."""
    return format(value if value > 0 else value + (1 << size) - 1, f"0{size}b") if size else ""


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


def pixels(data: bytes, mode: str | None = None) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        if mode:
            image.draft(mode, image.size)
        return np.asarray(image)


def markers(data: bytes) -> list[int]:
    return [marker for marker, _ in split(data)]


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
