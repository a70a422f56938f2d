"""Slides and stores as documents of SlideAtlas's shapes (`images`, `databases`), and back. Pure; asks no database.

A document says everything twice where SlideAtlas has a word of its own for it: the record's own fields, which come back as
they were put, and SlideAtlas's, for its clients. Fields of neither are nobody's business here and are never written.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from bson import ObjectId

from ptiffserve.config import StoreRecord
from ptiffserve.geometry import Level, Pyramid, log2_ceil
from ptiffserve.slide import Fingerprint, Mark, Slide

Document = dict[str, Any]

PTIFF = "ImageStore.MultipleDatabaseImageStore.PtiffImageStore"
MONGO = "ImageStore.MultipleDatabaseImageStore.MongoImageStore"
NEVER = datetime(1, 1, 1)
UNKNOWN = Fingerprint(0, 0, 0, 0)
NOT_SYNCED = "not synced yet"
# Its own documents for its pictures (sources/tiles.py): what they say of their geometry is not ours to change.
PYRAMIDS = "pyramids/"
_EPOCH = datetime(1970, 1, 1)
_WIDEST = 1 << 63


class Written(NamedTuple):
    """What a document must hold, and what it is given once, when it is new."""

    always: Document
    first: Document


def from_slide(slide: Slide) -> Written:
    """Everything but `_id`."""
    said = _storable(msgspec.to_builtins(slide))
    del said["id"]
    if slide.path.startswith(PYRAMIDS):
        return Written(said, {})
    said |= _as_slideatlas(slide)
    return Written(said, {"origin": [0.0, 0.0, 0.0], "spacing": [1.0, 1.0, 1.0], "components": 3})


def to_slide(document: Mapping[str, Any]) -> Slide:
    """The record. ValueError where the document is damaged."""
    said = {name: document[name] for name in Slide.__struct_fields__ if name in document}
    slide = msgspec.convert({**said, "id": _id(document)}, Slide, strict=False)
    if slide.pyramid is not None:
        _check(slide.pyramid)
    if not slide.path or not all(map(math.isfinite, (slide.added, slide.changed))):
        raise ValueError("no path, or no times")
    return slide


def to_mark(document: Mapping[str, Any]) -> Mark:
    """What a sync compares. ValueError where that is damaged."""
    try:
        said = [document[name] if name != "id" else _id(document) for name in Mark.__struct_fields__]
    except KeyError as error:
        raise ValueError(f"it has no {error}") from None
    return msgspec.convert(said, Mark, strict=False)


def unsynced(document: Mapping[str, Any], store: StoreRecord) -> Slide:
    """What is known of an image that SlideAtlas wrote and no sync has seen: where its file is, by its name or its content.
    ValueError where it does not say."""
    label, name = document.get("label"), document.get("filename")
    uploaded = document.get("uploaded_at")
    added = seconds(uploaded) if isinstance(uploaded, datetime) else 0.0
    return Slide(
        id=_id(document),
        store=store.label,
        path=_path(document, store),
        fingerprint=UNKNOWN,
        state="unreadable",
        added=added,
        changed=added,
        reason=NOT_SYNCED,
        barcode=label.removesuffix(f" ({name})") if isinstance(label, str) and label.endswith(f" ({name})") else "",
    )


def _path(document: Mapping[str, Any], store: StoreRecord) -> str:
    """In a store of tile pyramids, the image's id. In a folder, the name at import; in one that names files by their content
    (SlideAtlas's later imports), that name."""
    if store.kind == "mongodb":
        return f"{PYRAMIDS}{document['_id']}"
    content, name = document.get("sha512"), document.get("filename")
    if isinstance(content, str) and len(content) == 128 and store.root == "":
        return f"{content[:2]}/{content[2:4]}/{content}"
    if not isinstance(name, str) or not name:
        raise ValueError("neither path nor filename")
    return name


def _id(document: Mapping[str, Any]) -> str:
    if not isinstance(document.get("_id"), ObjectId):
        raise ValueError("its _id is no ObjectId")
    return str(document["_id"])


def _check(pyramid: Pyramid) -> None:
    sides = [side for level in pyramid.levels for side in _sides(level)]
    if not sides or min(sides) < 1:
        raise ValueError("a pyramid without levels or with empty ones")
    if pyramid.mpp and not all(map(math.isfinite, pyramid.mpp)):
        raise ValueError("microns per pixel that are no numbers")


def _sides(level: Level) -> tuple[int, ...]:
    size, tile, grid = level.size, level.tile, level.grid
    return size.width, size.height, tile.width, tile.height, grid.width, grid.height


def _storable(said: Any) -> Any:
    """Lists and documents, with whole numbers that BSON has no room for written out."""
    if isinstance(said, dict):
        return {key: _storable(value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [_storable(value) for value in said]
    if isinstance(said, int) and not -_WIDEST <= said < _WIDEST:
        return str(said)
    return said


def _as_slideatlas(slide: Slide) -> Document:
    """SlideAtlas's names and types, as its import of PTIFFs set them."""
    name = PurePosixPath(slide.path).name
    said: Document = {
        "filename": name,
        "label": f"{slide.barcode} ({name})" if slide.barcode else name,
        "uploaded_at": moment(slide.fingerprint.mtime_ns / 1e9),
    }
    if slide.pyramid is None:
        return said
    level = slide.pyramid.levels[0]
    width, height = level.size.width, level.size.height
    if slide.format == "philips":  # its directory says whole tiles, and SlideAtlas believed it
        width, height = level.grid.width * level.tile.width, level.grid.height * level.tile.height
    tiles = -(-max(width, height) // level.tile.width)
    return said | {
        "dimensions": [width, height, 1],
        "levels": log2_ceil(tiles) + 1,
        "TileSize": level.tile.width,
        "bounds": [0, width - 1, 0, height - 1, 0, 0],
        "CoordinateSystem": "Pixel",
    }


def from_store(store: StoreRecord) -> Document:
    """Everything but `_id`, and what only a new document is given (`new_store`)."""
    said: Document = _storable(msgspec.to_builtins(store))
    del said["id"]
    said |= from_last_sync(store.last_sync)
    if store.kind == "folder":
        said["root_path"] = store.root
    return said


def from_last_sync(at: float) -> Document:
    return {"last_sync": moment(at) if at else NEVER, "last_sync_seconds": at}


def new_store(store: StoreRecord, host: str, database: str) -> Document:
    """What SlideAtlas needs besides. `host`, `database`: where the store's images are described."""
    kind = MONGO if store.kind == "mongodb" else PTIFF
    return {"_cls": kind, "host": host, "dbname": database, "indexed_by": "ptiffserve"}


def to_store(document: Mapping[str, Any]) -> StoreRecord:
    """The record. ValueError where the document is damaged."""
    said = {name: document[name] for name in StoreRecord.__struct_fields__ if name in document}
    for name in ("host_name", "last_sync"):
        if said.get(name) is None:
            said.pop(name, None)
    said["id"] = _id(document)
    said["root"] = said.get("root") or _root(document)
    said["last_sync"] = _last_sync(document)
    if isinstance(said.get("label"), str):
        said["label"] = said["label"].replace("/", "_")  # a key begins with the label and a slash
    if "include" not in said and not document.get("root_path") and PTIFF in str(document.get("_cls")):
        said["include"] = ["*"]  # files named by their content have no ending
    if not said.get("label"):
        raise ValueError("a store without a label")
    return msgspec.convert(said, StoreRecord)


def _root(document: Mapping[str, Any]) -> str:
    """SlideAtlas's folder, "" where it did not say; or its database, as a URL."""
    path = document.get("root_path")
    if isinstance(path, str) and path:
        return path
    if "Ptiff" in str(document.get("_cls", "Ptiff")):
        return ""
    hosts = document.get("host")
    where = ",".join(map(str, hosts)) if isinstance(hosts, list) else str(hosts or "localhost")
    user = _text(document, "username")
    login = f"{quote(user, safe='')}:{quote(_text(document, 'password'), safe='')}@" if user else ""
    options = {"replicaSet": _text(document, "replica_set"), "authSource": _text(document, "auth_db")}
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in options.items() if value)
    return f"mongodb://{login}{where}/{_text(document, 'dbname')}" + (f"?{query}" if query else "")


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _last_sync(document: Mapping[str, Any]) -> float:
    """To the microsecond where we wrote it last; SlideAtlas's own moment where it did."""
    said, exact = document.get("last_sync"), document.get("last_sync_seconds")
    if not isinstance(said, datetime) or said.year == 1:
        return 0.0
    at = seconds(said)
    return exact if isinstance(exact, float) and abs(exact - at) < 0.01 else at


def moment(unix: float) -> datetime:
    """Without a zone, meaning UTC, as BSON has it. What no calendar reaches is the beginning of Unix."""
    try:
        return _EPOCH + timedelta(seconds=unix)
    except OverflowError:
        return _EPOCH


def seconds(at: datetime) -> float:
    return at.replace(tzinfo=UTC).timestamp()
