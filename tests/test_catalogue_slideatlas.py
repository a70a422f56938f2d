"""A database as SlideAtlas left it: read as it is, filled in by the first sync, ids and unknown fields kept."""

import hashlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import Binary, ObjectId
from pymongo import MongoClient

from ptiffserve.catalogue import documents
from ptiffserve.catalogue.base import Query
from ptiffserve.catalogue.mongo import Mongo
from ptiffserve.sync.apply import apply
from ptiffserve.sync.scan import scan

FOLDER, HASHED, PYRAMIDS = ObjectId("a" * 24), ObjectId("b" * 24), ObjectId("c" * 24)


def image(number: int, filename: str, **more: object) -> dict[str, Any]:
    """The document of a PTIFF, with each type that SlideAtlas writes."""
    return {
        "_id": ObjectId(f"{number:024x}"),
        "filename": filename,
        "label": f"S-{number} ({filename})",
        "uploaded_at": datetime(2014, 12, number, 10, 30),
        "dimensions": [1536, 1280, 1],
        "levels": 4,
        "TileSize": 256,
        "bounds": [0, 1535, 0, 1279, 0, 0],
        "CoordinateSystem": "Pixel",
        "origin": [0.0, 0.0, 0.0],
        "spacing": [1.0, 1.0, 1.0],
        "components": 3,
        "thumb": Binary(b"x" * 100),
        "copyright": "somebody",
        "hide": False,
        **more,
    }


@pytest.fixture
def folder(slides: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "ptiffs"
    folder.mkdir()
    for number, name in enumerate(("big420", "one", "rgb"), 1):
        shutil.copy(slides / f"{name}.tiff", folder / f"{number}.ptif")
    return folder


@pytest.fixture
def client(mongo_url: str, folder: Path) -> Iterator[MongoClient[dict[str, Any]]]:
    """SlideAtlas's databases: the admin's, and one for each store."""
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        admin = client.get_default_database()
        store = {"host": "localhost:27017", "last_sync": datetime(2014, 12, 29, 1, 2, 3), "host_name": ""}
        login = {"username": "atlas", "password": "geheim", "auth_db": "admin", "replica_set": ""}
        admin.databases.insert_many(
            [
                {"_id": FOLDER, "_cls": documents.PTIFF, "label": "Slides", "dbname": f"{admin.name}_p", **store}
                | {"root_path": str(folder), **login},
                {"_id": HASHED, "_cls": documents.PTIFF, "label": "Hashed/by content", "dbname": f"{admin.name}_h"}
                | {**store, "last_sync": datetime(1, 1, 1)},
                {
                    "_id": PYRAMIDS,
                    "_cls": documents.MONGO,
                    "label": "Tiles",
                    "dbname": f"{admin.name}_t",
                    **store,
                    **login,
                },
            ]
        )
        images = client[f"{admin.name}_p"].images
        images.create_index("filename")
        images.create_index("sha512", unique=True, sparse=True)
        images.insert_many([image(1, "1.ptif", sha512="1" * 128), image(2, "2.ptif"), image(9, "gone.ptif")])
        client[f"{admin.name}_h"].images.insert_one(image(4, "x.ptif", sha512=content(folder / "3.ptif")))
        client[f"{admin.name}_t"].images.insert_one(image(5, "old", bounds=[0, 9, 0, 9], CoordinateSystem="Photo"))
        client[f"{admin.name}_t"].images.insert_one({"_id": ObjectId(f"{6:024x}")})
        yield client


def content(path: Path) -> str:
    return hashlib.sha512(path.read_bytes()).hexdigest()


@pytest.fixture
def catalogue(mongo_url: str, client: object) -> Iterator[Mongo]:
    catalogue = Mongo(mongo_url)
    yield catalogue
    catalogue.close()


def whole(client: MongoClient[dict[str, Any]]) -> dict[str, Any]:
    """Every document of ours."""
    mine = client.get_default_database().name
    return {
        f"{name}.{kind}": list(client[name][kind].find())
        for name in sorted(client.list_database_names())
        if name.startswith(mine)
        for kind in sorted(client[name].list_collection_names())
    }


def test_it_is_listed_as_it_is(catalogue: Mongo, client: MongoClient[dict[str, Any]], folder: Path) -> None:
    before = whole(client)
    hashed, slides, tiles = catalogue.stores()
    assert (slides.id, slides.label, slides.root, slides.kind) == ("a" * 24, "Slides", str(folder), "folder")
    assert slides.last_sync == datetime.fromisoformat("2014-12-29T01:02:03+00:00").timestamp()
    assert (hashed.label, hashed.root, hashed.last_sync, hashed.include) == ("Hashed_by content", "", 0.0, ["*"])
    assert tiles.kind == "mongodb"
    page = catalogue.page(Query(("Slides", "Hashed_by content", "Tiles")))
    digest = content(folder / "3.ptif")
    assert [slide.key for slide in page.slides] == [
        f"Hashed_by content/{digest[:2]}/{digest[2:4]}/{digest}",
        "Slides/1.ptif",
        "Slides/2.ptif",
        "Slides/gone.ptif",
        f"Tiles/pyramids/{5:024x}",
        f"Tiles/pyramids/{6:024x}",
    ]
    one = page.slides[1]
    assert (one.id, one.state, one.reason, one.barcode) == (f"{1:024x}", "unreadable", documents.NOT_SYNCED, "S-1")
    for slide in page.slides:
        assert catalogue.get(slide.id) == catalogue.get(slide.key) == slide
    assert catalogue.counts("Slides") == {"unreadable": 3}
    assert catalogue.page(Query(("Slides",), text="GONE")).slides[0].path == "gone.ptif"
    assert catalogue.page(Query(("Slides",), state="ready")).slides == []
    assert catalogue.page(Query(("Slides",), barcode="S-2")).slides[0].path == "2.ptif"
    assert whole(client) == before, "reading changes nothing"


def test_pages_of_it_are_complete(catalogue: Mongo) -> None:
    catalogue.put([slide for slide in catalogue.each("Slides") if slide.path == "2.ptif"])
    stores = tuple(store.label for store in catalogue.stores())
    every = [slide.key for slide in catalogue.page(Query(stores)).slides]
    found, cursor = [], ""
    for _ in every:
        page = catalogue.page(Query(stores, after=cursor, limit=1))
        found += [slide.key for slide in page.slides]
        cursor = page.next
    assert found == every
    assert cursor == ""


def test_the_first_sync_fills_it_in(catalogue: Mongo, client: MongoClient[dict[str, Any]], folder: Path) -> None:
    store = next(store for store in catalogue.stores() if store.label == "Slides")
    apply(store, scan(store), catalogue)
    slides = {slide.path: slide for slide in catalogue.each("Slides")}
    assert {path: slide.state for path, slide in slides.items()} == {
        "1.ptif": "ready",
        "2.ptif": "ready",
        "3.ptif": "ready",
        "gone.ptif": "missing",
    }
    assert slides["1.ptif"].id == f"{1:024x}"
    assert slides["2.ptif"].id == f"{2:024x}"
    database = client[f"{client.get_default_database().name}_p"]
    assert database.images.count_documents({}) == 4
    one = database.images.find_one({"_id": ObjectId(f"{1:024x}")})
    assert one
    assert (one["copyright"], one["sha512"], one["thumb"], one["hide"]) == ("somebody", "1" * 128, b"x" * 100, False)
    assert one["dimensions"] == [1536, 1280, 1]
    assert one["label"] == "S26-001234 (1.ptif)"
    again = apply(store, scan(store), catalogue)
    assert (again.added, again.changed, again.moved, again.missing) == (0, 0, 0, 0)


def test_stores_keep_what_we_do_not_know(catalogue: Mongo, client: MongoClient[dict[str, Any]]) -> None:
    for store in catalogue.stores():
        catalogue.put_store(store)
        assert store in catalogue.stores()
    admin = client.get_default_database()
    found = admin.databases.find_one({"_id": FOLDER})
    assert found
    assert (found["password"], found["dbname"], found["host"]) == ("geheim", f"{admin.name}_p", "localhost:27017")
    assert found["last_sync"] == datetime(2014, 12, 29, 1, 2, 3)


def test_pyramids_keep_their_geometry(catalogue: Mongo, client: MongoClient[dict[str, Any]]) -> None:
    """Their tiles are found by it."""
    catalogue.put(list(catalogue.each("Tiles")))
    images = client[f"{client.get_default_database().name}_t"].images
    one = images.find_one({"_id": ObjectId(f"{5:024x}")})
    assert one
    assert (one["bounds"], one["CoordinateSystem"], one["filename"]) == ([0, 9, 0, 9], "Photo", "old")
    assert one["path"] == f"pyramids/{5:024x}"


def test_forgetting_a_store_spares_what_was_never_synced(catalogue: Mongo, client: MongoClient[dict[str, Any]]) -> None:
    catalogue.forget_store("Tiles")
    assert client[f"{client.get_default_database().name}_t"].images.count_documents({}) == 2
    assert [store.label for store in catalogue.stores()] == ["Hashed_by content", "Slides"]
