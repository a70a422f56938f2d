"""Looking at the stores again and again, in one process of those that share a catalogue."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import Store, StoreRecord
from ptiffserve.errors import Unavailable
from ptiffserve.slide import Slide
from ptiffserve.sync.index import index
from ptiffserve.sync.lock import OneThread
from ptiffserve.sync.run import Busy, sync
from ptiffserve.sync.scan_gridfs import look_in
from ptiffserve.sync.settle import Settling, fresh
from ptiffserve.sync.stir import Folders

log = logging.getLogger("ptiffserve.sync")

# How often new stores and those that are due are looked for.
NEWS = 0.25
# A look may take this share of the time at most: large trees are looked at less often. The larger share is for those in whose
# folders something stirs.
LOAD = 0.05
HASTE = 0.25
# Faults that one line of the log tells.
SAID = 20


class _Stopped(Exception):
    """The server goes down in the middle of a sync: the next one completes it."""


class _Turn:
    """When a store is looked at again: at `due`, or at `soonest` if something stirs by then. Monotonic seconds."""

    def __init__(self, store: StoreRecord) -> None:
        self.store = store
        self.settling = Settling()
        self.due = self.soonest = 0.0
        self._folders = Folders(store.root)

    def begin(self) -> None:
        self._started = time.monotonic()
        self._folders.note()

    def end(self) -> None:
        now = time.monotonic()
        took = now - self._started
        self.due = now + max(self.store.poll, took / LOAD)
        self.soonest = now + max(self.store.poll, took / HASTE)

    def come(self) -> bool:
        now = time.monotonic()
        if now < self.soonest:
            return False
        if now >= self.due or self.settling.waiting or self._folders.stirred():
            return True
        self.soonest = now + self.store.poll
        return False


class Watch:
    """A thread that keeps stores and catalogue in step until `stop`. Of many processes, the one with the lock works.

    `stores` may change meanwhile.
    """

    def __init__(self, stores: Mapping[str, StoreRecord], catalogue: Catalogue, lock: Path) -> None:
        self._stores = stores
        self._turns: dict[str, _Turn] = {}
        self._catalogue = catalogue
        self._said: dict[str, list[str]] = {}
        self._thread = OneThread("watch", lock, self._work)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def _work(self, stopped: Event) -> None:
        while not stopped.wait(NEWS if self._turns else 0.0):
            for store in list(self._stores.values()):
                turn = self._turns.get(store.label)
                if turn is None or turn.store.root != store.root:
                    turn = self._turns[store.label] = _Turn(store)
                turn.store = store
                if not stopped.is_set() and turn.come():
                    turn.begin()
                    self._look(turn)
                    turn.end()

    def _look(self, turn: _Turn) -> None:
        """One sync. A fault of ours ends neither the thread nor the other stores."""
        try:
            result = sync(turn.store, self._catalogue, self._unless_stopped, growing=turn.settling)
            self._say(turn.store, [f"{failure.path}: {failure.reason}" for failure in result.failed])
        except (Busy, _Stopped):
            pass  # another does it, or will
        except Unavailable as error:
            self._say(turn.store, [str(error)])
        except Exception:
            log.exception("store %s could not be synced", turn.store.label)

    def _unless_stopped(self, done: int, total: int) -> None:
        if self._thread.stopped.is_set():
            raise _Stopped

    def _say(self, store: Store, news: list[str]) -> None:
        """Logs what is wrong with a store when that changes, not at every look."""
        if news and self._said.get(store.label) != news:
            log.warning("store %s: %s", store.label, "; ".join(news[:SAID]) + (" ..." if len(news) > SAID else ""))
        self._said[store.label] = news


def refresh(stores: Mapping[str, Store], catalogue: Catalogue, slide: Slide) -> Slide | None:
    """Looks again at one slide whose file is not the recorded one. Its new record; None where the file is gone, or was
    written over so lately that old and new may still be mixed in it. Another file under its name has nothing old in it."""
    store = stores.get(slide.store)
    if store is None:
        return None
    fingerprint = look_in(store, slide.path)
    if fingerprint is None:
        return None
    if fingerprint == slide.fingerprint:
        return slide
    if fingerprint.inode == slide.fingerprint.inode and fresh(fingerprint, time.time()):
        return None
    record = index(store, slide.path, fingerprint, slide)
    if record is None or (record.state == "unreadable" and fresh(fingerprint, time.time())):
        return None  # not all of it may be there yet
    catalogue.put([record])
    return record
