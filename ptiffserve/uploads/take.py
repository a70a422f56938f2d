"""From an upload that is whole to a slide, and from a file that is here already to an upload."""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.lookup import INTERVAL
from ptiffserve.errors import Conflict, Malformed, NotFound, PtiffserveError, SlideChanged, SlideUnreadable
from ptiffserve.readers import open_slide
from ptiffserve.slide import Slide
from ptiffserve.sources.base import Source
from ptiffserve.sources.place import source_of
from ptiffserve.sync.content import name_of, same
from ptiffserve.sync.index import index
from ptiffserve.uploads.base import Place, Upload, fresh
from ptiffserve.uploads.names import path_for

AT_ONCE = 4 << 20
# Where a name meant another slide before, the new one is acknowledged when every server has noticed. In seconds.
NOTICED = 2 * INTERVAL


class Taken(NamedTuple):
    """`added`: it was not in the store before."""

    slide: Slide
    added: bool


def finish(place: Place, upload: Upload, catalogue: Catalogue) -> Taken:
    """The slide that an upload is. It is opened before anybody sees it; one that the store has already is that slide.

    SlideUnreadable, Conflict (another file has its name), NotFound (its path leads out of the store): the upload is dropped.
    DiskFull, Unavailable: it is kept. Conflict, too, where another request is at it just now.
    """
    if slide := _done(place, upload, catalogue):
        return Taken(slide, False)
    with place.writer(upload):  # of a connection that broke, the end may still be at work
        if slide := _done(place, upload, catalogue):
            return Taken(slide, False)
        try:
            return _taken(place, upload, catalogue)
        except (SlideUnreadable, Conflict, NotFound):
            place.drop(upload.id)
            raise


def _done(place: Place, upload: Upload, catalogue: Catalogue) -> Slide | None:
    slide = place.load(upload.id).slide
    return catalogue.get(slide) if slide else None


def _taken(place: Place, upload: Upload, catalogue: Catalogue) -> Taken:
    staged = place.staged(upload)
    open_slide(staged, upload.path, place.store.icc)
    digest = place.digest(upload)
    with place.alone():
        held = _held(place, staged, catalogue)
        meant = catalogue.get(f"{place.store.label}/{upload.path}")
        slide = held or _recorded(place, upload, place.reveal(upload, digest), meant)
        if held is None:
            catalogue.put([slide])
        place.settle(upload, slide.id)
    if held is None and meant is not None:
        time.sleep(NOTICED)
    return Taken(slide, held is None)


def _held(place: Place, staged: Source, catalogue: Catalogue) -> Slide | None:
    """The store's slide with the very bytes of `staged`, if it has one."""
    digest = name_of(staged)
    for mark in list(catalogue.marks(place.store.label)):
        slide = catalogue.get(mark.id) if mark.digest == digest and mark.state == "ready" else None
        if slide is not None and _same(place, slide, staged):
            return slide
    return None


def _same(place: Place, slide: Slide, staged: Source) -> bool:
    try:
        return same(staged, source_of(place.store, slide.path, slide.key))
    except (OSError, PtiffserveError):
        return False  # it cannot be read now: then it is not what was uploaded


def _recorded(place: Place, upload: Upload, source: Source, meant: Slide | None) -> Slide:
    """The record as a sync would write it. A new one has the upload's id.

    `meant`: the slide that the upload's path named so far: its record before, unless that was only another name of it.
    """
    before = meant if meant is not None and meant.path == upload.path else None
    slide = index(place.store, upload.path, source.fingerprint(), before)
    if slide is None or slide.pyramid is None:
        raise SlideChanged(upload.path, "the file was changed as soon as it was there")
    if before is None:
        slide = msgspec.structs.replace(slide, id=upload.id)
    return slide


def ingest(
    place: Place,
    source: Source,
    name: str,
    catalogue: Catalogue,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Taken:
    """A file that is here already, copied into a store under `name`. As `finish`; nothing is left of it where it fails."""
    size = source.fingerprint().size
    if not size:
        raise Malformed("the file is empty")
    upload = fresh(path_for(place.store, name), size)
    place.begin(upload)
    try:
        with place.writer(upload) as writer:
            for offset in range(0, size, AT_ONCE):
                writer.write(source.read(offset, min(AT_ONCE, size - offset)))
                progress(min(offset + AT_ONCE, size), size)
        upload = place.load(upload.id)
        if not upload.complete:
            raise Conflict("the file became shorter while it was copied")
        return finish(place, upload, catalogue)
    except OSError as error:
        place.drop(upload.id)
        raise SlideUnreadable(name, "it cannot be read") from error
    except PtiffserveError:
        place.drop(upload.id)
        raise
