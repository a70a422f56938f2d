"""The catalogue in a SQLite file: one machine, no server."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock

import msgspec

from ptiffserve.catalogue.base import Page, Query
from ptiffserve.config import StoreRecord
from ptiffserve.errors import Conflict
from ptiffserve.slide import ID, Mark, Slide, State, mark

_SCHEMA = """
CREATE TABLE IF NOT EXISTS slides (
    id TEXT PRIMARY KEY,
    store TEXT NOT NULL,
    path TEXT NOT NULL,
    state TEXT NOT NULL,
    barcode TEXT NOT NULL,
    record BLOB NOT NULL,
    UNIQUE (store, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS slides_by_state ON slides (store, state);
CREATE TABLE IF NOT EXISTS marks (id TEXT PRIMARY KEY, store TEXT NOT NULL, mark BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS names (store TEXT, path TEXT, id TEXT NOT NULL, PRIMARY KEY (store, path)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_id ON names (id);
CREATE TABLE IF NOT EXISTS stores (id TEXT PRIMARY KEY, label TEXT NOT NULL UNIQUE, record BLOB NOT NULL) WITHOUT ROWID;
"""
# A record whose name another takes goes, and its mark with it.
_DISPLACE = "DELETE FROM marks WHERE id = (SELECT id FROM slides WHERE store = ? AND path = ? AND id <> ?)"
_BY_OTHER_NAME = "SELECT record FROM names JOIN slides USING (id) WHERE names.store = ? AND names.path = ?"
# In one statement, so that it falls between the writes of others.
_SYNCED = "UPDATE stores SET record = CAST(json_set(CAST(record AS TEXT), '$.last_sync', ?) AS BLOB) WHERE id = ?"
_MARKS = msgspec.msgpack.Decoder(Mark)


# Raised when tables are filled from others: the number stands in the file (PRAGMA user_version).
_EDITION = 2


class Embedded:
    """One connection to write, one to read: PRAGMA data_version tells a connection of every other one's commits. A walk
    over all records has one of its own, and sees one state of the file.

    `marks` repeats what a sync compares: out of the whole records it would have to read twenty times as much. `names` are
    slides' other names.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._read_lock = Lock()
        self.path = path
        self._writer = _connect(path)
        self._writer.executescript(_SCHEMA)
        self._fill()
        self._reader = _connect(path)

    def get(self, name: str) -> Slide | None:
        try:
            name.encode()
        except UnicodeEncodeError:
            return None  # a lone surrogate: no key has one
        if ID.fullmatch(name):
            found = self._fetch("SELECT record FROM slides WHERE id = ?", (name,))
            if found:
                return found[0]
        store, _, path = name.partition("/")
        found = self._fetch("SELECT record FROM slides WHERE store = ? AND path = ?", (store, path))
        found = found or self._fetch(_BY_OTHER_NAME, (store, path))
        return found[0] if found else None

    def put(self, slides: Iterable[Slide]) -> None:
        slides = list(slides)
        rows = [(s.id, s.store, s.path, s.state, s.barcode, msgspec.json.encode(s)) for s in slides]
        with self._lock, self._writer:
            self._writer.executemany(_DISPLACE, [(s.store, s.path, s.id) for s in slides])
            self._writer.executemany("INSERT OR REPLACE INTO slides VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._mark(slides)

    def forget(self, ids: Iterable[str]) -> None:
        gone = [(each,) for each in ids]
        with self._lock, self._writer:
            self._writer.executemany("DELETE FROM slides WHERE id = ?", gone)
            self._writer.executemany("DELETE FROM marks WHERE id = ?", gone)
            self._writer.executemany("DELETE FROM names WHERE id = ?", gone)

    def each(self, store: str) -> Iterator[Slide]:
        for record in self._walk("SELECT record FROM slides WHERE store = ? ORDER BY path", store):
            yield msgspec.json.decode(record, type=Slide)

    def marks(self, store: str) -> Iterator[Mark]:
        return map(_MARKS.decode, self._walk("SELECT mark FROM marks WHERE store = ?", store))

    def page(self, query: Query) -> Page:
        where, values = _conditions(query)
        sql = f"SELECT record FROM slides WHERE {where} ORDER BY store, path LIMIT ?"  # noqa: S608 - only our own words
        slides = self._fetch(sql, (*values, query.limit + 1))
        more = len(slides) > query.limit
        slides = slides[: query.limit]
        return Page(slides, slides[-1].key if more else "")

    def counts(self, store: str) -> dict[State, int]:
        with self._read_lock:
            rows = self._reader.execute("SELECT state, COUNT(*) FROM slides WHERE store = ? GROUP BY state", (store,))
            return dict(rows.fetchall())

    def stores(self) -> list[StoreRecord]:
        with self._read_lock:
            rows = self._reader.execute("SELECT record FROM stores ORDER BY label").fetchall()
        return [msgspec.json.decode(row[0], type=StoreRecord) for row in rows]

    def put_store(self, store: StoreRecord) -> None:
        row = store.id, store.label, msgspec.json.encode(store)
        upsert = (
            "INSERT INTO stores VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET label = excluded.label, record = excluded.record"
        )
        try:
            with self._lock, self._writer:
                self._writer.execute(upsert, row)
        except sqlite3.IntegrityError:
            raise Conflict(f"there is another store with the label {store.label!r}") from None

    def synced(self, store: str, at: float) -> None:
        with self._lock, self._writer:
            self._writer.execute(_SYNCED, (at, store))

    def forget_store(self, label: str) -> None:
        with self._lock, self._writer:
            self._writer.execute("DELETE FROM slides WHERE store = ?", (label,))
            self._writer.execute("DELETE FROM marks WHERE store = ?", (label,))
            self._writer.execute("DELETE FROM names WHERE store = ?", (label,))
            self._writer.execute("DELETE FROM stores WHERE label = ?", (label,))

    def deliver(self, store: StoreRecord) -> int:
        return 0

    def generation(self) -> int:
        with self._read_lock:
            version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        return version

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    def _walk(self, sql: str, store: str) -> Iterator[bytes]:
        with closing(_connect(self.path)) as connection:
            for (found,) in connection.execute(sql, (store,)):
                yield found

    def _mark(self, slides: Sequence[Slide]) -> None:
        rows = [(slide.id, slide.store, msgspec.msgpack.encode(mark(slide))) for slide in slides]
        self._writer.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", rows)
        self._writer.executemany("DELETE FROM names WHERE id = ?", [(slide.id,) for slide in slides])
        names = [(slide.store, alias.path, slide.id) for slide in slides for alias in slide.also]
        self._writer.executemany("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", names)

    def _fill(self) -> None:
        """Marks and names of records that were written before there were any."""
        if self._writer.execute("PRAGMA user_version").fetchone()[0] >= _EDITION:
            return
        with self._writer:
            for (record,) in self._writer.execute("SELECT record FROM slides"):
                self._mark([msgspec.json.decode(record, type=Slide)])
            self._writer.execute(f"PRAGMA user_version = {_EDITION}")

    def _fetch(self, sql: str, values: tuple[object, ...]) -> list[Slide]:
        with self._read_lock:
            rows = self._reader.execute(sql, values).fetchall()
        return [msgspec.json.decode(row[0], type=Slide) for row in rows]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _conditions(query: Query) -> tuple[str, list[object]]:
    """A WHERE clause of our own words, and its values. The cursor is the last key of the page before."""
    store, _, path = query.after.partition("/")
    parts: list[tuple[str, list[object]]] = [
        (f"store IN ({','.join('?' * len(query.stores))})", list(query.stores)),
        ("(store, path) > (?, ?)", [store, path]),
    ]
    if query.text:
        escaped = re.sub(r"([\\%_])", r"\\\1", query.text)
        parts.append(("path LIKE ? ESCAPE '\\'", [f"%{escaped}%"]))
    if query.state:
        parts.append(("state = ?", [query.state]))
    if query.barcode:
        parts.append(("barcode = ?", [query.barcode]))
    return " AND ".join(words for words, _ in parts), [value for _, values in parts for value in values]
