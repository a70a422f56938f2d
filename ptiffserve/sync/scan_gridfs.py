"""What slides a database holds: complete GridFS files, and SlideAtlas's tile pyramids. Reads their documents only."""

from pathlib import Path

from ptiffserve.config import Store
from ptiffserve.errors import NotFound, Unavailable
from ptiffserve.slide import Fingerprint
from ptiffserve.sources import gridfs, tiles
from ptiffserve.sources.mongo import database
from ptiffserve.sources.place import source_of
from ptiffserve.sync.scan import Found, RootMissing, look, takes


def scan_gridfs(store: Store) -> Found:
    """RootMissing where the database is away."""
    try:
        held = database(store.root)
        files = {path: gridfs.fingerprint_of(document) for path, document in gridfs.files(held).items()}
        pyramids = {path: tiles.fingerprint_of(document) for path, document in tiles.images(held)}
    except Unavailable as error:
        raise RootMissing(f"the database of {store.label}: {error}") from error
    kept = {path: at for path, at in files.items() if takes(store, path)}
    return Found(kept | pyramids, [], [])


def look_in(store: Store, relative: str) -> Fingerprint | None:
    """The fingerprint of one file of a store now, None where it is gone. Unavailable."""
    if store.kind == "folder":
        return look(Path(store.root), relative)
    try:
        return source_of(store, relative, relative).fingerprint()
    except NotFound:
        return None
