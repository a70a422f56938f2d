"""The ICC profile of a slide: found, and pictures converted by it where the store wants sRGB."""

from msgspec.structs import replace

from ptiffserve import encode
from ptiffserve._ptiff import Directory, TiffError
from ptiffserve.errors import NotFound
from ptiffserve.geometry import Box, Pyramid, Size
from ptiffserve.icc import HEADER, MAX_PROFILE, usable
from ptiffserve.raster import Raster
from ptiffserve.readers.base import ALONE, Means, Reader

SAMPLES, ICC_PROFILE = 277, 34675


def profile_of(directory: Directory) -> bytes:
    """The directory's profile; b"" where it has none that can be used: too long, cut off, malformed, not for RGB."""
    if ICC_PROFILE not in directory or not HEADER < directory.count(ICC_PROFILE) <= MAX_PROFILE:
        return b""
    if (directory.first(SAMPLES, 1) or 0) < 3:
        return b""
    try:
        return usable(directory.blob(ICC_PROFILE, MAX_PROFILE))
    except (TiffError, OSError):
        return b""


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
    levels = (replace(level, stored="", unit=Size(0, 0), luma=False) for level in pyramid.levels)
    return replace(pyramid, levels=tuple(levels))
