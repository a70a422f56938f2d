"""Settings from TOML and the environment, and what they may say. Every mistake names its key."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from croniter import croniter
from msgspec import Struct

from ptiffserve.config import RESERVED, Auth, Catalogue, Config, Limits, Server, Tasks, in_redis
from ptiffserve.errors import ConfigError

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
        raise ConfigError(key_first(str(error))) from error
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


def key_first(message: str) -> str:
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
