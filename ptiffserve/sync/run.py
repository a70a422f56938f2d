"""A sync from beginning to end: one store, alone, and what came of it. Never raises for what is wrong with a store."""

import time
from collections.abc import Callable

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import here
from ptiffserve.config import Kind, Store, StoreRecord
from ptiffserve.sync.apply import apply, quiet
from ptiffserve.sync.lock import Busy, alone
from ptiffserve.sync.result import Failure, Result
from ptiffserve.sync.scan import Found, RootMissing, scan
from ptiffserve.sync.scan_gridfs import scan_gridfs
from ptiffserve.sync.settle import Growing, held_still

__all__ = ["SCANS", "Busy", "Failure", "Result", "sync"]

# How the files of a store are found, by its kind.
SCANS: dict[Kind, Callable[[Store], Found]] = {"folder": scan, "mongodb": scan_gridfs}

# How old `last_sync` may be where a server looks all the time: each write empties every server's tables of names.
NOTED_SECONDS = 60.0


def sync(
    store: Store,
    catalogue: Catalogue,
    progress: Callable[[int, int], None] = quiet,
    dry_run: bool = False,
    growing: Growing | None = None,
) -> Result:
    """Brings the catalogue in step with the store; of two at once the second waits, and then finds nothing to do.

    `progress(done, total)` counts files that are opened. `dry_run`: the same is found out, nothing is written. `growing`:
    which files may still be written to; without it they are looked at twice, SETTLE_SECONDS apart. With it nothing waits: Busy
    where the store is being synced already.
    """
    started = time.monotonic()
    if reason := _elsewhere(store):
        return Result(failed=[Failure(".", reason)])
    with alone(catalogue, store.label, wait=growing is None):
        try:
            found = SCANS[store.kind](store)
        except RootMissing as error:
            return Result(failed=[Failure(".", str(error))], seconds=time.monotonic() - started)
        result = apply(store, found, catalogue, growing or held_still(store), progress, dry_run)
        if isinstance(store, StoreRecord) and not dry_run and not result.broken:
            _completed(store, catalogue, 0.0 if growing is None or _news(result) else NOTED_SECONDS)
    return msgspec.structs.replace(result, seconds=time.monotonic() - started)


def _news(result: Result) -> bool:
    return any((result.added, result.changed, result.moved, result.missing, result.removed))


def _elsewhere(store: Store) -> str:
    """Why this machine cannot sync the store, "" where it can."""
    if isinstance(store, StoreRecord) and not here(store):
        return f"this store's folder is on {store.host_name}"
    if not store.root:
        return "this store names no folder"
    if store.kind not in SCANS:
        return f"a store of kind {store.kind} cannot be synced"
    return ""


def _completed(store: StoreRecord, catalogue: Catalogue, least: float) -> None:
    """Notes `last_sync`, if the one before was at least so many seconds ago."""
    known = next((record for record in catalogue.stores() if record.id == store.id), None)
    if known is not None and time.time() - known.last_sync >= least:
        catalogue.synced(store.id, time.time())
