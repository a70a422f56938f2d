"""Tiles as abbreviated JPEG streams with their tables apart, as TIFF wants them. libvips does the entropy coding."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ptiffserve.sample.noise import Image
from ptiffserve.sample.options import Photometric, Subsampling

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF0, _DHT, _SOS, _DQT, _DRI = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD
_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))


@dataclass(frozen=True, slots=True)
class Stream:
    """A JPEG in two parts: `tables` (SOI DQT DHT EOI, as in tag 347) and `data` (SOI SOF SOS ... EOI)."""

    tables: bytes
    data: bytes

    @property
    def whole(self) -> bytes:
        return self.tables[:-2] + self.data[2:]


def encode(image: Image, quality: int, photometric: Photometric, subsampling: Subsampling) -> Stream:
    """An RGB image as baseline JPEG with the standard Huffman tables, so that equal settings give equal tables."""
    if photometric == "rgb":
        return _planar(list(image), quality, b"RGB", across=1)
    if subsampling == "422":
        return _planar(_thinned(image), quality, b"\1\2\3", across=2)
    mode = "on" if subsampling == "420" else "off"
    return _split(image.jpegsave_buffer(Q=quality, strip=True, optimize_coding=False, subsample_mode=mode))


def _thinned(image: Image) -> list[Image]:
    """Y at full width, Cb and Cr at half width: what libvips cannot be asked for."""
    y, cb, cr = image.recomb([list(row) for row in _YCBCR]).linear([1, 1, 1], [0, 128, 128]).copy_memory()
    return [plane.rint().cast("uchar") for plane in (y, cb.shrink(2, 1), cr.shrink(2, 1))]


def _planar(planes: list[Image], quality: int, ids: bytes, across: int) -> Stream:
    """Three grey JPEGs as the three scans of one: libvips cannot leave out the colour transform, this never had one."""
    grey = [_split(_grey(plane, quality)) for plane in planes]
    assert len({part.tables for part in grey}) == 1, "the planes of a tile disagree about their tables"
    scans = b"".join(_scan(part.data, component) for part, component in zip(grey, ids, strict=True))
    return Stream(grey[0].tables, _SOI + _frame(planes[0], ids, across) + scans + _EOI)


def _grey(plane: Image, quality: int) -> bytes:
    data: bytes = plane.copy(interpretation="b-w").jpegsave_buffer(Q=quality, strip=True, optimize_coding=False)
    return data


def _frame(plane: Image, ids: bytes, across: int) -> bytes:
    components = bytes([ids[0], across << 4 | 1, 0, ids[1], 0x11, 0, ids[2], 0x11, 0])
    return struct.pack(">BBHBHHB", 0xFF, _SOF0, 17, 8, plane.height, plane.width, 3) + components


def _scan(data: bytes, component: int) -> bytes:
    """The entropy-coded part of a grey stream, as a scan of one component."""
    start = next(end for marker, _, end in _segments(data) if marker == _SOS)
    return bytes([0xFF, _SOS, 0, 8, 1, component, 0, 0, 63, 0]) + data[start:-2]


def _split(jpeg: bytes) -> Stream:
    tables, frame = [], []
    for marker, start, end in _segments(jpeg):
        if marker in (_DQT, _DHT):
            tables.append(jpeg[start:end])
        elif marker in (_SOF0, _DRI):
            frame.append(jpeg[start:end])
        elif marker == _SOS:
            frame.append(jpeg[start:])
    return Stream(_SOI + b"".join(tables) + _EOI, _SOI + b"".join(frame))


def _segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment up to and with the first SOS."""
    start = 2
    while True:
        marker, length = struct.unpack_from(">xBH", jpeg, start)
        end = start + 2 + length
        yield marker, start, end
        if marker == _SOS:
            return
        start = end
