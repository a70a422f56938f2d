"""Stores in the JSON API: told, made, changed and forgotten. Touches no file."""

import asyncio
import platform
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ptiffserve.api.answers import answering, body, json, soon, writing
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.served import Served, here
from ptiffserve.config import Access, Config, Kind, Store, StoreRecord, shown
from ptiffserve.errors import ConfigError, Conflict, Malformed
from ptiffserve.loading import check_paths, check_schedule, key_first
from ptiffserve.slide import STATES, Icc, State

SETTINGS = Store.__struct_fields__
# What a configuration file cannot say of a store, so that it may be said here of any.
OURS = ("tile_endpoint", "host_name")
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


class Stores:
    """The table of those that are served is read anew for each question, and after each change."""

    def __init__(self, config: Config, catalogue: Catalogue, served: Served) -> None:
        self._public_url = config.server.public_url.rstrip("/")
        self._catalogue = catalogue
        self._served = served

    async def listed(self, request: Request) -> Response:
        # Many stores take many questions, each in its time.
        return json(StoresAnswer(await asyncio.to_thread(self._every, request)))

    def _every(self, request: Request) -> list[StoreAnswer]:
        self._served.renew()
        return [self._told(request, self._served[label]) for label in sorted(self._served)]

    async def one(self, request: Request) -> Response:
        return json(await soon(lambda: self._told(request, self._now(request))))

    async def made(self, request: Request) -> Response:
        said = await body(request, dict[str, Any])
        store = await asyncio.to_thread(self._make, request, said)
        return json(store, 201, {"location": f"/api/stores/{store.id}"})

    def _make(self, request: Request, said: Mapping[str, Any]) -> StoreAnswer:
        self._served.renew()
        return self._put(request, StoreRecord(root="", id=secrets.token_hex(12)), {"root": "", **said})

    async def patched(self, request: Request) -> Response:
        said = await body(request, dict[str, Any])
        return json(await asyncio.to_thread(self._patch, request, said))

    def _patch(self, request: Request, said: Mapping[str, Any]) -> StoreAnswer:
        record = self._now(request)
        _refuse(record, said)
        return self._put(request, record, said)

    async def forgotten(self, request: Request) -> Response:
        await asyncio.to_thread(self._forget, request)
        return Response(status_code=204)

    def _forget(self, request: Request) -> None:
        record = self._now(request)
        if record.configured:
            raise Conflict(f"{record.label} stands in the configuration: it is taken out there")
        self._catalogue.forget_store(record.label)
        self._served.renew()

    def _put(self, request: Request, record: StoreRecord, said: Mapping[str, Any]) -> StoreAnswer:
        record = changed(record, said, self._served)
        self._catalogue.put_store(record)
        self._served.renew()
        return self._told(request, self._served.named(record.label))

    def _now(self, request: Request) -> StoreRecord:
        self._served.renew()
        return self._served.named(request.path_params["store"])

    def _told(self, request: Request, record: StoreRecord) -> StoreAnswer:
        origin = self._public_url or str(request.base_url).rstrip("/")
        return answer(record, self._catalogue.counts(record.label), f"{origin}/tiles/{quote(record.label)}")


def routes(config: Config, catalogue: Catalogue, served: Served) -> list[Route]:
    stores, may = Stores(config, catalogue, served), writing(config.auth.secret)
    home, one = "/api/stores", "/api/stores/{store}"
    return [
        Route(home, answering(stores.listed)),
        Route(home, may(stores.made), methods=["POST"]),
        Route(one, answering(stores.one)),
        Route(one, may(stores.patched), methods=["PATCH"]),
        Route(one, may(stores.forgotten), methods=["DELETE"]),
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
        raise Malformed(key_first(str(error))) from error
    if "root" in said:
        fresh = msgspec.structs.replace(fresh, root=_root(fresh))
    if not fresh.label:
        fresh = msgspec.structs.replace(fresh, label=Path(shown(fresh.root)).name or "root")
    others = [store for store in stores.values() if store.id != fresh.id]
    if fresh.label in {store.label for store in others}:
        raise Conflict(f"label: there is a store {fresh.label!r} already")
    _check(fresh)
    try:
        check_schedule(fresh.schedule)
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
        "tile_endpoint": not store.tile_endpoint or store.tile_endpoint.startswith(("http://", "https://", "/")),
        "include": all(store.include),
        "exclude": all(store.exclude),
    }
    for key, kept in rules.items():
        if not kept:
            raise Malformed(f"{key}: {getattr(store, key)!r} is no value for it")
