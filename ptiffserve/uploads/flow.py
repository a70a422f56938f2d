"""flow.js's numbered chunks into GridFS's slides, as SlideAtlas's pages send them: in any order, each maybe twice."""

from datetime import UTC, datetime
from typing import NamedTuple

from bson import ObjectId

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.errors import Conflict, Malformed
from ptiffserve.sources.mongo import database
from ptiffserve.uploads.grid import CHUNK, Grid, writing
from ptiffserve.uploads.names import path_for
from ptiffserve.uploads.take import finish

# What SlideAtlas's client sends at once; the last one may have nearly twice as much.
PIECE = 1 << 20
MAX_PIECES = 1 << 20


class Piece(NamedTuple):
    """`number` counts from 1 to `total`."""

    number: int
    total: int
    name: str
    data: bytes


def put(place: Grid, identity: str, piece: Piece, catalogue: Catalogue) -> str:
    """Stores a chunk; the id of the slide where it was the last that lacked. Malformed; what `finish` raises."""
    last = piece.number == piece.total
    if not 1 <= piece.number <= piece.total <= MAX_PIECES:
        raise Malformed("flowChunkNumber must be one of flowTotalChunks")
    if not 0 < len(piece.data) < 2 * PIECE or (not last and len(piece.data) != PIECE):
        raise Malformed(f"chunks have {PIECE} bytes; the last may have fewer, or up to twice as many")
    bucket, key = database(place.store.root)["imagefiles"], {"_id": ObjectId(identity)}
    notes = bucket.uploads
    path = path_for(place.store, piece.name)
    new = {"path": path, "total": piece.total, "offset": 0, "length": 0, "slide": ""}
    with writing():
        if not notes.find_one(key, {"_id": 1}) and bucket.files.find_one(key, {"_id": 1}):
            raise Conflict("that file is whole already")
        notes.update_one(key, {"$setOnInsert": new, "$set": {"touched": datetime.now(UTC)}}, upsert=True)
        note = notes.find_one(key) or {}
        if note.get("slide"):
            return str(note["slide"])
        if (note.get("path"), note.get("total")) != (path, piece.total):
            raise Malformed("the chunk is of another file")
        place.put_chunks(identity, (piece.number - 1) * PIECE // CHUNK, piece.data)
        notes.update_one(key, {"$set": {f"pieces.{piece.number}": len(piece.data)}})
        note = notes.find_one(key) or {}
        if len(note["pieces"]) < piece.total:
            return ""
        length = sum(note["pieces"].values())
        notes.update_one(key, {"$set": {"length": length, "offset": length}})
    return finish(place, place.load(identity), catalogue).slide.id
