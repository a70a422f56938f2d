"""Slides and servers that the tests share. Sample slides are drawn once a run; shared data is used where it is there."""

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from hypothesis import settings
from mongo_server import Elsewhere, MongoServer
from served import SAMPLES, Serve, drawn, settle
from starlette.testclient import TestClient

from ptiffserve.app import create_app
from ptiffserve.config import Auth, Catalogue, Config, Limits, Store

SHARED = Path(__file__).parents[2] / "shared"

# How long one example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `slides` with NAME.tiff for each of SAMPLES. Read only: tests that change files copy them first."""
    folder = tmp_path_factory.mktemp("store") / "slides"
    folder.mkdir()
    for name, sample in SAMPLES.items():
        shutil.copy(drawn(sample), folder / f"{name}.tiff")
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides beside the project."""
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """serve(*folders or stores, labels="deny") -> a client of the whole application, in this process, catalogue in tmp."""
    running: list[TestClient] = []

    def start(*stores: Path | Store, labels: str = "deny", limits: Limits | None = None) -> TestClient:
        path = tmp_path_factory.mktemp("catalogue") / "catalogue.db"
        config = Config(
            store=[each if isinstance(each, Store) else Store(root=str(each)) for each in stores],
            catalogue=Catalogue(f"sqlite:///{path}"),
            auth=Auth(labels=labels),
            limits=limits or Limits(),
        )
        client = TestClient(create_app(config), follow_redirects=False, raise_server_exceptions=True)
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(serve: Serve, slides: Path) -> TestClient:
    """A client of the application over the sample slides, all of them listed."""
    client = serve(slides)
    settle(client, len(SAMPLES))
    return client


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer | Elsewhere]:
    """One for the whole run, as it is: tests that stop a server start their own."""
    if url := os.environ.get("MONGODB_URI"):
        yield Elsewhere(url)
        return
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def mongo_url(mongo_server: MongoServer | Elsewhere) -> Iterator[str]:
    """A URL with a database that is this test's alone."""
    name = f"test_{secrets.token_hex(6)}"
    url = mongo_server.url(name)
    yield url
    with pymongo.MongoClient(url) as client:
        for each in client.list_database_names():
            if each.startswith(name):
                client.drop_database(each)
