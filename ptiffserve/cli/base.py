"""What all commands share: the application itself, where it prints, common options, settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from ptiffserve.config import Config, Store
from ptiffserve.loading import load

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Whole-slide images over HTTP. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.",
)
out, err = Console(), Console(stderr=True)

ConfigFile = Annotated[Path | None, typer.Option("--config", envvar="PTIFFSERVE_CONFIG", help="TOML configuration")]
Folders = Annotated[list[Path] | None, typer.Argument(help="folders of slides")]
Json = Annotated[bool, typer.Option("--json", help="as JSON")]


def settings(folders: list[Path], path: Path | None, server: Mapping[str, object]) -> Config:
    """Configuration, environment, then the command line."""
    said = load(path, os.environ)
    given = {key: value for key, value in server.items() if value is not None}
    return msgspec.structs.replace(
        said,
        server=msgspec.structs.replace(said.server, **given),
        store=[*said.store, *(Store(root=str(folder)) for folder in folders)],
    )
