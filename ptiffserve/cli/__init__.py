"""The command line: one module for each group of commands."""

import sys

from ptiffserve.cli import catalogue, check, ingest, serve, slides, sync, worker
from ptiffserve.cli.base import cli, err
from ptiffserve.errors import ConfigError, PtiffserveError

# Importing a module adds its commands.
__all__ = ["catalogue", "check", "cli", "ingest", "main", "serve", "slides", "sync", "worker"]


def main() -> None:
    """The entry point: our own errors become one line and an exit code."""
    try:
        cli(standalone_mode=True)
    except ConfigError as error:
        err.print(f"ptiffserve: {error}", markup=False)
        sys.exit(2)
    except PtiffserveError as error:
        err.print(f"ptiffserve: {error}", markup=False)
        sys.exit(1)
