"""Whether everything that a configuration names is there."""

import sqlite3

import typer

from ptiffserve import explain
from ptiffserve.cli.base import ConfigFile, Folders, cli, out, settings
from ptiffserve.errors import PtiffserveError


@cli.command()
def check(folders: Folders = None, config: ConfigFile = None) -> None:
    """Check configuration, stores and catalogue: one line each; exit code 1 if something is wrong."""
    said = settings(folders or [], config, {})
    out.print("ok    configuration")
    failed = False
    for what, trial in explain.checks(said):
        try:
            out.print(f"ok    {what}: {trial()}", markup=False, highlight=False, soft_wrap=True)
        except (PtiffserveError, OSError, sqlite3.Error) as error:
            failed = True
            out.print(f"FAIL  {what}: {error}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
