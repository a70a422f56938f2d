"""The catalogue in MongoDB: many machines, and SlideAtlas's own databases as they are.

`databases` (the stores) is in the database of the URL. The `images` of a store are in the store's own database, `dbname`, on
the same server: in SlideAtlas each store has one; stores that are made here share that of the URL. An image that SlideAtlas
wrote is listed as not synced yet; the first sync that finds its file fills in what it lacks and keeps its id.

A put is one ordered list of writes, each of which may be repeated: what a break leaves half written, the same put completes.
Nothing is written before all records have been made. Writes are acknowledged by a majority, from its disks.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar

import pymongo
from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, ConfigurationError, DuplicateKeyError, InvalidURI, PyMongoError

from ptiffserve.catalogue import documents
from ptiffserve.catalogue.base import Page, Query
from ptiffserve.catalogue.documents import Document
from ptiffserve.config import StoreRecord
from ptiffserve.errors import ConfigError, Conflict, Unavailable
from ptiffserve.slide import Slide, State

log = logging.getLogger("ptiffserve.catalogue")

T = TypeVar("T")
Documents = Collection[Document]

# Seconds: for questions, which somebody waits for; for walks and writes of many records, on nobody's time.
SELECT, ASKED, LONG = 0.5, 0.9, 60.0
STATES: tuple[State, ...] = ("ready", "unreadable", "missing")
_ID = re.compile(r"[0-9a-f]{24}")
_GENERATION = {"_id": "generation"}
# Long, and not of a record.
_LEFT_OUT = {"thumb": 0, "bookmarks": 0, "startup_view": 0}
_ADDED_AT_ONCE = 500


class _Home(NamedTuple):
    """Where the images of a store are: those of `where` that have a path, and where SlideAtlas wrote, those without."""

    label: str
    images: Documents
    where: Document
    foreign: StoreRecord | None


class Mongo:
    """One pool of connections. Unavailable where the server does not answer in a second, or refuses."""

    def __init__(self, url: str, password: str = "") -> None:
        """`url`: mongodb://HOST[,HOST]/DATABASE?...; connects when it is first asked something. ConfigError."""
        options: dict[str, Any] = {"password": password} if password else {}
        try:
            self._client: MongoClient[Document] = MongoClient(
                url,
                serverSelectionTimeoutMS=int(SELECT * 1000),
                connectTimeoutMS=int(SELECT * 1000),
                timeoutMS=int(ASKED * 1000),
                w="majority",
                journal=True,
                appname="ptiffserve",
                **options,
            )
            self._home = self._client.get_default_database()
        except (ConfigurationError, InvalidURI, ValueError, TypeError) as error:
            raise ConfigError(f"catalogue.url: {error}") from None
        self._databases: Documents = self._home.databases
        self._host = ",".join(
            f"{host}:{port}" for host, port in self._client.topology_description.server_descriptions()
        )
        self._indexed: set[str] = set()
        self._told: set[object] = set()

    def get(self, name: str) -> Slide | None:
        if not _speakable(name):
            return None
        with _answering():
            homes = self._homes()
            if _ID.fullmatch(name):
                for home in [*homes.values(), self._home_of("", homes)]:
                    found = home.images.find_one({"_id": {"$eq": ObjectId(name)}}, _LEFT_OUT)
                    if found is not None:
                        return self._slide(found, _owner(found, homes, home))
            label, _, path = name.partition("/")
            home = self._home_of(label, homes)
            found = home.images.find_one({**home.where, "path": {"$eq": path}}, _LEFT_OUT)
            if found is not None:
                return self._slide(found, home)
            return next((slide for slide in self._unsynced(home, path) if slide.path == path), None)

    def put(self, slides: Iterable[Slide]) -> None:
        by_store: dict[str, list[Slide]] = {}
        for slide in slides:
            by_store.setdefault(slide.store, []).append(slide)
        with pymongo.timeout(LONG), _answering():
            homes = self._homes()
            for label, batch in by_store.items():
                images = self._home_of(label, homes).images
                self._index(images)
                for at in range(0, len(batch), _ADDED_AT_ONCE):
                    part = {slide.id: slide for slide in batch[at : at + _ADDED_AT_ONCE]}
                    _again(_write, images, label, list(part.values()))
            if by_store:
                self._bump()

    def forget(self, ids: Iterable[str]) -> None:
        which = {"_id": {"$in": [ObjectId(each) for each in ids if _ID.fullmatch(each)]}}
        with pymongo.timeout(LONG), _answering():
            for images in self._collections():
                _again(images.delete_many, which)
            self._bump()

    def each(self, store: str) -> Iterator[Slide]:
        with pymongo.timeout(LONG), _answering():
            home = self._home_of(store, self._homes())
            unsynced = list(self._unsynced(home))
        known = set()
        for document in self._walk(home.images, {**home.where, "path": {"$gt": ""}}):
            slide = self._slide(document, home)
            if slide is not None:
                known.add(slide.path)
                yield slide
        yield from (slide for slide in unsynced if slide.path not in known)

    def _walk(self, images: Documents, where: Document) -> Iterator[Document]:
        """In the order of paths; a page at a time, so that no cursor has to outlive a pause of who reads."""
        after = ""
        while True:
            with pymongo.timeout(LONG), _answering():
                found = images.find({**where, "path": {"$gt": after}}, _LEFT_OUT).sort("path", 1).limit(1000)
                documents_ = list(found)
            yield from documents_
            if not documents_:
                return
            after = documents_[-1]["path"]

    def page(self, query: Query) -> Page:
        if not all(map(_speakable, (query.text, query.state, query.barcode, query.after))):
            return Page([], "")
        with _answering():
            homes = self._homes()
            found: list[Slide] = []
            for label in sorted(set(query.stores)):
                if len(found) <= query.limit and label >= query.after.partition("/")[0]:
                    found += islice(self._listed(self._home_of(label, homes), query), query.limit + 1 - len(found))
        slides = found[: query.limit]
        return Page(slides, slides[-1].key if len(found) > query.limit else "")

    def _listed(self, home: _Home, query: Query) -> Iterator[Slide]:
        """Of one store, in the order of paths. What is damaged is passed over, and others take its place."""
        label, _, path = query.after.partition("/")
        after = path if label == home.label else ""
        where: Document = {**home.where, "path": {"$gt": after}}
        if query.text:
            where["path"] |= {"$regex": re.escape(query.text), "$options": "i"}
        for key in ("state", "barcode"):
            if said := getattr(query, key):
                where[key] = {"$eq": said}
        cursor = home.images.find(where, _LEFT_OUT).sort("path", 1).batch_size(query.limit + 2)
        synced = (slide for document in cursor if (slide := self._slide(document, home)) is not None)
        fresh = [slide for slide in self._unsynced(home) if slide.path > after and _meets(slide, query)]
        paths = groupby(merge(synced, fresh, key=lambda slide: slide.path), key=lambda slide: slide.path)
        return (next(same) for _, same in paths)

    def counts(self, store: str) -> dict[State, int]:
        with _answering():
            home = self._home_of(store, self._homes())
            found = {
                state: home.images.count_documents({**home.where, "path": {"$gt": ""}, "state": {"$eq": state}})
                for state in STATES
            }
            found["unreadable"] += sum(1 for _ in self._unsynced(home))
        return {state: number for state, number in found.items() if number}

    def stores(self) -> list[StoreRecord]:
        with _answering():
            found = [self._store(document) for document in self._databases.find({}).sort("label", 1)]
        return [store for store in found if store is not None]

    def put_store(self, store: StoreRecord) -> None:
        said = {
            "$set": documents.from_store(store),
            "$setOnInsert": documents.new_store(store, self._host, self._home.name),
        }
        which = {"_id": ObjectId(store.id)}
        try:
            with pymongo.timeout(LONG), _answering():
                if "databases" not in self._indexed:
                    self._databases.create_index("label", unique=True)
                    self._indexed.add("databases")
                _again(self._databases.update_one, which, said, True)
                self._bump()
        except DuplicateKeyError:
            raise Conflict(f"there is another store with the label {store.label!r}") from None

    def forget_store(self, label: str) -> None:
        """Images that SlideAtlas wrote and no sync has seen stay: they are no records of ours."""
        with pymongo.timeout(LONG), _answering():
            home = self._home_of(label, self._homes())
            _again(home.images.delete_many, {**home.where, "path": {"$type": "string"}})
            _again(self._databases.delete_many, {"label": {"$eq": label}})
            self._bump()

    def generation(self) -> int:
        with _answering():
            found = self._home.ptiffserve.find_one(_GENERATION)
        return int(found["number"]) if found else 0

    def close(self) -> None:
        self._client.close()

    def _bump(self) -> None:
        _again(self._home.ptiffserve.update_one, _GENERATION, {"$inc": {"number": 1}}, True)

    def _index(self, images: Documents) -> None:
        """Before the first write, so that reading changes nothing of a database that is SlideAtlas's."""
        if images.full_name not in self._indexed:
            ours = {"path": {"$type": "string"}}
            images.create_index([("store", 1), ("path", 1)], unique=True, partialFilterExpression=ours)
            images.create_index([("store", 1), ("state", 1)])
            images.create_index("path")
            self._indexed.add(images.full_name)

    def _homes(self) -> dict[str, _Home]:
        """By label."""
        homes = {}
        for document in self._databases.find({}):
            record = self._store(document)
            if record is not None:
                homes[record.label] = self._home_for(document, record)
        return homes

    def _home_for(self, document: Document, record: StoreRecord) -> _Home:
        name = document.get("dbname")
        images = self._client[name].images if isinstance(name, str) and name else self._home.images
        if document.get("indexed_by"):
            return _Home(record.label, images, {"store": record.label}, None)
        return _Home(record.label, images, {"store": {"$in": [record.label, None]}}, record)

    def _home_of(self, label: str, homes: Mapping[str, _Home]) -> _Home:
        return homes.get(label) or _Home(label, self._home.images, {"store": {"$eq": label}}, None)

    def _collections(self) -> list[Documents]:
        found = [home.images for home in self._homes().values()]
        return list({images.full_name: images for images in [self._home.images, *found]}.values())

    def _unsynced(self, home: _Home, path: str = "") -> Iterator[Slide]:
        """In the order of paths; of two by one path, the one that came last. `path`: those alone that could have it."""
        if home.foreign is None:
            return iter(())
        where: Document = {"path": {"$exists": False}, "store": {"$exists": False}}
        if path:
            last = path.rpartition("/")[2]
            by_id = [{"_id": ObjectId(last)}] if _ID.fullmatch(last) else []
            where["$or"] = [{"filename": {"$eq": last}}, {"sha512": {"$eq": last}}, *by_id]
        found: dict[str, Slide] = {}
        for document in home.images.find(where, _LEFT_OUT).sort("uploaded_at", 1):
            try:
                slide = documents.unsynced(document, home.foreign)
            except ValueError as error:
                self._tell(document, error)
            else:
                found[slide.path] = slide
        return iter(sorted(found.values(), key=lambda slide: slide.path))

    def _slide(self, document: Document, home: _Home) -> Slide | None:
        """None, told once, where the document is damaged."""
        try:
            if "path" not in document and home.foreign is not None:
                return documents.unsynced(document, home.foreign)
            return documents.to_slide({"store": home.label, **document})
        except ValueError as error:
            self._tell(document, error)
            return None

    def _store(self, document: Document) -> StoreRecord | None:
        try:
            return documents.to_store(document)
        except ValueError as error:
            self._tell(document, error)
            return None

    def _tell(self, document: Document, error: ValueError) -> None:
        name = str(document.get("_id"))[:100]
        if name not in self._told:
            self._told.add(name)
            log.warning("the document %s in the catalogue is passed over: %s", name, str(error)[:200])


def _owner(document: Document, homes: Mapping[str, _Home], found: _Home) -> _Home:
    said = document.get("store")
    return homes.get(said, found) if isinstance(said, str) else found


def _meets(slide: Slide, query: Query) -> bool:
    return (
        query.text.lower() in slide.path.lower()
        and query.state in ("", slide.state)
        and query.barcode in ("", slide.barcode)
    )


def _write(images: Documents, label: str, slides: Sequence[Slide]) -> None:
    """All of them by id. Whoever else has one of their paths gives way: one of the batch to get another, any other for good."""
    ids = [ObjectId(slide.id) for slide in slides]
    paths = {slide.path: ObjectId(slide.id) for slide in slides}
    writes: list[pymongo.DeleteOne | pymongo.UpdateOne] = []
    for taken in images.find({"store": label, "path": {"$in": list(paths)}}, {"path": 1}):
        which = {"_id": taken["_id"]}
        if paths[taken["path"]] == taken["_id"]:
            continue
        aside = {"$set": {"path": f"{taken['path']}\0{taken['_id']}"}}
        writes.append(pymongo.UpdateOne(which, aside) if taken["_id"] in ids else pymongo.DeleteOne(which))
    for slide, id_ in zip(slides, ids, strict=True):
        said, first = documents.from_slide(slide)
        writes.append(
            pymongo.UpdateOne({"_id": id_}, {"$set": said, **({"$setOnInsert": first} if first else {})}, upsert=True)
        )
    images.bulk_write(writes, ordered=True)


def _again(write: Callable[..., object], *arguments: object) -> None:
    """A write whose outcome is unknown is done once more: each of ours may be repeated."""
    try:
        write(*arguments)
    except AutoReconnect:
        write(*arguments)


def _speakable(text: str) -> bool:
    """Whether it is text that a document can hold: no lone surrogates."""
    try:
        return isinstance(text, str) and "\0" not in text and text.encode() is not None
    except UnicodeEncodeError:
        return False


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        raise Unavailable(f"the catalogue does not answer ({type(error).__name__})") from error
