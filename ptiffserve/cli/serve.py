"""The server, as a command."""

import logging
import os
import signal
import socket
import sys
from typing import Annotated

import msgspec
import typer
import uvicorn

from ptiffserve import app as application
from ptiffserve.cli.base import ConfigFile, Folders, cli, err, settings
from ptiffserve.config import Config, shown
from ptiffserve.errors import ConfigError
from ptiffserve.lane import LaneProtocol


@cli.command()
def serve(
    folders: Folders = None,
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    workers: Annotated[int | None, typer.Option()] = None,
    fd: Annotated[int | None, typer.Option(help="serve an inherited listening socket")] = None,
    tiles_only: Annotated[
        bool, typer.Option("--tiles-only", help="tiles, documents and health; nothing that writes")
    ] = False,
) -> None:
    """Serve slides over HTTP."""
    server = {"host": host, "port": port, "workers": workers, "tiles_only": tiles_only or None}
    said = settings(folders or [], config, server)
    stores = application.labelled(said.store)
    if not stores and not said.catalogue.url:
        raise ConfigError("store: name a folder to serve, a [[store]] in the configuration, or a catalogue with stores")
    said = msgspec.structs.replace(said, store=stores)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if fd is None:
        err.print(
            f"ptiffserve: {', '.join(shown(store.root) for store in stores)} at http://{said.server.host}:{said.server.port}/"
        )
    _run(said, fd)


def _run(config: Config, fd: int | None) -> None:
    os.environ[application.CONFIG_VARIABLE] = msgspec.json.encode(config).decode()
    server = config.server
    if fd is None:
        _check_port(server.host, server.port)
    # uvicorn drains, then raises the signal again for whoever had it before: a drained server has ended well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        "ptiffserve.app:from_environment",
        factory=True,
        host=server.host,
        port=server.port,
        fd=fd,
        workers=server.workers,
        loop="uvloop",
        http=LaneProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=server.trusted_proxies,
        timeout_graceful_shutdown=server.drain_seconds,
    )


def _check_port(host: str, port: int) -> None:
    """A taken port is told before anything is started. ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"server.port: cannot listen on {host}:{port}: {error}") from error
