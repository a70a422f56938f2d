"""SlideAtlas's tile pyramids in MongoDB: a collection for each image, named by its id, with a document for each tile.

Finds tiles by their place in the padded square; knows nothing of pictures.
"""

from collections.abc import Iterator
from typing import Any

from bson import ObjectId

from ptiffserve._ptiff import File
from ptiffserve.errors import NotFound
from ptiffserve.slide import ID, Fingerprint
from ptiffserve.sources import gridfs
from ptiffserve.sources.mongo import Documents, answering, fingerprint_by

# Where pyramids lie among the paths of their store, each by its image's id.
FOLDER = "pyramids/"
# Letters of the quadrants on the screen, by (right, lower).
_LETTERS = "qrts"


class TileDocuments:
    """One image's tiles. There are no bytes to read as a file."""

    file: File | None = None

    def __init__(self, database: Documents, document: dict[str, Any], cache: gridfs.Chunks = gridfs.shared) -> None:
        """`document` is the image's in `images`."""
        self.document = document
        self._tiles = database[str(document["_id"])]
        self._cache = cache
        self._fingerprint = fingerprint_of(document)

    def fingerprint(self) -> Fingerprint:
        return self._fingerprint

    def removed(self) -> bool:
        return False

    def read(self, offset: int, size: int) -> bytes:
        return b""

    def read_now(self, offset: int, size: int) -> bytes | None:
        return b""

    def tile_now(self, z: int, x: int, y: int) -> bytes | None:
        """As `tile`, but None where it is not at hand."""
        return self._cache.get((self._fingerprint, _number(z, x, y)))

    def tile(self, z: int, x: int, y: int) -> bytes:
        """The picture at column `x`, row `y` from the top of the square's 2**z; b"" where there is none. Unavailable."""
        number = _number(z, x, y)
        data = self._cache.get((self._fingerprint, number))
        if data is None:
            with answering():
                found = self._tiles.find_one({"name": name_of(z, x, y)}, {"file": 1})
            data = bytes(found["file"]) if found and isinstance(found.get("file"), bytes) else b""
            if data:
                self._cache.put((self._fingerprint, number), data)
        return data


def _number(z: int, x: int, y: int) -> int:
    return (1 << 2 * z) + (y << z) + x


def name_of(z: int, x: int, y: int) -> str:
    """`t`, then a letter for each halving: q, r, s, t clockwise from the top left."""
    return "t" + "".join(_LETTERS[(x >> bit & 1) + 2 * (y >> bit & 1)] for bit in range(z - 1, -1, -1)) + ".jpg"


def fingerprint_of(document: dict[str, Any]) -> Fingerprint:
    """Of what the image's document says: the tiles say nothing of when they were made."""
    said = repr(
        [document.get(key) for key in ("_id", "dimensions", "levels", "bounds", "TileSize", "CoordinateSystem")]
    )
    made = document["_id"].generation_time if isinstance(document["_id"], ObjectId) else None
    nanoseconds = int(made.timestamp()) * 1_000_000_000 if made else 0
    return fingerprint_by(said, len(said), nanoseconds)


def images(database: Documents) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and document of each image that has tiles. Unavailable."""
    with answering():
        ids = [ObjectId(name) for name in database.list_collection_names() if ID.fullmatch(name)]
        for at in range(0, len(ids), 1000):
            for document in database.images.find({"_id": {"$in": ids[at : at + 1000]}}):
                yield f"{FOLDER}{document['_id']}", document


def find(database: Documents, path: str) -> dict[str, Any]:
    """The image's document that a path means. NotFound, Unavailable."""
    name = path.removeprefix(FOLDER)
    if ID.fullmatch(name):
        with answering():
            document = database.images.find_one({"_id": ObjectId(name)})
        if document is not None:
            return document
    raise NotFound("no such slide")
