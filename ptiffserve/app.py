"""Assembly: from settings to an ASGI application. The only place that knows all the rooms."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from ptiffserve import api, encode
from ptiffserve.api.answers import failed
from ptiffserve.auth.open import Open
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.lookup import Lookup
from ptiffserve.catalogue.opened import open_catalogue
from ptiffserve.catalogue.served import Served
from ptiffserve.config import Config, Store, catalogue_path, url_paths
from ptiffserve.endpoint import Endpoint
from ptiffserve.errors import ConfigError, NotFound
from ptiffserve.lane import Shortcut
from ptiffserve.protocols.base import Offer
from ptiffserve.service import OpenSlides, Service
from ptiffserve.slide import Slide
from ptiffserve.sources.base import Source
from ptiffserve.sources.place import source_of
from ptiffserve.sync.jobs import Jobs
from ptiffserve.sync.watch import Watch, refresh
from ptiffserve.sync.worker import Threads, worker_jobs
from ptiffserve.uploads import tidy
from ptiffserve.viewer import routes as viewer_routes
from ptiffserve.wire import MethodNotAllowed

# How the parent process hands its settings to workers that uvicorn starts anew.
CONFIG_VARIABLE = "PTIFFSERVE_CONFIG_JSON"

# Pages elsewhere may read; what they may write is asked in auth/writes.py.
_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": ["*"],
    "expose_headers": [
        "ETag", "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Upload-Offset",
        "Upload-Length", "Upload-Expires", "Ptiffserve-Slide",
    ],
}  # fmt: skip


def create_app(config: Config) -> Endpoint:
    """The application for one process: open slides, threads and the watch live and die with its lifespan."""
    path = catalogue_path(config)
    catalogue = open_catalogue(config)
    stores = Served(catalogue, labelled(config.store), writes=not config.server.tiles_only)
    stores.start()
    labels = config.auth.labels == "allow"
    slides = OpenSlides(sources_of(stores), config.limits.slides_open, config.limits.memory)
    service = Service(slides, config.limits.renders, config.limits.queue)
    lookup = Lookup(catalogue, stores, url_paths(stores.values()))
    lookup.renew, lookup.store = stores.renew, stores.label
    watch = Watch(stores, catalogue, path.with_suffix(".lock"))
    jobs = None if config.server.tiles_only else working(config, catalogue)
    # Without a queue of its own a server is its own worker: one command is enough.
    threads = Threads(jobs, path.with_suffix(".jobs.lock")) if jobs and not config.tasks.url else None

    def look_again(slide: Slide) -> Slide | None:
        fresh = refresh(stores, catalogue, slide)
        lookup.forget()
        return fresh

    endpoint = Endpoint(lookup, service, Open(labels), offer_of(config), config.server, look_again)
    # The short cut asks nobody's name and names no origin: it is for servers that answer everybody alike.
    public = config.auth.mode == "open" and "*" in config.server.cors
    shortcut = Shortcut(slides, lookup, config.server)
    if public:
        endpoint.learn = shortcut.learn

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Shortcut | None]]:
        if not config.server.tiles_only:
            watch.start()
        if threads:
            threads.start()
            Thread(target=tidy, args=(list(stores.values()),), name="tidy", daemon=True).start()
        keeping = asyncio.create_task(shortcut.keep())
        yield {"shortcut": shortcut if public else None}
        keeping.cancel()
        watch.stop()
        if threads:
            threads.stop()
        service.close()
        lookup.close()
        catalogue.close()

    pages = [] if config.server.tiles_only else viewer_routes
    endpoint.rest = Starlette(
        routes=[*api.routes(config, catalogue, stores, lookup, jobs), *pages],
        middleware=[Middleware(CORSMiddleware, allow_origins=config.server.cors, **_CORS)],
        exception_handlers={404: _refused, 405: _refused},
        lifespan=lifespan,
    )
    return endpoint


def working(config: Config, catalogue: Catalogue) -> Jobs:
    """Jobs that can run what is asked of them, and clean up each hour."""
    jobs = worker_jobs(config, catalogue)
    jobs.janitors.append(lambda: tidy(jobs.stores()))
    return jobs


def sources_of(stores: Mapping[str, Store]) -> Callable[[Slide], Source]:
    """Where the bytes of slides are, by their stores. NotFound where a store was removed meanwhile."""

    def found(slide: Slide) -> Source:
        store = stores.get(slide.store)
        if store is None:
            raise NotFound("no such slide")
        return source_of(store, slide.path, slide.key)

    return found


async def _refused(request: Request, exception: Exception) -> Response:
    """Starlette's own 404 and 405, as the JSON that every other error is."""
    if isinstance(exception, HTTPException) and exception.status_code == 405:
        return failed(MethodNotAllowed(f"{request.method} is not answered here"))
    return failed(NotFound("no such page"))


def from_environment() -> Endpoint:
    """For uvicorn's workers."""
    return create_app(msgspec.json.decode(os.environ[CONFIG_VARIABLE], type=Config))


def offer_of(config: Config) -> Offer:
    server = config.server
    return Offer(tuple(encode.formats()), server.max_width, server.max_height, server.max_area)


def labelled(stores: list[Store], present: bool = True) -> list[Store]:
    """Every store with a label: its own, else its folder's name, told apart by a number. ConfigError for a bad root, which
    may be away unless it must be `present`."""
    taken: set[str] = set()
    found = []
    for store in stores:
        root = _root(store, present)
        base = label = (store.label or PurePosixPath(root.partition("?")[0]).name or "root").replace("/", "_")
        number = 2
        while label in taken:
            if store.label:
                raise ConfigError(f"store.label: {label} is used twice")
            label, number = f"{base}-{number}", number + 1
        taken.add(label)
        found.append(msgspec.structs.replace(store, label=label, root=root))
    return found


def _root(store: Store, present: bool) -> str:
    """A folder's absolute path, any other root as it is written. ConfigError."""
    if store.kind != "folder":
        return store.root
    root = Path(store.root).expanduser().resolve()
    if present and not root.is_dir():
        raise ConfigError(f"store.root: {store.root} is not a folder")
    return str(root)
