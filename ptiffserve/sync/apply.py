"""Writing what a scan found into the catalogue: each new or changed file is opened once, and fails alone."""

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import Store
from ptiffserve.errors import NotFound, SlideChanged, SlideError
from ptiffserve.readers import READING
from ptiffserve.slide import Alias, Fingerprint, Mark, Slide, State
from ptiffserve.sources.base import Source
from ptiffserve.sources.place import source_of
from ptiffserve.sync.content import same
from ptiffserve.sync.diff import Diff, Move, Rules, diff
from ptiffserve.sync.index import Opened, alike, blank, index, read, unread
from ptiffserve.sync.result import Failure, Result
from ptiffserve.sync.scan import Found
from ptiffserve.sync.series import members
from ptiffserve.sync.settle import Growing, at_once

# Records written in one transaction: one fsync for all of them, and seen together.
BATCH = 64


def quiet(done: int, total: int) -> None:
    """Progress of which nobody hears."""


def apply(
    store: Store,
    found: Found,
    catalogue: Catalogue,
    growing: Growing = at_once,
    progress: Callable[[int, int], None] = quiet,
    dry_run: bool = False,
) -> Result:
    """Brings the catalogue in step. `progress(done, total)` counts opened files; `dry_run` writes nothing."""
    parts = members(store.root, found.files)
    files = {path: at for path, at in found.files.items() if path not in parts} if parts else found.files
    rules = Rules(store.icc, READING, time.time() - store.remove_after)
    changes = diff(files, catalogue.marks(store.label), found.unseen, rules)
    if not files and (changes.lost or changes.expired):
        empty = Failure(".", "the store is empty: nothing is marked missing or removed")
        return Result(failed=[*found.failed, empty])
    work = _Work(store, files, changes, _Records(catalogue, dry_run))
    work.failed += found.failed
    work.renamed()
    waiting = growing({path: files[path] for path in (*changes.new, *(mark.path for mark in changes.suspect))})
    work.opened(waiting, progress)
    work.vanished()
    return work.result()


class _Records:
    """Records on their way into the catalogue, a batch at a time; in a dry run none gets there."""

    def __init__(self, catalogue: Catalogue, dry_run: bool) -> None:
        self._catalogue = catalogue
        self._dry_run = dry_run
        self._pending: dict[str, Slide] = {}

    def get(self, name: str) -> Slide | None:
        return self._pending.get(name) or self._catalogue.get(name)

    def put(self, slide: Slide) -> None:
        self._pending[slide.id] = slide
        if len(self._pending) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if self._pending and not self._dry_run:
            self._catalogue.put(self._pending.values())
            self._pending.clear()

    def forget(self, ids: list[str]) -> None:
        self.flush()
        if ids and not self._dry_run:
            self._catalogue.forget(ids)


class _Work:
    """One pass over a store's changes, and the counts of it."""

    def __init__(self, store: Store, files: Mapping[str, Fingerprint], changes: Diff, records: _Records) -> None:
        self._store = store
        self._files = files
        self._changes = changes
        self._records = records
        self._lost = {mark.digest: mark for mark in changes.lost if mark.digest}
        self._adopted: set[str] = set()
        self._contents = changes.contents
        self._added = self._changed = self._moved = 0
        self.failed = [Failure(mark.path, mark.reason) for mark in changes.faulty]

    def result(self) -> Result:
        missing = sum(mark.id not in self._adopted for mark in self._changes.gone)
        return Result(
            added=self._added,
            changed=self._changed,
            moved=self._moved,
            missing=missing,
            removed=len(self._changes.expired),
            failed=self.failed,
        )

    def renamed(self) -> None:
        """What needs no file: other names, and files that are back."""
        for move in self._changes.moved:
            self._move(move)
        for mark in self._changes.back:
            if slide := self._records.get(mark.id):
                self._put(msgspec.structs.replace(slide, state=_state_again(slide), changed=time.time()))
                self._added += 1
        for mark, also in self._changes.also:
            if slide := self._records.get(mark.id):
                self._records.put(msgspec.structs.replace(slide, also=also))

    def _move(self, move: Move) -> None:
        slide = self._records.get(move.mark.id)
        if slide is None:
            return
        slide = msgspec.structs.replace(slide, path=move.path, fingerprint=move.fingerprint, also=move.also)
        self._put(msgspec.structs.replace(slide, state=_state_again(slide), changed=time.time()))
        self._moved += 1
        if slide.digest:
            self._contents[slide.digest] = slide.id

    def _put(self, slide: Slide) -> None:
        self._records.put(slide)
        if slide.reason:
            self.failed.append(Failure(slide.path, slide.reason))

    def opened(self, waiting: Collection[str], progress: Callable[[int, int], None]) -> None:
        """What must be read, known files first: a new one may be what one of them was."""
        known = [*self._changes.again, *(mark for mark in self._changes.suspect if mark.path not in waiting)]
        new = deque(path for path in self._changes.new if path not in waiting)
        done, total = 0, len(known) + len(new)
        progress(0, total)
        for done, mark in enumerate(known, 1):
            new.extend(self._known(mark))
            progress(done, total)
        total = len(known) + len(new)
        while new:
            self._new(new.popleft())
            progress(done := done + 1, total)
        self._records.flush()

    def _known(self, mark: Mark) -> list[str]:
        """Reads a file that has a record; gives names that were of the same content and are not any more."""
        before = self._records.get(mark.id)
        fresh = before and index(self._store, mark.path, self._files[mark.path], before)
        if not before or not fresh:
            return []
        if before.state == "missing":
            self._added += 1
        elif not alike(fresh, before) or fresh.icc != before.icc:
            self._changed += 1
        self._remember(fresh, before)
        return [] if fresh.also == before.also else [alias.path for alias in before.also if alias.path in self._files]

    def _remember(self, fresh: Slide, before: Slide | None) -> None:
        if fresh != before:
            self._records.put(fresh)
        if fresh.reason:
            self.failed.append(Failure(fresh.path, fresh.reason))
        if fresh.digest and fresh.state == "ready":
            self._contents[fresh.digest] = fresh.id

    def _new(self, path: str) -> None:
        fingerprint = self._files[path]
        try:
            opened = Opened(self._store, path, fingerprint)
            before = self._adopt(opened.digest)
            if before is None and self._is_copy(path, opened):
                return
            fresh = read(self._store, opened, blank(self._store, path, fingerprint, before), before)
        except SlideChanged:
            return
        except (NotFound, OSError, SlideError) as error:
            before, fresh = None, unread(self._store, path, fingerprint, None, error)
        self._moved += before is not None
        self._added += before is None
        self._remember(fresh, before)

    def _adopt(self, digest: str) -> Slide | None:
        """The record whose file is gone and had this content: it was moved by copying. Its other names are gone too."""
        mark = self._lost.pop(digest, None) if digest else None
        before = self._records.get(mark.id) if mark else None
        if before is None:
            return None
        self._adopted.add(before.id)
        return msgspec.structs.replace(before, also=())

    def _is_copy(self, path: str, opened: Opened) -> bool:
        """Whether a slide of the store has the very same bytes: then the file is noted there, and has no record."""
        twin = self._records.get(self._contents.get(opened.digest, "")) if opened.digest else None
        if twin is None or twin.state != "ready" or not self._same(opened.source, twin):
            return False
        others = [alias for alias in twin.also if alias.path != path]
        also = (*others, Alias(path, opened.source.fingerprint()))
        self._records.put(msgspec.structs.replace(twin, also=also))
        return True

    def _same(self, source: Source, twin: Slide) -> bool:
        try:
            other = source_of(self._store, twin.path, twin.key)
            return other.fingerprint() == twin.fingerprint and same(source, other)
        except (NotFound, OSError, SlideError):
            return False

    def vanished(self) -> None:
        """Records whose file is gone, and was not found elsewhere; those for long are removed."""
        for mark in self._changes.gone:
            slide = self._records.get(mark.id) if mark.id not in self._adopted else None
            if slide:
                self._records.put(msgspec.structs.replace(slide, state="missing", also=(), changed=time.time()))
        self._records.forget([mark.id for mark in self._changes.expired])


def _state_again(slide: Slide) -> State:
    return "ready" if slide.pyramid is not None else "unreadable"
