"""WebP tiles that are sent as they lie in the file: the check that each is what the level promises. Decodes nothing."""

import struct

from ptiffserve.geometry import Size

# RFC 9649: RIFF, size, WEBP, then the first chunk, whose first ten bytes hold the picture's size in each of three ways.
HEAD = 30
# Bits of an extended header: an animation, and segments that may name a patient.
_REFUSED = {0x02: "an animation", 0x04: "XMP metadata", 0x08: "Exif metadata"}


class NotWebp(ValueError):
    """The bytes are no WebP that may be sent; the message says why."""


def check(data: bytes, size: Size) -> None:
    """NotWebp unless `data` is one still WebP of exactly that size, and nothing else."""
    if len(data) < HEAD or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise NotWebp("it does not begin as a WebP")
    length = int.from_bytes(data[4:8], "little") + 8
    if length != len(data):
        raise NotWebp(f"it says that it has {length} bytes, not {len(data)}")
    found = _size(data)
    if found != size:
        raise NotWebp(f"the tile is {found.width} x {found.height}, not {size.width} x {size.height}")


def _size(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8X":
        return _extended(data)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Size(width & 0x3FFF, height & 0x3FFF)
    raise NotWebp(f"it begins with the chunk {kind!r}")


def _extended(data: bytes) -> Size:
    for bit, what in _REFUSED.items():
        if data[20] & bit:
            raise NotWebp(f"it has {what}")
    return Size(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
