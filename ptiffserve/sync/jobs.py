"""Syncs on Huey's queues: asked for, run by workers, scheduled, found again after a crash. The only importer of Huey.

A message on a queue holds only the name of a task; what it is and what became of it stands in its record. Huey delivers at most
once: a task whose worker was killed, or whose message was lost, is enqueued again by the minute's round of any worker.
"""

import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple

import redis
from huey import RedisHuey, SqliteHuey, crontab, signals
from huey.exceptions import HueyException, RetryTask, TaskLockedException
from huey.registry import Message
from msgspec.structs import replace

from ptiffserve.config import Config, StoreRecord, in_redis, tasks_path
from ptiffserve.errors import ConfigError, PtiffserveError, Unavailable
from ptiffserve.loading import check_queue, from_environ
from ptiffserve.sync.keys import Keys, reaching
from ptiffserve.sync.schedule import due
from ptiffserve.sync.secret import signing_key
from ptiffserve.sync.signed import Refused, Signed
from ptiffserve.sync.tasks import Elsewhere, Lease, Outcome, Submitted, Task, Tasks, alive, lost

log = logging.getLogger("ptiffserve.jobs")

Progress = Callable[[int, int], None]


# What runs a task: its record, and where to say progress.
Work = Callable[[Task, Progress], Outcome]

TRIES = 3
# A task that was begun so often, and ended neither well nor badly, is what ends its workers.
DEATHS = 5
LOCKED_SECONDS = 2.0
# How long a task waits for a worker of the right machine.
ELSEWHERE_SECONDS = 3600.0
_RECORDS = "ptiffserve_tasks"
_REFUSED = "refused"


class _Checked:
    """Mixed into Huey: a message that is not ours is counted and dropped, and the next one is taken."""

    def deserialize_task(self: Any, data: bytes) -> Any:
        try:
            message = self.serializer.deserialize(data)
            if not isinstance(message, Message):
                raise Refused("signed, but no message")
            return self._registry.create_task(message)
        except (Refused, HueyException) as error:
            self.storage.incr(_REFUSED)
            log.warning("a message on the queue %s is refused: %s", self.name, error)
            raise Refused(str(error)) from None

    def dequeue(self: Any) -> Any:
        while (data := self.storage.dequeue()) is not None:
            try:
                return self.deserialize_task(data)
            except Refused:
                continue
        return None


class _Sqlite(_Checked, SqliteHuey):
    pass


class _Redis(_Checked, RedisHuey):
    pass


class _Queue(NamedTuple):
    """Huey's side of a queue: it, and what puts the name of a task on it."""

    huey: Any
    send: Callable[[str], object]


class Jobs:
    """The queues of a configuration. `work` is needed where tasks are run, not where they are only asked for.

    `stores` tells what is scheduled; `janitors` are called each hour. Both by workers.
    """

    def __init__(self, config: Config, work: Work | None = None) -> None:
        self._settings = config.tasks
        self._path = tasks_path(config)
        self._secret = signing_key(config)
        self._work = work
        self._queues: dict[str, _Queue] = {}
        self._leases: dict[str, Lease] = {}
        self._records = self._opened(_RECORDS)
        self.tasks = Tasks(Keys(self._records))
        self.stores: Callable[[], Iterable[StoreRecord]] = tuple
        self.janitors: list[Callable[[], object]] = [lambda: self.tasks.purge(time.time())]

    def _opened(self, name: str) -> Any:
        settings: dict[str, Any] = {"results": False, "serializer": Signed(self._secret, name, [Message])}
        if in_redis(self._settings):
            pool = redis.ConnectionPool.from_url(self._settings.url, socket_connect_timeout=2, socket_timeout=5)
            return _Redis(name, connection_pool=pool, **settings)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return _Sqlite(name, filename=str(self._path), **settings)

    def queue(self, name: str = "") -> Any:
        """The Huey of a queue, with our tasks on it; the configured one for ""."""
        return self._queue(name or self._settings.queue).huey

    def _queue(self, name: str) -> _Queue:
        if name not in self._queues:
            check_queue(name)
            huey = self._opened(name)
            send = huey.task(name="sync")(self._run)
            huey.periodic_task(crontab(), name="round", expires=60)(lambda: self.round(name))
            huey.periodic_task(crontab(minute="17"), name="janitor", expires=3600)(self._clean)
            huey.signal(signals.SIGNAL_INTERRUPTED)(self._interrupted)
            self._queues[name] = _Queue(huey, send)
        return self._queues[name]

    def submit(self, store: str, queue: str = "", dry_run: bool = False, name: str = "") -> Submitted:
        """Asks for a sync of a store, by label or id. Where there is a task of that `name` already, it is the one."""
        queue = queue or self._settings.queue
        self._queue(queue)
        task = Task(id=name or uuid.uuid4().hex, store=store, queue=queue, dry_run=dry_run, submitted=time.time())
        if self.tasks.add(task):
            self._send(task)
        return Submitted(self.tasks, task.id)

    def _send(self, task: Task) -> None:
        with reaching():
            self._queue(task.queue).send(task.id)

    def refused(self, queue: str = "") -> int:
        """How many messages on a queue were not ours."""
        with reaching():
            return int(self.queue(queue).storage.incr(_REFUSED, 0))

    def _run(self, name: str) -> None:
        """What Huey calls. Faults end in the task's record, not in Huey."""
        task = self.tasks.get(name)
        if task.over or alive(task, self._settings.lease):
            return
        if task.begun >= DEATHS:
            said = f"its worker ended {task.begun} times while it ran"
            self.tasks.put(replace(task, state="failed", error={"error": "error", "message": said}))
            return
        with Lease(self.tasks, task, min(2.0, self._settings.lease / 3)) as lease:
            self._leases[name] = lease
            try:
                self._worked(lease)
            finally:
                self._leases.pop(name, None)

    def _worked(self, lease: Lease) -> None:
        task = lease.task
        assert self._work is not None
        try:
            with self._locked(task):
                result, broken = self._work(task, lease.progress)
        except (TaskLockedException, Elsewhere) as fault:
            if task.submitted < time.time() - ELSEWHERE_SECONDS and isinstance(fault, Elsewhere):
                lease.finish(state="failed", error={"error": fault.code, "message": str(fault)})
                return
            lease.finish(state="pending", begun=task.begun - 1)
            raise RetryTask(delay=LOCKED_SECONDS * random.uniform(0.5, 1.5)) from None  # noqa: S311 - no secret
        except (Unavailable, OSError) as fault:
            self._again(lease, fault)
        except PtiffserveError as fault:
            lease.finish(state="failed", error={"error": fault.code, "message": str(fault)})
        except Exception:
            log.exception("task %s, a sync of %s, failed", task.id, task.store)
            lease.finish(state="failed", error={"error": "error", "message": "something went wrong in the worker"})
        else:
            if broken:
                self._again(lease, Unavailable(broken), result)
            else:
                lease.finish(state="done", result=result)

    def _again(self, lease: Lease, fault: Exception, result: dict[str, Any] | None = None) -> None:
        """What can pass is tried again, later each time; at last it has failed."""
        code = fault.code if isinstance(fault, PtiffserveError) else "unavailable"
        error = {"error": code, "message": str(fault)}
        faults = lease.task.faults + 1
        if faults >= TRIES:
            lease.finish(state="failed", result=result, error=error, faults=faults)
            return
        lease.finish(state="pending", error=error, faults=faults, begun=lease.task.begun - 1)
        raise RetryTask(delay=self._settings.retry * 2 ** (faults - 1))

    @contextmanager
    def _locked(self, task: Task) -> Iterator[None]:
        """The lock of the task's store; TaskLockedException. A lock is stale if nobody who lives is at that store."""
        lock = self._records.lock_task(f"store {task.store}")
        with reaching():
            try:
                lock.acquire()
            except TaskLockedException:
                if any(other.id != task.id and self._at(other, task.store) for other in self.tasks.each()):
                    raise
                log.warning("the lock of store %s was left behind", task.store)
                lock.clear()
                lock.acquire()
        try:
            yield
        finally:
            with reaching():
                lock.clear()

    def _at(self, task: Task, store: str) -> bool:
        return task.store == store and alive(task, self._settings.lease)

    def round(self, queue: str) -> None:
        """What a worker does each minute and at its start: what was lost is enqueued again, what is due is asked for."""
        self.recover(queue)
        for store, name in due(self.stores(), time.time()):
            self.submit(store, queue, name=name)

    def recover(self, queue: str) -> list[str]:
        """Enqueues the tasks whose worker or message is gone; gives their names."""
        waiting, lease = self._waiting(queue), self._settings.lease
        gone = [
            task for task in self.tasks.each() if task.queue == queue and task.id not in waiting and lost(task, lease)
        ]
        for task in gone:
            log.warning("task %s, a sync of %s, was lost while %s: enqueued again", task.id, task.store, task.state)
            self.tasks.put(replace(task, state="pending"))
            self._send(task)
        return [task.id for task in gone]

    def _waiting(self, queue: str) -> set[str]:
        huey = self.queue(queue)
        names: set[str] = set()
        with reaching():
            messages = [*huey.storage.enqueued_items(), *huey.storage.scheduled_items()]
        for data in messages:
            with suppress(Refused):
                message = huey.serializer.deserialize(data)
                names.update(message.args if isinstance(message, Message) else ())
        return names

    def _interrupted(self, signal: str, message: Any) -> None:
        """The worker was told to end at once: the task is another's from now on."""
        lease = self._leases.pop(message.args[0], None) if message.args else None
        if lease is not None:
            lease.finish(state="pending", begun=lease.task.begun - 1)
            with reaching():
                self._records.lock_task(f"store {lease.task.store}").clear()
            self._send(lease.task)

    def _clean(self) -> None:
        for janitor in self.janitors:
            try:
                janitor()
            except (PtiffserveError, OSError):
                log.exception("a janitor failed")

    def check(self) -> str:
        """A word of praise for the queue's back end. ConfigError for a Redis that would throw queues away, or Unavailable."""
        if not in_redis(self._settings):
            return f"SQLite, {self._path}"
        with reaching():
            memory = self._records.storage.conn.info("memory")
        policy, limit = memory.get("maxmemory_policy", "noeviction"), memory.get("maxmemory", 0)
        if policy.startswith("allkeys"):
            raise ConfigError(
                f"tasks.url: this Redis evicts any key when its memory is full (maxmemory-policy {policy}), queues too: "
                "give the queue a Redis of its own with noeviction, or volatile-lru and a TTL on every other key"
            )
        return f"Redis, maxmemory {limit}, {policy}"


@cache
def jobs() -> Jobs:
    """Those of the configuration that the environment names."""
    return Jobs(from_environ(os.environ))


def sync_store(store: str, queue: str = "", dry_run: bool = False) -> Submitted:
    """Asks for a sync of a store, by label or id, on the configured queue or a named one. A worker has to run."""
    return jobs().submit(store, queue, dry_run)
