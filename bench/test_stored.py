"""A warm stored tile, 512 px and about 60 KB, at each station of its road, beside a bare read of the same bytes."""

import os
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest
from application import Application, scope_of
from conftest import Versus
from pytest_benchmark.fixture import BenchmarkFixture
from slides import TILES_512, opened, slide, tissue

from ptiffserve.address import Tile

# Enough tiles that no cache of the processor's first two levels holds them all.
NUMBER = 256
Stations = dict[str, Callable[[], object]]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    app = Application(slide(TILES_512), tmp_path_factory.mktemp("state"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def stations(app: Application) -> Iterator[Stations]:
    """Every call takes the next of the same tiles."""
    path = slide(TILES_512)
    places = tissue(opened(path))[:NUMBER]
    descriptor = os.open(path, os.O_RDONLY)
    grid, file = app.reader.grids[0], app.reader.file  # type: ignore[attr-defined]
    spots = [grid.locate(*place) for place in places]
    levels = (max(app.slide.pyramid.size.width, app.slide.pyramid.size.height) - 1).bit_length()  # type: ignore[union-attr]
    urls = [f"/deepzoom/{app.slide.key}_files/{levels}/{col}_{row}.jpg" for col, row in places]
    raw, cells, ours = cycle(spots), cycle(places), cycle(places)
    plans, scopes = cycle([Tile(app.slide, 0, *place) for place in places]), cycle([scope_of(url) for url in urls])

    app.get(scope_of(urls[0]))  # the table of the level is read when a tile is first asked for

    def bare() -> bytes:
        offset, count = next(raw)
        return os.pread(descriptor, count, offset)

    yield {
        "pread": bare,
        "grid": lambda: grid.tile_now(file, *next(cells)),
        "reader": lambda: app.reader.tile_now(0, *next(ours)),
        "service": lambda: app.service.answer_now(next(plans)),
        "endpoint": lambda: app.get(next(scopes)),
    }
    os.close(descriptor)


def test_every_station_gives_the_stored_bytes(stations: Stations) -> None:
    """Before any figure: each road ends at the same picture, and the picture ends with the bytes of the bare read."""
    total = 0
    for _ in range(NUMBER):
        raw, data = stations["pread"](), stations["grid"]()
        assert isinstance(raw, bytes) and isinstance(data, bytes) and data.endswith(raw[2:])
        assert stations["reader"]() == data
        assert stations["service"]().data == data  # type: ignore[attr-defined]
        sent: Any = stations["endpoint"]()
        assert sent[0]["status"] == 200 and sent[1]["body"] == data
        total += len(data)
    assert 50_000 < total / NUMBER < 70_000


@pytest.mark.parametrize("station", ["pread", "grid", "reader", "service", "endpoint"])
@pytest.mark.benchmark(group="warm stored tile, 512 px")
def test_stored(benchmark: BenchmarkFixture, stations: Stations, station: str) -> None:
    assert benchmark(stations[station])


def test_a_tile_against_a_bare_read(versus: Versus, stations: Stations) -> None:
    versus("warm tile: Grid.tile_now / os.pread", stations["grid"], stations["pread"], 1.5, calls=NUMBER)
