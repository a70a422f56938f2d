"""The catalogue seam: what every backend can do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ptiffserve.config import StoreRecord
from ptiffserve.slide import Mark, Slide, State


class Page(NamedTuple):
    """Slides in the order of their keys, and the cursor of the next page ("" at the end)."""

    slides: list[Slide]
    next: str


class Query(NamedTuple):
    """`text` is looked for in paths; "" and 0 mean no condition. `after` is a cursor."""

    stores: Sequence[str] = ()
    text: str = ""
    state: str = ""
    barcode: str = ""
    after: str = ""
    limit: int = 100


class Catalogue(Protocol):
    """Safe to use from many threads and processes at once. Unavailable from any of these where its server does not answer."""

    def get(self, name: str) -> Slide | None:
        """By 24-hex id or by key; a key with another of the slide's names (`Slide.also`) is as good."""

    def put(self, slides: Iterable[Slide]) -> None:
        """Adds or replaces records by id, all or none; durable when it returns."""

    def forget(self, ids: Iterable[str]) -> None:
        """Removes records, all or none."""

    def each(self, store: str) -> Iterable[Slide]:
        """Every record of a store, as it was when the first was asked for; not all of them in memory at once."""

    def marks(self, store: str) -> Iterable[Mark]:
        """What a sync compares of every record of a store, in any order; 100,000 of them in a fraction of a second."""

    def page(self, query: Query) -> Page: ...

    def counts(self, store: str) -> Mapping[State, int]:
        """How many records of a store are in each state."""

    def stores(self) -> list[StoreRecord]:
        """In the order of their labels."""

    def put_store(self, store: StoreRecord) -> None:
        """Adds or replaces a store by id; durable when it returns. Conflict where another has its label."""

    def synced(self, store: str, at: float) -> None:
        """Notes when the store of that id was synced, in Unix seconds, and nothing else of it: others write that."""

    def forget_store(self, label: str) -> None:
        """Removes a store and the records of its slides."""

    def deliver(self, store: StoreRecord) -> int:
        """SlideAtlas's delivery of a store's new views into inboxes; how many. 0 where the catalogue has no views."""

    def generation(self) -> int:
        """Another number whenever any process has changed the catalogue. Cheap enough to ask four times a second."""

    def close(self) -> None: ...
