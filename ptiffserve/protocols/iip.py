"""The Internet Imaging Protocol as iipsrv speaks it: everything is in the query, behind any path.

`FIF=NAME&JTL=r,i` (PTL, WTL, ATL), `FIF=NAME&CVT=jpeg`, `FIF=NAME&OBJ=…`, and other protocols in a value: `DeepZoom=`,
`Zoomify=`, `IIIF=`, which are those modules' own. The first command counts; a key that is none of ours is passed over.
"""

import re
from collections.abc import Mapping, Sequence

from ptiffserve.address import Asked, Document, View, plan, pyramid_of
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Box, Size, ceil_div, clip, fit, scaled
from ptiffserve.protocols import deepzoom, iiif, iipobjects, zoomify
from ptiffserve.protocols.base import Candidate, Dialect, Offer, decimal, number, rounded, unescaped
from ptiffserve.protocols.grid import Style, background_of, deepest, edge_of, level_size, scale_of, tile_at
from ptiffserve.slide import Slide

WRAPPED: dict[str, Dialect] = {"deepzoom": deepzoom, "zoomify": zoomify, "iiif": iiif}
DOCUMENTS: dict[str, Dialect] = {"dzi": deepzoom, "properties": zoomify}
# The first segments that a value lacks: iipsrv's IIIF is that of version 2.
_BEHIND = {"deepzoom": ("deepzoom",), "zoomify": ("zoomify",), "iiif": ("iiif", "2")}
_TILES = {"jtl": "jpg", "ptl": "png", "wtl": "webp", "atl": "avif"}
_COMMANDS = {*WRAPPED, *_TILES, "cvt", "obj"}
_OPTIONS = {"fif", "wid", "hei", "rgn", "rot", "qlt"}
# Words of IIIF 1 that iipsrv still takes, and that its clients still say.
_QUALITIES = {"native": "default", "grey": "gray"}
# caMicroscope asks for as many pixels as its window has on a screen of fractional density.
_FRACTION = re.compile(r"!?[0-9.]*,[0-9.]*")
_SLASH = re.compile("/|%2[Ff]")

Pairs = Sequence[tuple[str, str]]


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    pairs = _pairs(query)
    command, value = next((pair for pair in pairs if pair[0] in _COMMANDS), ("", ""))
    if command in WRAPPED:
        readings = WRAPPED[command].parse([*_BEHIND[command], *value.split("/")], query)
        return [reading._replace(asked=(command, *reading.asked)) for reading in readings]
    said = dict(pairs)
    if not command or not said.get("fif"):
        raise Malformed("no IIP command, or no FIF before it")
    return [Candidate(said["fif"], _asked(command, value, pairs, query))]


def _pairs(query: bytes) -> list[tuple[str, str]]:
    """Keys in lower case and decoded values, of those keys that are ours: what others hold is not looked at."""
    pairs = (part.partition(b"=") for part in query.split(b"&"))
    known = ((key.decode("latin-1").lower(), value) for key, _, value in pairs)
    return [(key, unescaped(value)) for key, value in known if key in _COMMANDS or key in _OPTIONS]


def _asked(command: str, value: str, pairs: Pairs, query: bytes) -> tuple[str, ...]:
    said: Mapping[str, str] = dict(pairs)
    if command == "obj":
        return ("obj", *(name for key, name in pairs if key == "obj"))
    if command == "cvt":
        options = (said.get(key, "") for key in ("rgn", "wid", "hei", "rot", "qlt"))
        return ("cvt", value.lower(), *options, background_of(query))
    return ("tile", _TILES[command], value, said.get("qlt", ""), edge_of(query, "clip"), background_of(query))


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    command, *words = asked
    if command == "iiif":
        return iiif.resolve(_tolerant(words), slide, offer)
    if command in WRAPPED:
        return WRAPPED[command].resolve(tuple(words), slide, offer)
    if command == "obj":
        return Document(slide, iipobjects.kind(words))
    return _tile(words, slide, offer) if command == "tile" else _converted(words, slide, offer)


def _tolerant(words: Sequence[str]) -> tuple[str, ...]:
    """IIIF's parameters with what iipsrv's clients say and the specification does not."""
    if len(words) < 6:
        return tuple(words)
    version, region, size, rotation, last, background = words
    if _FRACTION.fullmatch(size):
        size = ",".join(_whole(side) for side in size.split(","))
    quality, dot, form = last.rpartition(".")
    return version, region, size, rotation, _QUALITIES.get(quality, quality) + dot + form, background


def _whole(side: str) -> str:
    digits = side.removeprefix("!")
    return side if "." not in digits else side[: -len(digits)] + str(max(1, rounded(decimal(digits))))


def _tile(words: Sequence[str], slide: Slide, offer: Offer) -> Asked:
    """Tile i of resolution r, row by row; r = 0 is the smallest. An index past the last row is no other row's tile."""
    form, place, quality, edge, background = words
    resolution, comma, index = place.partition(",")
    if not comma:
        raise Malformed(f"no r,i in {place[:40]!r}")
    pyramid = pyramid_of(slide)
    scale = scale_of(number(resolution), deepest(pyramid))
    across = ceil_div(level_size(pyramid.size, scale).width, pyramid.tile.width)
    row, col = divmod(number(index), across)
    style = Style(offer.format(form), edge, background, _strength(quality))
    return tile_at(slide, scale, pyramid.tile, (col, row), style)


def _converted(words: Sequence[str], slide: Slide, offer: Offer) -> Asked:
    form, region, width, height, rotation, quality, background = words
    box = _region(region, pyramid_of(slide).size)
    size = offer.check(_size(width, height, box, offer))
    mirror, turn = iiif.rotation_of(rotation or "0")
    form, strength = offer.format(form), _strength(quality)
    view = View(slide, box, size, form, turn=turn, mirror=mirror, background=background, strength=strength)
    return plan(view)


def _region(text: str, size: Size) -> Box:
    """RGN's x, y, width, height are parts of the slide's sides."""
    if not text:
        return Box(0, 0, size.width, size.height)
    parts = [decimal(part) for part in text.split(",")]
    if len(parts) != 4:
        raise Malformed(f"RGN wants four numbers: {text[:80]!r}")
    sides = (size.width, size.height) * 2
    box = clip(Box(*(rounded(part * side) for part, side in zip(parts, sides, strict=True))), size)
    if box.width <= 0 or box.height <= 0:
        raise Malformed(f"the region {text[:80]!r} has no part inside the slide")
    return box


def _size(width: str, height: str, box: Box, offer: Offer) -> Size:
    """In the region's own shape always, fitted into WID and HEI where both are there."""
    if not width and not height:
        return iiif.largest(box, offer)
    wide, high = (number(side) if side else 0 for side in (width, height))
    if "0" in (width, height):
        raise Malformed("a picture of 0 pixels")
    if wide and high:
        return fit(box, Size(wide, high))
    return Size(wide or scaled(box.width, high, box.height), high or scaled(box.height, wide, box.width))


def _strength(text: str) -> int:
    """QLT is how strongly we compress what we encode; a stored tile, or a part cut out of one, is not encoded again."""
    quality = number(text) if text else 0
    if quality > 100:
        raise Malformed(f"QLT is 0 to 100, not {text[:40]}")
    return max(1, quality) if text else 0


def home(url: str, reading: tuple[str, ...]) -> str:
    """For IIIF, with that value last and cut behind the image's name: clients put their own words behind it."""
    path, _, query = url.partition("?")
    if reading[0] != "iiif":
        return url
    parts = query.split("&")
    index = next(n for n, part in enumerate(parts) if part.lower().startswith("iiif="))
    value = parts.pop(index)
    slashes = [found.start() for found in _SLASH.finditer(value)]
    steps = iiif.steps(reading[1:])
    return f"{path}?{'&'.join([*parts, value[: slashes[-steps]] if steps else value.rstrip('/')])}"


def links(asked: Asked, reading: tuple[str, ...], home: str) -> str:
    return iiif.links(asked, reading[1:], home) if reading[0] == "iiif" else ""


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    said = iipobjects.describe(document)
    if said is not None:
        return said
    return DOCUMENTS.get(document.kind, iiif).describe(document, home, offer)
