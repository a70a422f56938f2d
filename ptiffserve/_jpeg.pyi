"""JPEG work in memory: pixels out of and into JPEGs, and JPEGs out of JPEGs. The GIL is released. Knows no TIFF and no HTTP.

A JPEG here is whole and one contiguous buffer: gray or three components, 8 bits, baseline, extended or progressive
Huffman, at most 100 scans; bytes after its EOI are ignored. Its frame must say exactly the size that was promised, which
is looked at before anything is allocated. What libjpeg only warns of counts as corrupt. Coefficients, where they are held,
take at most 6 bytes a pixel of a tile and never over 512 MiB.
"""

from collections.abc import Sequence
from typing import Literal

from typing_extensions import Buffer

class JpegError(ValueError):
    """The JPEG is corrupt, incomplete, over a limit, or not of the kind or size that was promised.

    The message is libjpeg's own where libjpeg found the fault, and starts "tile COL,ROW: " where several tiles were read.
    """

class NotLossless(ValueError):
    """The JPEGs are sound, but what is asked cannot be made of their coefficients; the message says why. Render it instead."""

def mcu(data: Buffer) -> tuple[int, int]:
    """(width, height) in px of the JPEG's smallest coded unit, from its header: 8 times the largest sampling factors.

    8, 8 where there is one component, whatever its factors say (T.81 A.2.2). JpegError where no such header is found.
    """

def decode(
    data: Buffer,
    tile: tuple[int, int],
    window: tuple[int, int, int, int],
    out: Buffer,
    *,
    at: int = 0,
    stride: int,
    shrink: int = 1,
) -> None:
    """A window x, y, w, h of a JPEG of exactly `tile` px into the writable buffer `out`, as RGB; gray as R = G = B.

    `shrink` has libjpeg compute a smaller picture, of ceil(side / shrink) px, and `window` counts its pixels. The window's
    first pixel is at byte `at`, its rows are `stride` >= 3 w bytes apart; bytes between rows keep their value.

    Each pixel is, bit for bit, that of libjpeg's decode of the whole picture (slow integer DCT, smooth chroma), but only
    blocks that touch the window are transformed, and of a JPEG of one scan nothing below the window is read: faults there
    are not found. Takes memory for a few rows, and for the coefficients where there are several scans.

    ValueError where a size, the window or the rows do not fit, JpegError; then `out` may hold some of the rows.
    """

def encode(
    pixels: Buffer,
    width: int,
    height: int,
    *,
    bands: int = 3,
    stride: int = 0,
    quality: int = 85,
    subsampling: Literal["420", "422", "444"] = "420",
    gray: bool = False,
    optimize: bool = False,
    icc: bytes = b"",
) -> bytes:
    """RGB or gray pixels, rows `stride` bytes apart (0: packed), as a baseline JPEG with JFIF.

    `gray` writes one component whatever `bands`; `icc` is written as APP2. Takes memory for a few rows and the answer;
    `optimize` holds all coefficients meanwhile. Sides 1 to 65500, quality 1 to 100, else ValueError, as where the rows do
    not fit the buffer or the profile is over 16 MB; JpegError where `optimize` would hold over 512 MiB.
    """

def transcode(
    tiles: Sequence[bytes | None],
    across: int,
    tile: tuple[int, int],
    box: tuple[int, int, int, int],
    *,
    turn: int = 0,
    mirror: bool = False,
    gray: bool = False,
    optimize: bool = False,
    sampling: tuple[int, int] | None = None,
) -> bytes:
    """A box x, y, w, h px of a mosaic of JPEGs as one JPEG, mirrored left to right, then turned clockwise by `turn`.

    `tiles` are the mosaic's rows one after another, `across` in each, each exactly `tile` px; None is a sparse tile, which
    is white. Only those that the box touches are looked at, one at a time, and of a tile of one scan only the rows down to
    the box's end: faults below are not found. Takes memory for the answer's coefficients and those of one tile.

    Every block the box touches keeps its stored coefficients and quantisers exactly, turned or with another sign where the
    picture is; no pixel is computed. So any w and h will do; x and y must lie on the grid of `mcu`. Where chroma is
    subsampled by two, a decoder that smooths it (libjpeg does) may show other pixels along the box's border and along the
    seams between tiles, because chroma there has other neighbours. `gray` leaves out the chroma components.

    The answer is one baseline scan without restarts (extended sequential where a quantiser has 16 bits), with component
    ids, sampling, JFIF and Adobe APP14 (its transform) as in the first stored tile, and no other APPn or comment; one
    component always has sampling 1x1, and in `gray` answers there is no APP14. Without `optimize` it has the standard
    Huffman tables (or its own, where a coefficient has no code there): faster, larger. Never over 64 MiB.

    NotLossless where no tile is stored, where tiles differ in components, their ids, sampling, quantisers or colour (JFIF,
    Adobe's transform), where x or y is off the grid, where turning would bring a part of a unit to the left or top, where
    gray is asked of RGB, or where the first component's sampling factors are not the promised `sampling`. ValueError where
    the box is not in the mosaic, a side is over 65500, or `tiles` do not fill rows; JpegError as for any one tile.
    """
