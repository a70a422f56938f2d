"""The one tree of errors. An error knows its code and what it concerns; it knows no HTTP status (wire.py has that table)."""


class PtiffserveError(Exception):
    """Base of everything ptiffserve raises on purpose. `code` is the word a client sees; the message is safe to show."""

    code = "error"


class ConfigError(PtiffserveError):
    """A key of the configuration is unknown or its value is bad; the message names the key."""

    code = "config"


class Malformed(PtiffserveError):
    """The request cannot mean anything: bad syntax, bad escapes, a region outside the slide, a zero size."""

    code = "malformed"


class TooLong(Malformed):
    """The URL is longer than any request of ours can be."""

    code = "too_long"


class TooCostly(Malformed):
    """The request is well formed, but asks for more pixels or more tiles than one answer may take."""

    code = "too_costly"


class UnsupportedFormat(Malformed):
    """No encoder here makes that format."""

    code = "unsupported_format"


class NotFound(PtiffserveError):
    """There is no such slide, tile, level or document. Never used for something that failed."""

    code = "not_found"


class Conflict(PtiffserveError):
    """What is there already stands against it."""

    code = "conflict"


class WrongKind(PtiffserveError):
    """The store is of a kind that cannot do this."""

    code = "wrong_kind"


class NotOffered(PtiffserveError):
    """The method is known to the protocol, and nothing here does it."""

    code = "not_offered"


class TooLarge(PtiffserveError):
    """The body is larger than this server takes."""

    code = "too_large"


class ChecksumMismatch(PtiffserveError):
    """The bytes that arrived are not those that were sent."""

    code = "checksum_mismatch"


class DiskFull(PtiffserveError):
    """There is no room for what was sent."""

    code = "disk_full"


class Unavailable(PtiffserveError):
    """A back end that this answer needs is away; worth another try."""

    code = "unavailable"


class Unauthorized(PtiffserveError):
    """The request does not say who asks, or not believably."""

    code = "unauthorized"


class Forbidden(PtiffserveError):
    """The thing may exist, but this request may not see it."""

    code = "forbidden"


class SlideError(PtiffserveError):
    """The fault is the slide's. `slide` is its key, or its path where it has no key yet."""

    code = "slide"

    def __init__(self, slide: str, reason: str) -> None:
        super().__init__(f"{slide}: {reason}")
        self.slide = slide
        self.reason = reason


class SlideUnreadable(SlideError):
    """The file cannot be opened as a slide: not a format we read, or damaged where it must be whole."""

    code = "slide_unreadable"


class SlideChanged(SlideError):
    """The file is no longer the one that was recorded: replaced, truncated or rewritten."""

    code = "slide_changed"


class TileTruncated(SlideError):
    """The tile's bytes reach past the end of the file."""

    code = "tile_truncated"


class TileCorrupt(SlideError):
    """The tile's bytes are there, but are not the image that the level promises."""

    code = "tile_corrupt"


class Overloaded(PtiffserveError):
    """Everything that could do this is busy; worth another try."""

    code = "overloaded"
