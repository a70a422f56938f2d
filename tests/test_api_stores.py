"""Stores through the API: made, changed and forgotten while servers run, over both catalogues."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ptiffserve.app import create_app
from ptiffserve.config import Auth, Catalogue, Config, Server, Store

Client = Callable[..., TestClient]


@pytest.fixture(params=["sqlite", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalogue.db"
    found: str = request.getfixturevalue("mongo_url")
    return found


@pytest.fixture
def start(url: str) -> Iterator[Client]:
    """start(*stores, secret="", tiles_only=False) -> a client on this machine of a process over the test's catalogue."""
    running: list[TestClient] = []

    def started(*stores: Store, secret: str = "", tiles_only: bool = False, host: str = "127.0.0.1") -> TestClient:
        config = Config(
            store=list(stores), catalogue=Catalogue(url), auth=Auth(secret=secret), server=Server(tiles_only=tiles_only)
        )
        client = TestClient(create_app(config), base_url="http://127.0.0.1:8000", client=(host, 5))
        client.__enter__()
        running.append(client)
        return client

    yield started
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def folder(slides: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(slides / "one.tiff", folder / "one.tiff")
    return folder


def until(true: Callable[[], bool], seconds: float = 15) -> float:
    started = time.monotonic()
    while not true():
        assert time.monotonic() < started + seconds, "did not come true in time"
        time.sleep(0.02)
    return time.monotonic() - started


def test_a_configured_store_is_told_whole(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S", schedule="0 3 * * *", url_path="/data/S"))
    until(lambda: client.get("/api/stores/S").json()["slides"]["ready"] == 5)
    store = client.get("/api/stores/S").json()
    assert store["root"] == str(slides)
    assert (store["label"], store["kind"], store["schedule"], store["access"]) == (
        "S",
        "folder",
        "0 3 * * *",
        "inherit",
    )
    assert (store["configured"], store["here"], store["reason"]) == (True, True, "")
    assert store["tile_endpoint"] == "http://127.0.0.1:8000/tiles/S"
    assert "*.tiff" in store["include"]
    assert store["last_sync"].endswith("Z")
    assert datetime.fromisoformat(store["last_sync"])
    # That the sync is over is noted after its slides are there.
    until(lambda: client.get("/api/stores").json() == {"stores": [client.get(f"/api/stores/{store['id']}").json()]})


def test_a_configured_store_keeps_its_id(start: Client, slides: Path) -> None:
    first = start(Store(root=str(slides), label="S")).get("/api/stores/S").json()
    again = start(Store(root=str(slides), label="S", schedule="0 4 * * *")).get("/api/stores/S").json()
    assert again["id"] == first["id"]
    assert again["schedule"] == "0 4 * * *"


def test_a_store_is_served_by_every_process_at_once(start: Client, slides: Path, folder: Path) -> None:
    one = start(Store(root=str(slides), label="S"))
    other = start(Store(root=str(slides), label="S"))
    assert other.get("/tiles/N/one.tiff/tilejson.json").status_code == 404
    answer = one.post("/api/stores", json={"root": str(folder), "label": "N", "url_path": "/data/n", "poll": 0.1})
    assert answer.status_code == 201
    store = answer.json()
    assert answer.headers["location"] == f"/api/stores/{store['id']}"
    assert not store["configured"]
    until(lambda: other.get("/tiles/N/one.tiff/0/0/0.jpg").status_code == 200)
    assert one.get("/tiles/N/one.tiff/0/0/0.jpg").status_code == 200
    assert other.get("/data/n/one.tiff/info.json").status_code == 200
    assert [slide["key"] for slide in other.get("/api/slides?store=N").json()["slides"]] == ["N/one.tiff"]
    assert start(Store(root=str(slides), label="S")).get("/api/stores/N").json()["id"] == store["id"]

    assert one.delete("/api/stores/N").status_code == 204
    until(lambda: other.get("/tiles/N/one.tiff/0/0/0.jpg").status_code == 404, 2)
    assert other.get("/api/stores/N").status_code == 404
    assert (folder / "one.tiff").exists()


def test_another_root_keeps_the_ids(start: Client, slides: Path, folder: Path, tmp_path: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    client.post("/api/stores", json={"root": str(folder), "label": "N", "poll": 0.1})
    until(lambda: client.get("/api/slides/N/one.tiff").status_code == 200)
    before = client.get("/api/slides/N/one.tiff").json()
    moved = tmp_path / "moved"
    folder.rename(moved)
    store = client.patch("/api/stores/N", json={"root": str(moved), "schedule": "*/5 * * * *"})
    assert store.status_code == 200
    assert (store.json()["root"], store.json()["schedule"]) == (str(moved), "*/5 * * * *")
    until(lambda: client.get("/tiles/N/one.tiff/0/0/0.jpg").status_code == 200)
    assert client.get("/api/slides/N/one.tiff").json()["id"] == before["id"]


WRONG: list[tuple[dict[str, object], int, str]] = [
    ({}, 400, "root"),
    ({"root": "/no/such/folder"}, 400, "root"),
    ({"root": "relative"}, 400, "root"),
    ({"root": 5}, 400, "root"),
    ({"root": "{folder}", "colour": "red"}, 400, "colour"),
    ({"root": "{folder}", "id": "0" * 24}, 400, "id"),
    ({"root": "{folder}", "configured": True}, 400, "configured"),
    ({"root": "{folder}", "label": "a/b"}, 400, "label"),
    ({"root": "{folder}", "label": ".."}, 400, "label"),
    ({"root": "{folder}", "label": {"$ne": ""}}, 400, "label"),
    ({"root": "{folder}", "poll": 0}, 400, "poll"),
    ({"root": "{folder}", "schedule": "every day"}, 400, "schedule"),
    ({"root": "{folder}", "access": "nobody"}, 400, "access"),
    ({"root": "{folder}", "include": "*.tiff"}, 400, "include"),
    ({"root": "{folder}", "url_path": "tiles"}, 400, "url_path"),
    ({"root": "{folder}", "url_path": "/tiles/x"}, 400, "url_path"),
    ({"root": "{folder}", "tile_endpoint": "javascript:alert(1)"}, 400, "tile_endpoint"),
    ({"root": "{folder}", "label": "S"}, 409, "label"),
]


def test_what_is_wrong_is_named(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    for said, status, word in WRONG:
        filled = {key: str(slides) if value == "{folder}" else value for key, value in said.items()}
        answer = client.post("/api/stores", json=filled)
        assert answer.status_code == status, answer.text
        assert answer.json()["message"].startswith(word), answer.text
    assert len(client.get("/api/stores").json()["stores"]) == 1


def test_bodies_that_are_no_json(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    for content in (b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{" * 5000):
        assert client.post("/api/stores", content=content).status_code == 400
    assert client.post("/api/stores", content=b" " * (2 << 20)).status_code == 413


def test_the_configuration_has_the_last_word(start: Client, slides: Path, folder: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    for said in ({"root": str(folder)}, {"schedule": "* * * * *"}, {"label": "T"}):
        answer = client.patch("/api/stores/S", json=said)
        assert (answer.status_code, answer.json()["error"]) == (409, "conflict")
    assert client.delete("/api/stores/S").status_code == 409
    answer = client.patch("/api/stores/S", json={"tile_endpoint": "https://tiles.example.org/S"})
    assert answer.json()["tile_endpoint"] == "https://tiles.example.org/S"
    assert client.patch("/api/stores/S", json={"tile_endpoint": 1}).status_code == 400
    again = start(Store(root=str(slides), label="S"))
    assert again.get("/api/stores/S").json()["tile_endpoint"] == "https://tiles.example.org/S"


def test_a_store_of_another_machine_says_so(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    said = {"root": "/only/there", "label": "N", "host_name": "scanner-7"}
    store = client.post("/api/stores", json=said).json()
    assert (store["here"], store["host_name"]) == (False, "scanner-7")
    assert "scanner-7" in store["reason"]


def test_passwords_are_never_told(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    said = {"root": "mongodb://me:geheim@127.0.0.1:9/slides?authSource=geheim2", "label": "M", "host_name": "elsewhere"}
    for answer in (
        client.post("/api/stores", json=said),
        client.get("/api/stores"),
        client.get("/api/stores/M"),
        client.patch("/api/stores/M", json={"schedule": "0 1 * * *"}),
    ):
        assert answer.status_code < 300
        assert "geheim" not in answer.text
        assert "mongodb://127.0.0.1:9/slides" in answer.text


def test_who_may_write(start: Client, slides: Path, folder: Path) -> None:
    said = {"root": str(folder), "label": "N"}
    strangers = start(Store(root=str(slides), label="S"), host="10.0.0.9")
    assert strangers.post("/api/stores", json=said).status_code == 403
    assert strangers.delete("/api/stores/S").status_code == 403
    known = start(Store(root=str(slides), label="S"), secret="s3cret", host="10.0.0.9")
    answer = known.post("/api/stores", json=said)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert known.patch("/api/stores/S", json={}).status_code == 401
    bearer = {"authorization": "Bearer s3cret"}
    assert known.post("/api/stores", json=said, headers=bearer).status_code == 201
    assert known.get("/api/stores/N").status_code == 200


def test_unknown_stores_and_methods(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S"))
    for name in ("none", "0" * 24, "%00", "a%2Fb", "%ff"):
        assert client.get(f"/api/stores/{name}").status_code == 404, name
    assert client.put("/api/stores/S", json={}).status_code == 405
    assert client.patch("/api/stores/none", json={}).status_code == 404
    assert client.delete("/api/stores/none").status_code == 404


def test_tiles_only_knows_no_stores(start: Client, slides: Path) -> None:
    client = start(Store(root=str(slides), label="S"), tiles_only=True)
    assert client.get("/api/stores").status_code == 404
    assert client.post("/api/stores", json={"root": str(slides)}).status_code == 404
