# ruff: noqa: E501 - tables
"""Hostile URLs in the protocols of other servers: Zoomify, IIP, OSS-Lite. Never a 5xx, never another tile, always the JSON error."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from direct import Answer, ask_all
from hypothesis import example, given
from hypothesis import strategies as st
from real_server import RealServer, running
from served import Serve, settle
from starlette.testclient import TestClient
from test_hostile_urls import DIGITS, NAMES, good
from test_protocols import OFFER, SLIDE, SOAK, near_text
from tiny_tiff import Tiny, write

from ptiffserve.address import Associated, Document, Redirect, Thumb, Tile, View
from ptiffserve.config import Store
from ptiffserve.endpoint import PROTOCOLS, dialects
from ptiffserve.errors import Malformed, NotFound, PtiffserveError

PATH = "/data/x"
# Numbers that are none, as the list of bad inputs has them (P2).
BAD = ["-1", "-0", "+5", " 5", "5.0", "٣", "1_0", "0x10", "1e3", "", "½", "5\n", "٣", DIGITS, "NaN"]
PARAMETERS = [
    # P10: rows of 4 tiles at the last of three resolutions, 12 in all; one past a row is the next, one past the last is none
    *((f"/iip?FIF={{s}}&JTL={place}", {404}) for place in ("2,12", "2,9999999999", "1,4", "0,1", "3,0", "99,0", "9999999999,0")),
    *((f"/iip?FIF={{s}}&JTL={place}", {200}) for place in ("2,0", "2,11", "1,3", "0,0", "2%2C11")),
    *((f"/iip?FIF={{s}}&JTL={quote(bad)},0", {400}) for bad in BAD),
    *((f"/iip?FIF={{s}}&JTL=0,{quote(bad)}", {400}) for bad in BAD),
    *((f"/iip?FIF={{s}}&{key}=1,1,1", {400}) for key in ("JTL", "PTL", "WTL", "ATL")),
    ("/zoomify/{s}/TileGroup0/2-4-0.jpg", {404}),
    ("/zoomify/{s}/TileGroup0/2-0-3.jpg", {404}),
    ("/zoomify/{s}/TileGroup0/3-0-0.jpg", {404}),
    *((f"/zoomify/{{s}}/TileGroup0/{bad}.jpg", {400}) for bad in ("0-0", "0-0-0-0", "-1-0-0", "a-0-0", "00-0-0", "0--0", "0_0_0", "", "1-1_0")),
    *((f"/zoomify/{{s}}/TileGroup0/{quote(bad)}-0-0.jpg", {400}) for bad in BAD),
    *((f"/zoomify/{{s}}/{bad}/0-0-0.jpg", {404}) for bad in ("TileGroup", "TileGroup-1", "tilegroup0", "TileGroup0x", "TileGroup%00", "TileGroup" + "9" * 40)),
    *((f"/zoomify/{{s}}/TileGroup9999999999/0-0-0.{form}", {200}) for form in ("jpg", "jpeg", "png")),
    *((f"/zoomify/{{s}}/TileGroup0/0-0-0.{form}", {400}) for form in ("exe", "JPG", "", "jpg.png")),
    # P1 to P6: regions and sizes of IIP
    *((f"/iip?FIF={{s}}&RGN={bad}&CVT=jpeg", {400}) for bad in ("1,0,1,1", "0,1,1,1", "0,0,0,1", "0,0,1", "0,0,1,1,1", "-0.1,0,1,1", "nan,0,1,1", "1e400,0,1,1", "a", ",,,", "0%20,0,1,1", f"{DIGITS},0,1,1")),
    ("/iip?FIF={s}&RGN=0,0,9999999999,9999999999&CVT=jpeg", {200}),
    *((f"/iip?FIF={{s}}&WID={quote(bad)}&CVT=jpeg", {400}) for bad in [*BAD, "0", "99999"] if bad),
    *((f"/iip?FIF={{s}}&HEI={quote(bad)}&CVT=jpeg", {400}) for bad in [*BAD, "0", "99999"] if bad),
    ("/iip?FIF={s}&WID=9999999999&HEI=1&CVT=jpeg", {200}),
    ("/iip?FIF={s}&WID=&HEI=&RGN=&ROT=&QLT=&CVT=jpeg", {200}),
    *((f"/iip?FIF={{s}}&WID=9&ROT={bad}&CVT=jpeg", {400}) for bad in ("NaN", "361", "-90", "!!90", "!", "1e1", DIGITS)),
    *((f"/iip?FIF={{s}}&WID=9&QLT={bad}&CVT=jpeg", {400}) for bad in ("101", "-1", "9.5", "a", DIGITS)),
    *((f"/iip?FIF={{s}}&WID=9&CVT={bad}", {400}) for bad in ("exe", "", "jpg.png", "../x", "%00", "svg")),
    # Objects
    *((f"/iip?FIF={{s}}&OBJ={bad}", {400}) for bad in ("", "%00", "a%0d%0aX-Evil:1", "<script>", "x" * 65, "%C3%A9")),
    # No command, no image, no sense
    *((url, {400}) for url in ("/iip", "/iip?", "/iip?FIF={s}", "/iip?JTL=0,0", "/iip?FIF=&JTL=0,0", "/iip?=&&&", "/iip?CVT=jpeg", "/fcgi-bin/x?frob={s}", "/iip?JTL", "/fcgi-bin")),
    *((f"/iip?{key}={value}", {404}) for key in ("DeepZoom", "Zoomify", "IIIF") for value in ("", "/", "{s}/x/y/z", "%00", "{s}.dzi.dzi", "a/b/c/d/e/f")),
    # F6: escapes in the keys that are ours; in others they are nobody's business
    *((f"/iip?{key}={{s}}%zz/0,0,9,9/9,/0/default.jpg", {400}) for key in ("IIIF", "DeepZoom", "Zoomify")),
    ("/iip?FIF={s}%ff&JTL=0,0", {400}),
    ("/iip?FIF={s}%252f&JTL=0,0", {404}),
    ("/iip?%zz=%ff&FIF={s}&token=%zz%ff&JTL=0,0", {200}),
    # IIIF's sizes that need not be whole
    *((f"/iip?IIIF={{s}}/0,0,9,9/{size}/0/default.jpg", {200}) for size in ("9.49,", ",0.1", "8.5,8.5", "!3.3,9")),
    *((f"/iip?IIIF={{s}}/0,0,9,9/{size}/0/default.jpg", {400}) for size in ("9.9.9,", ".,", "9.,", ",", "!!3.3,9", "1e1.5,", "9999.5,", f"{DIGITS}.5,", "-9.5,")),
    *((f"/iip?IIIF={{s}}/0,0,9.5,9/9,/0/{last}", {400}) for last in ("default.jpg", "native.exe", "grey")),
    # OSS-Lite
    *((PATH + "/grid.tif" + tail, {400}) for tail in ("/1000,0,9,9/full/0/default.jpg", "/0,0,9,9/full/361/default.jpg", "/full/0,/0/default.jpg", "/full/99999,/0/default.jpg")),
    # edge and background
    *((f"/tiles/{{s}}/0/0/0.jpg?edge={bad}", {400}) for bad in ("CLIP", "round", "%00")),
    *((f"/zoomify/{{s}}/TileGroup0/0-0-0.jpg?background={bad}", {400}) for bad in ("red", "fff", "%23ffffff", "ffffffff", "gggggg", "12345%0a")),
    ("/tiles/{s}/0/0/0.jpg?edge=pad&edge=clip&background=ABCDEF&frob=1", {200}),
    # P12: long
    ("/iip?FIF={s}&JTL=0,0&x=" + "x" * 3000, {414}),
]  # fmt: skip
FORMS = [
    "/zoomify/{s}/TileGroup0/0-0-0.jpg",
    "/zoomify/{s}/ImageProperties.xml",
    "/iip?FIF={s}&JTL=0,0",
    "/iip?FIF={s}&OBJ=Max-size",
    "/iip?DeepZoom={s}.dzi",
    "/iip?Zoomify={s}/TileGroup0/0-0-0.jpg",
    "/iip?IIIF={s}/info.json",
    "/fcgi-bin/iipsrv.fcgi?IIIF={s}/full/9,/0/default.jpg",
    PATH + "/{s}/info.json",
    PATH + "/{s}/full/9,/0/default.jpg",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients") / "h"
    folder.mkdir()
    write(Tiny(1000, 700, 256), folder / "grid.tif")
    write(Tiny(640, 480, 128), folder.parent / "secret.tif")
    return folder


@pytest.fixture(scope="module")
def hostile(serve: Serve, folder: Path) -> TestClient:
    client = serve(Store(root=str(folder), url_path=PATH))
    settle(client, 1)
    return client


@pytest.fixture(scope="module")
def real(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    state = tmp_path_factory.mktemp("real")
    (state / "c.toml").write_text(f'[[store]]\nroot = "{folder}"\nurl_path = "{PATH}"\n')
    with running(state / "c.toml", state, slides=1) as server:
        yield server


def test_parameters(hostile: TestClient) -> None:
    allowed = {url.replace("{s}", name): said for url, said in PARAMETERS for name in ("h/grid.tif", PATH + "/grid.tif")
               if url.startswith(("/iip", "/fcgi")) or not name.startswith("/")}  # fmt: skip
    assert len(allowed) > 250
    wrong: list[str] = []

    def see(answer: Answer) -> None:
        if fault := good(answer.status, answer.body, allowed[answer.url]):
            wrong.append(f"{answer.url[:120]}: {fault}")

    ask_all(hostile.app, allowed, see)
    assert not wrong


def test_parameters_raw_to_a_real_server(real: RealServer) -> None:
    wrong = []
    for url, allowed in PARAMETERS:
        reply = real.get(url.replace("{s}", "h/grid.tif"))
        if fault := good(reply.status, reply.body, allowed):
            wrong.append(f"{url[:120]}: {fault}")
    assert not wrong
    assert real.get("/health").status == 200


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_no_slides(hostile: TestClient, form: str) -> None:
    """A traversal gets the very answer of a slide that does not exist; bad escapes are 400."""
    unknown = hostile.get(form.replace("{s}", "h/unknown.tif"))
    assert unknown.status_code == 404
    urls = {form.replace("{s}", before + name) for name in NAMES for before in ("", PATH + "/", PATH + "/../")}
    urls = {url for url in urls if "&" not in url.partition("{s}")[2]}
    wrong: list[Answer] = []

    def see(answer: Answer) -> None:
        escape = "%c0%ae" in answer.url
        if answer.status != 400 if escape else (answer.status, answer.body) != (404, unknown.content):
            wrong.append(answer)

    assert ask_all(hostile.app, urls, see) == len(urls) > 100
    assert not wrong


def test_names_raw_to_a_real_server(real: RealServer) -> None:
    for form in FORMS:
        unknown = real.get(form.replace("{s}", "h/unknown.tif"))
        for name in NAMES:
            reply = real.get(form.replace("{s}", f"{PATH}/{name}" if "?" in form else name))
            if reply.body != unknown.body:
                assert reply.status == 400 and json.loads(reply.body)["error"] == "malformed", (form, name, reply)


WORDS = [
    b"FIF", b"JTL", b"CVT", b"OBJ", b"IIIF", b"DeepZoom", b"Zoomify", b"WID", b"HEI", b"RGN", b"ROT", b"QLT", b"edge", b"background",
    b"=", b"&", b"/", b",", b"0,0", b"jpeg", b"full", b"default.jpg", b"info.json", b"a.dzi", b"a_files", b"0_0.jpg", b"TileGroup0", b"0-0-0.jpg",
    b"ImageProperties.xml", b"%2F", b"%", b"%00", b"%ff", b"1.5,", b"Max-size", b"pad", b"000000", b"\xff", b"+", b";", b"?",
]  # fmt: skip
near_query = st.lists(st.sampled_from(WORDS), max_size=24).map(b"".join) | st.binary(max_size=40)
segment = near_text | st.sampled_from(
    ["2", "a.dzi", "a_files", "info.json", "TileGroup0", "0-0-0.jpg", "ImageProperties.xml", "0_0.jpg"]
)


@SOAK
@given(st.sampled_from([*PROTOCOLS, "data"]), st.lists(segment, max_size=7), near_query)
@example("iip", [], b"IIIF")
@example("iip", [], b"IIIF=//////")
@example("iip", [], b"iiif=a/info.json&IIIF=b")
@example("data", [], b"")
def test_any_url_is_understood_or_refused(first: str, segments: list[str], query: bytes) -> None:
    """Whatever stands in path and query: a plan, a document or an error of the client's, and an address of its own."""
    dialect = dialects(["/data/x"])[first]
    try:
        for reading in dialect.parse([*first.rstrip("/").split("/"), *segments], query):
            asked = dialect.resolve(reading.asked, SLIDE, OFFER)
            assert isinstance(asked, Tile | View | Document | Redirect | Associated | Thumb)
            url = f"http://a/{first}/{'/'.join(segments)}?{query.decode('latin-1')}"
            home = dialect.home(url, reading.asked)
            dialect.links(asked, reading.asked, home)
            if isinstance(asked, Document):
                dialect.describe(asked, home, OFFER)
    except PtiffserveError as fault:
        assert isinstance(fault, Malformed | NotFound)
