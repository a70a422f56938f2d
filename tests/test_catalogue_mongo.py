"""The catalogue in MongoDB against the contract, over a socket."""

from collections.abc import Callable, Iterator

import pytest
from contract_catalogue import CatalogueContract

from ptiffserve.catalogue.mongo import Mongo


@pytest.fixture
def catalogue(mongo_url: str) -> Iterator[Mongo]:
    catalogue = Mongo(mongo_url)
    yield catalogue
    catalogue.close()


@pytest.fixture
def another(mongo_url: str) -> Callable[[], Mongo]:
    return lambda: Mongo(mongo_url)


class TestMongo(CatalogueContract):
    pass
