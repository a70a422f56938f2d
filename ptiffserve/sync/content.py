"""Whether two files hold the same: a name for a file's content, and the comparison byte by byte. Knows no slides.

The name is made of the file's size, its beginning, its end and pieces spread evenly between, at most 192 KB: naming a slide
of gigabytes takes as long as opening it. In a file of 192 KB or less every byte counts. Slides that a scanner wrote differ at
the beginning (dates, identifiers) and in their tables of tiles; of two large files that differ only in bytes between the
pieces the name is the same. So a name alone is believed only where the other file is gone (a move); where both are there,
they are compared whole.
"""

from hashlib import blake2b
from itertools import count

from ptiffserve.sources.base import Source

ENDS = 64 << 10
PIECE = 4 << 10
PIECES = 16
_AT_ONCE = 1 << 20


def name_of(source: Source) -> str:
    """32 hex digits. OSError where it cannot be read."""
    size = source.fingerprint().size
    taken = blake2b(size.to_bytes(8, "little"), digest_size=16)
    for offset, length in _spans(size):
        taken.update(source.read(offset, length))
    return taken.hexdigest()


def _spans(size: int) -> list[tuple[int, int]]:
    """(offset, length): the whole of a small file in one."""
    if size <= 2 * ENDS + PIECES * PIECE:
        return [(0, size)]
    between = size - 2 * ENDS - PIECE
    pieces = [(ENDS + between * index // (PIECES - 1), PIECE) for index in range(PIECES)]
    return [(0, ENDS), *pieces, (size - ENDS, ENDS)]


def same(one: Source, other: Source) -> bool:
    """Byte by byte; one file under two names is not read. OSError where one cannot be read."""
    a, b = one.fingerprint(), other.fingerprint()
    if (a.device, a.inode) == (b.device, b.inode):
        return True
    if a.size != b.size:
        return False
    for offset in count(0, _AT_ONCE):
        data = one.read(offset, _AT_ONCE)
        if data != other.read(offset, _AT_ONCE):
            return False
        if len(data) < _AT_ONCE:
            return True
    raise AssertionError
