"""What the protocols share: the types they pass on and the strict reading of numbers, names and formats."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

from ptiffserve.address import Asked, Document
from ptiffserve.errors import Malformed, NotFound, TooCostly, UnsupportedFormat
from ptiffserve.geometry import Size
from ptiffserve.slide import Slide

# ASCII only: int() and \d would take Arabic digits, "1_000" and " 5".
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
# Twenty decimals: JavaScript writes up to seventeen digits for a third.
_DECIMAL = re.compile(r"[0-9]{1,10}(\.[0-9]{1,20})?|\.[0-9]{1,20}")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
ALIASES = {"jpeg": "jpg", "tiff": "tif"}


class Candidate(NamedTuple):
    """One way to read a URL: a slide's name and what is asked of it. Keys may hold slashes, so there can be several.

    `store`: id or label of the store that the slide must be in, where that is said too. `loose`: the name may be that of
    the file alone. `save_as`: the answer is to be saved, under that name.
    """

    name: str
    asked: tuple[str, ...]
    store: str = ""
    loose: bool = False
    save_as: str = ""


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

    def parse(self, segments: Sequence[str], query: bytes) -> list[Candidate]:
        """The readings of a URL, likeliest first; [] for none. The path comes decoded, cut at its slashes; the query as it
        was written, for there the protocols differ."""

    def resolve(self, asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
        """Malformed, NotFound or TooCostly where that cannot be had of this slide."""

    def home(self, url: str, reading: tuple[str, ...]) -> str:
        """The slide's own address in this protocol, cut from the requested one, as the client wrote it."""

    def describe(self, document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
        """The document's bytes and media type."""

    def links(self, asked: Asked, reading: tuple[str, ...], home: str) -> str:
        """The value of the answer's Link header, "" for none."""


def number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Malformed(f"not a number: {text[:40]!r}")
    return int(text)


def decimal(text: str) -> Fraction:
    """A decimal number, exactly."""
    if not _DECIMAL.fullmatch(text):
        raise Malformed(f"not a number: {text[:40]!r}")
    return Fraction(text)


def rounded(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


def unescaped(text: bytes) -> str:
    """Percent-decoded once; a plus is a plus. Malformed for a bad escape or bytes that are not UTF-8."""
    if b"%" in text:
        if _BAD_ESCAPE.search(text):
            raise Malformed("a bad percent escape in the URL")
        text = unquote_to_bytes(text)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("the URL is not UTF-8") from None


def options(query: bytes) -> Mapping[str, str]:
    """What stands behind a path: the last value of each key. Unknown keys do no harm, so nothing in them is refused."""
    return dict(parse_qsl(query.decode("latin-1"))) if query else {}


def stem_and_format(segment: str) -> tuple[str, str]:
    """`3.jpg` -> ("3", "jpg")."""
    stem, dot, form = segment.rpartition(".")
    if not dot:
        raise Malformed(f"no format in {segment[:40]!r}")
    return stem, form


def join(segments: Sequence[str]) -> str:
    return "/".join(segments)


def above(url: str, steps: int) -> str:
    """The address without its query and its last segments."""
    path = url.partition("?")[0]
    return path.rsplit("/", steps)[0] if steps else path.rstrip("/")


def parent(url: str, reading: tuple[str, ...]) -> str:
    return above(url, 1)


def no_links(asked: Asked, reading: tuple[str, ...], home: str) -> str:
    return ""


def nothing_to_describe(document: Document) -> NotFound:
    return NotFound(f"no document {document.kind!r}")
