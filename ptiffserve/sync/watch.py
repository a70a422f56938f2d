"""Looking at the stores again and again, in one process of those that share a catalogue."""

import fcntl
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import here
from ptiffserve.config import Store, StoreRecord
from ptiffserve.errors import Unavailable
from ptiffserve.slide import Fingerprint, Slide
from ptiffserve.sync.apply import apply, index
from ptiffserve.sync.scan import RootMissing, look, scan

log = logging.getLogger("ptiffserve.sync")

# A file is taken once its size and mtime held still for this long, between two looks or by its own mtime.
SETTLE_SECONDS = 1.0
# How often new stores and those that are due are looked for.
NEWS = 0.25
# A look may take this share of the time at most: large trees are looked at less often.
LOAD = 0.05


class Watch:
    """A thread that keeps stores and catalogue in step until `stop`. Of many processes, the one with the lock works.

    `stores` may change meanwhile.
    """

    def __init__(self, stores: Mapping[str, StoreRecord], catalogue: Catalogue, lock: Path) -> None:
        self._stores = stores
        self._catalogue = catalogue
        self._lock = lock
        self._stopped = Event()
        self._seen: dict[tuple[str, str], tuple[Fingerprint, float]] = {}
        self._said: dict[str, object] = {}
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(descriptor):
                if self._stopped.wait(1.0):
                    return
            self._work()
        finally:
            os.close(descriptor)

    def _work(self) -> None:
        due: dict[str, float] = {}
        while not self._stopped.wait(NEWS if due else 0.0):
            for store in list(self._stores.values()):
                if due.get(store.label, 0.0) <= time.monotonic() and not self._stopped.is_set():
                    due[store.label] = self._look(store)

    def _look(self, store: StoreRecord) -> float:
        """One sync; gives the time of the next. A fault of ours ends neither the thread nor the other stores."""
        started = time.monotonic()
        try:
            if here(store):
                self.sync(store)
            else:
                self._say(store, f"its folder is on {store.host_name}: it is not looked at here")
        except RootMissing as error:
            self._say(store, f"its folder cannot be listed: {error}")
        except Unavailable as error:
            self._say(store, str(error))
        except Exception:
            log.exception("store %s could not be synced", store.label)
        return time.monotonic() + max(store.poll, (time.monotonic() - started) / LOAD)

    def sync(self, store: Store) -> None:
        found = scan(store)
        now = time.time()
        growing = {path for path, print_ in found.files.items() if self._growing(store.label, path, print_, now)}
        result = apply(store, found, self._catalogue, growing.__contains__)
        self._say(store, tuple(result.failed))

    def _growing(self, label: str, path: str, fingerprint: Fingerprint, now: float) -> bool:
        """Whether a file may still be written: its mtime is fresh and it has not held still since an earlier look."""
        if not _fresh(fingerprint, now):
            self._seen.pop((label, path), None)
            return False
        before, since = self._seen.get((label, path), (None, now))
        if before != fingerprint:
            self._seen[label, path] = (fingerprint, now)
            return True
        return now - since < SETTLE_SECONDS

    def _say(self, store: Store, news: object) -> None:
        """Logs what is wrong with a store when that changes, not at every look."""
        if news and self._said.get(store.label) != news:
            log.warning("store %s: %s", store.label, news)
        self._said[store.label] = news


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def refresh(stores: Mapping[str, Store], catalogue: Catalogue, slide: Slide) -> Slide | None:
    """Looks again at one slide whose file is not the recorded one. Its new record; None where the file is gone, or was
    written over so lately that old and new may still be mixed in it. Another file under its name has nothing old in it."""
    store = stores.get(slide.store)
    if store is None:
        return None
    fingerprint = look(Path(store.root), slide.path)
    if fingerprint is None:
        return None
    if fingerprint == slide.fingerprint:
        return slide
    if fingerprint.inode == slide.fingerprint.inode and _fresh(fingerprint, time.time()):
        return None
    fresh = index(store, slide.path, fingerprint, slide)
    if fresh is None or (fresh.state == "unreadable" and _fresh(fingerprint, time.time())):
        return None  # not all of it may be there yet
    catalogue.put([fresh])
    return fresh


def _fresh(fingerprint: Fingerprint, now: float) -> bool:
    return now - fingerprint.mtime_ns / 1e9 < SETTLE_SECONDS
