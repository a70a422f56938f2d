"""The worker of the queues, as a command."""

import logging
from contextlib import closing
from typing import Annotated

import typer

from ptiffserve import app as application
from ptiffserve.catalogue.opened import open_catalogue
from ptiffserve.catalogue.served import Served
from ptiffserve.cli.base import ConfigFile, cli, settings
from ptiffserve.sync.worker import run_worker


@cli.command()
def worker(
    config: ConfigFile = None,
    queue: Annotated[str, typer.Option(help="another queue than tasks.queue")] = "",
) -> None:
    """Sync stores as asked and as scheduled. SIGINT: running tasks are finished; SIGTERM: they go back to the queue."""
    said = settings([], config, {})
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with closing(open_catalogue(said)) as catalogue:
        Served(catalogue, application.labelled(said.store), writes=True).start()
        run_worker(application.working(said, catalogue), queue)
