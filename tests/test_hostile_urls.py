# ruff: noqa: E501 - tables
"""Hostile URLs: never a 500, never a hang, never a 200 with what was not asked for, always the JSON error.

In process for speed, and the same bytes raw to a real server, which sees what no client library would send.
"""

import json
import random
import re
import string
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from direct import Answer, ask_all
from real_server import RealServer, running
from served import Serve, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, jpeg_size, write

SECRET = b"this must never leave the server"
DIGITS = "9" * 400
# One row of the list of bad inputs after another; each is a URL behind which {s} is the slide, and the statuses it may have.
PARAMETERS = [
    # P1: a region that begins at or past the edge
    *((f"/iiif/3/{{s}}/{region}/max/0/default.jpg", {400}) for region in ("1000,0,9,9", "0,700,9,9", "1001,701,1,1", "9999999999,0,9,9")),
    # P2: numbers that are none
    *(
        (f"/iiif/3/{{s}}/{quote(bad, safe='')},0,9,9/max/0/default.jpg", {400})
        for bad in ("-1", "-0", "+5", " 5", "5 ", "5.0", "٣", "1_0", "0x10", "1e3", "", "½", "五", "\u200b5", "5\n", "\uff15")
    ),
    ("/iiif/3/{s}/0,0,0,9/max/0/default.jpg", {400}),
    ("/iiif/3/{s}/0,0,9,0/max/0/default.jpg", {400}),
    ("/iiif/3/{s}/0,0,-9,9/max/0/default.jpg", {400}),
    # P3: large numbers
    *((f"/iiif/3/{{s}}/0,0,{n},{n}/max/0/default.jpg", {200}) for n in (2**31, 2**32 + 1, 9999999999)),
    *((f"/iiif/3/{{s}}/0,0,{n},{n}/max/0/default.jpg", {400}) for n in (2**63, 2**64, DIGITS)),
    *((f"/iiif/3/{{s}}/full/{n},/0/default.jpg", {400}) for n in (2**31, 2**32 + 1, 2**63, 2**64, DIGITS)),
    *((f"/iiif/2/{{s}}/full/!{n},{n}/0/default.jpg", {400}) for n in (2**31, 2**32 + 1, 2**63, DIGITS)),
    *((f"/tiles/{{s}}/{n}/0/0.jpg", {400, 404}) for n in (2**31, 2**32 + 1, 2**63, DIGITS)),
    *((f"/deepzoom/{{s}}_files/10/{n}_0.jpg", {400, 404}) for n in (2**31, 2**32 + 1, 2**63, DIGITS)),
    # P4: percentages
    *(
        (f"/iiif/3/{{s}}/pct:{quote(bad)},0,50,50/max/0/default.jpg", {400})
        for bad in ("nan", "inf", "-inf", "1e400", "-1", "100", "101", "0." + "3" * 1000, "١", ".", "1.", "1.1.1", "")
    ),
    *((f"/iiif/3/{{s}}/pct:0,0,{bad},50/max/0/default.jpg", {400}) for bad in ("nan", "0", "101", "0.0", "-1")),
    *((f"/iiif/3/{{s}}/full/pct:{bad}/0/default.jpg", {400}) for bad in ("nan", "inf", "1e400", "-1", "0", "101", "")),
    # P5: results of nothing
    ("/iiif/3/{s}/0,0,1000,1/3,/0/default.jpg", {200}),
    ("/iiif/3/{s}/0,0,1,700/,1/0/default.jpg", {200}),
    ("/iiif/3/{s}/full/pct:0.0001/0/default.jpg", {200}),
    # P6: pictures that are too large
    *((f"/iiif/3/{{s}}/full/{size}/0/default.jpg", {400}) for size in ("^99999,99999", "^pct:100000", "^8193,", "^,8193", "^8192,8192")),
    *((f"/iiif/2/{{s}}/full/{size}/0/default.jpg", {400}) for size in ("99999,", "pct:100000", "8192,8192", "1,60000")),
    # P7: thin ones
    ("/iiif/2/{s}/full/1,8192/0/default.jpg", {200}),
    ("/iiif/3/{s}/full/1,1/0/default.jpg", {200}),
    # P8: rotations
    *(
        (f"/iiif/3/{{s}}/full/9,/{quote(bad, safe='')}/default.jpg", {400})
        for bad in ("NaN", "inf", "361", "-90", "!!90", "+90", "90!", "", "!", "1e1", "٩٠", "90°", " 90", "0x5a", DIGITS)
    ),
    ("/iiif/3/{s}/full/9,/90.0/default.jpg", {200}),
    ("/iiif/3/{s}/full/9,/359.999999/default.png", {200}),
    # P9: quality and format
    *(
        (f"/iiif/3/{{s}}/full/9,/0/{quote(bad, safe='')}", {400})
        for bad in ("junk.jpg", "default.junk", "default.jpg.exe", "default", "default..jpg", ".jpg", "default.", "DEFAULT.jpg", "default.JPG",
            "default.jpg ", "default.jpg\0", "default.jpg\n", "default.jpg/x", "default.jpg;x=1", "defaultjpg", "default.tif,jpg")
    ),
    *((f"/tiles/{{s}}/0/0/0.{bad}", {400}) for bad in ("exe", "JPG", "jpg.png", "", "jpg%00", "v", "svg", "pdf", "dzsave")),
    # P10: tiles of DeepZoom
    ("/deepzoom/{s}_files/10/4_0.jpg", {404}),
    ("/deepzoom/{s}_files/10/0_3.jpg", {404}),
    ("/deepzoom/{s}_files/11/0_0.jpg", {404}),
    ("/deepzoom/{s}_files/99/0_0.jpg", {404}),
    *((f"/deepzoom/{{s}}_files/{bad}/0_0.jpg", {400}) for bad in ("-1", "1e1", "00", "01", "a", "%20", "1.0")),
    *((f"/deepzoom/{{s}}_files/10/{bad}.jpg", {400}) for bad in ("1_2_3", "1", "_", "1_", "_1", "-1_0", "0_-1", "01_0", "1-0", "1__0")),
    # P11: levels below those of the file
    *((f"/deepzoom/{{s}}_files/{level}/0_0.jpg", {200}) for level in range(8)),
    # P12: long and many
    *((url, {414}) for url in ("/tiles/{s}/" + "x" * 60_000, "/tiles/" + "a/" * 10_000 + "0.jpg", "/iiif/3/{s}/" + "9" * 3000 + "/max/0/default.jpg")),
    ("/tiles/{s}/2/1/1.jpg?" + "&".join(f"k{n}=v" for n in range(200)), {200}),
    ("/tiles/{s}/2/1/1.jpg?origin=top&origin=bottom&=&&&%zz=%ff&a[$ne]=1;b=2", {200}),
    ("/tiles/{s}/" + "/".join("x" * 500), {404}),
    # P13: commas
    ("/iiif/3/{s}/0%2C0%2C9%2C9/9%2C9/0/default.jpg", {200}),
    *(
        (f"/iiif/3/{{s}}/{quote(bad, safe=',')}/max/0/default.jpg", {400})
        for bad in (",0,9,9", "0,,9,9", "0,0,,9", "0,0,9,", "0,0,9", "0,0,9,9,", ",,,", "0, 0,9,9", "0,0,9,9,9", "0;0;9;9", "0.0,9,9", "0，0，9，9")
    ),
    # Quad names, and words where there are no others
    *((f"/tiles/{{s}}/{bad}.jpg", {400}) for bad in ("q", "tx", "T", "tqQ", "t%20", "tq%00", "t" + "q" * 40, "..", "%2e")),
    ("/tiles/{s}/tq.jpg?origin=%00", {400}),
    ("/slides/{s}/nothing.jpg", {404}),
    ("/slides/{s}/..%2f..%2fetc.jpg", {404}),
    ("/slides/{s}/thumbnail.jpg?width=" + DIGITS, {400}),
    ("/slides/{s}/thumbnail.jpg?width=%D9%A3", {400}),
]  # fmt: skip
# F1, F2, F4, F5: names of slides that are paths, or no names at all.
NAMES = [
    "../secret.tif", "..%2fsecret.tif", "%2e%2e%2fsecret.tif", "%252e%252e%252fsecret.tif", "....//secret.tif", "..;/secret.tif",
    "..\\secret.tif", "..%5csecret.tif", "%c0%ae%c0%ae/secret.tif", "/etc/passwd", "%2fetc%2fpasswd", "h/../../secret.tif",
    "h/..%2f..%2fsecret.tif", "h/%2e%2e/secret.tif", "h/....//secret.tif", "h//etc/passwd", "h%2F%2Fetc%2Fpasswd", "h/./grid.tif",
    "h//grid.tif", "h/grid.tif/.", "h/x/../grid.tif", "h-sibling/secret.tif", "h/../h-sibling/secret.tif", "h/out.tif", "h/loop.tif",
    "h/dir/secret.tif", "h/grid.tif%00", "h/grid.tif%00.jpg", "%00", "h%00/grid.tif", "h/grid.tif%0a", "h/grid.tif%0d%0aX-Evil:1",
    "H/GRID.TIF", "h/GRID.tif", "h/grid.tif%20", "%20h/grid.tif", "h/grid", "h", "h/", "*", "%25", "'%20OR%201=1--", "{{id}}", "${{x}}",
    "%7b%22$ne%22:null%7d", "file:%2f%2f%2fetc%2fpasswd", "http:%2f%2fa.test%2fx.tif", "0" * 24, "f" * 24, "A" * 24, "x" * 255, "%f0%9f%98%80",
    "h/caf%65%cc%81.tif", "h%2Fgrid%2Etif%2F..%2Fgrid.tif", "h%2fh%2fgrid.tif", "con", "h/.hidden.tif",
]  # fmt: skip
FORMS = [
    "/tiles/{s}/0/0/0.jpg",
    "/iiif/3/{s}/info.json",
    "/iiif/2/{s}/full/max/0/default.jpg",
    "/deepzoom/{s}.dzi",
    "/slides/{s}/thumbnail.jpg",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store `h` with a slide, and around it everything that must stay out of reach."""
    top = tmp_path_factory.mktemp("hostile")
    folder, sibling = top / "h", top / "h-sibling"
    folder.mkdir()
    sibling.mkdir()
    write(Tiny(1000, 700, 256), folder / "grid.tif")
    write(Tiny(300, 200, 128), folder / ".hidden.tif")
    write(Tiny(300, 200, 128), folder / "caf\u00e9.tif")
    for place in (top / "secret.tif", sibling / "secret.tif"):
        write(Tiny(640, 480, 128), place)
    (top / "secret.txt").write_bytes(SECRET)
    (folder / "out.tif").symlink_to(top / "secret.tif")
    (folder / "loop.tif").symlink_to(folder / "loop.tif")
    (folder / "dir").symlink_to(sibling)
    (folder / "inner.tif").symlink_to(folder / "grid.tif")
    return folder


@pytest.fixture(scope="module")
def hostile(serve: Serve, folder: Path) -> TestClient:
    client = serve(folder)
    settle(client, 2)
    return client


@pytest.fixture(scope="module")
def real(hostile: TestClient, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    # Only what can be listed is waited for: the links that lead out are not slides.
    with running(folder, tmp_path_factory.mktemp("real"), slides=2) as server:
        yield server


def good(status: int, body: bytes, allowed: set[int]) -> str:
    """ "" where an answer is one of those allowed and says so properly, else what is wrong with it."""
    if status not in allowed:
        return f"{status} {body[:100]!r}, not {allowed}"
    if status == 200:
        return (
            ""
            if body[:2] == b"\xff\xd8" or body[:4] in (b"\x89PNG", b"II*\0") or body[:1] in b"{<"
            else "a strange body"
        )
    said = json.loads(body)
    if set(said) != {"error", "message"} or b"Traceback" in body or SECRET in body:
        return f"{said}"
    return ""


def test_parameters(hostile: TestClient) -> None:
    allowed = {url.replace("{s}", "h/grid.tif"): statuses for url, statuses in PARAMETERS}
    assert len(allowed) > 180
    wrong: list[str] = []

    def see(answer: Answer) -> None:
        if fault := good(answer.status, answer.body, allowed[answer.url]):
            wrong.append(f"{answer.url[:120]}: {fault}")

    ask_all(hostile.app, allowed, see)
    assert not wrong


def test_parameters_raw_to_a_real_server(real: RealServer) -> None:
    """The same with the bytes as they are: nothing is escaped that was not."""
    wrong = []
    for url, allowed in PARAMETERS:
        reply = real.get(url.replace("{s}", "h%2Fgrid.tif"))
        if fault := good(reply.status, reply.body, allowed):
            wrong.append(f"{url[:120]}: {fault}")
    assert not wrong
    assert real.get("/health").status == 200


def test_small_results_are_small(hostile: TestClient) -> None:
    for path, size in (
        ("0,0,1000,1/3,", (3, 1)),
        ("0,0,1,700/,1", (1, 1)),
        ("full/1,1", (1, 1)),
        ("full/pct:0.0001", (1, 1)),
    ):
        assert jpeg_size(hostile.get(f"/iiif/3/h/grid.tif/{path}/0/default.jpg").content) == size, path


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_no_slides(hostile: TestClient, form: str) -> None:
    """A traversal gets the very answer of a slide that does not exist; bad escapes are 400."""
    unknown = hostile.get(form.replace("{s}", "h/unknown.tif"))
    assert unknown.status_code == 404
    answers: list[Answer] = []
    ask_all(hostile.app, [form.replace("{s}", name) for name in NAMES], answers.append)
    assert len(answers) == len(NAMES)
    for answer in answers:
        if b"%c0%ae" in answer.url.encode():
            assert answer.status == 400, answer
        else:
            assert (answer.status, answer.body) == (404, unknown.content), answer.url


def test_names_raw_to_a_real_server(real: RealServer) -> None:
    for form in FORMS:
        unknown = real.get(form.replace("{s}", "h/unknown.tif"))
        for name in NAMES:
            reply = real.get(form.replace("{s}", name))
            if reply.body != unknown.body:
                assert reply.status == 400 and json.loads(reply.body)["error"] == "malformed", (name, reply)


def test_links_that_lead_out_are_not_served(hostile: TestClient) -> None:
    listed = {slide["path"] for slide in hostile.get("/api/slides?limit=1000").json()["slides"]}
    assert listed == {"grid.tif", "caf\u00e9.tif"}  # inner.tif is another name of the first
    assert hostile.get("/tiles/h/inner.tif/0/0/0.jpg").status_code == 200


def test_a_link_that_is_turned_outwards_later_is_not_served(serve: Serve, folder: Path, tmp_path: Path) -> None:
    """The catalogue knows the name, but the file behind it is now outside: that is no picture, whatever the answer."""
    root = tmp_path / "turned"
    root.mkdir()
    write(Tiny(300, 200, 128), root / ".a.tif")
    (root / "b.tif").symlink_to(root / ".a.tif")
    client = serve(root)
    settle(client, 1)
    assert client.get("/api/slides/turned/b.tif").json()["width"] == 300
    (root / "b.tif").unlink()
    (root / "b.tif").symlink_to(folder.parent / "secret.tif")
    for form in FORMS[:1] + FORMS[2:3]:
        answer = client.get(form.replace("{s}", "turned/b.tif"))
        assert answer.status_code in (404, 503), answer.text
        assert "secret" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["%", "%z", "%zz", "%f", "%ff", "a%", "a%2", "%c3%28", "%ed%a0%80", "%fe%fe%ff%ff", "%u0041", "%2", "%%32%46"],
)
def test_bad_escapes(hostile: TestClient, real: RealServer, path: str) -> None:
    for form in FORMS:
        reply = real.get(form.replace("{s}", path))
        assert (reply.status, json.loads(reply.body)["error"]) == (400, "malformed"), reply
        answers: list[Answer] = []
        ask_all(hostile.app, [form.replace("{s}", path)], answers.append)
        assert [answer.status for answer in answers] == [400]


@pytest.mark.parametrize(
    "name", ["[frob]", "a<b>c", "^x", "`id`", "a|b", 'a"b', "{x}", "a\\b", "..\\..\\x", "~root", "$(x)", "a;b", "a=b&c"]
)
def test_raw_characters_reach_the_catalogue_and_nothing_else(real: RealServer, name: str) -> None:
    for form in FORMS:
        reply = real.get(form.replace("{s}", name))
        assert reply.status == 404 and json.loads(reply.body)["error"] == "not_found", reply


def test_escaped_slashes_are_one_name(real: RealServer) -> None:
    tile = real.get("/tiles/h/grid.tif/2/1/1.jpg")
    assert tile.status == 200
    for name in ("h%2Fgrid.tif", "h%2fgrid%2Etif", "%68/%67rid.tif"):
        assert real.get(f"/tiles/{name}/2/1/1.jpg").body == tile.body, name
    for target in ("/tiles/h/grid.tif/2%2F1/1.jpg", "/tiles/h/grid.tif/2/1%2F1.jpg", "/tiles%2Fh/grid.tif/2/1/1.jpg"):
        assert real.get(target).status in (400, 404), target
    assert real.get("/tiles/h%252Fgrid.tif/2/1/1.jpg").status == 404


BROKEN_REQUESTS = [
    b"GET /tiles/h/grid.tif/0/0/0.jpg\r\n\r\n",
    b"GET /tiles/h/\x01/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /tiles/h/\xc3\xa9/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /tiles/h/\xff\xfe/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /tiles/h/\x00/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /tiles/h grid/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET tiles/h/grid.tif/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET  HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"FROB /tiles/h/grid.tif/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /tiles/h/grid.tif/0/0/0.jpg HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
    b"GET /tiles/" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", BROKEN_REQUESTS, ids=lambda data: repr(data[:40]))
def test_broken_requests_are_refused_or_dropped(real: RealServer, request_bytes: bytes) -> None:
    """What is no request gets 4xx or a closed connection; the next client is served."""
    with real.connect() as connection:
        connection.settimeout(10)
        received = b""
        try:
            connection.sendall(request_bytes)
            connection.shutdown(1)  # nothing more will come: a server that waits for it would hang here
            while chunk := connection.recv(65536):
                received += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
    status = re.match(rb"HTTP/1\.[01] (\d\d\d)", received)
    assert not received or (status and 400 <= int(status[1]) < 500), received[:200]
    assert real.get("/tiles/h/grid.tif/0/0/0.jpg").status == 200


def test_random_urls(hostile: TestClient) -> None:
    """Pieces of URLs in any order: whatever comes out, it is a picture, a document or a JSON error, and never a 5xx."""
    chance = random.Random(7)
    pieces = [
        "tiles",
        "iiif",
        "deepzoom",
        "slides",
        "2",
        "3",
        "h",
        "grid.tif",
        "h%2Fgrid.tif",
        "full",
        "max",
        "0",
        "default.jpg",
    ]
    pieces += [
        "info.json",
        "tilejson.json",
        "0,0,9,9",
        "9,",
        "!9,9",
        "pct:5",
        "tq.jpg",
        "t.jpg",
        "0_0.jpg",
        "grid.tif_files",
        "grid.tif.dzi",
    ]
    pieces += [
        "thumbnail.png",
        "",
        ".",
        "..",
        "%2e%2e",
        "%00",
        "%",
        "-1",
        "99",
        "a" * 300,
        "0.jpg",
        "0.png",
        "é".encode().decode("latin-1"),
    ]
    urls = ["/" + "/".join(chance.choices(pieces, k=chance.randint(1, 8))) for _ in range(4000)]
    starts = ("/tiles/", "/iiif/2/", "/iiif/3/", "/deepzoom/", "/slides/")
    urls += [
        chance.choice(starts) + "h/grid.tif/" + "".join(chance.choices(string.printable[:94], k=12))
        for _ in range(2000)
    ]
    urls = [
        url.replace("#", "%23").replace("//", "/%2F", 1) if url.startswith("//") else url.replace("#", "%23")
        for url in urls
    ]
    wrong: list[str] = []

    def see(answer: Answer) -> None:
        if answer.status >= 500 or (
            answer.status >= 400 and answer.url.startswith(starts) and b'"error"' not in answer.body
        ):
            wrong.append(f"{answer.url}: {answer.status} {answer.body[:80]!r}")

    assert ask_all(hostile.app, urls, see) == len(urls)
    assert not wrong
