"""Which source a slide of a store has, by the store's kind."""

from pathlib import Path

from ptiffserve.config import Store
from ptiffserve.errors import NotFound
from ptiffserve.sources import gridfs, tiles
from ptiffserve.sources.base import Source
from ptiffserve.sources.file import FileSource, inside
from ptiffserve.sources.mongo import database


def source_of(store: Store, path: str, name: str) -> Source:
    """The bytes at `path` in a store; `name` is what messages call them. NotFound, SlideUnreadable, Unavailable."""
    if store.kind == "folder":
        return FileSource(inside(Path(store.root), path), name)
    if store.kind == "mongodb":
        held = database(store.root)
        if path.startswith(tiles.FOLDER):
            return tiles.TileDocuments(held, tiles.find(held, path))
        return gridfs.GridSource(held, gridfs.find(held, path))
    raise NotFound(f"stores of the kind {store.kind} are not served")
