"""Files that are on this machine or in another store already: which of them may be taken."""

from collections.abc import Mapping
from pathlib import Path

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.config import Store
from ptiffserve.errors import Forbidden, Malformed, NotFound
from ptiffserve.sources.base import Source
from ptiffserve.sources.file import FileSource, inside
from ptiffserve.sources.place import source_of
from ptiffserve.sources.tiles import TileDocuments


def source_asked(stores: Mapping[str, Store], catalogue: Catalogue, path: str, slide: str) -> tuple[Source, str]:
    """The bytes of a file below the root of one of the stores, or of a slide by id or key, and its name.

    Malformed, NotFound; Forbidden for files elsewhere.
    """
    if bool(path) == bool(slide):
        raise Malformed("either path or slide is needed")
    if path:
        return FileSource(_allowed(stores, path), Path(path).name), Path(path).name
    found = catalogue.get(slide)
    if found is None or found.store not in stores:
        raise NotFound("no such slide")
    source = source_of(stores[found.store], found.path, found.key)
    if isinstance(source, TileDocuments):
        raise Malformed("a pyramid of tiles is no file")
    return source, found.path


def _allowed(stores: Mapping[str, Store], path: str) -> Path:
    """The real path. Whether a file elsewhere is there is not told."""
    if "\0" in path or not path.startswith("/"):
        raise Malformed("path must be absolute")
    for store in stores.values():
        if store.kind != "folder":
            continue
        try:
            found = inside(Path(store.root), path)
        except NotFound:
            continue
        if not found.is_file():
            raise NotFound("no such file")
        return found
    raise Forbidden("only files below the stores' folders can be taken")
