"""What IIP says of an image when asked by `OBJ=`: the objects that iipsrv knows of a picture of 8 bits a channel."""

import re
from collections.abc import Sequence

from ptiffserve.address import Document, pyramid_of
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Pyramid, Size
from ptiffserve.protocols.grid import deepest, level_size, scale_of

_KIND = "obj\n"
_NAME = re.compile(r"[A-Za-z0-9,.*-]{1,64}")
_BASIC = ("iip-server", "max-size", "resolution-number", "colorspace")


def kind(names: Sequence[str]) -> str:
    """A document of those objects, in their order."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise Malformed(f"not the name of an object: {name[:40]!r}")
    return _KIND + "\n".join(names)


def describe(document: Document) -> tuple[bytes, str] | None:
    """None for a document of another protocol."""
    if not document.kind.startswith(_KIND):
        return None
    known = _objects(pyramid_of(document.slide))
    asked = [each for name in document.kind.split("\n")[1:] for each in _expanded(name.lower())]
    lines = [known.get(name) or _unknown(name) for name in asked]
    return "".join(f"{line}\r\n" for line in lines).encode(), "text/plain; charset=utf-8"


def _expanded(name: str) -> Sequence[str]:
    """Colorspace comes with a suffix that says nothing here."""
    if name == "basic-info":
        return _BASIC
    return ("colorspace",) if name.startswith("colorspace") else (name,)


def _unknown(name: str) -> str:
    """IIP 1.0.5 answers an object that is not there beside those that are: code 3 2, unsupported object."""
    return f"Error/{len('3 2')}:3 2 {name}"


def _objects(pyramid: Pyramid) -> dict[str, str]:
    last = deepest(pyramid)
    sizes = [level_size(pyramid.size, scale_of(level, last)) for level in range(last + 1)]
    return {
        "iip,1.0": "IIP:1.0",
        "iip-server": "IIP-server:3.65",  # CVT to JPEG and JTL, no transforms
        "iip-opt-comm": "IIP-opt-comm:CVT QLT JTL WID HEI RGN ROT",
        "iip-opt-obj": "IIP-opt-obj:Horizontal-views Vertical-views Tile-size Bits-per-channel Resolutions",
        "max-size": f"Max-size:{_said(pyramid.size)}",
        "tile-size": f"Tile-size:{_said(pyramid.tile)}",
        "resolution-number": f"Resolution-number:{len(sizes)}",
        "resolutions": f"Resolutions:{','.join(map(_said, sizes))}",
        "bits-per-channel": "Bits-per-channel:8",
        "min-max-sample-values": "Min-Max-sample-values:0 255 0 255 0 255",
        "colorspace": f"Colorspace,0-{last},0:0 0 3 3 0 1 2",
        "horizontal-views": "Horizontal-views:0",
        "vertical-views": "Vertical-views:90",
    }


def _said(size: Size) -> str:
    return f"{size.width} {size.height}"
