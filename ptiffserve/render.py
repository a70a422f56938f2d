"""From a view to its bytes: stored coefficients where they will do, else pixels of the best level, resampled and encoded.

Runs in the thread of whoever calls it. Knows no HTTP.
"""

from ptiffserve import _jpeg, encode
from ptiffserve.address import WHITE, Blob, View, level_box
from ptiffserve.encode import Picture
from ptiffserve.errors import TileCorrupt
from ptiffserve.geometry import Box, Pyramid, Size, best_level, clip, downsample, parts, scaled, window
from ptiffserve.icc import labelled
from ptiffserve.raster import Raster, resample
from ptiffserve.readers.base import Means, Reader

JPEG = "image/jpeg"
# How many pixels are left for the filter to make one of, on each axis, where a decoder shrinks: its own filter is a coarse
# one, and what aliases in it is mostly what Lanczos takes out behind it.
SPARE = 1.5


def view(asked: View, reader: Reader, means: Means) -> Blob:
    """SlideChanged, TileCorrupt, TileTruncated, TooCostly; PixelFault from libvips."""
    if asked.level >= 0:
        blob = _lossless(asked, reader)
        if blob is not None:
            return blob
    media_type = encode.media_type(asked.format)
    bitonal = asked.quality == "bitonal"
    clear = asked.format in encode.CLEAR and asked.background == WHITE and not bitonal
    picture = encode.turned(_scaled(asked, reader, means), asked.turn, asked.mirror, asked.background, clear)
    data = encode.encode(
        encode.toned(picture, asked.quality), asked.format, asked.strength, bitonal, _profile(asked, reader)
    )
    return Blob(data, media_type, "render")


def _lossless(asked: View, reader: Reader) -> Blob | None:
    """Stored tiles cut, joined and turned in the coefficient domain; None where this level's tiles are not alike."""
    level = reader.pyramid.levels[asked.level]
    box, tile = level_box(asked), level.tile
    touched = list(parts(box, tile))
    tiles = [reader.tile(asked.level, part.col, part.row) or None for part in touched]
    if not any(tiles):
        upright = asked.turn in (0, 180)
        return Blob(encode.blank(asked.size if upright else Size(asked.size.height, asked.size.width)), JPEG, "blank")
    inside = (touched[0].box.x, touched[0].box.y, box.width, box.height)
    try:
        data = _jpeg.transcode(
            tiles,
            touched[-1].col - touched[0].col + 1,
            (tile.width, tile.height),
            inside,
            turn=int(asked.turn),
            mirror=asked.mirror,
            gray=asked.quality == "gray",
        )
    except _jpeg.NotLossless:
        return None
    except _jpeg.JpegError as error:
        where = f"level {asked.level} from tile {touched[0].col},{touched[0].row} on"
        raise TileCorrupt(asked.slide.key, f"{where}: {error}") from error
    return Blob(labelled(data, _profile(asked, reader)), JPEG, "lossless")


def _profile(asked: View, reader: Reader) -> bytes:
    """A profile of red, green and blue says nothing of a gray."""
    return reader.profile if asked.quality == "color" else b""


def _scaled(asked: View, reader: Reader, means: Means) -> Picture:
    """The view's box at the view's size; past the slide is its background."""
    box, size = asked.box, asked.size
    inner = clip(box, reader.pyramid.size)
    if inner.width <= 0 or inner.height <= 0:
        return encode.canvas(size, asked.background)
    part = Size(scaled(inner.width, size.width, box.width), scaled(inner.height, size.height, box.height))
    picture = _resampled(inner, part, reader, means)
    at_x, at_y = (inner.x - box.x) * size.width // box.width, (inner.y - box.y) * size.height // box.height
    return encode.place(picture, at_x, at_y, size, asked.background)


def _resampled(box: Box, size: Size, reader: Reader, means: Means) -> Raster:
    """A box inside the slide, which may cut pixels of the level that it is taken from, at exactly `size`."""
    base = reader.pyramid.size
    index = best_level(reader.pyramid, box, size)
    shrink = _shrink(reader, index, box, size)
    level = reader.pyramid.levels[index].size
    wide, high = level.width / base.width / shrink, level.height / base.height / shrink
    across = window(box.x * wide, box.width * wide, max(1, level.width // shrink))
    down = window(box.y * high, box.height * high, max(1, level.height // shrink))
    cut = Box(across.first, down.first, across.count, down.count)
    return resample(reader.pixels(index, cut, shrink, means), across, down, size)


def _shrink(reader: Reader, index: int, box: Box, size: Size) -> int:
    """The most that the decoder may shrink the level so that the filter still has pixels to spare."""
    spare = _spare(reader.pyramid, index, box, size)
    return max(shrink for shrink in reader.shrinks if shrink == 1 or shrink * SPARE <= spare)


def _spare(pyramid: Pyramid, index: int, box: Box, size: Size) -> float:
    """Pixels of the level for one of the view's, on the axis that has fewer."""
    return min(box.width / size.width, box.height / size.height) / downsample(pyramid, pyramid.levels[index])
