"""When stores are due by their crontab expressions. Pure; knows no queue."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from croniter import croniter

from ptiffserve.config import StoreRecord

# A last sync so far ahead is no last sync: the clock was wrong when it was written.
SKEW_SECONDS = 60.0


class Due(NamedTuple):
    """`run` names the store and the minute it was due: the same in every worker, so that one run comes of it."""

    label: str
    run: str


def due(stores: Iterable[StoreRecord], now: float) -> list[Due]:
    """The stores with a schedule that were not synced since they were last due: after any downtime, once."""
    found = []
    for store in stores:
        if store.schedule:
            slot = previous(store.schedule, now)
            last = store.last_sync if store.last_sync <= now + SKEW_SECONDS else 0.0
            if slot > last:
                found.append(Due(store.label, _run(store, slot)))
    return found


def previous(expression: str, now: float) -> float:
    """Unix seconds of the last minute that a crontab expression names, up to and with `now`, in this machine's time zone."""
    at = datetime.fromtimestamp(now + 1e-3).astimezone()
    slot: float = croniter(expression, at).get_prev(float)
    return slot


def _run(store: StoreRecord, slot: float) -> str:
    return blake2b(f"{store.id} {store.label} {store.schedule} {slot:.0f}".encode(), digest_size=16).hexdigest()
