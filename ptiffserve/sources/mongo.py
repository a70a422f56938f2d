"""Connections to the databases of stores whose root is a MongoDB URL. Reads no slide."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError

from ptiffserve.errors import ConfigError, Unavailable

Documents = Database[dict[str, Any]]
# How long a server may be looked for, and may say nothing, in milliseconds.
SELECT, SILENCE = 500, 20000


@lru_cache(maxsize=256)
def database(root: str) -> Documents:
    """The database that `mongodb://HOST/DATABASE` names; connects when it is first asked something. ConfigError."""
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            root,
            serverSelectionTimeoutMS=SELECT,
            connectTimeoutMS=SELECT,
            socketTimeoutMS=SILENCE,
            w="majority",
            journal=True,
            tz_aware=True,
        )
        return client.get_default_database()
    except (ConfigurationError, InvalidURI, ValueError) as error:
        raise ConfigError(f"store.root: {error}") from error


@contextmanager
def answering() -> Iterator[None]:
    """A database that is away is Unavailable, whatever pymongo calls it."""
    try:
        yield
    except PyMongoError as error:
        raise Unavailable(f"the database did not answer: {type(error).__name__}") from error
