"""Commands about one slide: what it is, a tile of it, what a URL means, and a new one to try."""

import sys
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer
from rich.progress import Progress
from rich.table import Table

from ptiffserve import encode, explain
from ptiffserve import sample as samples
from ptiffserve.cli.base import ConfigFile, Folders, Json, cli, err, out, settings
from ptiffserve.errors import PtiffserveError
from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.sources.file import FileSource

DEFAULT = samples.Sample()


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
    folders: Folders = None,
    config: ConfigFile = None,
) -> None:
    """Show how a URL is understood: slide, plan, lane, bytes."""
    for name, value in explain.explain(settings(folders or [], config, {}), address)._asdict().items():
        out.print(f"{name:7} {value}", markup=False, highlight=False)


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
