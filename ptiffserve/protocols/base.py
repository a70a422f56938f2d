"""What the protocols share: the types they pass on and the strict reading of numbers, names and formats."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ptiffserve.address import Asked, Document
from ptiffserve.errors import Malformed, NotFound, TooCostly, UnsupportedFormat
from ptiffserve.geometry import Size
from ptiffserve.slide import Slide

# ASCII only: int() and \d would take Arabic digits, "1_000" and " 5".
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
ALIASES = {"jpeg": "jpg", "tiff": "tif"}


class Candidate(NamedTuple):
    """One way to read a path: a slide's name and what is asked of it. Keys may hold slashes, so there can be several."""

    name: str
    asked: tuple[str, ...]


class Offer(NamedTuple):
    """What this server gives: formats that it can write, and the largest picture in pixels."""

    formats: tuple[str, ...]
    max_width: int
    max_height: int
    max_area: int

    def check(self, size: Size) -> Size:
        """The size. TooCostly where it is over the limits."""
        if size.width > self.max_width or size.height > self.max_height or size.width * size.height > self.max_area:
            raise TooCostly(f"{size.width} x {size.height} is larger than this server answers")
        return size

    def format(self, name: str, aliases: Mapping[str, str] = ALIASES) -> str:
        """The format's one name. UnsupportedFormat where this server does not write it."""
        form = aliases.get(name, name)
        if form not in self.formats:
            raise UnsupportedFormat(f"cannot make the format {name!r}")
        return form


class Dialect(Protocol):
    """The protocol seam. Strings in, nouns out; no I/O."""

    def parse(self, segments: Sequence[str], query: Mapping[str, str]) -> list[Candidate]:
        """The readings of a decoded path behind the protocol's own first segment, likeliest first; [] for none."""

    def resolve(self, asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
        """Malformed, NotFound or TooCostly where that cannot be had of this slide."""

    def describe(self, document: Document, url: str, offer: Offer) -> tuple[bytes, str]:
        """The document's bytes and media type. `url`: the requested one without query, as the client wrote it."""

    def links(self, asked: Asked, reading: tuple[str, ...], url: str) -> str:
        """The value of the answer's Link header, "" for none."""


def number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Malformed(f"not a number: {text[:40]!r}")
    return int(text)


def stem_and_format(segment: str) -> tuple[str, str]:
    """`3.jpg` -> ("3", "jpg")."""
    stem, dot, form = segment.rpartition(".")
    if not dot:
        raise Malformed(f"no format in {segment[:40]!r}")
    return stem, form


def join(segments: Sequence[str]) -> str:
    return "/".join(segments)


def no_links(asked: Asked, reading: tuple[str, ...], url: str) -> str:
    return ""


def nothing_to_describe(document: Document) -> NotFound:
    return NotFound(f"no document {document.kind!r}")
