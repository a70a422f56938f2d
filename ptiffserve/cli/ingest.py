"""`ptiffserve ingest`: a file into a store, past the server."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from ptiffserve.app import labelled
from ptiffserve.catalogue.opened import open_catalogue
from ptiffserve.cli.base import ConfigFile, cli, err, out, settings
from ptiffserve.config import Store
from ptiffserve.errors import ConfigError
from ptiffserve.sources.file import FileSource
from ptiffserve.uploads import place_of
from ptiffserve.uploads.take import Taken, ingest


class To(StrEnum):
    folder = "folder"
    gridfs = "gridfs"


@cli.command("ingest")
def ingest_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a slide file")],
    store: Annotated[str, typer.Option(help="label of the store that takes it")],
    to: Annotated[To | None, typer.Option(help="what kind of store that is; it must be so")] = None,
    name: Annotated[str, typer.Option(help="what it is called there")] = "",
    config: ConfigFile = None,
    folders: Annotated[list[Path] | None, typer.Option("--folder", help="a folder of slides as a store")] = None,
) -> None:
    """Copy a slide file into a store; one that the store has already stays one."""
    said = settings(folders or [], config, {})
    place = place_of(_store(labelled(said.store), store, to))
    catalogue = open_catalogue(said)
    try:
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task(file.name)
            source = FileSource(file, str(file))
            taken = ingest(
                place,
                source,
                name or file.name,
                catalogue,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    finally:
        catalogue.close()
    _tell(taken)


def _store(stores: list[Store], label: str, to: To | None) -> Store:
    found = next((store for store in stores if store.label == label), None)
    if found is None:
        raise ConfigError(f"store: there is none with the label {label}")
    if to is not None and found.kind != {To.folder: "folder", To.gridfs: "mongodb"}[to]:
        raise ConfigError(f"store.root: {label} is not of the kind {to.value}")
    return found


def _tell(taken: Taken) -> None:
    was = "" if taken.added else " (was there already)"
    out.print(f"{taken.slide.id} {taken.slide.key}{was}", markup=False, highlight=False)
