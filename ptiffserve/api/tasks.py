"""Syncs in the JSON API: asked for, and what became of them."""

from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import answering, body, json, soon, writing
from ptiffserve.catalogue.served import Served
from ptiffserve.errors import ConfigError, Malformed
from ptiffserve.sync.jobs import Jobs
from ptiffserve.sync.tasks import State, Task


class SyncRequest(Struct, forbid_unknown_fields=True):
    """`dry_run`: the same counts, and nothing is written. `queue`: another one than the configured."""

    dry_run: bool = False
    queue: str = ""


class ProgressAnswer(Struct):
    done: int
    total: int


class TaskAnswer(Struct):
    """`result`: the counts of the sync; `error`: code and message of what stopped it, or put it off.
    `submitted`: Unix seconds."""

    task: str
    store: str
    queue: str
    dry_run: bool
    state: State
    progress: ProgressAnswer
    result: dict[str, Any] | None
    error: dict[str, str] | None
    submitted: float


def routes(jobs: Jobs, stores: Served, secret: str) -> list[Route]:

    @writing(secret)
    async def sync(request: Request) -> Response:
        asked = SyncRequest() if _empty(request) else await body(request, SyncRequest)
        store = stores.named(request.path_params["store"])
        try:
            submitted = await soon(jobs.submit, store.label, asked.queue, asked.dry_run)
        except ConfigError as fault:
            raise Malformed(f"queue: {fault}") from fault
        return json({"task": submitted.id}, 202, {"location": f"/api/tasks/{submitted.id}"})

    @answering
    async def task(request: Request) -> Response:
        return json(told(await soon(jobs.tasks.get, request.path_params["task"])))

    return [Route("/api/stores/{store}/sync", sync, methods=["POST"]), Route("/api/tasks/{task}", task)]


def _empty(request: Request) -> bool:
    return request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers


def told(task: Task) -> TaskAnswer:
    return TaskAnswer(
        task.id,
        task.store,
        task.queue,
        task.dry_run,
        task.state,
        ProgressAnswer(task.done, task.total),
        task.result,
        task.error,
        task.submitted,
    )
