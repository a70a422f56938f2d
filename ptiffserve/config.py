"""Frozen settings from TOML and the environment (contract section 8). Every mistake names its key."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from croniter import croniter
from msgspec import Struct, field

from ptiffserve.errors import ConfigError
from ptiffserve.slide import Icc


def state_folder() -> Path:
    """Where the embedded catalogue lives unless told otherwise (XDG base directory specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ptiffserve"


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """`max_*` bound the pictures that clients may ask for, in pixels, `max_upload` the files they send, in bytes.
    `tiles_only`: nothing here writes or lists."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    public_url: str = ""
    trusted_proxies: list[str] = field(default_factory=lambda: ["127.0.0.1", "::1"])
    cors: list[str] = field(default_factory=lambda: ["*"])
    cache_control: str = "public, max-age=3600"
    max_width: int = 8192
    max_height: int = 8192
    max_area: int = 1 << 24
    max_upload: int = 64 << 30
    drain_seconds: int = 30
    tiles_only: bool = False


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    """`url`: sqlite:///PATH, mongodb://[USER@]HOST[,HOST]/DATABASE, or "" for a file of its own for each set of stores, in the
    state folder. `secret`: the user's password; `secret_file`: a file that holds it."""

    url: str = ""
    secret: str = ""
    secret_file: str = ""


class Tasks(Struct, frozen=True, forbid_unknown_fields=True):
    """`url`: sqlite:///PATH, redis://, rediss:// or unix://; "" for a file beside the catalogue, and the server is its worker.

    `secret`, or what is in `secret_file`, signs what is put on queues; with SQLite one is made where there is none. `lease`:
    seconds of silence after which another worker takes over a task. `retry`: seconds before the second try, then doubled.
    """

    url: str = ""
    queue: str = "sync"
    secret: str = ""
    secret_file: str = ""
    lease: float = 30.0
    retry: float = 5.0


class Auth(Struct, frozen=True, forbid_unknown_fields=True):
    """`labels`: whether label and macro pictures and barcodes, which name patients, are shown. `secret`: what a request must
    carry to change anything (`Authorization: Bearer SECRET`); `secret_file`: a file that holds it."""

    mode: Literal["open"] = "open"
    labels: Literal["deny", "allow"] = "deny"
    secret: str = ""
    secret_file: str = ""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """`renders`: render threads; `queue`: renders running or waiting; `slides_open`, `memory`: open slides, their bytes."""

    renders: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    queue: int = 256
    slides_open: int = 1000
    memory: int = 512 << 20


# Tiled TIFFs; what OpenSlide opens: Aperio, Hamamatsu, Leica, Ventana, Mirax, Zeiss, Sakura, DICOM; Philips iSyntax.
ENDINGS = [
    "tif",
    "tiff",
    "ptif",
    "ptiff",
    "svs",
    "ndpi",
    "vms",
    "vmu",
    "scn",
    "bif",
    "mrxs",
    "czi",
    "zvi",
    "svslide",
    "dcm",
    "isyntax",
]


Access = Literal["inherit", "open", "login"]
Kind = Literal["folder", "mongodb", "object"]


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """A place of slides. `poll`: least seconds between two looks at it. `url_path`: where clients see the folder.

    `root`: a folder, `mongodb://HOST/DATABASE` (GridFS and SlideAtlas's tile collections), or `s3://...`. `schedule`: a crontab
    expression for syncs by the worker, "" for none. `remove_after`: seconds that the record of a vanished file is kept.
    `icc`: slides' colour profiles go with their pictures, or pictures are converted from them to sRGB, or they are left out.
    """

    root: str
    label: str = ""
    url_path: str = ""
    include: list[str] = field(default_factory=lambda: [f"*.{ending}" for ending in ENDINGS])
    exclude: list[str] = field(default_factory=list)
    poll: float = 1.0
    schedule: str = ""
    remove_after: float = 7 * 86400.0
    access: Access = "inherit"
    icc: Icc = "embed"

    @property
    def kind(self) -> Kind:
        scheme, separator, _ = self.root.partition("://")
        if not separator:
            return "folder"
        return "mongodb" if scheme.startswith("mongodb") else "object"


class StoreRecord(Store, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A store as the catalogue knows it: its settings, and what became of it.

    `id` has 24 hex digits. `tile_endpoint`: where its tiles are served, "" for here. `last_sync`: Unix seconds of the last sync
    that was completed, 0 for none. `host_name`: the machine whose folder it is, "" for any. `configured`: it stands in a
    configuration file, which says its settings at every start.
    """

    id: str
    tile_endpoint: str = ""
    last_sync: float = 0.0
    host_name: str = ""
    configured: bool = False


def shown(root: str) -> str:
    """A root without what gives access to it."""
    if "://" not in root:
        return root
    parts = urlsplit(root)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# First segments of paths that are ours, or will be: no url_path may begin with one.
RESERVED = frozenset(
    (
        "api", "apiv1", "assets", "cutout", "deepzoom", "fcgi-bin", "health", "iiif", "iip", "label", "metrics",
        "ptiff-viewer", "ready", "slides", "thumb", "tile", "tileat", "tiles", "view", "zoomify",
    )
)  # fmt: skip


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    server: Server = Server()
    catalogue: Catalogue = Catalogue()
    tasks: Tasks = Tasks()
    auth: Auth = Auth()
    limits: Limits = field(default_factory=Limits)
    store: list[Store] = field(default_factory=list)


def catalogue_path(config: Config) -> Path:
    """The SQLite file of the embedded catalogue. Unless told, servers of other folders have another one. What is on a server
    has its locks and the like beside where the file would be."""
    url = config.catalogue.url
    if url.startswith("sqlite:"):
        return Path(url.removeprefix("sqlite:///"))
    said = url or "\0".join(sorted(_rooted(store) for store in config.store))
    return state_folder() / f"catalogue-{blake2b(said.encode(), digest_size=6).hexdigest()}.db"


def _rooted(store: Store) -> str:
    return str(Path(store.root).resolve()) if store.kind == "folder" else store.root


def tasks_path(config: Config) -> Path:
    """The SQLite file of the queues where they are in one."""
    if config.tasks.url:
        return Path(config.tasks.url.removeprefix("sqlite:///"))
    catalogue = catalogue_path(config)
    return catalogue.with_name(f"{catalogue.stem}-tasks.db")


def in_redis(tasks: Tasks) -> bool:
    return bool(tasks.url) and not tasks.url.startswith("sqlite:///")


SECTIONS: dict[str, type[Struct]] = {
    "server": Server,
    "catalogue": Catalogue,
    "tasks": Tasks,
    "auth": Auth,
    "limits": Limits,
}


def from_environ(environ: Mapping[str, str]) -> Config:
    """The settings of the file that PTIFFSERVE_CONFIG names, if it is set, and of the variables: as the command line does."""
    path = environ.get("PTIFFSERVE_CONFIG")
    return load(Path(path) if path else None, environ)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The settings of a file, overridden by PTIFFSERVE_SECTION_KEY. ConfigError names the key that is wrong."""
    said = _read(path) if path else {}
    for name, section in SECTIONS.items():
        for key in section.__struct_fields__:
            value = environ.get(f"PTIFFSERVE_{name}_{key}".upper())
            if value is not None:
                _section(said, name)[key] = _from_text(section, key, value)
    try:
        config = msgspec.convert(said, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_named(str(error))) from error
    return _with_secrets(_checked(config))


def _with_secrets(config: Config) -> Config:
    """Secrets that stand in files of their own are read once, at the start."""
    for name in ("auth", "catalogue", "tasks"):
        section = getattr(config, name)
        if section.secret_file:
            section = msgspec.structs.replace(section, secret=_secret(f"{name}.secret_file", section.secret_file))
            config = msgspec.structs.replace(config, **{name: section})
    return config


def _secret(key: str, path: str) -> str:
    try:
        secret = Path(path).expanduser().read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: {error}") from error
    if not secret:
        raise ConfigError(f"{key}: {path} is empty")
    return secret


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _section(said: dict[str, Any], name: str) -> dict[str, Any]:
    section = said.setdefault(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{name} must be a table")
    return section


def _from_text(section: type[Struct], key: str, value: str) -> object:
    """An environment value as the key's type: lists are comma-separated, sizes and numbers written out."""
    kind = get_type_hints(section)[key]
    if get_args(kind) and kind.__origin__ is list:
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"PTIFFSERVE_{section.__name__.upper()}_{key.upper()}: {error}") from error


def _named(message: str) -> str:
    """msgspec says "Expected `int`, got `str` - at `$.server.port`": the key first."""
    text, _, where = message.partition(" - at `$")
    return f"{where.strip('.`')}: {text}" if where else text


def _checked(config: Config) -> Config:
    for name, low, high in (
        ("server.port", 0, 65535),
        ("server.workers", 1, 1024),
        ("server.max_width", 1, 1 << 16),
        ("server.max_height", 1, 1 << 16),
        ("server.max_area", 1, 1 << 28),
        ("server.max_upload", 1, 1 << 50),
        ("limits.renders", 1, 1024),
        ("limits.queue", 1, 1 << 20),
        ("limits.slides_open", 1, 1 << 20),
    ):
        section, key = name.split(".")
        value = getattr(getattr(config, section), key)
        if not low <= value <= high:
            raise ConfigError(f"{name} must be {low} to {high}, not {value}")
    scheme, _, rest = config.catalogue.url.partition("://")
    if config.catalogue.url and not (rest and scheme in ("sqlite", "mongodb", "mongodb+srv")):
        raise ConfigError(f"catalogue.url must begin with sqlite:/// or mongodb://, not {scheme!r}")
    check_paths([store.url_path for store in config.store if store.url_path])
    _check_tasks(config.tasks)
    for store in config.store:
        check_schedule(store.schedule)
    return config


def _check_tasks(tasks: Tasks) -> None:
    if tasks.url and not tasks.url.startswith(("sqlite:///", "redis://", "rediss://", "unix://")):
        raise ConfigError(
            f"tasks.url must begin with sqlite:///, redis://, rediss:// or unix://, not {tasks.url.partition('://')[0]!r}"
        )
    if in_redis(tasks) and not (tasks.secret or tasks.secret_file):
        raise ConfigError("tasks.secret: queues in Redis need one, the same on every machine (or tasks.secret_file)")
    check_queue(tasks.queue)
    if tasks.lease < 1 or tasks.retry < 0:
        raise ConfigError("tasks.lease must be at least 1 second, tasks.retry at least 0")


def check_queue(name: str) -> None:
    """ConfigError unless it can name a queue in every back end."""
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
        raise ConfigError(f"tasks.queue must be 1 to 64 letters, digits and underscores, not {name!r}")


def check_schedule(expression: str) -> None:
    """ConfigError unless it is "" or the five fields of crontab: minute, hour, day, month, day of the week."""
    if expression and not (len(expression.split()) == 5 and croniter.is_valid(expression)):
        raise ConfigError(f"store.schedule must be five fields as in crontab, like */15 * * * *, not {expression!r}")


def check_paths(paths: list[str]) -> None:
    """Each is a plain absolute path, and none lies in another: a slide's path then names one store."""
    for index, path in enumerate(paths):
        first, *segments = path.split("/")
        if first or not segments or not all(segments) or {".", ".."} & set(segments):
            raise ConfigError(f"store.url_path must be like /data/images, not {path!r}")
        if segments[0] in RESERVED:
            raise ConfigError(f"store.url_path: /{segments[0]} has another meaning here")
        for other in paths[:index]:
            if f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/"):
                raise ConfigError(f"store.url_path: {path} and {other} lie in each other")


def url_paths(stores: Iterable[Store]) -> dict[str, str]:
    """Where clients see the stores' folders, and the labels of those that say so."""
    return {store.url_path: store.label for store in stores if store.url_path}
