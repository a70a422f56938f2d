"""Writing what a scan found into the catalogue: each new or changed file is opened once, and fails alone."""

import secrets
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import Store
from ptiffserve.errors import NotFound, SlideChanged, SlideError
from ptiffserve.readers import open_slide
from ptiffserve.slide import Fingerprint, Slide
from ptiffserve.sources.file import FileSource, inside
from ptiffserve.sync.diff import Diff, diff
from ptiffserve.sync.scan import Found
from ptiffserve.sync.series import members

# Records written in one transaction: one fsync for all of them, and seen together.
BATCH = 64


class Result(NamedTuple):
    """Counts of one sync. `failed`: (path, reason)."""

    added: int
    changed: int
    moved: int
    missing: int
    failed: list[tuple[str, str]]


def apply(store: Store, found: Found, catalogue: Catalogue, wait: Callable[[str], bool] = lambda path: False) -> Result:
    """Brings the catalogue in step. `wait(path)` says of a new or changed file that it is still growing."""
    found = _without_parts(store, found)
    changes = diff(found.files, catalogue.each(store.label), store.icc)
    if changes.gone and not found.files:
        return Result(0, 0, 0, 0, [*found.failed, (".", "the store is empty: nothing is marked missing")])
    failed = list(found.failed)
    written = 0
    records = _records(store, found, changes, wait)
    while batch := list(islice(records, BATCH)):
        catalogue.put(batch)
        written += len(batch)
        failed.extend((slide.path, slide.reason) for slide in batch if slide.state == "unreadable")
    return Result(len(changes.added), len(changes.changed), len(changes.moved), len(changes.gone), failed)


def _without_parts(store: Store, found: Found) -> Found:
    """A slide in many files is one slide: the others are passed over."""
    parts = members(store.root, found.files)
    reasons = [(path, f"part of the DICOM series of {chief}") for path, chief in parts.items()]
    return Found({path: at for path, at in found.files.items() if path not in parts}, found.failed + reasons)


def _records(store: Store, found: Found, changes: Diff, wait: Callable[[str], bool]) -> Iterator[Slide]:
    for slide, path in changes.moved:
        yield msgspec.structs.replace(slide, path=path, state=_state_again(slide), changed=time.time())
    for slide in changes.gone:
        yield msgspec.structs.replace(slide, state="missing", changed=time.time())
    for slide in changes.back:
        yield msgspec.structs.replace(slide, state=_state_again(slide), changed=time.time())
    for path, before in [
        *((slide.path, slide) for slide in changes.changed),
        *((path, None) for path in changes.added),
    ]:
        fresh = None if wait(path) else index(store, path, found.files[path], before)
        if fresh is not None:
            yield fresh


def _state_again(slide: Slide) -> str:
    return "ready" if slide.pyramid is not None else "unreadable"


def index(store: Store, path: str, fingerprint: Fingerprint, before: Slide | None) -> Slide | None:
    """The record of a file, from its header; None where it is not the file of `fingerprint` any more: look again.

    A record there was before keeps its id.
    """
    now = time.time()
    slide = Slide(
        id=before.id if before else secrets.token_hex(12),
        store=store.label,
        path=path,
        fingerprint=fingerprint,
        state="unreadable",
        added=before.added if before else now,
        changed=now,
        icc=store.icc,
    )
    try:
        return _read(store, slide)
    except SlideChanged:
        return None
    except SlideError as error:
        return msgspec.structs.replace(slide, reason=error.reason)
    except (NotFound, OSError) as error:
        return msgspec.structs.replace(slide, reason=str(error))


def _read(store: Store, slide: Slide) -> Slide:
    source = FileSource(inside(Path(store.root), slide.path), slide.key)
    if source.fingerprint() != slide.fingerprint:
        raise SlideChanged(slide.key, "the file changed after it was looked at")
    reader = open_slide(source, slide.key, slide.icc)
    return msgspec.structs.replace(
        slide,
        state="ready",
        reason=reader.fault,
        format=reader.format,
        pyramid=reader.pyramid,
        barcode=reader.barcode,
        associated=reader.associated(),
    )
