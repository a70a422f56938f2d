"""The images of one store in MongoDB, as slides: listed, found and written. Knows no other store."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import groupby

import pymongo
from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, DuplicateKeyError, PyMongoError

from ptiffserve.catalogue import documents
from ptiffserve.catalogue.base import Query
from ptiffserve.catalogue.documents import Document
from ptiffserve.config import StoreRecord
from ptiffserve.errors import Unavailable
from ptiffserve.slide import ID, STATES, Mark, Slide, State, mark

log = logging.getLogger("ptiffserve.catalogue")

Documents = Collection[Document]

# Long, and not of a record.
LEFT_OUT = {"thumb": 0, "bookmarks": 0, "startup_view": 0}
# What a sync compares; an id is there unasked.
MARKED = dict.fromkeys(Mark.__struct_fields__, 1)
# Documents of one answer, and of one list of writes.
LISTED, AT_ONCE = 5000, 500
# Seconds that so many records, or all that are forgotten, may take.
WRITTEN = 10.0
_told: set[str] = set()


class Images:
    """`foreign` is the store where SlideAtlas wrote its images: those without a path are listed as not synced yet.

    Text from outside stands in filters as it is: text cannot be an operator, and `speakable` lets nothing else in.
    """

    def __init__(self, label: str, collection: Documents, foreign: StoreRecord | None = None) -> None:
        self.label = label
        self.collection = collection
        self._foreign = foreign
        self._ours: Document = {"store": {"$in": [label, None]} if foreign else label}

    def slide(self, document: Document) -> Slide | None:
        """None, told once, where the document is damaged."""
        try:
            if "path" not in document and self._foreign is not None:
                return documents.unsynced(document, self._foreign)
            return documents.to_slide({"store": self.label, **document})
        except ValueError as error:
            passed_over(document, error)
            return None

    def by_path(self, path: str) -> Slide | None:
        for named in ("path", "also.path"):
            for found in self.collection.find({named: path}, LEFT_OUT):
                if self._owns(found):
                    return self.slide(found)
        return next((slide for slide in self._unsynced(path) if slide.path == path), None)

    def _owns(self, document: Document) -> bool:
        return document.get("store", None if self._foreign else "") in (self.label, None)

    def mark(self, document: Document) -> Mark | None:
        """Of a document with the fields of MARKED at least."""
        if "path" not in document and self._foreign is not None:
            slide = self.slide(document)
            return mark(slide) if slide is not None else None
        try:
            return documents.to_mark(document)
        except ValueError as error:
            passed_over(document, error)
            return None

    def each(self, after: str, fields: Mapping[str, int]) -> list[Document]:
        """The next documents with a path, in the order of paths."""
        found = self.collection.find({**self._ours, "path": {"$gt": after}}, fields)
        return list(found.sort("path", 1).limit(LISTED))

    def listed(self, query: Query, after: str) -> Iterator[Slide]:
        """In the order of paths. What is damaged is passed over, and others take its place."""
        where: Document = {}
        if query.text:
            where["path"] = {"$regex": re.escape(query.text), "$options": "i"}
        for key, said in (("state", query.state), ("barcode", query.barcode)):
            if said:
                where[key] = said
        documents_ = self._pages(where, after, query.limit + 1)
        synced = (slide for document in documents_ if (slide := self.slide(document)) is not None)
        fresh = [slide for slide in self.unsynced() if slide.path > after and _meets(slide, query)]
        paths = groupby(merge(synced, fresh, key=_path), key=_path)
        return (next(same) for _, same in paths)

    def _pages(self, where: Document, after: str, size: int) -> Iterator[Document]:
        """So many at a time, for as long as somebody takes them."""
        while True:
            beyond = {"path": {"$gt": after} | where.get("path", {})}
            found = list(self.collection.find(self._ours | where | beyond, LEFT_OUT).sort("path", 1).limit(size))
            yield from found
            if len(found) < size:
                return
            after = found[-1]["path"]

    def unsynced(self) -> list[Slide]:
        """In the order of paths; of two by one path, the one that came last."""
        return sorted(self._unsynced(), key=_path)

    def _unsynced(self, path: str = "") -> list[Slide]:
        return [slide for document in self.unsynced_documents(path).values() if (slide := self.slide(document))]

    def unsynced_documents(self, path: str = "") -> dict[str, Document]:
        """By path. `path`: only those that could have it."""
        if self._foreign is None:
            return {}
        where: Document = {"path": {"$exists": False}, "store": {"$exists": False}}
        if path:
            last = path.rpartition("/")[2]
            by_id = [{"_id": ObjectId(last)}] if ID.fullmatch(last) else []
            where["$or"] = [{"filename": last}, {"sha512": last}, *by_id]
        cursor = self.collection.find(where, LEFT_OUT).sort("uploaded_at", 1)
        return {slide.path: document for document in cursor if (slide := self.slide(document))}

    def counts(self) -> dict[State, int]:
        where = {**self._ours, "path": {"$gt": ""}}
        found = {state: self.collection.count_documents({**where, "state": state}) for state in STATES}
        found["unreadable"] += len(self.unsynced())
        return {state: number for state, number in found.items() if number}

    def write(self, slides: Sequence[Slide]) -> None:
        """All of them by id, in one ordered list. Whoever else has one of their paths gives way: one of these to get another
        path, any other for good."""
        ids = {ObjectId(slide.id) for slide in slides}
        paths = {slide.path: ObjectId(slide.id) for slide in slides}
        writes: list[pymongo.DeleteOne | pymongo.UpdateOne] = []
        # Asked by the path alone, which is an index of its own: few stores have the same.
        for taken in self.collection.find({"path": {"$in": list(paths)}}, {"path": 1, "store": 1}):
            which, path = {"_id": taken["_id"]}, taken["path"]
            if paths[path] == taken["_id"] or not self._owns(taken):
                continue
            aside = pymongo.UpdateOne(which, {"$set": {"path": f"{path}\0{taken['_id']}"}})
            writes.append(aside if taken["_id"] in ids else pymongo.DeleteOne(which))
        writes += [_upsert(slide) for slide in slides]
        self.collection.bulk_write(writes, ordered=True)

    def forget(self) -> None:
        """Images that no sync has seen stay: they are no records of ours."""
        again(self.collection.delete_many, {**self._ours, "path": {"$type": "string"}})


def _path(slide: Slide) -> str:
    return slide.path


def _upsert(slide: Slide) -> pymongo.UpdateOne:
    said, first = documents.from_slide(slide)
    update = {"$set": said} | ({"$setOnInsert": first} if first else {})
    return pymongo.UpdateOne({"_id": ObjectId(slide.id)}, update, upsert=True)


def _meets(slide: Slide, query: Query) -> bool:
    return (
        query.text.lower() in slide.path.lower()
        and query.state in ("", slide.state)
        and query.barcode in ("", slide.barcode)
    )


def passed_over(document: Document, error: ValueError) -> None:
    name = str(document.get("_id"))[:100]
    if name not in _told:
        _told.add(name)
        log.warning("the document %s in the catalogue is passed over: %s", name, str(error)[:200])


def again(write: Callable[..., object], *arguments: object) -> None:
    """A write whose outcome is unknown is done once more: each of ours may be repeated."""
    with pymongo.timeout(WRITTEN):
        try:
            write(*arguments)
        except AutoReconnect:
            write(*arguments)


def speakable(text: str) -> bool:
    """Whether it is text that a document can hold: no lone surrogates, no end in the middle."""
    try:
        return isinstance(text, str) and "\0" not in text and text.encode() is not None
    except UnicodeEncodeError:
        return False


@contextmanager
def answering() -> Iterator[None]:
    """A server that is away is Unavailable, whatever pymongo calls it; its words may name hosts and are not passed on."""
    try:
        yield
    except DuplicateKeyError:
        raise
    except PyMongoError as error:
        raise Unavailable(f"the catalogue does not answer ({type(error).__name__})") from error
