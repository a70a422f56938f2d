"""The JSON API and health, as Starlette routes: one module for each kind of resource."""

from starlette.routing import Route

from ptiffserve.api import described, health, slideatlas, slides, stores
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.lookup import Lookup
from ptiffserve.catalogue.served import Served
from ptiffserve.config import Config


def routes(config: Config, catalogue: Catalogue, served: Served, lookup: Lookup) -> list[Route]:
    """Health, and whatever the configuration lets this server answer. `served`: the stores."""
    if config.server.tiles_only:
        return health.routes
    labels = config.auth.labels == "allow"
    return [
        *health.routes,
        *described.routes,
        *slides.routes(catalogue, served, labels),
        *stores.routes(config, catalogue, served),
        *slideatlas.routes(catalogue, served, lookup, labels),
    ]
