"""The stores that this process serves: those of its configuration, and those that were made through the API."""

import platform
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import Store, StoreRecord, url_paths
from ptiffserve.errors import Conflict, NotFound, Unavailable


class Served(Mapping[str, StoreRecord]):
    """By label. A table that `renew` replaces: safe to read from any thread.

    A store that stands in another server's configuration only is not served here. Where the catalogue cannot be asked, the
    configured stores are there all the same, with "" for an id.
    """

    def __init__(self, catalogue: Catalogue, configured: Sequence[Store], writes: bool) -> None:
        """`writes`: the configured stores may be written into the catalogue."""
        self._catalogue = catalogue
        self._configured = {store.label: store for store in configured}
        self._pending = writes
        self._table = {store.label: as_configured(store, None) for store in configured}

    def __getitem__(self, label: str) -> StoreRecord:
        return self._table[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def named(self, name: str) -> StoreRecord:
        """By label or id. NotFound."""
        return named(self._table.values(), name)

    def label(self, name: str) -> str | None:
        """By label or id; None where there is no such store."""
        try:
            return self.named(name).label
        except NotFound:
            return None

    def root(self, label: str) -> str:
        """NotFound where the store was removed meanwhile."""
        return self.named(label).root

    def start(self) -> None:
        """Reads the stores if the catalogue answers; if not, a later `renew` does."""
        try:
            self.renew()
        except Unavailable:
            return

    def renew(self) -> Mapping[str, str]:
        """Reads the catalogue again. Gives the paths at which clients see stores, and the stores' labels. Unavailable."""
        if self._pending:
            self._adopt()
            self._pending = False
        known = {record.label: record for record in self._catalogue.stores()}
        ours = {label: as_configured(store, known.get(label)) for label, store in self._configured.items()}
        made = {label: record for label, record in known.items() if not record.configured and label not in ours}
        self._table = ours | made
        return url_paths(self._table.values())

    def _adopt(self) -> None:
        """Writes what the configuration says of each store; a store there was keeps its id and what became of it. Conflict
        where something that is no store has its label."""
        for store in self._configured.values():
            try:
                self._write(store)
            except Conflict:
                self._write(store)  # another process was first

    def _write(self, store: Store) -> None:
        known = next((record for record in self._catalogue.stores() if record.label == store.label), None)
        record = as_configured(store, known, secrets.token_hex(12))
        if record != known:
            self._catalogue.put_store(record)


def named(stores: Iterable[StoreRecord], name: str) -> StoreRecord:
    """By label, else by id. NotFound."""
    known = list(stores)
    for store in (*(each for each in known if each.label == name), *(each for each in known if each.id == name)):
        if name:
            return store
    raise NotFound(f"no such store: {name[:100]}")


def as_configured(store: Store, known: StoreRecord | None, fresh: str = "") -> StoreRecord:
    """The record of a store that stands in the configuration; one there was keeps its id, which is `fresh` otherwise."""
    said = {name: getattr(store, name) for name in Store.__struct_fields__}
    if known is None:
        return StoreRecord(**said, id=fresh, configured=True)
    return msgspec.structs.replace(known, **said, configured=True)


def here(store: StoreRecord) -> bool:
    """Whether its folder is this machine's, or any's."""
    return store.host_name in ("", platform.node())
