"""Stores in the JSON API: told, made, changed and forgotten. Touches no file."""

import asyncio
import platform
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from croniter import croniter
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import answering, body, json, named, soon, writing
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import Served, here
from ptiffserve.config import Access, Config, Kind, Store, StoreRecord, check_paths, shown
from ptiffserve.errors import ConfigError, Conflict, Malformed
from ptiffserve.slide import Icc, State

T = TypeVar("T")

SETTINGS = Store.__struct_fields__
# What a configuration file cannot say of a store, so that it may be said here of any.
OURS = ("tile_endpoint", "host_name")
STATES: tuple[State, ...] = ("ready", "unreadable", "missing")
MAX_LABEL = 200


class StoreAnswer(Struct):
    """`root` without what gives access to it. `tile_endpoint`: where its tiles are served. `last_sync`: UTC, null for never.
    `here`: whether this machine can look at it; `reason` says why not. `configured`: its settings stand in the configuration.
    `slides`: how many there are in each state."""

    id: str
    label: str
    root: str
    kind: Kind
    url_path: str
    tile_endpoint: str
    last_sync: str | None
    host_name: str
    here: bool
    reason: str
    schedule: str
    access: Access
    include: list[str]
    exclude: list[str]
    poll: float
    remove_after: float
    icc: Icc
    configured: bool
    slides: dict[State, int]


class StoresAnswer(Struct):
    """In the order of labels."""

    stores: list[StoreAnswer]


def routes(config: Config, catalogue: Catalogue, stores: Served) -> list[Route]:
    guarded = writing(config.auth.secret)

    def told(request: Request, record: StoreRecord) -> StoreAnswer:
        origin = config.server.public_url.rstrip("/") or str(request.base_url).rstrip("/")
        return answer(record, catalogue.counts(record.label), f"{origin}/tiles/{quote(record.label)}")

    def now(name: str) -> StoreRecord:
        stores.renew()
        return stores.named(name)

    @answering
    async def listed(request: Request) -> Response:
        def every() -> list[StoreAnswer]:
            stores.renew()
            return [told(request, stores[label]) for label in sorted(stores)]

        return json(StoresAnswer(await asyncio.to_thread(every)))  # many stores take many questions, each in its time

    @answering
    async def one(request: Request) -> Response:
        return json(await soon(lambda: told(request, now(request.path_params["store"]))))

    @guarded
    async def made(request: Request) -> Response:
        said = await body(request, dict[str, Any])

        def make() -> StoreAnswer:
            stores.renew()
            record = changed(StoreRecord(root="", id=secrets.token_hex(12)), {"root": "", **said}, stores)
            catalogue.put_store(record)
            return told(request, now(record.label))

        store = await asyncio.to_thread(make)
        return json(store, 201, {"location": f"/api/stores/{store.id}"})

    @guarded
    async def patched(request: Request) -> Response:
        said = await body(request, dict[str, Any])

        def patch() -> StoreAnswer:
            record = now(request.path_params["store"])
            _refuse(record, said)
            catalogue.put_store(changed(record, said, stores))
            return told(request, now(record.label))

        return json(await asyncio.to_thread(patch))

    @guarded
    async def forgotten(request: Request) -> Response:
        def forget() -> None:
            record = now(request.path_params["store"])
            if record.configured:
                raise Conflict(f"{record.label} stands in the configuration: it is taken out there")
            catalogue.forget_store(record.label)
            stores.renew()

        await asyncio.to_thread(forget)
        return Response(status_code=204)

    return [
        Route("/api/stores", listed),
        Route("/api/stores", made, methods=["POST"]),
        Route("/api/stores/{store}", one),
        Route("/api/stores/{store}", patched, methods=["PATCH"]),
        Route("/api/stores/{store}", forgotten, methods=["DELETE"]),
    ]


def answer(record: StoreRecord, slides: Mapping[State, int], tiles: str) -> StoreAnswer:
    """`tiles`: where its tiles are if it says nothing else."""
    reason = _absence(record)
    last = datetime.fromtimestamp(record.last_sync, UTC) if record.last_sync else None
    return StoreAnswer(
        id=record.id,
        label=record.label,
        root=shown(record.root),
        kind=record.kind,
        url_path=record.url_path,
        tile_endpoint=record.tile_endpoint or tiles,
        last_sync=last.isoformat().replace("+00:00", "Z") if last else None,
        host_name=record.host_name,
        here=not reason,
        reason=reason,
        schedule=record.schedule,
        access=record.access,
        include=record.include,
        exclude=record.exclude,
        poll=record.poll,
        remove_after=record.remove_after,
        icc=record.icc,
        configured=record.configured,
        slides={state: slides.get(state, 0) for state in STATES},
    )


def _absence(record: StoreRecord) -> str:
    """Why this machine cannot look at a store, "" where it can."""
    if not here(record):
        return f"its folder is on {record.host_name}, and this is {platform.node()}: it is synced there"
    if record.kind == "folder" and not Path(record.root).is_dir():
        return "its folder is not here" if record.root else "nobody has said where its folder is (root)"
    return ""


def _refuse(record: StoreRecord, said: Mapping[str, object]) -> None:
    """Conflict where a change would be undone at the next start, or would rename slides."""
    if said.get("label", record.label) != record.label:
        raise Conflict("label: it is part of the keys of the store's slides, and stays")
    fixed = [key for key in said if key in SETTINGS and key != "label"]
    if record.configured and fixed:
        raise Conflict(f"{', '.join(fixed)}: {record.label} stands in the configuration, and that is changed there")


def changed(record: StoreRecord, said: Mapping[str, Any], stores: Mapping[str, StoreRecord]) -> StoreRecord:
    """The record with what a client says of it. Malformed names the key that is wrong; Conflict for a label that is taken."""
    unknown = sorted(said.keys() - {*SETTINGS, *OURS})
    if unknown:
        raise Malformed(f"{unknown[0]}: there is no such key, or it cannot be set")
    try:
        fresh = msgspec.convert(msgspec.to_builtins(record) | dict(said), StoreRecord)
    except msgspec.ValidationError as error:
        raise Malformed(named(str(error))) from error
    if "root" in said:
        fresh = msgspec.structs.replace(fresh, root=_root(fresh))
    if not fresh.label:
        fresh = msgspec.structs.replace(fresh, label=Path(shown(fresh.root)).name or "root")
    others = [store for store in stores.values() if store.id != fresh.id]
    if fresh.label in {store.label for store in others}:
        raise Conflict(f"label: there is a store {fresh.label!r} already")
    _check(fresh)
    try:
        check_paths([store.url_path for store in [*others, fresh] if store.url_path])
    except ConfigError as error:
        raise Malformed(str(error).removeprefix("store.")) from error
    return fresh


def _root(store: StoreRecord) -> str:
    """A folder's absolute path. Malformed where it is none; what another machine has is not looked for here."""
    if store.kind != "folder":
        return store.root
    root = Path(store.root).expanduser()
    if not root.is_absolute():
        raise Malformed("root: it must be an absolute path, or a URL")
    if here(store) and not root.is_dir():
        raise Malformed(f"root: {store.root} is not a folder on this machine")
    return str(root.resolve()) if here(store) else str(root)


def _check(store: StoreRecord) -> None:
    label = store.label
    rules = {
        "label": 0 < len(label) <= MAX_LABEL and "/" not in label and label not in (".", "..") and label.isprintable(),
        "poll": store.poll > 0,
        "remove_after": store.remove_after >= 0,
        "schedule": not store.schedule or (croniter.is_valid(store.schedule) and len(store.schedule.split()) == 5),
        "tile_endpoint": not store.tile_endpoint or store.tile_endpoint.startswith(("http://", "https://", "/")),
        "include": all(store.include),
        "exclude": all(store.exclude),
    }
    for key, kept in rules.items():
        if not kept:
            raise Malformed(f"{key}: {getattr(store, key)!r} is no value for it")
