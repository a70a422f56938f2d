"""`/apiv1/slides/{file}/{x}/{y}/{z}` and `/{label,macro}/`: SlideAtlas's stand-alone server, which knew slides by file name.

z = 0 is full resolution and each step halves it, the other way round than in quad names; y counts from the top.
"""

from collections.abc import Sequence

from ptiffserve.address import Asked, Document
from ptiffserve.errors import Malformed, NotFound
from ptiffserve.protocols.base import Candidate, Offer, join, no_links, nothing_to_describe, number, parent
from ptiffserve.protocols.slideatlas import beside, stored_tile
from ptiffserve.slide import Slide

_BESIDE = ("label", "macro")
# No side of a slide has more bits.
_MAX_Z = 31

home = parent
links = no_links


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    path = list(segments[2:])
    if len(path) > 1 and not path[-1]:
        path.pop()
    found = []
    if len(path) >= 2 and path[-1] in _BESIDE:
        found.append(Candidate(join(path[:-1]), (path[-1],), loose=True))
    if len(path) >= 4:
        found.append(Candidate(join(path[:-3]), tuple(path[-3:]), loose=True))
    return found


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    if asked[0] in _BESIDE:
        return beside(slide, asked[0])
    try:
        x, y, z = (number(word) for word in asked)
    except Malformed:
        raise NotFound("no such tile") from None
    if z > _MAX_Z:
        raise NotFound(f"no level {z}")
    return stored_tile(slide, 1 << z, (x, y), "jpg")


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    raise nothing_to_describe(document)
