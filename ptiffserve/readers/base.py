"""The reader seam: what every slide format supplies, and what a detector is shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ptiffserve._ptiff import Directory
from ptiffserve.geometry import Box, Part, Pyramid
from ptiffserve.raster import Raster
from ptiffserve.readers.decoded import DecodedTiles
from ptiffserve.slide import Icc
from ptiffserve.sources.base import Source


def in_turn(call: Callable[[Part], None], parts: Sequence[Part]) -> None:
    for part in parts:
        call(part)


class Means(NamedTuple):
    """What a reader may use beside its own thread: others to decode tiles in, and pixels that were decoded before.

    `run` calls for each part, maybe side by side, and returns when all are done; it raises what a call raised.
    """

    run: Callable[[Callable[[Part], None], Sequence[Part]], None]
    decoded: DecodedTiles


ALONE = Means(in_turn, DecodedTiles(0))


class Reader(Protocol):
    """An open slide. Safe to use from many threads at once.

    `fault` is "" or what is damaged in a slide that can still be served; `nbytes` the memory it holds. `shrinks`: the
    factors by which it can decode a level smaller than it is at less than the cost of the whole. `profile`: the ICC profile
    (RGB) of its pixels, which stored tiles carry already; b"" for none, or sRGB.
    """

    format: str
    pyramid: Pyramid
    barcode: str
    fault: str
    nbytes: int
    profile: bytes
    shrinks: tuple[int, ...]

    def tile_now(self, level: int, col: int, row: int) -> bytes | None:
        """The stored tile as a complete picture, b"" where it is sparse, None where reading it would block."""

    def tile(self, level: int, col: int, row: int) -> bytes:
        """As tile_now, but waits. SlideChanged, TileTruncated or TileCorrupt where it cannot be had."""

    def pixels(self, level: int, box: Box, shrink: int = 1, means: Means = ALONE) -> Raster:
        """RGB of `box`, which lies inside the level and is counted in its pixels. White where nothing is stored.

        `shrink`, one of `shrinks`: the level and the box are smaller by it. TileCorrupt, TileTruncated, SlideChanged;
        TooCostly where more tiles or pixels would be decoded than one request may.
        """

    def associated(self) -> tuple[str, ...]:
        """Names of the pictures beside the pyramid: "label", "macro", "thumbnail"."""

    def picture(self, name: str) -> bytes:
        """One of them as a compressed picture (JPEG where it is stored so). NotFound, TileCorrupt."""

    def tables(self) -> "list[tuple[int, int, int]]":
        """(stored, sparse, truncated) tiles of each level."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A file on its way to becoming a reader: parsed once as a TIFF, shown to every format in turn.

    `directories` is empty where the file is no TIFF; `fault` then says why, or what is wrong behind the first directory.
    `icc`: what is to be done with its colour profile; `profile`: the one in its first directory, b"" for none that is usable.
    `noted` is what a format's detect found out and its open need not find out again.
    """

    source: Source
    name: str
    directories: list[Directory]
    fault: str
    icc: Icc = "embed"
    profile: bytes = b""
    noted: dict[str, Any] = field(default_factory=dict)

    @property
    def carried(self) -> bytes:
        """The profile that stored tiles are sent with."""
        return self.profile if self.icc == "embed" else b""


class Format(NamedTuple):
    """`detect` gives "" if the format is its own, or why not; `open` may still raise SlideUnreadable."""

    name: str
    detect: Callable[[Probe], str]
    open: Callable[[Probe], Reader]
