"""What the command line tells of a URL and of a configuration, without a server."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ptiffserve.address import Document, Redirect, etag
from ptiffserve.app import labelled, offer_of, sources_of
from ptiffserve.catalogue.lookup import Lookup
from ptiffserve.catalogue.opened import open_catalogue
from ptiffserve.catalogue.served import here
from ptiffserve.config import Config, Store, catalogue_path, shown, url_paths
from ptiffserve.endpoint import dialect_of, dialects, find
from ptiffserve.errors import NotFound, PtiffserveError
from ptiffserve.protocols.base import Offer
from ptiffserve.service import OpenSlides, Service
from ptiffserve.sync.jobs import Jobs
from ptiffserve.sync.run import SCANS, sync


class Explained(NamedTuple):
    """How a URL is understood. `plan` is in words; `nbytes` is the length of the answer's body."""

    slide: str
    plan: str
    lane: str
    nbytes: int
    etag: str


def explain(config: Config, url: str) -> Explained:
    """Answers a URL without a server. NotFound, Malformed and slide errors as the server has them."""
    stores = {store.label: store for store in labelled(config.store)}
    catalogue = open_catalogue(config)
    slides = OpenSlides(sources_of(stores), 1, config.limits.memory)
    service = Service(slides, 1, 1)
    try:
        for store in stores.values():
            sync(store, catalogue)
        lookup = Lookup(catalogue, stores, url_paths(stores.values()))
        return asyncio.run(_explained(lookup, service, offer_of(config), url))
    finally:
        service.close()
        catalogue.close()


async def _explained(lookup: Lookup, service: Service, offer: Offer, url: str) -> Explained:
    parts = urlsplit(url)
    dialect = dialect_of(dialects(lookup.paths), parts.path)
    if dialect is None:
        raise NotFound(f"no protocol answers {parts.path}")
    slide, reading = find(lookup.get, lookup.store, dialect, parts.path.encode(), parts.query.encode())
    asked = dialect.resolve(reading.asked, slide, offer)
    if isinstance(asked, Document | Redirect):
        return Explained(slide.key, f"{type(asked).__name__.lower()} {reading.asked}", "document", 0, "")
    blob = await service.answer(asked)
    said = ", ".join(f"{name} {getattr(asked, name)}" for name in asked.__struct_fields__ if name != "slide")
    return Explained(slide.key, f"{type(asked).__name__.lower()}: {said}", blob.lane, len(blob.data), etag(asked))


def checks(config: Config) -> Iterator[tuple[str, Callable[[], str]]]:
    """What there is to check, and for each a trial that gives a word of praise or raises."""
    for store in config.store:
        yield f"store {store.label or shown(store.root)}", partial(_store_told, store)
    yield "catalogue", partial(_catalogue_told, config)
    yield "stores made through the API", partial(_made_told, config)
    yield "tasks", lambda: Jobs(config).check()


def _store_told(store: Store) -> str:
    found = SCANS[store.kind](labelled([store])[0])
    return f"{len(found.files)} files, {len(found.failed)} passed over, in {shown(store.root)}"


def _catalogue_told(config: Config) -> str:
    """It answers, and how many slides of these stores it has."""
    with closing(open_catalogue(config)) as catalogue:
        number = sum(sum(catalogue.counts(store.label).values()) for store in labelled(config.store))
    where = shown(config.catalogue.url) if "mongodb" in config.catalogue.url else catalogue_path(config)
    return f"{number} slides in {where}"


def _made_told(config: Config) -> str:
    """PtiffserveError where one that is this machine's cannot be looked at."""
    with closing(open_catalogue(config)) as catalogue:
        made = [store for store in catalogue.stores() if not store.configured]
    for store in made:
        if here(store) and store.kind == "folder" and not Path(store.root).is_dir():
            raise PtiffserveError(f"store {store.label}: {store.root or 'its root'} is not a folder here")
    return ", ".join(store.label for store in made) or "none"
