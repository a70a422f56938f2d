"""Who works off the queues: `ptiffserve worker` in the foreground, or threads of a server that has no queue configured."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import here, named
from ptiffserve.config import Config, StoreRecord
from ptiffserve.errors import WrongKind
from ptiffserve.sync.jobs import Jobs, Progress, Work
from ptiffserve.sync.lock import OneThread
from ptiffserve.sync.run import SCANS, sync
from ptiffserve.sync.tasks import Elsewhere, Outcome, Task

log = logging.getLogger("ptiffserve.jobs")

THREADS = 2
# The longest pause between two looks at a SQLite queue; Redis tells at once.
POLL_SECONDS = 0.5
STOP_SECONDS = 5.0

Stores = Callable[[], Iterable[StoreRecord]]


def worker_jobs(config: Config, catalogue: Catalogue) -> Jobs:
    """Jobs that can run what is asked of them."""
    jobs = Jobs(config, work(catalogue))
    jobs.stores = lambda: [store for store in catalogue.stores() if here(store)]
    return jobs


def work(catalogue: Catalogue) -> Work:
    def run(task: Task, progress: Progress) -> Outcome:
        store = named(catalogue.stores(), task.store)
        if store.kind not in SCANS:
            raise WrongKind(f"store {store.label} is of kind {store.kind}, which cannot be synced")
        if not here(store):
            raise Elsewhere(f"the folder of store {store.label} is on {store.host_name}")
        result = sync(store, catalogue, progress, task.dry_run)
        return Outcome(msgspec.to_builtins(result), result.broken)

    return run


def run_worker(jobs: Jobs, queue: str = "") -> None:
    """Works until a signal: SIGINT lets the running tasks finish, SIGTERM gives them back to the queue. ConfigError."""
    log.info("queue in %s", jobs.check())
    _consumer(jobs, queue).run()


def _consumer(jobs: Jobs, queue: str, **options: Any) -> Any:
    return jobs.queue(queue).create_consumer(workers=THREADS, max_delay=POLL_SECONDS, **options)


class Threads:
    """Workers in this process, if no other process that shares the lock has them. A server stays one command."""

    def __init__(self, jobs: Jobs, lock: Path) -> None:
        self._jobs = jobs
        self._thread = OneThread("jobs", lock, self._work)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def _work(self, stopped: Event) -> None:
        """Huey's consumer without its signal handlers, which are the server's."""
        consumer = _consumer(self._jobs, "", shutdown_timeout=STOP_SECONDS)
        consumer._set_signal_handlers = lambda: None
        consumer.start()
        stopped.wait()
        consumer.stop(graceful=True)
        self._jobs.queue().notify_interrupted_tasks()
