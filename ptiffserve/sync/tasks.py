"""Records of tasks in a store of keys: what became of each, and whether its worker is alive. Knows no queue."""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from ptiffserve import errors
from ptiffserve.errors import NotFound, PtiffserveError, Unavailable
from ptiffserve.sync.keys import Keys

State = Literal["pending", "running", "done", "failed"]
KEEP_SECONDS = 7 * 86400.0
_PREFIX = "task:"
_START = secrets.token_hex(4)


class Task(Struct, frozen=True, kw_only=True):
    """One sync that was asked for. `at`: Unix seconds when the record was last written: while the task runs, its heartbeat.

    `done` and `total` count files. `result`: the counts of the contract. `error`: its code and message. `begun`: how often it
    was begun and not ended in order; `faults`: how often something stood in its way that may pass. `holder`: host, process and
    start of the worker that runs it.
    """

    id: str
    store: str
    queue: str
    dry_run: bool = False
    state: State = "pending"
    done: int = 0
    total: int = 0
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    begun: int = 0
    faults: int = 0
    submitted: float = 0.0
    at: float = 0.0
    holder: str = ""

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed")


class Outcome(NamedTuple):
    """The counts of the contract. `broken`: why the store as a whole was not synced, which may pass; "" where it was."""

    result: dict[str, Any]
    broken: str = ""


class Elsewhere(PtiffserveError):
    """Only the worker of another machine can do it: it is left on the queue for that one."""

    code = "elsewhere"


class Tasks:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def add(self, task: Task) -> bool:
        """False where there is one of its id already."""
        return self._keys.put_if_empty(_PREFIX + task.id, msgspec.to_builtins(_stamped(task)))

    def put(self, task: Task) -> None:
        self._keys.put(_PREFIX + task.id, msgspec.to_builtins(_stamped(task)))

    def get(self, name: str) -> Task:
        """NotFound where there is none."""
        said = self._keys.get(_PREFIX + name)
        if said is None:
            raise NotFound(f"no such task: {name}")
        return msgspec.convert(said, Task)

    def each(self) -> Iterator[Task]:
        for key, said in self._keys.items():
            if key.startswith(_PREFIX):
                yield msgspec.convert(said, Task)

    def purge(self, now: float) -> int:
        """Forgets what was over a week ago; says how many."""
        old = [task.id for task in self.each() if task.over and task.at < now - KEEP_SECONDS]
        for name in old:
            self._keys.delete(_PREFIX + name)
        return len(old)


def _stamped(task: Task) -> Task:
    return msgspec.structs.replace(task, at=time.time())


def me() -> str:
    return f"{socket.gethostname()} {os.getpid()} {_START}"


def alive(task: Task, lease: float) -> bool:
    """Whether a worker is at it: its heartbeat is fresh, and if that worker was of this machine, its process is there."""
    if task.state != "running" or not -lease < time.time() - task.at < lease:
        return False
    host, pid, start = task.holder.rsplit(" ", 2)
    if host != socket.gethostname():
        return True
    return start == _START if int(pid) == os.getpid() else _exists(int(pid))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def lost(task: Task, lease: float) -> bool:
    """Whether nobody can be at it any more, or its message was due to be taken long ago."""
    if task.state == "running":
        return not alive(task, lease)
    return task.state == "pending" and not -lease < time.time() - task.at < lease


class Lease:
    """Marks a task as running, and writes every `beat` seconds that it is alive and how far it is. A context manager."""

    def __init__(self, tasks: Tasks, task: Task, beat: float) -> None:
        self._tasks = tasks
        self._task = msgspec.structs.replace(
            task, state="running", holder=me(), begun=task.begun + 1, done=0, total=0, error=None
        )
        self._beat = beat
        self._lock = Lock()
        self._over = Event()
        self._thread = Thread(target=self._run, name=f"beat {task.id}", daemon=True)

    def __enter__(self) -> "Lease":
        self._tasks.put(self._task)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def task(self) -> Task:
        return self._task

    def progress(self, done: int, total: int) -> None:
        with self._lock:
            self._task = msgspec.structs.replace(self._task, done=done, total=total)

    def finish(self, **changes: Any) -> None:
        """Writes the last record, unless the task was given up meanwhile: it is another's then."""
        with self._lock:
            if not self._over.is_set():
                self._over.set()
                self._task = msgspec.structs.replace(self._task, **changes)
                self._tasks.put(self._task)

    def _run(self) -> None:
        while not self._over.wait(self._beat):
            with self._lock:
                if not self._over.is_set():
                    with suppress(Unavailable):  # the next beat may be heard
                        self._tasks.put(self._task)


class Submitted:
    """A task that was asked for."""

    def __init__(self, tasks: Tasks, name: str) -> None:
        self._tasks = tasks
        self.id = name

    def task(self) -> Task:
        """Its record now."""
        return self._tasks.get(self.id)

    def get(self, blocking: bool = False, timeout: float | None = None) -> dict[str, Any] | None:
        """The counts of the sync; None while it is not over. Raises what it failed of where there are none, or TimeoutError.

        May be asked again, by anybody.
        """
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while not (task := self.task()).over and blocking:
            if end is not None and time.monotonic() + pause > end:
                raise TimeoutError(f"task {self.id} is {task.state}")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.5)
        if task.state == "failed" and task.error and task.result is None:
            raise _raised(task.error)
        return task.result


def _raised(error: dict[str, str]) -> PtiffserveError:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PtiffserveError)]
    plain = {kind.code: kind for kind in kinds if not issubclass(kind, errors.SlideError)}
    return plain.get(error["error"], PtiffserveError)(error["message"])
