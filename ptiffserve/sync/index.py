"""The record of one file, out of its header. One bad file is one bad record: the reason stands in it."""

import secrets
import time

import msgspec

from ptiffserve.config import Store
from ptiffserve.errors import NotFound, SlideChanged, SlideError
from ptiffserve.readers import READING, open_slide
from ptiffserve.slide import Fingerprint, Slide
from ptiffserve.sources.place import source_of
from ptiffserve.sources.tiles import TileDocuments
from ptiffserve.sync.content import name_of

# Formats whose slide is in a folder beside the file: equal files are not equal slides.
BESIDE = (".mrxs", ".vms", ".vmu", ".dcm")


class Opened:
    """A file that is the one which was found, pinned, and the name of its content: "" where that says too little."""

    def __init__(self, store: Store, path: str, fingerprint: Fingerprint) -> None:
        """SlideChanged where it is another by now; NotFound, OSError, SlideUnreadable where it cannot be read."""
        self.source = source_of(store, path, f"{store.label}/{path}")
        if self.source.fingerprint() != fingerprint:
            raise SlideChanged(f"{store.label}/{path}", "the file changed after it was looked at")
        nameless = path.lower().endswith(BESIDE) or isinstance(self.source, TileDocuments)
        self.digest = "" if nameless else name_of(self.source)


def index(store: Store, path: str, fingerprint: Fingerprint, before: Slide | None) -> Slide | None:
    """The record of a file; None where it is not the file of `fingerprint` any more: look again.

    A record there was before keeps its id.
    """
    try:
        return read(store, Opened(store, path, fingerprint), blank(store, path, fingerprint, before), before)
    except SlideChanged:
        return None
    except (NotFound, OSError, SlideError) as error:
        return unread(store, path, fingerprint, before, error)


def blank(store: Store, path: str, fingerprint: Fingerprint, before: Slide | None) -> Slide:
    """A record of which all but the slide itself is known."""
    now = time.time()
    return Slide(
        id=before.id if before else secrets.token_hex(12),
        store=store.label,
        path=path,
        fingerprint=fingerprint,
        state="unreadable",
        added=before.added if before else now,
        changed=now,
        icc=store.icc,
        reading=READING,
    )


def unread(store: Store, path: str, fingerprint: Fingerprint, before: Slide | None, error: Exception) -> Slide:
    """The record of a file that could not even be opened. Under an old `reading`: that may pass while the file stays the same,
    so it is tried again."""
    reason = error.reason if isinstance(error, SlideError) else str(error)
    return _dated(msgspec.structs.replace(blank(store, path, fingerprint, before), reason=reason, reading=0), before)


def read(store: Store, opened: Opened, slide: Slide, before: Slide | None) -> Slide:
    """The record with what the file says. SlideChanged where it is another by now."""
    slide = msgspec.structs.replace(slide, digest=opened.digest)
    if before is not None and alike(slide, before):
        slide = msgspec.structs.replace(slide, also=before.also)
    try:
        reader = open_slide(opened.source, slide.key, slide.icc)
        cut = sum(truncated for _, _, truncated in reader.tables())
    except SlideChanged:
        raise
    except (NotFound, OSError, SlideError) as error:
        reason = error.reason if isinstance(error, SlideError) else str(error)
        return _dated(msgspec.structs.replace(slide, reason=reason), before)
    faults = (reader.fault, f"{cut} of its tiles reach past the end of the file" if cut else "")
    return _dated(
        msgspec.structs.replace(
            slide,
            state="ready",
            reason="; ".join(filter(None, faults)),
            format=reader.format,
            pyramid=reader.pyramid,
            barcode=reader.barcode,
            associated=reader.associated(),
        ),
        before,
    )


def alike(slide: Slide, other: Slide) -> bool:
    """Whether two records are of the same content, for all we know."""
    if slide.digest and other.digest:
        return slide.digest == other.digest
    return slide.fingerprint == other.fingerprint


def _dated(slide: Slide, before: Slide | None) -> Slide:
    """What was only touched, or is read again, has not changed."""
    if before is None or not alike(slide, before) or (slide.state, slide.icc) != (before.state, before.icc):
        return slide
    return msgspec.structs.replace(slide, changed=before.changed)
