"""What a request costs around the bytes: parsing and planning in each protocol, 304, and pictures that must be made."""

from collections.abc import Iterator

import pytest
from application import Application, scope_of
from pytest_benchmark.fixture import BenchmarkFixture
from slides import EDGES, slide

from ptiffserve import _jpeg
from ptiffserve.address import Tile, View

# Spellings of one stored tile of level 0. The tags say 5120 x 4096 px, so DeepZoom's deepest level is 13.
SPELLINGS = {
    "deepzoom": "/deepzoom/{key}_files/13/3_2.jpg",
    "z/x/y": "/tiles/{key}/4/3/2.jpg",
    "quad name": "/tiles/{key}/tqqsr.jpg",
    "iiif 2": "/iiif/2/{key}/1536,1024,512,512/512,512/0/default.jpg",
    "iiif 2 512,": "/iiif/2/{key}/1536,1024,512,512/512,/0/default.jpg",
    "iiif 3 max": "/iiif/3/{key}/1536,1024,512,512/max/0/default.jpg",
    "iiif 3 pct": "/iiif/3/{key}/pct:30,25,10,12.5/max/0/default.jpg",
}
MADE = {
    "lossless edge crop": ("/deepzoom/{key}_files/11/2_1.jpg", "lossless"),
    "region off the grid, 512 px": ("/iiif/3/{key}/1700,1100,512,512/512,512/0/default.jpg", "render"),
    "region scaled down by 3": ("/iiif/3/{key}/1000,1000,1536,1536/512,512/0/default.jpg", "render"),
    "tile turned by 90": ("/iiif/3/{key}/1536,1024,512,512/512,512/90/default.jpg", "render"),
    "tile as WebP": ("/deepzoom/{key}_files/13/3_2.webp", "render"),
    "thumbnail, 256 px": ("/slides/{key}/thumbnail.jpg", "render"),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    app = Application(slide(EDGES), tmp_path_factory.mktemp("state"))
    yield app
    app.close()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.benchmark(group="parse and plan a stored tile")
def test_plan(benchmark: BenchmarkFixture, app: Application, spelling: str) -> None:
    assert benchmark(app.plan, SPELLINGS[spelling].format(key=app.slide.key)) == Tile(app.slide, 0, 3, 2)


@pytest.mark.parametrize("status", [304, 200])
@pytest.mark.benchmark(group="the endpoint, stored tile")
def test_conditional(benchmark: BenchmarkFixture, app: Application, status: int) -> None:
    url = SPELLINGS["deepzoom"].format(key=app.slide.key)
    tag = dict(app.get(scope_of(url))[0]["headers"])[b"etag"]
    scope = scope_of(url, (b"if-none-match", tag if status == 304 else b'"another"'))
    assert benchmark(app.get, scope)[0]["status"] == status


@pytest.mark.parametrize("name", MADE)
@pytest.mark.benchmark(group="pictures that are made, through the service's threads")
def test_made(benchmark: BenchmarkFixture, app: Application, name: str) -> None:
    url, lane = MADE[name]
    plan = app.plan(url.format(key=app.slide.key))
    assert app.runner.run(app.service.answer(plan)).lane == lane
    assert benchmark(app.made, plan)


@pytest.mark.benchmark(group="pictures that are made, through the service's threads")
def test_crop_alone(benchmark: BenchmarkFixture, app: Application) -> None:
    """The compiled part of the edge crop, without planning, reading or threads."""
    view = app.plan(MADE["lossless edge crop"][0].format(key=app.slide.key))
    assert isinstance(view, View) and view.level == 2
    data = app.reader.tile(2, 2, 1)
    assert benchmark(_jpeg.transcode, [data], 1, (512, 512), (0, 0, view.size.width, view.size.height))
