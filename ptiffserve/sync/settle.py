"""Which files may still be written to: those whose size and mtime have not held still for SETTLE_SECONDS."""

import time
from collections.abc import Callable, Collection, Mapping

from ptiffserve.config import Store
from ptiffserve.slide import Fingerprint
from ptiffserve.sync.scan_gridfs import look_in

# A file is taken once its size and mtime held still for this long, between two looks or by its own mtime.
SETTLE_SECONDS = 1.0

# Of files that were found, the paths of those that may still grow.
Growing = Callable[[Mapping[str, Fingerprint]], Collection[str]]


def fresh(fingerprint: Fingerprint, now: float) -> bool:
    """Also where the mtime lies ahead: clocks differ."""
    return now - fingerprint.mtime_ns / 1e9 < SETTLE_SECONDS


def held_still(store: Store) -> Growing:
    """For one sync: waits, where there are fresh files, and looks at them again."""

    def growing(files: Mapping[str, Fingerprint]) -> Collection[str]:
        now = time.time()
        young = {path: fingerprint for path, fingerprint in files.items() if fresh(fingerprint, now)}
        if young:
            newest = max(fingerprint.mtime_ns for fingerprint in young.values()) / 1e9
            time.sleep(min(SETTLE_SECONDS, max(0.0, SETTLE_SECONDS - (now - newest))))
        return {path for path, fingerprint in young.items() if look_in(store, path) != fingerprint}

    return growing


def at_once(files: Mapping[str, Fingerprint]) -> Collection[str]:
    """Every file is taken as it is."""
    return ()


class Settling:
    """For one look after another at a store: remembers since when each fresh file has held still."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[Fingerprint, float]] = {}

    @property
    def waiting(self) -> bool:
        """Whether the last look left files for the next."""
        return bool(self._since)

    def __call__(self, files: Mapping[str, Fingerprint]) -> Collection[str]:
        now = time.time()
        before, self._since = self._since, {}
        for path, fingerprint in files.items():
            if fresh(fingerprint, now):
                last, since = before.get(path, (None, now))
                since = since if last == fingerprint else now
                if now - since < SETTLE_SECONDS:
                    self._since[path] = (fingerprint, since)
        return self._since.keys()
