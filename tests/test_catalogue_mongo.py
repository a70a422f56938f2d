"""The catalogue in MongoDB against the contract, over a socket, and what is its own: documents, damage, plain searches."""

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
import pymongo
import pytest
from bson import ObjectId
from contract_catalogue import CatalogueContract, record
from pymongo.database import Database

from ptiffserve.catalogue import documents
from ptiffserve.catalogue.base import Page, Query
from ptiffserve.catalogue.mongo import Mongo
from ptiffserve.config import StoreRecord
from ptiffserve.errors import ConfigError
from ptiffserve.slide import Alias, Fingerprint


@pytest.fixture
def catalogue(mongo_url: str) -> Iterator[Mongo]:
    catalogue = Mongo(mongo_url)
    yield catalogue
    catalogue.close()


@pytest.fixture
def another(mongo_url: str) -> Callable[[], Mongo]:
    return lambda: Mongo(mongo_url)


class TestMongo(CatalogueContract):
    pass


@pytest.fixture
def database(mongo_url: str) -> Iterator[Database[dict[str, Any]]]:
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        yield client.get_default_database()


def test_numbers_and_times_that_bson_has_no_room_for(catalogue: Mongo) -> None:
    slide = record(
        1,
        fingerprint=Fingerprint(2**64 - 1, 2**64 - 2, 2**63, 2**63 - 1),
        also=(Alias("b.tiff", Fingerprint(2**63, 1, 2, 3)),),
        added=1732493.1234567891,
        changed=1e-9,
        pyramid=None,
        state="unreadable",
        digest="ab" * 16,
        reading=3,
    )
    catalogue.put([slide])
    assert catalogue.get(slide.id) == slide


def test_documents_have_slideatlas_names_and_types(catalogue: Mongo, database: Database[dict[str, Any]]) -> None:
    catalogue.put([record(1)])
    found = database.images.find_one({"_id": ObjectId(record(1).id)})
    assert found
    assert found["filename"] == "slide-001.tiff"
    assert found["label"] == "B1 (slide-001.tiff)"
    assert found["uploaded_at"] == datetime(2023, 11, 14, 22, 13, 20, 123000)
    assert found["dimensions"] == [1000, 800, 1]
    assert (found["levels"], found["TileSize"], found["components"]) == (3, 256, 3)
    assert found["bounds"] == [0, 999, 0, 799, 0, 0]
    assert (found["CoordinateSystem"], found["origin"], found["spacing"]) == ("Pixel", [0.0] * 3, [1.0] * 3)
    catalogue.put_store(StoreRecord(root="/x", label="A", id="a" * 24))
    store = database.databases.find_one()
    assert store
    assert (store["_cls"], store["root_path"], store["last_sync"]) == (documents.PTIFF, "/x", datetime(1, 1, 1))
    assert {"host", "dbname", "host_name", "label"} <= store.keys()


def test_swapped_names(catalogue: Mongo, database: Database[dict[str, Any]]) -> None:
    one, two = record(1), record(2)
    catalogue.put([one, two])
    database.images.update_many({}, {"$set": {"note": "kept"}})
    swapped = [msgspec.structs.replace(one, path=two.path), msgspec.structs.replace(two, path=one.path)]
    catalogue.put(swapped)
    assert list(catalogue.each("A")) == swapped[::-1]
    assert database.images.count_documents({"note": "kept"}) == 2
    catalogue.put([record(3, path=one.path)])
    assert {slide.id for slide in catalogue.each("A")} == {one.id, record(3).id}


DAMAGE: list[dict[str, Any]] = [
    {"$unset": {"fingerprint": ""}},
    {"$unset": {"state": ""}},
    {"$set": {"state": "asleep"}},
    {"$set": {"fingerprint": "x"}},
    {"$set": {"added": math.nan}},
    {"$set": {"changed": {"$date": 5}}},
    {"$set": {"pyramid": {"levels": []}}},
    {"$set": {"pyramid.levels.0.size.width": 0}},
    {"$set": {"pyramid.levels.0.tile.height": -256}},
    {"$set": {"pyramid.levels": {"a": 1}}},
    {"$set": {"pyramid.mpp": [math.inf, 1.0]}},
    {"$set": {"associated": 5}},
    {"$set": {"barcode": None}},
    {"$set": {"path": ["a", "b"]}},
    {"$set": {"path": 7}},
    {"$set": {"path": ""}},
]


def test_damaged_documents_are_passed_over(
    catalogue: Mongo, database: Database[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    catalogue.put([record(n) for n in range(len(DAMAGE) + 1)])
    for n, damage in enumerate(DAMAGE):
        database.images.update_one({"_id": ObjectId(record(n).id)}, damage)
    database.images.insert_one({"_id": "no object id", "store": "A", "path": "z.tiff", "state": "ready"})
    database.images.insert_one({"store": "A", "path": "y" * (2 << 20)})
    good = record(len(DAMAGE))
    assert list(catalogue.each("A")) == [good]
    assert catalogue.page(Query(("A",), limit=1)) == Page([good], "")
    for n in range(len(DAMAGE)):
        assert catalogue.get(record(n).id) is None
        assert catalogue.get(record(n).key) is None
    assert "is passed over" in caplog.text
    catalogue.put([record(n) for n in range(len(DAMAGE))])
    assert len(list(catalogue.each("A"))) == len(DAMAGE) + 1, "a sync heals them"


def test_damaged_stores_are_passed_over(catalogue: Mongo, database: Database[dict[str, Any]]) -> None:
    catalogue.put_store(StoreRecord(root="/x", label="A", id="a" * 24))
    database.databases.insert_many([{"label": 5}, {}, {"_id": "x", "label": "X"}, {"label": "Y", "poll": "often"}])
    assert [store.label for store in catalogue.stores()] == ["A"]


@pytest.mark.parametrize("text", ["(a+)+$", ".*", "$where", "[", "\\", "^slide", "\0", "\ud800", '{"$ne": ""}'])
def test_searches_are_plain_text(catalogue: Mongo, text: str) -> None:
    catalogue.put([record(1), record(2, path="x (a+)+$ .* $where [ \\ ^slide.tiff")])
    found = [slide.path for slide in catalogue.page(Query(("A",), text=text)).slides]
    assert found == (
        [] if text in ("\0", "\ud800", '{"$ne": ""}') else [record(2, path="x (a+)+$ .* $where [ \\ ^slide.tiff").path]
    )
    for query in (Query(("A",), state=text), Query(("A",), barcode=text), Query((text,))):
        assert catalogue.page(query).slides == []
    assert catalogue.get(f"A/{text}") is None
    assert catalogue.get(f"{text}/x") is None


def test_a_url_that_means_no_database() -> None:
    for url in ("mongodb://h", "mongodb://", "mongodb://h:port/d", "mongodb://u:p:w@h/d"):
        with pytest.raises(ConfigError, match=r"catalogue\.url"):
            Mongo(url)
