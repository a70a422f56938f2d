"""Commands about the catalogue as a whole."""

from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ptiffserve.catalogue.copy import copy
from ptiffserve.catalogue.opened import open_url
from ptiffserve.cli.base import cli, err, out

group = typer.Typer(no_args_is_help=True, help="The catalogue as a whole.")
cli.add_typer(group, name="catalogue")
Url = Annotated[str, typer.Argument(help="sqlite:///PATH or mongodb://HOST/DATABASE")]


@group.callback()
def catalogue() -> None:
    """Keeps `copy` a word of its own while it is the only one."""


@group.command("copy")
def copy_(source: Url, target: Url) -> None:
    """Copy stores and slides from one catalogue into another. It can be repeated: nothing is doubled, nothing is lost."""
    origin, destination = open_url(source), open_url(target)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed} slides"),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, console=err, transient=True) as progress:
            task = progress.add_task("", total=None)
            stores, slides = copy(
                origin, destination, lambda label, number: progress.update(task, description=label, completed=number)
            )
    finally:
        origin.close()
        destination.close()
    out.print(f"{stores} stores and {slides} slides", markup=False)
