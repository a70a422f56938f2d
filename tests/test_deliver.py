"""Delivery on documents as SlideAtlas has them, in a real server."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pymongo
import pytest
from bson import ObjectId

from ptiffserve.catalogue.deliver import creator, deliver
from ptiffserve.catalogue.mongo import Mongo
from ptiffserve.config import StoreRecord


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("SMITH 123|x|y|z|HE (a.ptif)", "SMITH"),
        ("  Dr-Lee_01-2|a", "Dr-Lee"),
        ("van der Berg 7|a", "van der Berg"),
        ("SMITH|a", "SMITH"),
        ("SMITH 123 (a.ptif)", ""),
        ("123|a", ""),
        ("|a", ""),
        ("", ""),
        ("Müller 1|a", ""),
    ],
)
def test_the_code_of_who_made_it(label: str, code: str) -> None:
    assert creator(label) == code


@pytest.fixture
def home(mongo_url: str) -> Iterator[Any]:
    with pymongo.MongoClient(mongo_url) as client:
        yield client.get_default_database()


def test_views_land_in_the_right_inbox(home: Any, mongo_url: str) -> None:
    store, smith, lee = ObjectId(), ObjectId(), ObjectId()
    labels = ["SMITH 1|a", "nobody's (x.ptif)", "Dr-Lee_01-2|a", "STRANGE 1|a", "SMITH 2|b"]
    views = []
    for label in labels:
        image = home.images.insert_one({"label": label}).inserted_id
        views.append(home.views.insert_one({"ViewerRecords": [{"Image": image, "Database": store}]}).inserted_id)
    gone = ObjectId()  # a view that is not there any more
    newest_first = [gone, *reversed(views)]
    everything = home.sessions.insert_one({"label": "All", "image_store": store, "views": newest_first}).inserted_id
    home.collections.insert_many(
        [
            {"_id": smith, "label": "Smith", "creator_codes": ["SMITH", "SMYTH"]},
            {"_id": lee, "label": "Lee", "creator_codes": ["Dr-Lee"]},
        ]
    )
    before = ObjectId()
    home.sessions.insert_one({"label": "Inbox", "collection": lee, "views": [before]})
    assert deliver(home, home.images, ObjectId()) == 0, "another store's"
    with closing(Mongo(mongo_url)) as catalogue:
        assert catalogue.deliver(StoreRecord(root="/srv/slides", label="slides", id=str(store))) == 3

    def inbox(collection: ObjectId) -> list[ObjectId]:
        (found,) = home.sessions.find({"label": "Inbox", "collection": collection})
        return list(found["views"])

    assert inbox(smith) == [views[4], views[0]], "the newest is first"
    assert inbox(lee) == [views[2], before]
    left = home.sessions.find_one({"_id": everything})["views"]
    assert left == [gone, views[3], views[1]]
    assert deliver(home, home.images, store) == 0
    # A break between the two writes left one in both: it is not there twice.
    home.sessions.update_one({"_id": everything}, {"$push": {"views": views[0]}})
    assert deliver(home, home.images, store) == 1
    assert inbox(smith) == [views[4], views[0]]
    assert home.sessions.find_one({"_id": everything})["views"] == [gone, views[3], views[1]]
