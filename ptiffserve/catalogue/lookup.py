"""Slides by name without asking the catalogue each time: what was found, or not found, holds for one generation."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from time import monotonic

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.slide import Slide

# How stale an answer may be; a change elsewhere is seen after this long.
INTERVAL = 0.25
MAX_NAMES = 65536


class Lookup:
    """For one event loop. `stores`: labels of the stores that are served; others' slides are not found. `paths`: where
    clients see a store's folder on a disk of theirs, and the store's label."""

    def __init__(self, catalogue: Catalogue, stores: Collection[str], paths: Mapping[str, str] | None = None) -> None:
        self._catalogue = catalogue
        self._stores = frozenset(stores)
        self.paths = dict(paths or {})
        self._names: OrderedDict[str, Slide | None] = OrderedDict()
        self.generation = -1
        self._look_again = 0.0

    def get(self, name: str) -> Slide | None:
        """By id, by key, or by the path of the file where clients see it."""
        now = monotonic()
        if now >= self._look_again:
            self._look_again = now + INTERVAL
            self.notice()
        if name in self._names:
            return self._names[name]
        slide = self._catalogue.get(self._key(name))
        if slide is not None and slide.store not in self._stores:
            slide = None
        self._names[name] = slide
        if len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)
        return slide

    def _key(self, name: str) -> str:
        for path, label in self.paths.items():
            if name.startswith(f"{path}/"):
                return label + name[len(path) :]
        return name

    def forget(self) -> None:
        """The next look-up asks the catalogue."""
        self._names.clear()

    def notice(self) -> None:
        """Asks the catalogue for its generation; another one empties the table."""
        generation = self._catalogue.generation()
        if generation != self.generation:
            self.generation = generation
            self._names.clear()
