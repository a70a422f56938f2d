"""Slide formats, in the order in which a file is offered to them: the particular first, the general last."""

from ptiffserve._ptiff import TiffError, walk
from ptiffserve.errors import SlideUnreadable
from ptiffserve.readers import isyntax, openslide, philips, pyramids, tiled
from ptiffserve.readers.base import Format, Probe, Reader
from ptiffserve.readers.colour import Converted, profile_of
from ptiffserve.slide import Icc
from ptiffserve.sources.base import Source
from ptiffserve.sources.tiles import TileDocuments

# What readers say of a slide: raised when they say more or something else, so that records are read again.
READING = 2

FORMATS: tuple[Format, ...] = (
    Format("philips", philips.detect, philips.open),
    Format("isyntax", isyntax.detect, isyntax.open),
    Format("tiled", tiled.detect, tiled.open),
    Format("openslide", openslide.detect, openslide.open),
)


def probe(source: Source, name: str, icc: Icc = "embed") -> Probe:
    """Parses the file's TIFF directories, if it has any. SlideUnreadable where it cannot be read at all."""
    try:
        directories, fault = walk(source.read, source.fingerprint().size)
    except TiffError as error:
        return Probe(source, name, [], str(error), icc)
    except OSError as error:
        raise SlideUnreadable(name, f"cannot be read: {error}") from error
    return Probe(source, name, directories, fault, icc, profile_of(directories[0]) if directories else b"")


def open_slide(source: Source, name: str, icc: Icc = "embed") -> Reader:
    """The reader for a source; `name` is what errors call it. SlideUnreadable, with every format's reason, where none fits.

    `icc`: what is done with the slide's colour profile.
    """
    if isinstance(source, TileDocuments):
        return pyramids.open(source, name)
    probed = probe(source, name, icc)
    reasons = [probed.fault] if probed.fault else []
    for form in FORMATS:
        reason = _detected(form, probed)
        if not reason:
            return _coloured(_opened(form, probed), icc)
        if reason not in reasons:
            reasons.append(f"{form.name}: {reason}")
    raise SlideUnreadable(name, "; ".join(reasons))


def _detected(form: Format, probed: Probe) -> str:
    try:
        return form.detect(probed)
    except (TiffError, OSError) as error:
        return str(error)


def _opened(form: Format, probed: Probe) -> Reader:
    try:
        return form.open(probed)
    except (TiffError, OSError, OverflowError, ValueError) as error:
        raise SlideUnreadable(probed.name, f"{form.name}: {error}") from error


def _coloured(reader: Reader, icc: Icc) -> Reader:
    # Each level keeps a prefix for its tiles.
    reader.nbytes += len(reader.profile) * (1 + len(reader.pyramid.levels))
    if icc == "srgb" and reader.profile:
        return Converted(reader)
    if icc == "none":
        reader.profile = b""
    return reader
