"""Connections to the databases of stores whose root is a MongoDB URL. Reads no slide."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from ptiffserve.errors import ConfigError, DiskFull, Unavailable
from ptiffserve.slide import Fingerprint

Documents = Database[dict[str, Any]]
# How long a server may be looked for, and may say nothing, in milliseconds.
SELECT, SILENCE = 500, 20000
# MongoDB's code for a disk without room.
OUT_OF_DISK = 14031


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


def fingerprint_by(said: str, size: int, nanoseconds: int) -> Fingerprint:
    """Of what is known by documents alone, the same in every process; `said` tells it from all others."""
    digest = blake2b(said.encode(), digest_size=11).digest()
    return Fingerprint(int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big"), size, nanoseconds)


@contextmanager
def answering() -> Iterator[None]:
    """What a database refuses, as errors of ours: DiskFull, else Unavailable, whatever pymongo calls it."""
    try:
        yield
    except (WriteError, BulkWriteError, OperationFailure) as error:
        if error.code == OUT_OF_DISK:
            raise DiskFull("the database's disk is full") from error
        raise Unavailable(f"the database refused: {type(error).__name__}") from error
    except PyMongoError as error:
        raise Unavailable(f"the database did not answer: {type(error).__name__}") from error
