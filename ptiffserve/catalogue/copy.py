"""From one catalogue into another: stores, then the records of their slides. Repeating it changes nothing more."""

from collections.abc import Callable
from itertools import islice

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import StoreRecord

BATCH = 500


def copy(source: Catalogue, target: Catalogue, progress: Callable[[str, int], None]) -> tuple[int, int]:
    """How many stores and slides. A store of the same label in `target` becomes that of `source` and keeps its own id; records
    of `target` that `source` has not are left. `progress(label, slides)` is told after each batch."""
    there = {store.label: store for store in target.stores()}
    stores, slides = source.stores(), 0
    for store in stores:
        _put_store(store, there.get(store.label), target)
        records = iter(source.each(store.label))
        number = 0
        while batch := list(islice(records, BATCH)):
            target.put(batch)
            number += len(batch)
            progress(store.label, number)
        slides += number
    return len(stores), slides


def _put_store(store: StoreRecord, there: StoreRecord | None, target: Catalogue) -> None:
    fresh = msgspec.structs.replace(store, id=there.id) if there else store
    if fresh != there:
        target.put_store(fresh)
