"""ICC profiles as bytes: whether one can be used, and how it goes into a JPEG. Converts no colours."""

MAX_PROFILE = 4 << 20
# ICC.1:2010: a header of 128 bytes, then a count and 12 bytes for each tag.
HEADER, _ENTRY = 132, 12
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_MATRIX = {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}
_TABLE = b"A2B0"
# What an APP2 segment holds of a profile behind its length, its name and two numbers (ICC.1:2010, B.4).
_PART = 65535 - 16
_FIRST = (b"\xff\xe0", b"\xff\xee")


def usable(data: bytes) -> bytes:
    """An RGB profile as long as it says it is, or b"": what a decoder would trip over is not sent on."""
    size, number = int.from_bytes(data[:4]), int.from_bytes(data[128:HEADER])
    profile = data[:size]
    if not HEADER < size <= min(len(data), MAX_PROFILE) or profile[36:40] != b"acsp":
        return b""
    known = profile[12:16] in _CLASSES and profile[16:20] == b"RGB " and profile[20:24] in (b"XYZ ", b"Lab ")
    entries = [profile[at : at + _ENTRY] for at in range(HEADER, HEADER + _ENTRY * min(number, 256), _ENTRY)]
    names = {entry[:4] for entry in entries}
    inside = all(int.from_bytes(entry[4:8]) + int.from_bytes(entry[8:]) <= size for entry in entries)
    return profile if known and inside and (names >= _MATRIX or _TABLE in names) else b""


def labelled(jpeg: bytes, profile: bytes) -> bytes:
    """A JPEG, or what goes before the tables of one, with a usable profile, as many segments as it takes; b"" for none.

    It goes behind APP0 and APP14, which some decoders want first.
    """
    if not profile:
        return jpeg
    at = 2
    while jpeg[at : at + 2] in _FIRST:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return jpeg[:at] + _segments(profile) + jpeg[at:]


def _segments(profile: bytes) -> bytes:
    parts = [profile[at : at + _PART] for at in range(0, len(profile), _PART)]
    return b"".join(
        b"\xff\xe2" + (16 + len(part)).to_bytes(2) + b"ICC_PROFILE\0" + bytes([number, len(parts)]) + part
        for number, part in enumerate(parts, 1)
    )
