"""The ICC profile of a slide: found, checked, and pictures converted by it where the store wants sRGB."""

from ptiffserve import encode
from ptiffserve._ptiff import Directory, TiffError
from ptiffserve.errors import NotFound
from ptiffserve.geometry import Box, Level, Pyramid
from ptiffserve.raster import Raster
from ptiffserve.readers.base import ALONE, Means, Reader

SAMPLES, ICC_PROFILE = 277, 34675
MAX_PROFILE = 4 << 20
# ICC.1:2010: a header of 128 bytes, then a count and 12 bytes for each tag.
_HEADER, _ENTRY = 132, 12
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_MATRIX = {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"}
_TABLE = b"A2B0"


def profile_of(directory: Directory) -> bytes:
    """The directory's profile; b"" where it has none that can be used: too long, cut off, malformed, not for RGB."""
    if ICC_PROFILE not in directory or not _HEADER < directory.count(ICC_PROFILE) <= MAX_PROFILE:
        return b""
    if (directory.first(SAMPLES, 1) or 0) < 3:
        return b""
    try:
        return usable(directory.blob(ICC_PROFILE, MAX_PROFILE))
    except (TiffError, OSError):
        return b""


def usable(data: bytes) -> bytes:
    """An RGB profile as long as it says it is, or b"": what a decoder would trip over is not sent on."""
    size, number = int.from_bytes(data[:4]), int.from_bytes(data[128:_HEADER])
    profile = data[:size]
    if not _HEADER < size <= min(len(data), MAX_PROFILE) or profile[36:40] != b"acsp":
        return b""
    known = profile[12:16] in _CLASSES and profile[16:20] == b"RGB " and profile[20:24] in (b"XYZ ", b"Lab ")
    entries = [profile[at : at + _ENTRY] for at in range(_HEADER, _HEADER + _ENTRY * min(number, 256), _ENTRY)]
    names = {entry[:4] for entry in entries}
    inside = all(int.from_bytes(entry[4:8]) + int.from_bytes(entry[8:]) <= size for entry in entries)
    return profile if known and inside and (names >= _MATRIX or _TABLE in names) else b""


class Converted:
    """A slide shown in sRGB. Its tiles are not what lies in the file any more, so all of it is rendered."""

    def __init__(self, reader: Reader) -> None:
        self.format = reader.format
        self.pyramid = _unstored(reader.pyramid)
        self.barcode = reader.barcode
        self.fault = reader.fault
        self.nbytes = reader.nbytes
        self.profile = b""
        self.shrinks = reader.shrinks
        self._reader = reader

    def tile_now(self, level: int, col: int, row: int) -> bytes | None:
        return None

    def tile(self, level: int, col: int, row: int) -> bytes:
        raise NotFound(f"the tiles of level {level} cannot be sent as they are stored")

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        return encode.to_srgb(self._reader.pixels(level, box, shrink, means), self._reader.profile)

    def associated(self) -> tuple[str, ...]:
        return self._reader.associated()

    def picture(self, name: str) -> bytes:
        return self._reader.picture(name)

    def tables(self) -> list[tuple[int, int, int]]:
        return self._reader.tables()


def _unstored(pyramid: Pyramid) -> Pyramid:
    levels = (Level(level.size, level.tile, level.grid, level.scale) for level in pyramid.levels)
    return Pyramid(tuple(levels), pyramid.mpp)
