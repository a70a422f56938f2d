"""Slides that are GridFS files in MongoDB. Reads whole chunks and keeps the last ones used; writes nothing."""

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import Any

from bson import ObjectId

from ptiffserve._ptiff import File
from ptiffserve.errors import NotFound
from ptiffserve.slide import ID, Fingerprint
from ptiffserve.sources.mongo import Documents, answering, fingerprint_by

# SlideAtlas's bucket of slides.
BUCKET = "imagefiles"
# Chunks of all files together that are kept.
CACHE_BYTES = 64 << 20
# How many chunks one query brings at most.
BATCH = 64

Document = dict[str, Any]
Key = tuple[Fingerprint, int]


class Chunks:
    """Chunks that were read lately, least recently used first, bounded by bytes; for all files and threads."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._held = 0
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> bytes | None:
        with self._lock:
            data = self._kept.get(key)
            if data is not None:
                self._kept.move_to_end(key)
            return data

    def put(self, key: Key, data: bytes) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = data
            self._held += len(data)
            while self._held > self._nbytes:
                self._held -= len(self._kept.popitem(last=False)[1])


shared = Chunks(CACHE_BYTES)


class GridSource:
    """One GridFS file. Its bytes never change: what replaces it has another id, and so another fingerprint."""

    file: File | None = None

    def __init__(self, database: Documents, document: Document, bucket: str = BUCKET, cache: Chunks = shared) -> None:
        """`document` is the file's in `BUCKET.files`, or what it will be."""
        self._chunks = database[bucket].chunks
        self._id = document["_id"]
        self._size = int(document["length"])
        self._chunk = int(document["chunkSize"])
        self._cache = cache
        self._fingerprint = fingerprint_of(document)

    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def removed(self) -> bool:
        """Whether it holds what should be given back: a GridFS file holds nothing open."""
        return False

    def read(self, offset: int, size: int) -> bytes:
        """OSError where a chunk is missing or short. Unavailable where the database is away."""
        first, last = self._touched(offset, size)
        kept = {number: self._cache.get((self._fingerprint, number)) for number in range(first, last)}
        lacking = [number for number, data in kept.items() if data is None]
        for at in range(0, len(lacking), BATCH):
            kept.update(self._fetch(lacking[at : at + BATCH]))
        return self._cut([kept[number] or b"" for number in range(first, last)], offset, size)

    def read_now(self, offset: int, size: int) -> bytes | None:
        first, last = self._touched(offset, size)
        kept = []
        for number in range(first, last):
            data = self._cache.get((self._fingerprint, number))
            if data is None:
                return None
            kept.append(data)
        return self._cut(kept, offset, size)

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `end`, piece by piece, past the cache."""
        end = self._size if end is None else end
        first, last = self._touched(start, end - start)
        for at in range(first, last, 4):
            found = self._fetch(range(at, min(at + 4, last)), keep=False)
            data = b"".join(found[number] for number in range(at, min(at + 4, last)))
            low = max(0, start - at * self._chunk)
            yield data[low : end - at * self._chunk]

    def _touched(self, offset: int, size: int) -> tuple[int, int]:
        """The chunks that hold `size` bytes from `offset`: first, and the one behind the last."""
        end = min(offset + size, self._size)
        return (offset // self._chunk, -(-end // self._chunk)) if end > offset >= 0 else (0, 0)

    def _cut(self, chunks: list[bytes], offset: int, size: int) -> bytes:
        at = offset % self._chunk
        return b"".join(chunks)[at : at + size] if chunks else b""

    def _fetch(self, numbers: "list[int] | range", keep: bool = True) -> dict[int, bytes]:
        wanted = {"files_id": self._id, "n": {"$gte": numbers[0], "$lte": numbers[-1]}}
        found: dict[int, bytes] = {}
        with answering():
            for chunk in self._chunks.find(wanted, {"n": 1, "data": 1}):
                found[chunk["n"]] = bytes(chunk["data"])
        for number in numbers:
            if len(found.get(number, b"")) != min(self._chunk, self._size - number * self._chunk):
                raise OSError(f"chunk {number} is missing or has another length than the file says")
            if keep:
                self._cache.put((self._fingerprint, number), found[number])
        return found


def fingerprint_of(document: Document) -> Fingerprint:
    """Which bytes a GridFS file has, by its document alone: the same in every process."""
    taken = int(document["uploadDate"].timestamp() * 1000) * 1_000_000
    return fingerprint_by(f"{document['_id']!r} {document.get('md5') or ''}", int(document["length"]), taken)


def complete(document: Document) -> bool:
    """Whether a document in `BUCKET.files` is of a file that is there whole: SlideAtlas writes it before the chunks."""
    length, chunk = document.get("length"), document.get("chunkSize")
    if not isinstance(length, int) or not isinstance(chunk, int) or length <= 0 or chunk <= 0:
        return False
    return "uploadDate" in document and isinstance(document.get("filename"), str)


def files(database: Documents, bucket: str = BUCKET) -> dict[str, Document]:
    """The complete files of a bucket by their paths in the store. The newest of a name is meant by that name alone, as
    GridFS has it; older ones by `ID/NAME`. Unavailable."""
    found: dict[str, Document] = {}
    with answering():
        for document in database[bucket].files.find().sort([("uploadDate", -1), ("_id", -1)]):
            if not complete(document):
                continue
            path = path_of(document)
            found[path if path not in found else f"{document['_id']}/{path}"] = document
    return found


def path_of(document: Document) -> str:
    """A file's name as a path: no empty segments, none that a URL would take for a step."""
    parts = [part for part in str(document["filename"]).split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or str(document["_id"])


def find(database: Documents, path: str, bucket: str = BUCKET) -> Document:
    """The file that a path means. NotFound, Unavailable."""
    first, _, rest = path.partition("/")
    with answering():
        named = by_id(database, first, bucket)
        if named is not None and rest in ("", path_of(named)):
            return named
        newest = [("uploadDate", -1), ("_id", -1)]
        for document in database[bucket].files.find({"filename": path}).sort(newest).limit(8):
            if complete(document):
                return document
    raise NotFound("no such slide")


def by_id(database: Documents, identity: str, bucket: str = BUCKET) -> Document | None:
    """The document of a complete file. Unavailable."""
    if not ID.fullmatch(identity):
        return None
    with answering():
        document = database[bucket].files.find_one({"_id": ObjectId(identity)})
    return document if document is not None and complete(document) else None
