"""The catalogue in MongoDB: many machines, and SlideAtlas's own databases as they are.

`databases` (the stores) is in the database of the URL. The `images` of a store are in the store's own database, `dbname`, on
the same server: in SlideAtlas each store has one; stores that are made here share that of the URL. An image that SlideAtlas
wrote is listed as not synced yet; the first sync that finds its file fills in what it lacks and keeps its id.

A put is one ordered list of writes, each of which may be repeated: what a break leaves half written, the same put completes.
Nothing is written before all records have been made. Writes are acknowledged by a majority, from its disks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import pymongo
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, DuplicateKeyError, InvalidURI
from pymongo.uri_parser import parse_uri

from ptiffserve.catalogue import documents
from ptiffserve.catalogue.base import Page, Query
from ptiffserve.catalogue.deliver import deliver
from ptiffserve.catalogue.documents import Document
from ptiffserve.catalogue.images import (
    AT_ONCE,
    LEFT_OUT,
    MARKED,
    WRITTEN,
    Documents,
    Images,
    again,
    answering,
    passed_over,
    speakable,
)
from ptiffserve.config import StoreRecord
from ptiffserve.errors import ConfigError, Conflict, Unavailable
from ptiffserve.slide import ID, Mark, Slide, State

# Seconds in which a server must be found, and must answer a question.
SELECT, ASKED = 0.5, 0.8
# In which it lists so many records, or goes through all of them, on nobody's time.
WALKED, INDEXED = 5.0, 600.0
T = TypeVar("T")

_GENERATION = {"_id": "generation"}


class Mongo:
    """One pool of connections. Unavailable where the server does not answer in a second, or refuses."""

    def __init__(self, url: str, password: str = "") -> None:
        """`url`: mongodb://HOST[,HOST]/DATABASE?...; connects when it is first asked something. ConfigError."""
        options: dict[str, Any] = {"password": password} if password else {}
        try:
            # MongoClient's own refusals leave half an object behind.
            if url.startswith("mongodb://") and not parse_uri(url)["database"]:
                raise ConfigurationError("it names no database")
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

    def get(self, name: str) -> Slide | None:
        if not speakable(name):
            return None
        with answering():
            stores = self._stores()
            found = self._by_id(name, stores) if ID.fullmatch(name) else None
            label, _, path = name.partition("/")
            return found or self._images(label, stores).by_path(path)

    def _by_id(self, name: str, stores: Mapping[str, Images]) -> Slide | None:
        for images in [*stores.values(), self._images("", stores)]:
            found = images.collection.find_one({"_id": ObjectId(name)}, LEFT_OUT)
            if found is not None:
                said = found.get("store")
                return (stores.get(said, images) if isinstance(said, str) else images).slide(found)
        return None

    def put(self, slides: Iterable[Slide]) -> None:
        batches: dict[str, list[Slide]] = {}
        for slide in slides:
            batches.setdefault(slide.store, []).append(slide)
        with answering():
            stores = self._stores(self._patience())
            for label, batch in batches.items():
                images = self._images(label, stores)
                self._index(images.collection)
                for at in range(0, len(batch), AT_ONCE):
                    part = {slide.id: slide for slide in batch[at : at + AT_ONCE]}
                    again(images.write, list(part.values()))
            if batches:
                self._changed()

    def forget(self, ids: Iterable[str]) -> None:
        which = {"_id": {"$in": [ObjectId(each) for each in ids if ID.fullmatch(each)]}}
        with answering():
            found = [images.collection for images in self._stores(self._patience()).values()]
            for collection in {each.full_name: each for each in [self._home.images, *found]}.values():
                again(collection.delete_many, which)
            self._changed()

    def each(self, store: str) -> Iterator[Slide]:
        """A page at a time, so that no cursor has to outlive a pause of who reads."""
        return self._walk(store, LEFT_OUT, Images.slide)

    def marks(self, store: str) -> Iterator[Mark]:
        """What is damaged in the rest of a document is not seen."""
        return self._walk(store, MARKED, Images.mark)

    def _walk(self, store: str, fields: Mapping[str, int], kind: Callable[[Images, Document], T | None]) -> Iterator[T]:
        with pymongo.timeout(WALKED), answering():
            images = self._images(store, self._stores(self._patience()))
            unsynced = images.unsynced_documents()
        after, known = "", set()
        while True:
            with pymongo.timeout(WALKED), answering():
                found = images.each(after, fields)
            if not found:
                break
            after = found[-1]["path"]
            for document in found:
                record = kind(images, document)
                if record is not None:
                    known.add(document["path"])
                    yield record
        for path, document in unsynced.items():
            record = kind(images, document) if path not in known else None
            if record is not None:
                yield record

    def page(self, query: Query) -> Page:
        if not all(map(speakable, (query.text, query.state, query.barcode, query.after))):
            return Page([], "")
        found: list[Slide] = []
        reached, _, path = query.after.partition("/")
        with answering():
            stores = self._stores()
            for label in sorted(filter(speakable, set(query.stores))):
                wanted = query.limit + 1 - len(found)
                if wanted and label >= reached:
                    listed = self._images(label, stores).listed(query, path if label == reached else "")
                    found += islice(listed, wanted)
        slides = found[: query.limit]
        return Page(slides, slides[-1].key if len(found) > query.limit else "")

    def counts(self, store: str) -> dict[State, int]:
        with answering():
            return self._images(store, self._stores()).counts()

    def stores(self) -> list[StoreRecord]:
        with answering():
            found = [_record(document) for document in self._databases.find({}).sort("label", 1)]
        return [store for store in found if store is not None]

    def put_store(self, store: StoreRecord) -> None:
        said = {"$set": documents.from_store(store)}
        said["$setOnInsert"] = documents.new_store(store, self._host, self._home.name)
        try:
            with answering():
                if "databases" not in self._indexed:
                    with pymongo.timeout(self._patience()):
                        self._databases.create_index("label", unique=True)
                    self._indexed.add("databases")
                again(self._databases.update_one, {"_id": ObjectId(store.id)}, said, True)
                self._changed()
        except DuplicateKeyError:
            raise Conflict(f"there is another store with the label {store.label!r}") from None

    def synced(self, store: str, at: float) -> None:
        with answering():
            again(self._databases.update_one, {"_id": ObjectId(store)}, {"$set": documents.from_last_sync(at)})
            self._changed()

    def forget_store(self, label: str) -> None:
        """The images that SlideAtlas wrote and no sync has seen stay."""
        with answering():
            self._images(label, self._stores(self._patience())).forget()
            with pymongo.timeout(WRITTEN):
                ids = [ObjectId(store.id) for store in self.stores() if store.label == label]
            again(self._databases.delete_many, {"_id": {"$in": ids}})
            self._changed()

    def generation(self) -> int:
        with answering():
            found = self._home.ptiffserve.find_one(_GENERATION)
        if found is not None and not isinstance(found.get("number"), int):
            raise Unavailable("the catalogue's generation is damaged")
        return found["number"] if found else 0

    def close(self) -> None:
        self._client.close()

    def _changed(self) -> None:
        again(self._home.ptiffserve.update_one, _GENERATION, {"$inc": {"number": 1}}, True)

    def _index(self, images: Documents) -> None:
        """Before the first write, so that reading changes nothing of a database that is SlideAtlas's."""
        if images.full_name not in self._indexed:
            ours = {"path": {"$gt": ""}}
            with pymongo.timeout(INDEXED):
                images.create_index([("store", 1), ("path", 1)], unique=True, partialFilterExpression=ours)
                images.create_index([("store", 1), ("state", 1)])
                images.create_index("path")
                images.create_index("also.path")
            self._indexed.add(images.full_name)

    def _patience(self) -> float:
        """Seconds for what comes before a write: a server that is known to be away is not waited for, a busy one is."""
        return WRITTEN if self._client.topology_description.has_writable_server() else ASKED

    def _stores(self, patience: float = ASKED) -> dict[str, Images]:
        """Where the images of each store are, by its label."""
        found = {}
        with pymongo.timeout(patience):
            said = list(self._databases.find({}))
        for document in said:
            record, name = _record(document), document.get("dbname")
            if record is not None:
                database = self._client[name] if isinstance(name, str) and name else self._home
                foreign = None if document.get("indexed_by") else record
                found[record.label] = Images(record.label, database.images, foreign)
        return found

    def deliver(self, store: StoreRecord) -> int:
        """SlideAtlas's delivery of the store's new views; how many there were."""
        with pymongo.timeout(INDEXED), answering():
            images = self._images(store.label, self._stores(self._patience()))
            return deliver(self._home, images.collection, ObjectId(store.id))

    def _images(self, label: str, stores: Mapping[str, Images]) -> Images:
        return stores.get(label) or Images(label, self._home.images)


def _record(document: Document) -> StoreRecord | None:
    try:
        return documents.to_store(document)
    except ValueError as error:
        passed_over(document, error)
        return None
