"""Files on their way into a store: taken piece by piece, opened by the readers, and only then seen. Speaks no HTTP."""

import logging
from collections.abc import Iterable

from ptiffserve.config import Store
from ptiffserve.errors import PtiffserveError, WrongKind
from ptiffserve.sources.mongo import database
from ptiffserve.uploads.base import Place
from ptiffserve.uploads.folder import Folder
from ptiffserve.uploads.grid import Grid
from ptiffserve.uploads.pieces import Pieces

log = logging.getLogger("ptiffserve.uploads")

# Seconds that an upload nobody goes on with is kept.
KEPT_SECONDS = 86400.0


def place_of(store: Store) -> Place:
    """Where uploads into a store are kept. WrongKind where it takes none."""
    if store.kind == "folder":
        return Folder(store)
    if store.kind == "mongodb":
        return Grid(store)
    raise WrongKind(f"nothing can be uploaded into a store of the kind {store.kind}")


def sweep(store: Store, older_than: float = KEPT_SECONDS) -> int:
    """Removes uploads that nobody went on with for so many seconds, and chunks in GridFS that belong to nothing; how many
    uploads. WrongKind, Unavailable."""
    swept = place_of(store).sweep(older_than)
    return swept + (Pieces(database(store.root)).sweep(older_than) if store.kind == "mongodb" else 0)


def tidy(stores: Iterable[Store]) -> None:
    """Sweeps every store that takes uploads. One that cannot be reached is logged: it is swept another time."""
    for store in stores:
        try:
            if swept := sweep(store):
                log.info("store %s: %d uploads that nobody went on with were removed", store.label, swept)
        except WrongKind:
            continue
        except (PtiffserveError, OSError) as error:
            log.warning("store %s: its uploads could not be swept: %s", store.label, error)
