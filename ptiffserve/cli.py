"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."""

import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer
import uvicorn
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ptiffserve import app as application
from ptiffserve import encode, explain
from ptiffserve import sample as samples
from ptiffserve.config import Config, Store, load
from ptiffserve.errors import ConfigError, PtiffserveError
from ptiffserve.lane import LaneProtocol
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.sources.file import FileSource

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
DEFAULT = samples.Sample()
out, err = Console(), Console(stderr=True)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML configuration")]
Json = Annotated[bool, typer.Option("--json", help="as JSON")]


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


@cli.command()
def serve(
    folders: Annotated[list[Path] | None, typer.Argument(help="folders of slides")] = None,
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
    said = _settings(folders or [], config, server)
    stores = application.labelled(said.store)
    if not stores:
        raise ConfigError("store: name a folder to serve, or a [[store]] in the configuration")
    said = msgspec.structs.replace(said, store=stores)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if fd is None:
        err.print(
            f"ptiffserve: {', '.join(store.root for store in stores)} at http://{said.server.host}:{said.server.port}/"
        )
    _run(said, fd)


def _settings(folders: list[Path], path: Path | None, server: Mapping[str, object]) -> Config:
    """Configuration, environment, then the command line."""
    said = load(path, os.environ)
    given = {key: value for key, value in server.items() if value is not None}
    return msgspec.structs.replace(
        said,
        server=msgspec.structs.replace(said.server, **given),
        store=[*said.store, *(Store(root=str(folder)) for folder in folders)],
    )


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


@cli.command()
def info(slide: Annotated[Path, typer.Argument(help="a slide file")], json: Json = False) -> None:
    """Levels, tile sizes, mpp, barcode; stored, sparse and truncated tiles of each level."""
    reader = _open(slide)
    if json:
        sys.stdout.write(msgspec.json.encode(_told(reader)).decode() + "\n")
        return
    out.print(f"{slide}: {reader.format}, mpp {reader.pyramid.mpp}, barcode {reader.barcode or '-'}", markup=False)
    out.print(f"pictures: {', '.join(reader.associated()) or '-'}; fault: {reader.fault or 'none'}", markup=False)
    table = Table("level", "size", "tile", "scale", "stored", "sparse", "truncated")
    for number, (level, census) in enumerate(zip(reader.pyramid.levels, reader.tables(), strict=True)):
        size, tile = level.size, level.tile
        table.add_row(
            str(number),
            f"{size.width} x {size.height}",
            f"{tile.width} x {tile.height}",
            str(level.scale),
            *map(str, census),
        )
    out.print(table)


def _told(reader: Reader) -> dict[str, object]:
    levels = [
        {
            "width": level.size.width,
            "height": level.size.height,
            "tile_width": level.tile.width,
            "tile_height": level.tile.height,
            "scale": level.scale,
            "stored": stored,
            "sparse": sparse,
            "truncated": truncated,
        }
        for level, (stored, sparse, truncated) in zip(reader.pyramid.levels, reader.tables(), strict=True)
    ]
    return {
        "format": reader.format,
        "mpp": reader.pyramid.mpp,
        "barcode": reader.barcode,
        "associated": reader.associated(),
        "fault": reader.fault,
        "levels": levels,
    }


@cli.command()
def tile(
    slide: Annotated[Path, typer.Argument(help="a slide file")],
    level: int,
    col: int,
    row: int,
    output: Annotated[Path | None, typer.Option("-o", help="a file; standard output otherwise")] = None,
) -> None:
    """A stored tile, bytes as served."""
    reader = _open(slide)
    levels = reader.pyramid.levels
    if not (0 <= level < len(levels) and 0 <= col < levels[level].grid.width and 0 <= row < levels[level].grid.height):
        raise PtiffserveError(f"{slide} has no tile {col},{row} of level {level}")
    data = reader.tile(level, col, row) or encode.blank(levels[level].tile)
    if output:
        output.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)


@cli.command()
def url(
    address: Annotated[str, typer.Argument(metavar="URL")],
    folders: Annotated[list[Path] | None, typer.Argument(help="folders of slides")] = None,
    config: ConfigFile = None,
) -> None:
    """Show how a URL is understood: slide, plan, lane, bytes."""
    for name, value in explain.explain(_settings(folders or [], config, {}), address)._asdict().items():
        out.print(f"{name:7} {value}", markup=False, highlight=False)


@cli.command()
def check(
    folders: Annotated[list[Path] | None, typer.Argument(help="folders of slides")] = None, config: ConfigFile = None
) -> None:
    """Check configuration, stores and catalogue: one line each; exit code 1 if something is wrong."""
    said = _settings(folders or [], config, {})
    out.print("ok    configuration")
    failed = False
    for what, trial in explain.checks(said):
        try:
            out.print(f"ok    {what}: {trial()}", markup=False, highlight=False)
        except (PtiffserveError, OSError, sqlite3.Error) as error:
            failed = True
            out.print(f"FAIL  {what}: {error}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)


def _open(path: Path) -> Reader:
    return open_slide(FileSource(path, str(path)), str(path))


@cli.command()
def sample(
    path: Annotated[Path, typer.Argument(metavar="OUT.tiff")],
    width: Annotated[int, typer.Option()] = DEFAULT.width,
    height: Annotated[int, typer.Option()] = DEFAULT.height,
    tile_: Annotated[int, typer.Option("--tile")] = DEFAULT.tile,
    quality: Annotated[int, typer.Option()] = DEFAULT.quality,
    sparse: Annotated[float, typer.Option(help="share of background tiles left out")] = DEFAULT.sparse,
    subsampling: Annotated[str, typer.Option()] = DEFAULT.subsampling,
    photometric: Annotated[str, typer.Option()] = DEFAULT.photometric,
    classic: Annotated[bool, typer.Option("--classic", help="classic TIFF instead of BigTIFF")] = False,
    macro: Annotated[bool, typer.Option("--macro/--no-macro")] = True,
    label: Annotated[bool, typer.Option("--label/--no-label")] = True,
    barcode: Annotated[str, typer.Option()] = DEFAULT.barcode,
    seed: Annotated[int, typer.Option()] = DEFAULT.seed,
) -> None:
    """Write a Philips TIFF of procedural tissue, which OpenSlide opens."""
    wanted = samples.Sample(
        width=width,
        height=height,
        tile=tile_,
        quality=quality,
        sparse=sparse,
        subsampling=cast(samples.Subsampling, subsampling),
        photometric=cast(samples.Photometric, photometric),
        classic=classic,
        macro=macro,
        label=label,
        barcode=barcode,
        seed=seed,
    )
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(path.name)
        samples.write(wanted, path, lambda done, total: progress.update(task, completed=done, total=total))
    out.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", markup=False)
