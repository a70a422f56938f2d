"""The JSON API and health, as Starlette routes: one module for each kind of resource."""

from collections.abc import Collection

from starlette.routing import Route

from ptiffserve.api import health, slideatlas, slides
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.lookup import Lookup
from ptiffserve.config import Config


def routes(config: Config, catalogue: Catalogue, stores: Collection[str], lookup: Lookup) -> list[Route]:
    """Health, and whatever the configuration lets this server answer. `stores`: those that are served, by label."""
    if config.server.tiles_only:
        return health.routes
    labels = config.auth.labels == "allow"
    return [
        *health.routes,
        *slides.routes(catalogue, stores, labels),
        *slideatlas.routes(catalogue, stores, lookup, labels),
    ]
