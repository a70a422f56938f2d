"""Gallery and viewer as people meet them: in a browser, from the real server."""

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import reference
from browsing import BARCODE, HOSTILE, JUNK, SMALL, TISSUE, Heard, Site
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, Route, expect
from served import copied

OpenPage = Callable[..., tuple[Page, Heard]]
Pixels = NDArray[np.float64]

SIDE = 288  # of the compared square: more than a tile, clear of the panels
SAME = 0.5  # mean difference of a channel; it is 0 with the JPEG decoders of today
PHONE = {"viewport": {"width": 360, "height": 640}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
LOOK = """() => {
  const viewer = OpenSeadragon.getViewer("viewer"), image = viewer.world.getItemAt(0), { viewport } = viewer;
  const middle = image.viewportToImageCoordinates(viewport.getCenter());
  return { x: middle.x, y: middle.y, zoom: image.viewportToImageZoom(viewport.getZoom()),
           turn: ((viewport.getRotation() % 360) + 360) % 360, flip: viewport.getFlip() };
}"""
SETTLED = """() => {
  const image = window.OpenSeadragon?.getViewer("viewer")?.world.getItemAt(0);
  return image?.getFullyLoaded() && !document.querySelector("#busy.on");
}"""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def settle(page: Page) -> None:
    """Until every tile of the view is there and drawn."""
    page.wait_for_function(SETTLED)
    page.evaluate(DRAWN)


def look(page: Page) -> dict[str, Any]:
    page.evaluate(DRAWN)
    view: dict[str, Any] = page.evaluate(LOOK)
    return view


def visit(page: Page, site: Site, path: str = TISSUE, view: str = "") -> None:
    page.goto(f"{site.url}/view/{site.slide(path)['id']}{view}")
    settle(page)


def address(x: float, y: float, zoom: float, turn: float = 0, flip: bool = False) -> str:
    return f"#x={x}&y={y}&z={zoom}&r={turn}&f={int(flip)}"


@pytest.fixture(scope="module")
def spot(site: Site) -> tuple[int, int]:
    """The middle of the square of the slide with the most to see in it."""
    pixels = reference.level(site.folder / TISSUE, 0).mean(axis=2)
    height, width = pixels.shape
    half = SIDE // 2
    middles = [(x, y) for y in range(512, height - 512, 64) for x in range(512, width - 512, 64)]
    return max(middles, key=lambda at: pixels[at[1] - half : at[1] + half, at[0] - half : at[0] + half].std())


def stored(site: Site, middle: tuple[int, int], side: int = SIDE) -> Image.Image:
    """The slide's own pixels, by another reader."""
    x, y = middle[0] - side // 2, middle[1] - side // 2
    return Image.fromarray(reference.level(site.folder / TISSUE, 0)[y : y + side, x : x + side])


def shown(page: Page, side: int = SIDE) -> Pixels:
    """The pixels on the screen around its middle."""
    size = page.viewport_size
    assert size is not None
    clip = {"x": (size["width"] - side) // 2, "y": (size["height"] - side) // 2, "width": side, "height": side}
    return array(Image.open(io.BytesIO(page.screenshot(clip=clip))))  # type: ignore[arg-type]


def array(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"), dtype=np.float64)


def apart(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one - other).mean())


def alike(one: Pixels, other: Pixels) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


# Gallery


def test_gallery_lists_slides(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(site.url)
    record = site.slide()
    card = page.locator(".card", has_text=TISSUE)
    expect(card).to_have_count(1)
    picture = card.locator("img")
    page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    text = card.inner_text()
    assert f"{record['width']:,} × {record['height']:,} px" in text
    assert f"{record['mpp'][0]:.3g} µm/px" in text
    millimetres = [record["width"] * record["mpp"][0] / 1000, record["height"] * record["mpp"][1] / 1000]
    assert f"{millimetres[0]:.3g} × {millimetres[1]:.3g} mm" in text
    small = page.locator(".card", has_text="small one.tiff")
    expect(small).to_contain_text("folder/")
    heard.nothing_wrong()


def test_gallery_keeps_barcodes_to_itself(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(site.url)
    expect(page.locator(".card")).to_have_count(len(site.slides()))
    assert BARCODE not in page.content()
    expect(page.get_by_label("Show barcodes")).to_be_hidden()
    heard.nothing_wrong()


def test_gallery_shows_barcodes_when_asked_where_it_may(site: Site, open_page: OpenPage) -> None:
    def with_barcodes(route: Route) -> None:
        said = route.fetch().json()
        route.fulfill(json=said | {"slides": [slide | {"barcode": BARCODE} for slide in said["slides"]]})

    page, _ = open_page()
    page.route("**/api/slides?*", with_barcodes)
    page.goto(site.url)
    barcode = page.locator(".card", has_text=TISSUE).locator(".barcode")
    expect(page.get_by_label("Show barcodes")).to_be_visible()
    expect(barcode).to_be_hidden()
    page.get_by_label("Show barcodes").check()
    expect(barcode).to_be_visible()
    expect(barcode).to_have_text(BARCODE)


def test_gallery_says_why_a_slide_cannot_be_read(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(site.url)
    card = page.locator(".card", has_text=JUNK)
    expect(card).to_contain_text("Cannot be read")
    expect(card).to_contain_text(site.slide(JUNK)["reason"])
    assert site.slide(JUNK)["reason"]
    expect(card.locator("a")).to_have_count(0)
    heard.nothing_wrong()


def test_a_name_is_text(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(site.url)
    expect(page.locator(".card .name", has_text=HOSTILE)).to_have_text(HOSTILE)
    page.locator(".card", has_text=HOSTILE).locator("a").click()
    settle(page)
    expect(page.locator("#name")).to_have_text(HOSTILE)
    expect(page).to_have_title(HOSTILE)
    heard.nothing_wrong()


def test_gallery_follows_the_folder(site: Site, samples: Path, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(site.url)
    expect(page.locator(".card", has_text=TISSUE)).to_be_visible()
    added = site.folder / "added later.tiff"
    copied(samples / "b.tiff", added)
    try:
        expect(page.locator(".card", has_text=added.name)).to_be_visible()
    finally:
        site.remove(added)
    heard.nothing_wrong()


def test_search(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(site.url)
    page.keyboard.press("/")
    page.keyboard.type("small")
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 slide")
    expect(page).to_have_url(re.compile(r"\?q=small$"))
    page.get_by_role("searchbox").fill("no such slide at all")
    expect(page.get_by_role("heading", name="No slide has this in its name")).to_be_visible()
    page.get_by_role("button", name="Show all slides").click()
    expect(page.locator(".card", has_text=TISSUE)).to_be_visible()
    heard.nothing_wrong()


def test_long_lists_come_in_pages(site: Site, open_page: OpenPage) -> None:
    record, total = site.slide(), 150

    def many(route: Route) -> None:
        after = int((re.search(r"after=(\d+)", route.request.url) or [0, 0])[1])
        limit = int((re.search(r"limit=(\d+)", route.request.url) or [0, 0])[1])
        end = min(total, after + limit)
        slides = [record | {"id": f"{i:024x}", "path": f"slide {i:03}.tiff"} for i in range(after, end)]
        route.fulfill(json={"slides": slides, "next": str(end) if end < total else None})

    page, _ = open_page()
    page.route("**/api/slides?*", many)
    page.route("**/thumbnail.jpg*", lambda route: route.fulfill(status=204))
    page.goto(site.url)
    expect(page.locator(".card").first).to_be_visible()
    for _ in range(8):
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(80)
    expect(page.locator(".card")).to_have_count(total)
    expect(page.locator("#count")).to_have_text(f"{total} slides")
    names = page.locator(".card .name").all_inner_texts()
    assert names == sorted(names)


def test_empty_gallery_says_what_to_do(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    page.route("**/api/slides?*", lambda route: route.fulfill(json={"slides": [], "next": None}))
    page.goto(site.url)
    expect(page.get_by_role("heading", name="No slides here yet")).to_be_visible()


def test_gallery_says_when_the_server_is_away(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    page.goto(site.url)
    expect(page.locator(".card", has_text=TISSUE)).to_be_visible()
    page.route("**/api/slides?*", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.locator(".card", has_text=TISSUE)).to_be_visible()
    page.unroute("**/api/slides?*")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_gallery_by_keyboard(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    page.goto(f"{site.url}/?q={TISSUE}")
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/view/*")
    settle(page)


# Slide


def test_slide_opens_whole(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    visit(page, site)
    expect(page).to_have_title(TISSUE)
    expect(page.get_by_role("link", name="All slides")).to_have_attribute("href", "/")
    expect(page.locator("#map canvas")).to_be_visible()
    expect(page.locator("#map .displayregion")).to_be_attached()
    expect(page.get_by_role("button", name="Full screen")).to_be_visible()
    record, view = site.slide(), look(page)
    assert view["x"] == pytest.approx(record["width"] / 2, abs=1)
    assert view["y"] == pytest.approx(record["height"] / 2, abs=1)
    assert heard.tiles > 5
    heard.nothing_wrong()


def test_slide_opens_by_key(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    page.goto(f"{site.url}/view/{quote(site.slide(SMALL)['key'])}")
    settle(page)
    expect(page.locator("#name")).to_have_text("small one.tiff")
    heard.nothing_wrong()


def test_pixels_are_the_slides(site: Site, spot: tuple[int, int], open_page: OpenPage) -> None:
    page, heard = open_page()
    visit(page, site, view=address(*spot, 1))
    seen, wanted = shown(page), array(stored(site, spot))
    assert wanted.std() > 15
    assert apart(seen, wanted) < SAME
    assert alike(seen[:, ::-1], wanted) < 0.6
    assert alike(np.roll(seen, 4, axis=1), wanted) < 0.95  # the comparison would notice four pixels
    heard.nothing_wrong()


def test_pixels_turned_and_flipped(site: Site, spot: tuple[int, int], open_page: OpenPage) -> None:
    page, heard = open_page()
    visit(page, site, view=address(*spot, 1))
    wanted = array(stored(site, spot))
    page.keyboard.press("r")
    settle(page)
    expect(page.locator("#angle")).to_have_text("90°")
    assert apart(shown(page), np.rot90(wanted, -1)) < SAME
    page.keyboard.press("Shift+R")
    page.keyboard.press("x")
    settle(page)
    expect(page.get_by_role("button", name="Flip left to right")).to_have_attribute("aria-pressed", "true")
    assert apart(shown(page), wanted[:, ::-1]) < SAME
    page.get_by_role("button", name="Turn right").click()
    settle(page)
    assert apart(shown(page), np.rot90(wanted[:, ::-1], -1)) < SAME
    heard.nothing_wrong()


@pytest.mark.parametrize("turn", [0, 90, 180])
def test_no_seams_between_screen_pixels(site: Site, spot: tuple[int, int], open_page: OpenPage, turn: int) -> None:
    """A slide that lies half a pixel off the screen's pixels is moved onto them, whole: within a pixel, it is the slide."""
    page, _ = open_page(viewport={"width": 1001, "height": 700})
    visit(page, site, view=address(spot[0] + 0.25, spot[1], 1, turn))
    seen, around = shown(page), np.rot90(array(stored(site, spot, SIDE + 4)), -turn // 90)
    places = [around[y : y + SIDE, x : x + SIDE] for y in range(5) for x in range(5)]
    assert min(apart(seen, wanted) for wanted in places) < SAME


@pytest.mark.parametrize("turn", [30, 95])
def test_pixels_turned_askew(site: Site, spot: tuple[int, int], open_page: OpenPage, turn: int) -> None:
    """No tile, and no part of one, is anywhere but in its place."""
    page, _ = open_page()
    visit(page, site, view=address(*spot, 1, turn))
    around = stored(site, spot, 2 * SIDE).rotate(-turn, Image.Resampling.BILINEAR)
    wanted = array(around.crop((SIDE // 2, SIDE // 2, SIDE // 2 + SIDE, SIDE // 2 + SIDE)))
    assert alike(shown(page), wanted) > 0.95


@pytest.mark.parametrize("zoom", [1, 0.37, 3])
def test_scale_bar(site: Site, spot: tuple[int, int], open_page: OpenPage, zoom: float) -> None:
    page, _ = open_page()
    visit(page, site, view=address(*spot, zoom))
    mpp = site.slide()["mpp"][0]
    number, unit = page.locator("#scalebar-text").inner_text().split()
    micrometres = float(number) * {"nm": 0.001, "µm": 1, "mm": 1000}[unit]
    assert f"{micrometres:.0e}"[0] in "125"
    box = page.locator("#scalebar-bar").bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(micrometres / mpp * zoom, rel=0.02)
    assert 50 < box["width"] <= 151
    assert page.locator("#zoom").inner_text() == f"{zoom * 100:.3g} %"
    assert page.locator("#magnification").inner_text() == f"{10 / mpp * zoom:.3g}×"


def test_scale_bar_follows_zoom(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site)
    texts = set()
    for _ in range(4):
        texts.add(page.locator("#scalebar-text").inner_text())
        page.get_by_role("button", name="Zoom in").click()
        page.evaluate(DRAWN)
    assert len(texts) > 2


def test_scale_bar_without_mpp(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    page.route("**/api/slides/*", lambda route: route.fulfill(json=route.fetch().json() | {"mpp": None}))
    visit(page, site, view=address(900, 800, 0.5))
    assert page.locator("#scalebar-text").inner_text() == "200 px"
    box = page.locator("#scalebar-bar").bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(100, rel=0.02)
    expect(page.locator("#magnification")).to_be_hidden()


def test_keys(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    visit(page, site, view=address(900, 800, 0.5))
    before = look(page)
    moves = {"ArrowRight": ("x", 1), "ArrowLeft": ("x", -1), "ArrowDown": ("y", 1), "ArrowUp": ("y", -1)}
    for key, (axis, sign) in moves.items():
        page.keyboard.press(key)
        after = look(page)
        assert (after[axis] - before[axis]) * sign > 50, key
        before = after
    page.keyboard.press("+")
    assert look(page)["zoom"] == pytest.approx(before["zoom"] * 2**0.5, rel=1e-3)
    page.keyboard.press("-")
    assert look(page)["zoom"] == pytest.approx(before["zoom"], rel=1e-3)
    page.keyboard.press("1")
    assert look(page)["zoom"] == pytest.approx(1)
    page.keyboard.press(".")
    assert look(page)["turn"] == pytest.approx(5)
    page.keyboard.press("Shift+R")
    assert look(page)["turn"] == pytest.approx(275)
    page.keyboard.press("u")
    assert look(page)["turn"] == pytest.approx(0)
    page.keyboard.press("0")
    assert look(page)["x"] == pytest.approx(site.slide()["width"] / 2, abs=1)
    page.keyboard.press("m")
    expect(page.locator("#map")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    heard.nothing_wrong()


def test_arrows_follow_the_screen_on_a_turned_slide(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site, view=address(900, 800, 1, 90))
    before = look(page)
    page.keyboard.press("ArrowRight")  # turned right by 90 degrees, the slide's top is at the right
    after = look(page)
    assert after["y"] < before["y"] - 50
    assert after["x"] == pytest.approx(before["x"], abs=1)


def test_full_screen(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site)
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement !== null")
    expect(page.get_by_role("button", name="Full screen")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#scalebar")).to_be_visible()
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement === null")


def test_fine_turn(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site)
    page.get_by_role("button", name="Turn by any angle").click()
    page.get_by_label("Angle in degrees").fill("-17")
    assert look(page)["turn"] == pytest.approx(343)
    expect(page.locator("#angle")).to_have_text("343°")
    page.get_by_role("button", name="Upright").click()
    assert look(page)["turn"] == pytest.approx(0)


def test_wheel_and_drag(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site, view=address(900, 800, 0.5))
    page.mouse.move(500, 350)
    page.mouse.wheel(0, -100)
    page.wait_for_function("() => document.querySelector('#zoom').textContent !== '50 %'")
    before = look(page)
    assert before["zoom"] > 0.5
    page.mouse.down()
    page.mouse.move(400, 350, steps=4)
    page.mouse.up()
    assert look(page)["x"] == pytest.approx(before["x"] + 100 / before["zoom"], rel=0.05)


# Address


def test_address_keeps_the_view(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site, view=address(900, 800, 0.5))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("+")
    page.keyboard.press("r")
    page.keyboard.press("x")
    page.wait_for_function("() => /r=90&f=1$/.test(location.hash)")
    left = look(page)
    other, heard = open_page(viewport={"width": 800, "height": 600})
    other.goto(page.url)
    settle(other)
    found = look(other)
    assert found["x"] == pytest.approx(left["x"], abs=0.2)
    assert found["y"] == pytest.approx(left["y"], abs=0.2)
    assert found["zoom"] == pytest.approx(left["zoom"], rel=1e-4)
    assert (found["turn"], found["flip"]) == (90, True)
    heard.nothing_wrong()


def test_address_changed_by_hand(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page()
    visit(page, site)
    page.evaluate("location.hash = '#x=700&y=600&z=2'")
    page.wait_for_function("() => document.querySelector('#zoom').textContent === '200 %'")
    assert look(page)["x"] == pytest.approx(700, abs=0.2)
    page.evaluate("location.hash = '#x=nonsense&y=&z=-1'")
    assert look(page)["x"] == pytest.approx(700, abs=0.2)
    heard.nothing_wrong()


def test_copy_link(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page(permissions=["clipboard-read", "clipboard-write"])
    visit(page, site, view=address(900, 800, 0.5))
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Copy link to this view").click()
    expect(page.locator("#notices")).to_contain_text("Link copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.url
    assert float(re.search(r"x=([\d.]+)", copied)[1]) > 950  # type: ignore[index]


# What can go wrong


def test_slide_that_cannot_be_read(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    record = site.slide(JUNK)
    page.goto(f"{site.url}/view/{record['id']}")
    expect(page.get_by_role("alert")).to_contain_text("This slide cannot be read")
    expect(page.get_by_role("alert")).to_contain_text(record["reason"])
    page.get_by_role("alert").get_by_role("link", name="All slides").click()
    expect(page.locator(".card", has_text=JUNK)).to_be_visible()


def test_no_such_slide(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    page.goto(f"{site.url}/view/slides/never%20was.tiff")
    expect(page.get_by_role("alert")).to_contain_text("There is no such slide")


def test_failed_tiles_are_said_and_asked_again(site: Site, spot: tuple[int, int], open_page: OpenPage) -> None:
    page, _ = open_page()
    visit(page, site)
    finest = f"**/*_files/{math.ceil(math.log2(site.slide()['width']))}/*"
    page.route(finest, lambda route: route.fulfill(status=503, body="busy"))
    page.evaluate(f"location.hash = {json.dumps(address(*spot, 1))}")
    message = page.locator("#notices", has_text="could not be loaded")
    expect(message).to_be_visible()
    page.unroute(finest)
    page.get_by_role("button", name="Try again").click()
    expect(message).to_be_hidden()
    settle(page)
    assert look(page)["x"] == pytest.approx(spot[0], abs=0.2)
    assert apart(shown(page), array(stored(site, spot))) < SAME


def test_replaced_slide_is_said(site: Site, samples: Path, open_page: OpenPage) -> None:
    path = site.folder / "replaced.tiff"
    copied(samples / "b.tiff", path)
    site.until(lambda slides: path.name in slides)
    page, _ = open_page()
    visit(page, site, path.name)
    other = site.folder / "other.part"
    copied(samples / "a.tiff", other)
    other.rename(path)
    try:
        expect(page.locator("#notices")).to_contain_text("This slide was replaced.")
        page.get_by_role("button", name="Reload").click()
        settle(page)
        expect(page.locator("#notices")).not_to_contain_text("replaced")
        assert (
            page.evaluate("OpenSeadragon.getViewer('viewer').world.getItemAt(0).getContentSize().x")
            == (site.slide()["width"])
        )
    finally:
        site.remove(path)


# Phones


def test_phone(site: Site, open_page: OpenPage) -> None:
    page, heard = open_page(**PHONE)
    page.goto(site.url)
    expect(page.locator(".card", has_text=TISSUE)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    visit(page, site)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.documentElement.scrollHeight") <= 640
    boxes = within(page, 360, 640)
    assert len(boxes) >= 12
    heard.nothing_wrong()


def test_phone_on_its_side(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page(**PHONE | {"viewport": {"width": 640, "height": 360}})
    visit(page, site)
    within(page, 640, 360)


def within(page: Page, width: int, height: int) -> list[dict[str, float]]:
    """Boxes of all visible controls and panels: inside the screen, panels clear of one another."""
    boxes = [found.bounding_box() for found in page.locator("button:visible, a:visible, .panel:visible").all()]
    for box in boxes:
        assert box is not None
        assert box["x"] >= 0 and box["y"] >= 0
        assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
    panels = [found.bounding_box() for found in page.locator(".panel:visible").all()]
    for at, one in enumerate(panels):
        for other in panels[at + 1 :]:
            assert not overlap(one, other), (one, other)
    return boxes  # type: ignore[return-value]


def overlap(one: Any, other: Any) -> bool:
    return all(
        one[at] < other[at] + other[side] and other[at] < one[at] + one[side]
        for at, side in (("x", "width"), ("y", "height"))
    )


def test_pinch(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page(**PHONE)
    visit(page, site, view=address(900, 800, 0.3))
    touch = page.context.new_cdp_session(page)
    for kind, reach in [("touchStart", 30), *(("touchMove", reach) for reach in range(35, 95, 5))]:
        points = [{"x": 150 - reach, "y": 320, "id": 0}, {"x": 150 + reach, "y": 320, "id": 1}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert look(page)["zoom"] > 0.45


# Headers


def test_pages_trust_nothing_else(site: Site, open_page: OpenPage) -> None:
    page, _ = open_page()
    for path in ("/", "/view/any", "/assets/slide.js", "/assets/vendor/openseadragon.min.js"):
        answer = page.request.get(site.url + path)
        assert answer.ok
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        again = page.request.get(site.url + path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status == 304
    for path in ("/assets/__init__.py", "/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/nothing.js"):
        assert page.request.get(site.url + path).status == 404
