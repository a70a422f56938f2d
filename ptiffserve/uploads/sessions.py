"""SlideAtlas's sessions: which store one belongs to, and the attachments that it names. Writes nothing.

A session is known by its document in a store's database; where there is none, the id or label of a store stands for it.
"""

from typing import NamedTuple

from bson import ObjectId

from ptiffserve.catalogue.served import Served
from ptiffserve.config import Store
from ptiffserve.errors import WrongKind
from ptiffserve.slide import ID
from ptiffserve.sources.mongo import answering, database
from ptiffserve.uploads.grid import Grid
from ptiffserve.uploads.pieces import Pieces


class Session(NamedTuple):
    """`refs`: ids of the attachments that its document names."""

    store: Store
    name: str
    refs: tuple[str, ...] = ()

    @property
    def pieces(self) -> Pieces:
        return Pieces(database(self.store.root))

    @property
    def slides(self) -> Grid:
        return Grid(self.store)


def session_of(stores: Served, name: str) -> Session:
    """NotFound; WrongKind where its store is no database. Unavailable."""
    for store in stores.values():
        if store.kind == "mongodb" and ID.fullmatch(name):
            with answering():
                document = database(store.root).sessions.find_one({"_id": ObjectId(name)})
            if document is not None:
                refs = [each.get("ref") for each in document.get("attachments") or [] if isinstance(each, dict)]
                return Session(store, name, tuple(str(each) for each in refs if isinstance(each, ObjectId)))
    store = stores.named(name)
    if store.kind != "mongodb":
        raise WrongKind("attachments are kept in stores that are databases")
    return Session(store, name)
