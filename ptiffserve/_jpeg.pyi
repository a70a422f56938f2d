"""JPEG work without generation loss: bytes in, bytes out, the GIL released. Knows no TIFF and no HTTP."""

class JpegError(ValueError):
    """The JPEG is corrupt, incomplete, over a limit, or not of the kind or size that was promised.

    The message is libjpeg's own where libjpeg found the fault. What libjpeg only warns of counts as corrupt.
    """

def crop(
    data: bytes | bytearray | memoryview,
    width: int,
    height: int,
    expect_width: int,
    expect_height: int,
    *,
    optimize: bool = True,
) -> bytes:
    """The top-left `width` x `height` px of a complete JPEG of exactly `expect_width` x `expect_height` px, as a JPEG.

    Works on coefficients: every block the window touches is kept whole with its quantiser, no pixel is computed.
    Any size will do; it need not lie on the block grid. Where chroma is subsampled by two, a decoder that smooths it
    (libjpeg does) may show another last column and row, because their outer neighbours are gone; where the crop is at
    most 4 px wide libjpeg smooths nothing.

    `data` is one contiguous buffer: gray or three components, 8 bits, baseline, extended or progressive Huffman, at
    most 100 scans; bytes after its EOI are ignored. The answer is one baseline scan without restarts (extended
    sequential where a quantiser has 16 bits), with component ids, sampling, JFIF and Adobe APP14 (its transform) as in
    `data`, and no other APPn or comment. `optimize=False` writes the standard Huffman tables (or its own, where a
    coefficient has no code there): faster, larger.

    Raises ValueError unless 1 <= width <= expect_width <= 65500 (heights likewise), JpegError where `data` is not such
    a JPEG, MemoryError. Coefficients take at most 6 bytes a pixel of `expect_*`, padded to whole units, and never over
    512 MiB; they are allocated after the frame header was checked. An answer is never over 64 MiB.
    """
