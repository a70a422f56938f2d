"""Frozen settings (contract section 8), and what follows from them alone. Where they come from: loading.py."""

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

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
    poll: float = 0.5
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


def url_paths(stores: Iterable[Store]) -> dict[str, str]:
    """Where clients see the stores' folders, and the labels of those that say so."""
    return {store.url_path: store.label for store in stores if store.url_path}
