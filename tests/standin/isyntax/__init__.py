"""Stands in for pyisyntax where no iSyntax can be had: its API over files that tests write. A test compares the two."""

import json
from pathlib import Path

import numpy as np

from isyntax.lowlevel.libisyntax import LibISyntaxFatalError


class ISyntax:
    """Its file: the header's end (0x04), then JSON of `sizes`, `barcode`, `label` and `macro` (base64 or none)."""

    def __init__(self, said: dict[str, object], folder: Path) -> None:
        self._said = said
        self._folder = folder

    @classmethod
    def open(cls: type["ISyntax"], filename: str | Path, cache_size: int = 2000) -> "ISyntax":
        try:
            return cls(json.loads(Path(filename).read_bytes().partition(b"\x04")[2]), Path(filename).parent)
        except ValueError:
            raise LibISyntaxFatalError from None

    def close(self) -> None:
        pass

    @property
    def tile_width(self) -> int:
        return 256

    @property
    def tile_height(self) -> int:
        return 256

    @property
    def level_count(self) -> int:
        return len(self._said["sizes"])

    @property
    def level_dimensions(self) -> list[tuple[int, int]]:
        return [tuple(size) for size in self._said["sizes"]]

    @property
    def mpp_x(self) -> float:
        return 0.25

    @property
    def mpp_y(self) -> float:
        return 0.5

    @property
    def barcode(self) -> str:
        return self._said["barcode"].encode().decode("ascii")

    def read_region(self, x: int, y: int, width: int, height: int, level: int = 0) -> np.ndarray:
        """Red and green are the place in the level, blue the level; transparent in the top left corner of 10 pixels."""
        if self._said.get("broken"):
            raise LibISyntaxFatalError
        rows, cols = np.mgrid[y : y + height, x : x + width]
        opaque = np.where((rows < 10) & (cols < 10), 0, 255)
        return np.stack([cols % 251, rows % 241, cols * 0 + 40 * level, opaque], -1).astype(np.uint8)

    def read_label_image_jpeg(self) -> memoryview | None:
        return self._jpeg("label")

    def read_macro_image_jpeg(self) -> memoryview | None:
        return self._jpeg("macro")

    def _jpeg(self, name: str) -> memoryview | None:
        said = self._said.get(name)
        return memoryview((self._folder / said).read_bytes()) if said else None
