"""Small tiled JPEG pyramids for tests, of any size and tile: one flat tile repeated, or a picture cut into tiles."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ptiffserve.sample import xml
from ptiffserve.sample.build import SOFTWARE
from ptiffserve.sample.philips_tiff import Tags, TiffFile, long, short, text

Paint = Callable[[int, int, int], "np.ndarray"]
FLAT = (200, 120, 160)


@dataclass(frozen=True)
class Tiny:
    """A slide of `width` x `height` with square tiles. `padded` writes sizes rounded up to whole tiles, as Philips does.

    `floors`: level sizes are rounded down, else up. `levels`: at most so many. `paint(level, width, height)` gives the
    RGB pixels of a level; without it each level is one flat tile, repeated. `sparse`: (level, col, row) of tiles that are
    left out. `label`: whether a Philips file has a label in its XML.
    """

    width: int
    height: int
    tile: int
    philips: bool = False
    padded: bool = False
    floors: bool = False
    levels: int = 32
    paint: Paint | None = None
    sparse: frozenset[tuple[int, int, int]] = frozenset()
    label: bool = False

    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each level as the tags say it, down to the first that is one tile."""
        found = []
        for level in range(self.levels):
            found.append((self._side(self.width, level), self._side(self.height, level)))
            if max(found[-1]) <= self.tile:
                break
        return found

    def _side(self, side: int, level: int) -> int:
        if self.padded:
            return self.tile * -(-side // (self.tile << level))
        return max(1, side >> level if self.floors else -(-side // (1 << level)))


def wave(level: int, width: int, height: int) -> "np.ndarray":
    """Pixels that tell where they are: red and green are triangular waves of x and y, with a period of 512 level-0 pixels."""
    x, y = ((np.arange(side) + 0.5) * 2**level for side in (width, height))
    out = np.empty((height, width, 3), np.uint8)
    out[:, :, 0], out[:, :, 1], out[:, :, 2] = triangle(x)[None, :], triangle(y)[:, None], 60
    return out


def triangle(at: "np.ndarray") -> "np.ndarray":
    return np.abs((at % 512) - 256)


def write(slide: Tiny, path: Path) -> None:
    sizes = slide.sizes()
    with path.open("xb") as file:
        tiff = TiffFile(file, classic=False)
        for level, (width, height) in enumerate(sizes):
            tiff.directory(_tags(slide, tiff, level, width, height) | _said(slide, level, sizes))


def _tags(slide: Tiny, tiff: TiffFile, level: int, width: int, height: int) -> Tags:
    cols = -(-width // slide.tile)
    data = list(_tiles(slide, level, width, height))
    data = [b"" if (level, at % cols, at // cols) in slide.sparse else tile for at, tile in enumerate(data)]
    known = {tile: (tiff.append(tile), len(tile)) for tile in dict.fromkeys(data) if tile} | {b"": (0, 0)}
    return {
        254: long(1 if level else 0),
        256: long(width),
        257: long(height),
        258: short(8, 8, 8),
        259: short(7),
        262: short(6),
        277: short(3),
        284: short(1),
        322: short(slide.tile),
        323: short(slide.tile),
        324: tiff.offsets([known[tile][0] for tile in data]),
        325: tiff.offsets([known[tile][1] for tile in data]),
        530: short(1, 1),
    }


def _tiles(slide: Tiny, level: int, width: int, height: int) -> Iterator[bytes]:
    side = slide.tile
    cols, rows = -(-width // side), -(-height // side)
    if slide.paint is None:
        yield from [_flat(side)] * (cols * rows)
        return
    pixels = slide.paint(level, width, height)
    padded = np.pad(pixels, ((0, rows * side - height), (0, cols * side - width), (0, 0)), mode="edge")
    for row in range(rows):
        for col in range(cols):
            yield jpeg(padded[row * side : (row + 1) * side, col * side : (col + 1) * side])


@lru_cache(maxsize=64)
def _flat(side: int) -> bytes:
    return jpeg(np.full((side, side, 3), FLAT, np.uint8))


def jpeg(pixels: "np.ndarray") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


@dataclass(frozen=True)
class _Grid:
    level: int
    width: int
    height: int


def _said(slide: Tiny, level: int, sizes: list[tuple[int, int]]) -> Tags:
    if not slide.philips:
        return {}
    if level:
        return {270: text(xml.level_description(level, 95)), 305: text(SOFTWARE)}
    grids = [_Grid(index, *size) for index, size in enumerate(sizes)]
    pictures = {"LABELIMAGE": _flat(64)} if slide.label else {}
    facts = xml.Facts(grids=grids, quality=95, rgb=False, big=True, barcode="", pictures=pictures)  # type: ignore[arg-type]
    return {270: text(xml.document(facts)), 305: text(SOFTWARE)}


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) out of the frame header of a whole JPEG. ValueError where it is none."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise ValueError("not a whole JPEG")
    at = 2
    while data[at] == 0xFF and at + 9 < len(data):
        if 0xC0 <= data[at + 1] <= 0xC2:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    raise ValueError("a JPEG without a frame header")
