"""The source seam: what every place that holds slides can do."""

from typing import Protocol

from ptiffserve._ptiff import File
from ptiffserve.slide import Fingerprint


class Source(Protocol):
    """The bytes of one slide, pinned: what is read belongs to `fingerprint()` or the reader is told that it changed.

    `file` is the pinned descriptor where there is one: the compiled path reads it directly. None for other places.
    """

    file: File | None

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes, fewer at the end. May wait. OSError where the read fails."""

    def read_now(self, offset: int, size: int) -> bytes | None:
        """As `read`, but None where it would have to wait."""

    def fingerprint(self) -> Fingerprint: ...

    def removed(self) -> bool:
        """Whether it keeps something of what was removed: it should be closed."""
