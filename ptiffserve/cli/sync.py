"""A sync in this process, as a command: a bar while it runs, then what changed."""

import sys
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ptiffserve.app import labelled
from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.opened import open_catalogue
from ptiffserve.catalogue.served import as_configured
from ptiffserve.cli.base import ConfigFile, Json, cli, err, out, settings
from ptiffserve.config import Config, StoreRecord
from ptiffserve.errors import ConfigError
from ptiffserve.sync.result import Result
from ptiffserve.sync.run import sync as sync_store

COUNTS = ("added", "changed", "moved", "missing", "removed")


@cli.command()
def sync(
    stores: Annotated[
        list[str] | None, typer.Argument(metavar="[STORE]...", help="labels; all stores unless told")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="find out what would change, write nothing")] = False,
) -> None:
    """Bring the catalogue in step with the stores now; exit code 1 if a store could not be synced."""
    said = settings([], config, {})
    catalogue = open_catalogue(said)
    try:
        results = _synced(_chosen(said, catalogue, stores or []), catalogue, dry_run)
    finally:
        catalogue.close()
    if json:
        sys.stdout.write(msgspec.json.encode(results).decode() + "\n")
    else:
        _tell(results)
    if any(result.broken for result in results.values()):
        raise typer.Exit(1)


def _chosen(config: Config, catalogue: Catalogue, labels: list[str]) -> list[StoreRecord]:
    """Stores of the configuration, with what the catalogue knows of them, and those that only it knows. ConfigError for a
    label that no store has."""
    known = {record.label: record for record in catalogue.stores()}
    for store in labelled(config.store, present=False):
        known[store.label] = as_configured(store, known.get(store.label))
    for label in labels:
        if label not in known:
            raise ConfigError(f"there is no store {label}; there is {', '.join(known) or 'none'}")
    return [known[label] for label in labels or known]


def _synced(stores: list[StoreRecord], catalogue: Catalogue, dry_run: bool) -> dict[str, Result]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results = {}
    with Progress(*columns, console=err, transient=True) as bar:
        for store in stores:
            task = bar.add_task(store.label, total=None)
            results[store.label] = sync_store(
                store,
                catalogue,
                lambda done, total, task=task: bar.update(task, completed=done, total=total),  # type: ignore[misc]
                dry_run,
            )
            bar.remove_task(task)
    return results


def _tell(results: dict[str, Result]) -> None:
    table = Table("store", *COUNTS, "failed", "seconds")
    for label, result in results.items():
        counts = (str(getattr(result, name)) for name in COUNTS)
        table.add_row(label, *counts, str(len(result.failed)), f"{result.seconds:.1f}")
    out.print(table)
    for label, result in results.items():
        for failure in result.failed:
            out.print(f"{label}/{failure.path}: {failure.reason}", markup=False, highlight=False)
