"""Slides by name without asking the catalogue each time: what was found, or not found, holds for one generation.

While the catalogue is away, what was known last goes on being served.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import monotonic
from typing import NamedTuple, TypeVar

from ptiffserve.catalogue.base import Catalogue, Query
from ptiffserve.errors import PtiffserveError, Unavailable
from ptiffserve.slide import Slide

log = logging.getLogger("ptiffserve.catalogue")

T = TypeVar("T")

# How stale an answer may be; a change elsewhere is seen after this long.
INTERVAL = 0.25
# Names are asked for anew after this long even where no change was told: a writer may have died before it told.
MAX_AGE = 60.0
# A catalogue that did not answer is asked again after this long; until then, nobody waits for it.
PAUSE = 0.5
PATIENCE = 0.85
MAX_NAMES = 65536


class NotAtHand(PtiffserveError):
    """The catalogue has to be asked."""


class FileName(NamedTuple):
    """A name that is that of the file alone."""

    text: str


Name = str | FileName


class Lookup:
    """`stores`: labels of the stores that are served; others' slides are not found. `paths`: where clients see a store's
    folder on a disk of theirs, and the store's label."""

    def __init__(self, catalogue: Catalogue, stores: Collection[str], paths: Mapping[str, str] | None = None) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self.paths: Mapping[str, str] = dict(paths or {})
        # Asked for the paths, after a change.
        self.renew: Callable[[], Mapping[str, str]] = lambda: self.paths
        # The label of a served store, by its label or its id.
        self.store: Callable[[str], str | None] = lambda name: name if name in stores else None
        self._lock = Lock()
        self._names: dict[Name, Slide | None] = {}
        self._old: dict[Name, Slide | None] = {}
        self.generation = -1
        self._epoch = 0
        self._emptied = monotonic()
        self._look_again = 0.0
        self._away_until = 0.0
        self._threads = ThreadPoolExecutor(4, "catalogue")

    def at_hand(self, name: Name) -> Slide | None:
        """By id, by key, or by the path of the file where clients see it; a FileName is the first by key of those that have
        it. For the event loop: NotAtHand where it would take asking. Somebody else has to call `notice` now and then."""
        try:
            return self._names[name]
        except KeyError:
            raise NotAtHand from None

    def get(self, name: Name) -> Slide | None:
        """The same, and asks. Unavailable where the catalogue is away and the name was not known before."""
        try:
            if monotonic() >= self._look_again:
                self.notice()
            return self._names[name] if name in self._names else self._asked(name)
        except Unavailable:
            return self.remembered(name)

    def remembered(self, name: Name) -> Slide | None:
        """What was known last, for when the catalogue is away; asks nobody. Unavailable where it was not known."""
        for names in (self._names, self._old):
            if name in names:
                return names[name]
        raise Unavailable("the catalogue does not answer")

    @property
    def away(self) -> bool:
        """Whether the catalogue did not answer a moment ago."""
        return monotonic() < self._away_until

    def _asked(self, name: Name) -> Slide | None:
        if self.away:
            raise Unavailable("the catalogue does not answer")
        epoch = self._epoch
        slide = self._trying(lambda: self._first(name.text) if isinstance(name, FileName) else self._known(name))
        if slide is not None and slide.store not in self._stores:
            slide = None
        with self._lock:
            if epoch == self._epoch:
                if len(self._names) >= MAX_NAMES:
                    del self._names[next(iter(self._names))]
                self._names[name] = slide
        return slide

    def _known(self, name: str) -> Slide | None:
        return self._catalogue.get(self._key(name))

    def _first(self, name: str) -> Slide | None:
        """Goes through the paths of the stores for one that ends so, of the slides that are ready."""
        # Text that is not UTF-8 is no file's.
        after, more = "", bool(name) and "/" not in name and name.encode("utf-8", "ignore").decode() == name
        while more:
            page = self._catalogue.page(Query(sorted(self._stores), text=name, state="ready", after=after))
            for slide in page.slides:
                if slide.path.rpartition("/")[2] == name:
                    return slide
            after, more = page.next, bool(page.next)
        return None

    def _key(self, name: str) -> str:
        for path, label in self.paths.items():
            if name.startswith(f"{path}/"):
                return label + name[len(path) :]
        return name

    def _trying(self, call: Callable[[], T]) -> T:
        try:
            answer = call()
        except Unavailable as fault:
            if not self._away_until:
                log.warning("%s: what was known last is served", fault)
            self._away_until = monotonic() + PAUSE
            raise
        self._away_until = 0.0
        return answer

    def forget(self) -> None:
        """The next look-up asks the catalogue."""
        with self._lock:
            self._epoch += 1
            self._old = self._names or self._old
            self._names = {}
            self._emptied = monotonic()

    def notice(self) -> None:
        """Asks the catalogue for its generation; another one empties the table. Unavailable."""
        self._look_again = monotonic() + INTERVAL
        generation = self._trying(self._catalogue.generation)
        if generation != self.generation:
            self.paths = self.renew()
            self.generation = generation
            self.forget()
        elif monotonic() - self._emptied > MAX_AGE:
            self.forget()

    async def soon(self, call: Callable[..., T], *arguments: object) -> T:
        """A call that asks, on a thread of the catalogue's. Unavailable where it takes a second."""
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        try:
            return await asyncio.wait_for(waiting, PATIENCE)
        except TimeoutError:
            raise Unavailable("the catalogue does not answer in time") from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
