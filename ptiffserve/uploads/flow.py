"""flow.js's numbered chunks into GridFS's slides, as SlideAtlas's pages send them: in any order, each maybe twice."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo import ReturnDocument

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.errors import Conflict, Malformed
from ptiffserve.sources.mongo import answering
from ptiffserve.uploads.grid import CHUNK, Grid
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
    """Stores a chunk; the id of the slide where it was the last that lacked, or where it is one already. Malformed; what
    `finish` raises."""
    _check(piece)
    path = path_for(place.store, piece.name)
    notes, key = place.notes, {"_id": ObjectId(identity)}
    with answering():
        note = _noted(place, key, path, piece.total)
        if note["slide"]:
            return str(note["slide"])
        if (note["path"], note["total"]) != (path, piece.total):
            raise Malformed("the chunk is of another file")
        place.put_chunks(identity, (piece.number - 1) * PIECE // CHUNK, piece.data)
        came = {"$set": {f"pieces.{piece.number}": len(piece.data)}}
        pieces = (notes.find_one_and_update(key, came, return_document=ReturnDocument.AFTER) or {}).get("pieces", {})
        if len(pieces) < piece.total:
            return ""
        length = sum(pieces.values())
        notes.update_one(key, {"$set": {"length": length, "offset": length}})
    return finish(place, place.load(identity), catalogue).slide.id


def _check(piece: Piece) -> None:
    if not 1 <= piece.number <= piece.total <= MAX_PIECES:
        raise Malformed("flowChunkNumber must be one of flowTotalChunks")
    last = piece.number == piece.total
    if not 0 < len(piece.data) < 2 * PIECE or (not last and len(piece.data) != PIECE):
        raise Malformed(f"chunks have {PIECE} bytes; the last may have fewer, or up to twice as many")


def _noted(place: Grid, key: dict[str, Any], path: str, total: int) -> dict[str, Any]:
    """The note of the upload, made with its first chunk, whichever that is. Conflict."""
    if not place.notes.find_one(key, {"_id": 1}) and place.files.find_one(key, {"_id": 1}):
        raise Conflict("that file is whole already")
    new = {"path": path, "total": total, "offset": 0, "length": 0, "slide": ""}
    change = {"$setOnInsert": new, "$set": {"touched": datetime.now(UTC)}}
    return place.notes.find_one_and_update(key, change, upsert=True, return_document=ReturnDocument.AFTER) or new
