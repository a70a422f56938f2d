"""TIFFs that the tests draw in any coding, and how what a reader shows is compared with the truth."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import reference
import tifffile
from numpy.typing import NDArray

from ptiffserve.geometry import Box
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.sources.file import FileSource

Pixels = NDArray[np.uint8]
SOAK = 20 if os.environ.get("PTIFFSERVE_SOAK") == "1" else 1
TILE = (64, 96)  # rows, columns
HEIGHT, WIDTH = 300, 420


def opened(path: Path) -> Reader:
    return open_slide(FileSource(path), path.name)


def pixels(reader: Reader, level: int, box: Box) -> Pixels:
    picture = reader.pixels(level, box)
    return np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 3)


def whole(reader: Reader, level: int = 0) -> Pixels:
    size = reader.pyramid.levels[level].size
    return pixels(reader, level, Box(0, 0, size.width, size.height))


def regions(reader: Reader, level: int, seed: int) -> Iterator[tuple[Box, tuple[slice, slice]]]:
    """Boxes anywhere in a level, those at its corners among them, and how numpy cuts them out of the whole."""
    rng, size = np.random.default_rng(seed), reader.pyramid.levels[level].size
    boxes = [Box(0, 0, 1, 1), Box(size.width - 1, size.height - 1, 1, 1)]
    for _ in range(8 * SOAK):
        width, height = (int(rng.integers(1, min(side, 500) + 1)) for side in (size.width, size.height))
        boxes.append(
            Box(
                int(rng.integers(0, size.width - width + 1)),
                int(rng.integers(0, size.height - height + 1)),
                width,
                height,
            )
        )
    for box in boxes:
        yield box, (slice(box.y, box.y + box.height), slice(box.x, box.x + box.width))


def difference(a: Pixels, b: Pixels) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def check_regions(reader: Reader, level: int, truth: Pixels, tolerance: int = 0) -> None:
    size = reader.pyramid.levels[level].size
    assert truth.shape == (size.height, size.width, 3)
    for box, cut in regions(reader, level, seed=level + 7):
        assert difference(pixels(reader, level, box), truth[cut]) <= tolerance, box


def by_openslide(path: Path, level: int = 0) -> Pixels:
    """The whole level as OpenSlide shows it."""
    return reference.level(path, level)


def picture() -> Pixels:
    """Different at every pixel's neighbourhood, and not symmetric."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([(x * 3 + y) % 256, (y * 5 + x // 7) % 256, (x ^ y) % 256], -1).astype(np.uint8)


def written(path: Path, data: Pixels | None = None, **options: object) -> Path:
    options = {"tile": TILE, "compression": "lzw", "photometric": "rgb"} | options
    tifffile.imwrite(path, picture() if data is None else data, **options)
    return path


def in_tiles(data: Pixels, tile: tuple[int, int]) -> list[Pixels]:
    """Row by row, padded at the edges."""
    rows, cols = -(-data.shape[0] // tile[0]), -(-data.shape[1] // tile[1])
    padded = np.zeros((rows * tile[0], cols * tile[1], *data.shape[2:]), np.uint8)
    padded[: data.shape[0], : data.shape[1]] = data
    return [
        padded[r * tile[0] : (r + 1) * tile[0], c * tile[1] : (c + 1) * tile[1]]
        for r in range(rows)
        for c in range(cols)
    ]


def coded(path: Path, compression: int, code: Callable[[Pixels], bytes], **options: object) -> Path:
    """A TIFF of picture() with tiles that we encode ourselves, whatever the compression tag then says."""
    tiles = [code(np.ascontiguousarray(tile)) for tile in in_tiles(picture(), (64, 96))]
    tifffile.imwrite(
        path, iter(tiles), shape=(HEIGHT, WIDTH, 3), dtype=np.uint8, tile=TILE, compression="deflate",
        photometric="rgb", metadata=None, **options,
    )  # fmt: skip
    return retag(path, "Compression", compression)


def retag(path: Path, tag: str, value: int, index: int = 0) -> Path:
    """Overwrites one value of a tag of the first directory in place."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[0].tags[tag]
        width = {3: 2, 4: 4, 16: 8, 18: 8}[int(found.dtype)]
        at = found.valueoffset + index * width
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value.to_bytes(width, "little"))
    return path


def place(path: Path, index: int) -> tuple[int, int]:
    """Offset and byte count of a tile."""
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages[0].dataoffsets[index], tiff.pages[0].databytecounts[index]


LOSSLESS = ["none", "lzw", "deflate", "adobe_deflate", "packbits", "zstd", "lzma"]


def jp2k(tile: Pixels) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", reversible=True))


def webp(tile: Pixels) -> bytes:
    return bytes(imagecodecs.webp_encode(tile, lossless=True))


def coding(path: Path, name: str) -> Path:
    if name in ("jp2k", "webp"):
        return coded(path, {"jp2k": 33005, "webp": 50001}[name], {"jp2k": jp2k, "webp": webp}[name])
    return written(path, compression=None if name == "none" else name)


def dicoms(shared: Path) -> list[Path]:
    return sorted((shared / "dicom" / "CMU-1-Small-Region-fixed").glob("*.dcm"))


def dicom(shared: Path) -> Path:
    return max(dicoms(shared), key=lambda path: path.stat().st_size)


def limited(code: str, *arguments: str) -> str:
    """Runs code that may use much memory in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
