"""OpenSeadragon in a browser over each protocol: no tile fails, and the screen shows the slide's own pixels."""

import io
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import reference
from browsing import TISSUE, Heard, Site
from PIL import Image
from playwright.sync_api import Page, Route

OpenPage = Callable[..., tuple[Page, Heard]]

# A page as another site would have it, with the library and nothing of ours.
PAGE = """<!doctype html><title>try</title><link rel="icon" href="data:,">
<style>body { margin: 0 } #viewer { width: 400px; height: 400px }</style><div id="viewer"></div>
<script src="/assets/vendor/openseadragon.min.js"></script>"""
OPEN = """(source) => new Promise((done, fail) => {
  window.failed = [];
  window.viewer = OpenSeadragon({ id: "viewer", tileSources: source, showNavigationControl: false,
    immediateRender: true, animationTime: 0, blendTime: 0, minZoomImageRatio: 0.01,
    loadTilesWithAjax: false, timeout: 20000 });
  viewer.addHandler("tile-load-failed", (event) => failed.push(event.tile.getUrl()));
  viewer.addHandler("open-failed", (event) => fail(new Error(event.message)));
  viewer.addHandler("open", () => done());
})"""
LOOK = """([x, y, zoom]) => {
  const image = viewer.world.getItemAt(0), { viewport } = viewer;
  viewport.zoomTo(image.imageToViewportZoom(zoom), null, true);
  viewport.panTo(image.imageToViewportCoordinates(x, y), true);
}"""
SETTLED = "() => viewer.world.getItemAt(0).getFullyLoaded()"
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SIDE = 300


def sources(site: Site) -> dict[str, Any]:
    key = quote(f"{site.folder.name}/{TISSUE}")
    record = site.slide()
    properties = {"type": "zoomifytileservice", "width": record["width"], "height": record["height"], "tileSize": 256}
    iip = "/fcgi-bin/iipsrv.fcgi"
    return {
        "deepzoom": f"/deepzoom/{key}.dzi",
        "iiif2": f"/iiif/2/{key}/info.json",
        "iiif3": f"/iiif/3/{key}/info.json",
        "zoomify": properties | {"tilesUrl": f"/zoomify/{key}/"},
        "iip": {"iipsrv": iip, "image": key},
        "iip webp": {"iipsrv": iip, "image": key, "format": "webp"},
        "iip dzi": f"{iip}/IIP/raw/?token=x&DeepZoom={key}.dzi",
        "iip iiif": f"{iip}?IIIF={key}/info.json",
        "iip zoomify": properties | {"tilesUrl": f"{iip}?Zoomify={key}/"},
        "oss-lite": f"/data/images/{TISSUE}/info.json",
    }


@pytest.fixture
def page(site: Site, open_page: OpenPage) -> Iterator[tuple[Page, Heard]]:
    page, heard = open_page(viewport={"width": 400, "height": 400})

    def answer(route: Route) -> None:
        route.fulfill(body=PAGE, content_type="text/html")

    page.route("**/try.html", answer)
    page.goto(f"{site.url}/try.html")
    yield page, heard
    heard.nothing_wrong()


def shown(page: Page) -> np.ndarray:
    """The square in the middle of the screen."""
    clip: Any = {"x": 200 - SIDE // 2, "y": 200 - SIDE // 2, "width": SIDE, "height": SIDE}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"), np.int16)


@pytest.mark.parametrize(
    "name",
    ["deepzoom", "iiif2", "iiif3", "zoomify", "iip", "iip webp", "iip dzi", "iip iiif", "iip zoomify", "oss-lite"],
)
def test_the_screen_shows_the_slide(page: tuple[Page, Heard], site: Site, name: str) -> None:
    tab, _ = page
    tab.evaluate(OPEN, sources(site)[name])
    whole = reference.level(site.folder / TISSUE, 0).astype(np.int16)
    for x, y in ((350, 1100), (whole.shape[1] - 150, whole.shape[0] - 150)):
        for zoom in (0.2, 1):  # coarser tiles are there before the sharp ones
            tab.evaluate(LOOK, [x, y, zoom])
            tab.evaluate(DRAWN)  # from here on it knows what it lacks
            tab.wait_for_function(SETTLED)
        tab.evaluate(DRAWN)
        square = whole[y - SIDE // 2 : y + SIDE // 2, x - SIDE // 2 : x + SIDE // 2]
        assert np.abs(shown(tab) - square).mean() < (6 if "webp" in name else 0.5), (x, y)
    assert tab.evaluate("failed") == []
