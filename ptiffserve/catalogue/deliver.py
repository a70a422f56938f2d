"""SlideAtlas's delivery: views of a store's session `All` go into the `Inbox` of whoever's code their label begins with.

Documents of `sessions`, `views` and `collections` that SlideAtlas made; none is made here but an `Inbox` that is missing.
"""

import re
from typing import Any

from bson import DBRef, ObjectId
from pymongo.collection import Collection
from pymongo.database import Database

Document = dict[str, Any]

_CREATOR = re.compile(r"^ *([a-zA-Z- ]+?)[0-9 _-]*\|")


def creator(label: str) -> str:
    """The code of who made a slide, from the barcode at the head of its label: "" where there is none."""
    found = _CREATOR.match(label)
    return found[1] if found else ""


def deliver(home: Database[Document], images: Collection[Document], store: ObjectId) -> int:
    """Moves what has a place to go, oldest first, each to the front; gives how many. What has none stays. May be repeated.

    `home`: SlideAtlas's own database; `images`: those of the store.
    """
    everything = home.sessions.find_one({"label": "All", **_refers("image_store", store)})
    moved = 0
    for view in reversed(everything.get("views", []) if everything else []):
        inbox = _inbox(home, creator(_label(home, images, _id(view))))
        if inbox is not None and everything is not None:
            # There before it is gone here: a break leaves it in both, and the next delivery takes it from one.
            home.sessions.update_one(
                {"_id": inbox, "views": {"$ne": view}}, {"$push": {"views": {"$each": [view], "$position": 0}}}
            )
            home.sessions.update_one({"_id": everything["_id"]}, {"$pull": {"views": view}})
            moved += 1
    return moved


def _label(home: Database[Document], images: Collection[Document], view: ObjectId) -> str:
    """Of the image that a view shows, "" where either is not there."""
    found = home.views.find_one({"_id": view}) or {}
    records = found.get("ViewerRecords") or [{}]
    image = images.find_one({"_id": _id(records[0].get("Image"))}) or {}
    label = image.get("label")
    return label if isinstance(label, str) else ""


def _inbox(home: Database[Document], code: str) -> ObjectId | None:
    collection = home.collections.find_one({"creator_codes": code}) if code else None
    if collection is None:
        return None
    found = home.sessions.find_one({"label": "Inbox", **_refers("collection", collection["_id"])})
    if found is None:
        fresh = {"label": "Inbox", "collection": collection["_id"], "views": []}
        found = {"_id": home.sessions.insert_one({**fresh, "image_store": collection.get("image_store")}).inserted_id}
    inbox: ObjectId = found["_id"]
    return inbox


def _refers(key: str, to: ObjectId) -> Document:
    """SlideAtlas's references are ids, or DBRefs where its older versions wrote them."""
    return {"$or": [{key: to}, {f"{key}.$id": to}]}


def _id(reference: Any) -> Any:
    return reference.id if isinstance(reference, DBRef) else reference
