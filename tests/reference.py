"""OpenSlide, the independent reader, in a process of its own.

The libvips of the system loads the system's libopenslide with global symbols; the newer one of openslide-bin, loaded
behind it in the same process, then calls into the older one. So no test process may hold both.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Facts(NamedTuple):
    vendor: str
    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    properties: dict[str, str]
    associated: tuple[str, ...]


@cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"))


def _ask(call: Callable[..., Any], *arguments: object) -> Any:
    return _process().submit(call, *arguments).result()


def facts(path: Path) -> Facts | str:
    """What OpenSlide says of a file, or the words in which it refuses it."""
    return _ask(_facts, str(path))


@lru_cache(maxsize=32)
def level(path: Path, index: int) -> np.ndarray:
    """A whole level as RGB, white where OpenSlide has nothing (transparent)."""
    return _ask(_level, str(path), index)


def associated(path: Path, name: str) -> np.ndarray:
    return _ask(_associated, str(path), name)


# ---- what runs over there ----------------------------------------------------------------------------------


def _facts(path: str) -> Facts | str:
    import openslide

    try:
        slide = openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        return f"{type(error).__name__}: {error}"
    return Facts(
        str(openslide.OpenSlide.detect_format(path)),
        slide.level_dimensions,
        slide.level_downsamples,
        dict(slide.properties),
        tuple(sorted(slide.associated_images)),
    )


def _level(path: str, index: int) -> np.ndarray:
    import openslide

    with openslide.OpenSlide(path) as slide:
        return _flat(slide.read_region((0, 0), index, slide.level_dimensions[index]))


def _associated(path: str, name: str) -> np.ndarray:
    import openslide

    with openslide.OpenSlide(path) as slide:
        return _flat(slide.associated_images[name])


def _flat(image: Any) -> np.ndarray:
    pixels = np.asarray(image)
    assert set(np.unique(pixels[..., 3])) <= {0, 255}
    return np.where(pixels[..., 3:] == 0, np.uint8(255), pixels[..., :3])
