"""The key that signs what is on queues: said in the configuration, or made once beside the SQLite file."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from ptiffserve.config import Config, in_redis, tasks_path
from ptiffserve.errors import ConfigError


def signing_key(config: Config) -> bytes:
    """ConfigError where queues in Redis have none: each machine would make another one."""
    if config.tasks.secret:
        return config.tasks.secret.encode()
    if in_redis(config.tasks):
        raise ConfigError("tasks.secret: queues in Redis need one, the same on every machine (or tasks.secret_file)")
    path = tasks_path(config).with_suffix(".key")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _make(path)
    return path.read_bytes()


def _make(path: Path) -> None:
    """Whole or not at all, and the first of many processes wins."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
