"""Files that come in numbered chunks, in any order and maybe twice, into GridFS: SlideAtlas's ways of uploading.

A file is whole when every chunk is there with its right length: their number alone says nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import md5, sha512
from typing import Any, NamedTuple

from bson import Binary, ObjectId
from pymongo.errors import DuplicateKeyError

from ptiffserve.errors import Malformed, NotFound
from ptiffserve.geometry import ceil_div
from ptiffserve.slide import ID
from ptiffserve.sources.gridfs import GridSource
from ptiffserve.sources.mongo import Documents, answering

BUCKET = "attachments"
# A document of MongoDB has at most 16 MB.
MAX_CHUNK = 15 << 20


class Span(NamedTuple):
    """Bytes from `start` to before `end` of `total`."""

    start: int
    end: int
    total: int


class Pieces:
    """The attachments of one database. A file that is not whole is noted in `attachments.uploads` and has no document."""

    def __init__(self, database: Documents) -> None:
        self._database = database
        bucket = database[BUCKET]
        self._files, self._chunks, self._notes = bucket.files, bucket.chunks, bucket.uploads

    def begin(self, name: str, total: int, chunk: int, session: str) -> str:
        """The id of a new file. Malformed where its chunks would be too large."""
        if not 0 < chunk <= MAX_CHUNK or total <= 0:
            raise Malformed(f"chunks have 1 to {MAX_CHUNK} bytes")
        identity = ObjectId()
        note = {"filename": name, "length": total, "chunkSize": chunk, "session": session, "touched": datetime.now(UTC)}
        with answering():
            self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
            self._notes.insert_one({"_id": identity, **note})
        return str(identity)

    def put(self, name: str, span: Span, data: bytes) -> bool:
        """Stores one chunk; whether the file is whole now. Malformed where it is no chunk of this file; NotFound."""
        identity = _id(name)
        with answering():
            note = self._notes.find_one({"_id": identity}) or self._whole(identity)
            number = _number(note, span, data)
            if "uploadDate" in note:
                return True  # again, after the last
            key = {"files_id": identity, "n": number}
            self._chunks.replace_one(key, {**key, "data": Binary(data)}, upsert=True)
            self._notes.update_one({"_id": identity}, {"$set": {"touched": datetime.now(UTC)}})
            return self._finish(note)

    def _whole(self, identity: ObjectId) -> dict[str, Any]:
        document = self._files.find_one({"_id": identity})
        if document is None:
            raise NotFound("no such attachment")
        return document

    def _finish(self, note: dict[str, Any]) -> bool:
        """Of two requests that bring the last chunks at once, both may come here: the second finds it done."""
        wanted = ceil_div(note["length"], note["chunkSize"])
        if self._chunks.count_documents({"files_id": note["_id"]}) < wanted:
            return False
        document = {key: note[key] for key in ("_id", "filename", "length", "chunkSize")}
        document["uploadDate"] = datetime.now(UTC)
        old, strong = md5(usedforsecurity=False), sha512()
        for piece in GridSource(self._database, document, BUCKET).stream():
            old.update(piece)
            strong.update(piece)
        document |= {"md5": old.hexdigest(), "contentType": "application/octet-stream"}
        document["metadata"] = {"sha512": strong.hexdigest(), "session": note["session"]}
        with suppress(DuplicateKeyError):
            self._files.insert_one(document)
        self._notes.delete_one({"_id": note["_id"]})
        return True

    def drop(self, name: str) -> None:
        """The document first: nobody sees a file that lacks chunks. NotFound."""
        identity = _id(name)
        with answering():
            there = self._files.delete_one({"_id": identity}).deleted_count
            there += self._notes.delete_one({"_id": identity}).deleted_count
            if not there:
                raise NotFound("no such attachment")
            self._chunks.delete_many({"files_id": identity})

    def listed(self, session: str, refs: Sequence[str]) -> list[dict[str, Any]]:
        """Those that were sent for a session, and those that it names; what is gone is passed over."""
        wanted = {"$or": [{"metadata.session": session}, {"_id": {"$in": [_id(each) for each in refs]}}]}
        with answering():
            found = list(self._files.find(wanted).sort("_id", 1))
        return [{"id": str(each["_id"]), "name": each.get("filename"), "length": each.get("length")} for each in found]

    def sweep(self, older_than: float) -> int:
        before = datetime.now(UTC) - timedelta(seconds=older_than)
        with answering():
            old = [note["_id"] for note in self._notes.find({"touched": {"$lt": before}}, {"_id": 1})]
            for identity in old:
                self._notes.delete_one({"_id": identity})
                if self._files.find_one({"_id": identity}) is None:
                    self._chunks.delete_many({"files_id": identity})
        return len(old)


def _id(name: str) -> ObjectId:
    if not ID.fullmatch(name):
        raise NotFound("no such attachment")
    return ObjectId(name)


def _number(note: dict[str, Any], span: Span, data: bytes) -> int:
    """Which chunk it is. Malformed where it is none."""
    chunk, total = note["chunkSize"], note["length"]
    if span.total != total or not 0 <= span.start < span.end <= total:
        raise Malformed(f"the range is not one of the file's {total} bytes")
    if len(data) != span.end - span.start:
        raise Malformed("the body has another length than the range")
    if span.start % chunk or span.end - span.start != min(chunk, total - span.start):
        raise Malformed(f"chunks have {chunk} bytes, and only the last may be shorter")
    return int(span.start // chunk)
