"""The JSON API and health, as Starlette routes: one module for each kind of resource."""

from starlette.routing import Route

from ptiffserve.api import (
    attachments,
    described,
    health,
    imagestores,
    sessions,
    slideatlas,
    slides,
    stores,
    tasks,
    uploads,
)
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.lookup import Lookup
from ptiffserve.catalogue.served import Served
from ptiffserve.config import Config
from ptiffserve.sync.jobs import Jobs


def routes(config: Config, catalogue: Catalogue, served: Served, lookup: Lookup, jobs: Jobs | None) -> list[Route]:
    """Health, and whatever the configuration lets this server answer. `served`: the stores. `jobs`: None for tiles only."""
    if jobs is None:
        return health.routes
    labels, secret = config.auth.labels == "allow", config.auth.secret
    return [
        *health.routes,
        *described.routes,
        *slides.routes(catalogue, served, labels),
        *tasks.routes(jobs, served, secret),
        *stores.routes(config, catalogue, served),
        *slideatlas.routes(catalogue, served, lookup, labels),
        *imagestores.routes(imagestores.Means(jobs, catalogue, served), secret),
        *uploads.routes(catalogue, served, config.server.max_upload, secret),
        *attachments.routes(catalogue, served, labels, secret),
        *sessions.routes(catalogue, served, labels, secret),
    ]
