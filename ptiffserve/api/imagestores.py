"""Stores by the names that SlideAtlas's clients know: /api/v2/imagestores and /apiv1/databases. Never with a password."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import answering, body, json, soon, writing
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import Served
from ptiffserve.config import StoreRecord, shown
from ptiffserve.errors import Malformed, NotOffered, PtiffserveError, WrongKind
from ptiffserve.sync.jobs import Jobs
from ptiffserve.sync.tasks import Task

# SlideAtlas imported while its client waited. So long do we; what lasts longer goes on by itself.
PATIENCE = 20.0


class DatabaseRequest(Struct):
    """`{"sync": 1}`, and `"re"` for a sync from nothing, which is the same here: records keep their ids."""

    sync: int = 0
    re: bool = False


class Means(NamedTuple):
    """What the routes need."""

    jobs: Jobs
    catalogue: Catalogue
    stores: Served


def routes(means: Means, secret: str) -> list[Route]:
    v2 = "/api/v2/imagestores"
    imported, delivered, refused = _importing(means, secret), _delivering(means, secret), _refusing(secret)
    return [
        *_looking(means.stores),
        Route(f"{v2}/import", imported, methods=["POST"]),
        Route(f"{v2}/deliver", delivered, methods=["POST"]),
        Route(f"{v2}/{{store}}/deliver", delivered, methods=["POST"]),
        Route(f"{v2}/{{store}}/import", imported, methods=["POST"]),
        Route(f"{v2}/{{store}}/sync", imported, methods=["POST"]),
        Route(v2, refused, methods=["POST"]),
        Route(f"{v2}/{{store}}", refused, methods=["PUT", "PATCH", "DELETE"]),
        Route("/apiv1/databases/{store}", _syncing(means, secret), methods=["POST"]),
    ]


def _looking(stores: Served) -> list[Route]:
    @answering
    async def listed(request: Request) -> Response:
        found = sorted(stores.values(), key=lambda store: store.label)
        return json([{key: document(store)[key] for key in ("_id", "_type", "id", "label")} for store in found])

    @answering
    async def item(request: Request) -> Response:
        return json(document(stores.named(request.path_params["store"])))

    @answering
    async def databases(request: Request) -> Response:
        found = sorted(stores.values(), key=lambda store: store.label)
        return json({"databases": [document(store) for store in found]})

    return [
        Route("/api/v2/imagestores", listed),
        Route("/api/v2/imagestores/{store}", item),
        Route("/apiv1/databases", databases),
        Route("/apiv1/databases/{store}", item),
    ]


def _importing(means: Means, secret: str) -> Any:
    @writing(secret)
    async def imported(request: Request) -> Response:
        chosen = _folders(means.stores, request, "imported")
        asked = [await soon(means.jobs.submit, store.label) for store in chosen]
        end = time.monotonic() + PATIENCE
        for each in asked:
            _check(await _over(means.jobs, each.id, end))
        return Response(status_code=204)

    return imported


def _syncing(means: Means, secret: str) -> Any:
    @writing(secret)
    async def synced(request: Request) -> Response:
        if not (await body(request, DatabaseRequest)).sync:
            raise Malformed('only {"sync": 1} is answered here')
        (store,) = _folders(means.stores, request, "imported")
        asked = await soon(means.jobs.submit, store.label)
        task = await _over(means.jobs, asked.id, time.monotonic() + PATIENCE)
        _check(task)
        results = await asyncio.to_thread(_results, means.catalogue, task) if task.over else None
        said = {"syncresults": results, "database": document(store), "task": task.id}
        return json(said, 200 if task.over else 202)

    return synced


def _refusing(secret: str) -> Any:
    @writing(secret)
    async def refused(request: Request) -> Response:
        raise NotOffered("stores are made and changed at /api/stores")

    return refused


def _delivering(means: Means, secret: str) -> Any:
    @writing(secret)
    async def delivered(request: Request) -> Response:
        for store in _folders(means.stores, request, "delivered"):
            await asyncio.to_thread(means.catalogue.deliver, store)
        return Response(status_code=204)

    return delivered


def _folders(stores: Served, request: Request, what: str) -> list[StoreRecord]:
    """The store that the path names, or all that are folders. NotFound, WrongKind."""
    name = request.path_params.get("store")
    if name is None:
        return [store for store in stores.values() if store.kind == "folder"]
    store = stores.named(name)
    if store.kind != "folder":
        raise WrongKind(f"Only Ptiff ImageStores may be {what}.")
    return [store]


async def _over(jobs: Jobs, name: str, end: float) -> Task:
    """The task when it is over, or as it is at the `end`."""
    pause = 0.02
    while not (task := await soon(jobs.tasks.get, name)).over and time.monotonic() + pause < end:
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, 0.5)
    return task


def _check(task: Task) -> None:
    if task.state == "failed":
        error = task.error or {"message": ""}
        raise PtiffserveError(f"the import of {task.store} failed: {error['message']}")


def _results(catalogue: Catalogue, task: Task) -> dict[str, Any]:
    """`count` of slides in the store, `synced` of those that are new or other than before, and their file names."""
    slides = [slide for slide in catalogue.each(task.store) if slide.state == "ready"]
    fresh = [slide.path for slide in slides if slide.changed >= task.submitted]
    return {"count": len(slides), "synced": len(fresh), "images": fresh}


def document(store: StoreRecord) -> dict[str, Any]:
    """As SlideAtlas's admin database has it, without user names and passwords; what is empty is null."""
    kind = "PtiffImageStore" if store.kind == "folder" else "MongoImageStore"
    root = urlsplit(shown(store.root)) if store.kind == "mongodb" else None
    last = datetime.fromtimestamp(store.last_sync, UTC).isoformat(timespec="seconds") if store.last_sync else None
    return {
        "_id": store.id,
        "_type": kind,
        "_cls": f"ImageStore.MultipleDatabaseImageStore.{kind}",
        "id": store.id,
        "label": store.label,
        "host": root.netloc.rpartition("@")[2] if root else None,
        "dbname": root.path.strip("/") if root else store.label,
        "root_path": store.root if store.kind == "folder" else None,
        "host_name": store.host_name or None,
        "last_sync": last.replace("+00:00", "Z") if last else None,
        "replica_set": None,
        "auth_db": None,
        "copyright": None,
    }
