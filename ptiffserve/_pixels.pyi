"""Pictures in memory: RGB, 8 bits, rows packed. The GIL is released. Knows no file and no encoding."""

from typing_extensions import Buffer

def resample(
    pixels: Buffer, size: tuple[int, int], part: tuple[float, float, float, float], to: tuple[int, int]
) -> bytearray:
    """The part x, y, width, height of a picture of `size` px, at exactly `to` px.

    Lanczos3 on each axis, widened by the scale where it shrinks. The part need not lie on whole pixels; what is round it
    in the picture is read as far as the filter reaches, and past the picture's edges its weights fall to the pixels inside.
    ValueError where a side is not 1 to 2^31 - 1 or `pixels` has another length than `size` says. Takes memory for the
    answer, one row, and six weights for each pixel of a side of the larger of both pictures.
    """

def paste(
    pixels: Buffer, source_width: int, box: tuple[int, int, int, int], out: Buffer, width: int, x: int, y: int
) -> None:
    """Copies a box x, y, width, height of a picture whose rows have `source_width` px to (x, y) of one of `width` px.

    ValueError, and nothing copied, where the box lies outside of either.
    """
