"""Uploads into GridFS: chunks first, the file's document last, so nobody sees half a file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from typing import Any

from bson import Binary, ObjectId
from pymongo import ReplaceOne
from pymongo.errors import DuplicateKeyError

from ptiffserve.config import Store
from ptiffserve.errors import Conflict, NotFound, Unavailable
from ptiffserve.slide import ID
from ptiffserve.sources.gridfs import BUCKET, GridSource, complete
from ptiffserve.sources.mongo import Documents, answering, database
from ptiffserve.uploads.base import Upload, Writer

# Small enough that a tile's bytes come with few of its neighbours'.
CHUNK = 256 << 10
# How long a writer or a publisher that died keeps others out, in seconds.
LEASE = 30.0


class GridWriter:
    """Whole chunks are written as they fill, the last one when it is closed."""

    def __init__(self, place: "Grid", upload: Upload, holder: ObjectId) -> None:
        self._place = place
        self._upload = upload
        self._holder = holder
        self._start = self.offset = upload.offset
        self._tail = place.tail(upload)
        self._open = self._tail

    def write(self, data: bytes) -> None:
        self._open += data
        self.offset += len(data)
        whole = len(self._open) // CHUNK * CHUNK
        if whole:
            self._flush(whole)
            self._place.advance(self._upload, self._holder, self.offset - len(self._open))

    def _flush(self, nbytes: int) -> None:
        first = (self.offset - len(self._open)) // CHUNK
        self._place.put_chunks(self._upload.id, first, self._open[:nbytes])
        self._open = self._open[nbytes:]

    def cut(self) -> None:
        self.offset, self._open = self._start, self._tail

    def close(self) -> None:
        if self.offset == self._start:
            return  # nothing was written, or all of it was taken back
        if self._open:
            self._place.put_chunks(self._upload.id, (self.offset - len(self._open)) // CHUNK, self._open)
        self._place.advance(self._upload, self._holder, self.offset)


class Grid:
    """Uploads that are not whole yet are noted in `imagefiles.uploads`, with who is writing and until when."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._database: Documents = database(store.root)
        bucket = self._database[BUCKET]
        self.files, self._chunks, self.notes = bucket.files, bucket.chunks, bucket.uploads

    def begin(self, upload: Upload) -> None:
        note = {
            "_id": ObjectId(upload.id),
            "path": upload.path,
            "length": upload.length,
            "offset": 0,
            "touched": datetime.now(UTC),
            "slide": "",
        }
        with answering():
            self._chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
            self.files.create_index([("filename", 1), ("uploadDate", 1)])
            self.notes.insert_one(note)

    def load(self, identity: str) -> Upload:
        with answering():
            note = self.notes.find_one({"_id": _id(identity)})
        if note is None or "path" not in note:
            raise NotFound("no such upload")
        return Upload(
            id=identity,
            path=note["path"],
            length=note["length"],
            offset=note["offset"],
            touched=note["touched"].timestamp(),
            slide=note["slide"],
        )

    @contextmanager
    def writer(self, upload: Upload) -> Iterator[Writer]:
        holder = ObjectId()
        if not self._take(ObjectId(upload.id), holder):
            self.load(upload.id)
            raise Conflict("another request is writing to this upload")
        try:
            writer = GridWriter(self, self.load(upload.id), holder)
            yield writer
            writer.close()
        finally:
            self._let_go(ObjectId(upload.id), holder)

    def _take(self, identity: Any, holder: ObjectId) -> bool:
        now = datetime.now(UTC)
        free = {"_id": identity, "$or": [{"holder": None}, {"until": {"$lt": now}}]}
        held = {"$set": {"holder": holder, "until": now + timedelta(seconds=LEASE)}}
        with answering():
            return self.notes.update_one(free, held).modified_count == 1

    def _let_go(self, identity: Any, holder: ObjectId) -> None:
        with answering():
            self.notes.update_one({"_id": identity, "holder": holder}, {"$set": {"holder": None}})

    def tail(self, upload: Upload) -> bytes:
        """What of the last chunk has arrived, where that is not full."""
        length = upload.offset % CHUNK
        if not length:
            return b""
        with answering():
            chunk = self._chunks.find_one({"files_id": ObjectId(upload.id), "n": upload.offset // CHUNK})
        if chunk is None or len(chunk["data"]) < length:
            raise Unavailable("a chunk of the upload is lost")
        return bytes(chunk["data"])[:length]

    def put_chunks(self, identity: str, first: int, data: bytes) -> None:
        wanted = []
        for number, at in enumerate(range(0, len(data), CHUNK), first):
            key = {"files_id": ObjectId(identity), "n": number}
            wanted.append(ReplaceOne(key, {**key, "data": Binary(data[at : at + CHUNK])}, upsert=True))
        with answering():
            self._chunks.bulk_write(wanted)

    def advance(self, upload: Upload, holder: ObjectId, offset: int) -> None:
        """Conflict where another has taken over from a writer that was thought dead."""
        now = datetime.now(UTC)
        change = {"offset": offset, "touched": now, "until": now + timedelta(seconds=LEASE)}
        with answering():
            found = self.notes.update_one({"_id": ObjectId(upload.id), "holder": holder}, {"$set": change})
        if not found.matched_count:
            raise Conflict("another request has taken over this upload")

    def staged(self, upload: Upload) -> GridSource:
        return GridSource(self._database, self._document(upload))

    def _document(self, upload: Upload) -> dict[str, Any]:
        """The file's document without what takes reading it. Its date is that of its last byte."""
        return {
            "_id": ObjectId(upload.id),
            "filename": upload.path,
            "length": upload.length,
            "chunkSize": CHUNK,
            "uploadDate": datetime.fromtimestamp(upload.touched, UTC),
        }

    @contextmanager
    def alone(self) -> Iterator[None]:
        holder = ObjectId()
        with answering(), suppress(DuplicateKeyError):  # it is there after the first time
            self.notes.insert_one({"_id": "lock", "holder": None})
        end = time.monotonic() + 4 * LEASE
        while not self._take("lock", holder):
            if time.monotonic() > end:
                raise Unavailable("too many uploads are being put in place")
            time.sleep(0.02)
        try:
            yield
        finally:
            self._let_go("lock", holder)

    def digest(self, upload: Upload) -> str:
        """SHA-512, as SlideAtlas keeps it."""
        taken = sha512()
        for piece in self.staged(upload).stream():
            taken.update(piece)
        return taken.hexdigest()

    def reveal(self, upload: Upload, digest: str) -> GridSource:
        document = {**self._document(upload), "metadata": {"sha512": digest}}
        with answering():
            if self.files.find_one({"_id": document["_id"]}) is None:
                there = self.files.find_one({"filename": upload.path})
                if there is None:
                    self._insert(document)
                elif complete(there) and (there.get("metadata") or {}).get("sha512") == digest:
                    document = there
                else:
                    raise Conflict(f"there is another file with the name {upload.path}")
        return GridSource(self._database, document)

    def _insert(self, document: dict[str, Any]) -> None:
        with suppress(DuplicateKeyError):  # our own: an answer was lost, and the driver tried again
            self.files.insert_one(document)

    def settle(self, upload: Upload, slide: str) -> None:
        with answering():
            self.notes.update_one({"_id": ObjectId(upload.id)}, {"$set": {"slide": slide, "offset": upload.length}})
            if self.files.find_one({"_id": ObjectId(upload.id)}) is None:
                self._chunks.delete_many({"files_id": ObjectId(upload.id)})

    def drop(self, identity: str) -> None:
        with answering():
            note = self.notes.find_one({"_id": _id(identity)})
            self.notes.delete_one({"_id": _id(identity)})
            if note and self.files.find_one({"_id": _id(identity)}) is None:
                self._chunks.delete_many({"files_id": _id(identity)})

    def sweep(self, older_than: float) -> int:
        before = datetime.now(UTC) - timedelta(seconds=older_than)
        with answering():
            old = [note["_id"] for note in self.notes.find({"touched": {"$lt": before}}, {"_id": 1})]
            for identity in old:
                self.drop(str(identity))
            for orphan in self._orphans(before):
                self._chunks.delete_many({"files_id": orphan})
        return len(old)

    def _orphans(self, before: datetime) -> list[Any]:
        """Whose chunks have neither a file's document nor an upload's, and the first of them is older than that."""
        known = {each["_id"] for held in (self.files, self.notes) for each in held.find({}, {"_id": 1})}
        lost = [each for each in self._chunks.distinct("files_id") if each not in known]
        return [each for each in lost if self._made(each) < before]

    def _made(self, file: Any) -> datetime:
        chunk = self._chunks.find_one({"files_id": file}, {"_id": 1})
        identity = chunk["_id"] if chunk else None
        return identity.generation_time if isinstance(identity, ObjectId) else datetime.now(UTC)


def _id(identity: str) -> ObjectId:
    if not ID.fullmatch(identity):
        raise NotFound("no such upload")
    return ObjectId(identity)
