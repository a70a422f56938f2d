"""Answers as HTTP: validators, 304 before any I/O, HEAD, OPTIONS, CORS, lanes, the table of errors; and over real sockets."""

import asyncio
import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from direct import Answer, ask, ask_all
from hypothesis import given
from hypothesis import strategies as st
from real_server import RealServer, read_reply, running
from served import Serve, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, wave, write

from ptiffserve import errors, wire
from ptiffserve.app import create_app
from ptiffserve.config import Auth, Catalogue, Config, Limits, Server, Store

GRID = Tiny(1000, 700, 256, philips=True, paint=wave, sparse=frozenset({(0, 1, 0)}), label=True)
# A URL for each lane.
LANES = {
    "stored": "/tiles/w/grid.tiff/2/1/1.jpg",
    "blank": "/tiles/w/grid.tiff/2/1/0.jpg",
    "lossless": "/deepzoom/w/grid.tiff_files/10/3_2.jpg",
    "render": "/iiif/3/w/grid.tiff/1,2,300,300/100,/0/default.jpg",
}
DOCUMENTS = [
    "/iiif/3/w/grid.tiff/info.json",
    "/iiif/2/w/grid.tiff/info.json",
    "/deepzoom/w/grid.tiff.dzi",
    "/tiles/w/grid.tiff/tilejson.json",
]
# URL -> status and code: every class of errors that a URL alone can cause.
ERRORS = {
    "/tiles/w/grid.tiff/2/9/9.jpg": (404, "not_found"),
    "/tiles/w/other.tiff/2/1/1.jpg": (404, "not_found"),
    "/tiles": (404, "not_found"),
    "/iiif/": (404, "not_found"),
    "/tiles/w/grid.tiff/x/1/1.jpg": (400, "malformed"),
    "/tiles/w/%zz/2/1/1.jpg": (400, "malformed"),
    "/tiles/w/%ff/2/1/1.jpg": (400, "malformed"),
    "/iiif/2/w/grid.tiff/full/9000,/0/default.jpg": (400, "too_costly"),
    "/tiles/w/grid.tiff/2/1/1.exe": (400, "unsupported_format"),
    "/slides/w/grid.tiff/label.jpg": (403, "forbidden"),
    "/slides/w/grid.tiff/macro.jpg": (404, "not_found"),
    "/tiles/w/broken.tiff/0/0/0.jpg": (422, "slide_unreadable"),
    "/iiif/3/w/broken.tiff/info.json": (422, "slide_unreadable"),
    "/tiles/w/" + "x" * 2100 + "/0/0/0.jpg": (414, "too_long"),
    "/tiles/w/grid.tiff/2/1/1.jpg?" + "y" * 2100: (414, "too_long"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wire") / "w"
    folder.mkdir()
    write(GRID, folder / "grid.tiff")
    (folder / "broken.tiff").write_bytes(b"II*\0" + bytes(60))
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000.75, 1_700_000_000.75))
    return folder


@pytest.fixture(scope="module")
def wired(serve: Serve, folder: Path) -> TestClient:
    client = serve(folder)
    settle(client, 2)
    return client


@pytest.fixture
def with_config(tmp_path: Path) -> Iterator[object]:
    """with_config(config) -> a client of an application with just these settings."""
    running: list[TestClient] = []

    def start(config: Config) -> TestClient:
        client = TestClient(create_app(config), follow_redirects=False)
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


# Validators and conditional requests.


@pytest.mark.parametrize("url", [*LANES.values(), *DOCUMENTS])
def test_every_answer_has_a_strong_tag_and_304(wired: TestClient, url: str) -> None:
    first = wired.get(url)
    assert first.status_code == 200
    tag = first.headers["etag"]
    assert tag.startswith('"') and tag.endswith('"') and tag.isascii()
    again = wired.get(url, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "last-modified", "vary"):
        assert again.headers.get(name) == first.headers.get(name), name
    assert not {"content-type", "content-length"} & set(again.headers)


DATE = "Tue, 14 Nov 2023 22:13:20 GMT"  # of the slide, whose mtime is three quarters of a second later


CONDITIONS: list[tuple[dict[str, str], int]] = [
    ({"if-none-match": "TAG"}, 304),
    ({"if-none-match": "W/TAG"}, 304),
    ({"if-none-match": "*"}, 304),
    ({"if-none-match": '"a", TAG,"b"'}, 304),
    ({"if-none-match": 'W/"a",W/TAG'}, 304),
    ({"if-none-match": '"a"'}, 200),
    ({"if-none-match": ""}, 200),
    ({"if-none-match": "TAG".strip('"') + "x"}, 200),
    ({"if-modified-since": DATE}, 304),
    ({"if-modified-since": "Tue, 14 Nov 2023 22:13:21 GMT"}, 304),
    ({"if-modified-since": "Tue, 14 Nov 2023 22:13:19 GMT"}, 200),
    ({"if-modified-since": "Tuesday, 14-Nov-23 22:13:20 GMT"}, 304),
    ({"if-modified-since": "Tue Nov 14 22:13:20 2023"}, 304),
    ({"if-modified-since": "yesterday"}, 200),
    ({"if-modified-since": ""}, 200),
    ({"if-modified-since": "Tue, 99 Nov 2023 22:13:20 GMT"}, 200),
    ({"if-modified-since": "Tue, 14 Nov 99999999999 22:13:20 GMT"}, 200),
    ({"if-none-match": '"a"', "if-modified-since": DATE}, 200),
    ({"if-none-match": "", "if-modified-since": DATE}, 200),
    ({"if-none-match": "TAG", "if-modified-since": "Tue, 14 Nov 2000 22:13:19 GMT"}, 304),
    ({"if-match": '"a"'}, 200),
    ({"range": "bytes=0-9"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
@pytest.mark.parametrize("url", LANES.values())
def test_conditions(wired: TestClient, url: str, headers: dict[str, str], status: int) -> None:
    first = wired.get(url)
    assert first.headers["last-modified"] == DATE
    said = {name: value.replace("TAG", first.headers["etag"]) for name, value in headers.items()}
    answer = wired.get(url, headers=said)
    assert answer.status_code == status
    assert answer.content == (first.content if status == 200 else b"")


def test_two_if_none_match_headers_are_one_list(wired: TestClient) -> None:
    tag = wired.get(LANES["stored"]).headers["etag"]
    for pair in ([tag, '"a"'], ['"a"', tag]):
        assert wired.get(LANES["stored"], headers=[("if-none-match", value) for value in pair]).status_code == 304


@given(st.binary(max_size=60) | st.text("MTWFSaugonehdritpJv ,:-+0123456789GMUTZ", max_size=40).map(str.encode))
def test_any_date_is_read_or_ignored(value: bytes) -> None:
    assert wire.unchanged({b"if-modified-since": value}, '"t"', 1 << 62) in (True, False)


@given(st.binary(max_size=60))
def test_any_tag_list_is_read(value: bytes) -> None:
    assert wire.unchanged({b"if-none-match": b'"t",' + value}, '"t"', 0)


def test_304_needs_no_file(folder: Path, tmp_path: Path, with_config: object) -> None:
    """For a known record, 304 is answered though the file is gone and nothing was ever opened."""
    root = tmp_path / "w"
    root.mkdir()
    path = root / "grid.tiff"
    path.write_bytes((folder / "grid.tiff").read_bytes())
    os.utime(path, (1_700_000_000, 1_700_000_000))
    store = Store(root=str(root), poll=3600)  # one look, at the start
    config = Config(store=[store], catalogue=Catalogue(f"sqlite:///{tmp_path}/c.db"))
    first = with_config(config)  # type: ignore[operator]
    settle(first, 1)
    tags = {url: first.get(url).headers["etag"] for url in LANES.values()}
    second = with_config(config)  # type: ignore[operator]
    path.unlink()
    for url, tag in tags.items():
        answer = second.get(url, headers={"if-none-match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (304, tag)
    slides = second.app._service.slides
    assert len(slides) == 0
    for url, tag in tags.items():
        assert second.get(url, headers={"if-none-match": f'"no", {tag}x'}).status_code >= 400, url
    assert len(slides) == 0


# HEAD, OPTIONS, methods, CORS, lanes.


def said(answer: object) -> dict[str, str]:
    headers = dict(answer.headers)  # type: ignore[attr-defined]
    if "server-timing" in headers:
        headers["server-timing"] = headers["server-timing"].partition(";")[0]
    return headers


@pytest.mark.parametrize("url", [*LANES.values(), *DOCUMENTS, *ERRORS, "/iiif/3/w/grid.tiff"])
def test_head_is_get_without_the_body(wired: TestClient, url: str) -> None:
    got, head = wired.get(url), wired.head(url)
    assert (head.status_code, said(head), head.content) == (got.status_code, said(got), b"")
    assert int(got.headers["content-length"]) == len(got.content)
    assert asyncio.run(ask(wired.app, url, "HEAD")).body == b""  # clients and servers drop it, so it is looked for here


@pytest.mark.parametrize("url", [*LANES.values(), *DOCUMENTS, "/tiles/nothing"])
def test_options_and_other_methods(wired: TestClient, url: str) -> None:
    options = wired.options(url)
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, HEAD, OPTIONS"
    assert options.headers["access-control-allow-origin"] == "*"
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"):
        answer = wired.request(method, url)
        assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed"), method
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("url", [*LANES.values(), *DOCUMENTS, "/tiles/nothing", "/iiif/3/w/grid.tiff"])
def test_cors_for_everybody(wired: TestClient, url: str) -> None:
    for headers in ({}, {"origin": "https://viewer.example"}):
        answer = wired.get(url, headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert {"etag", "server-timing", "link"} <= {
            name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")
        }


def test_cors_for_a_list(folder: Path, tmp_path: Path, with_config: object) -> None:
    """The origin itself is echoed, never `*`, and caches are told that the answer depends on it."""
    server = Server(cors=["https://a.example", "https://b.example"])
    catalogue = Catalogue(f"sqlite:///{tmp_path}/c.db")
    client = with_config(Config(store=[Store(root=str(folder))], catalogue=catalogue, server=server))  # type: ignore[operator]
    settle(client, 2)
    allowed = {"https://a.example": True, "https://b.example": True, "https://evil.example": False, "null": False}
    for url in (*LANES.values(), DOCUMENTS[0], "/tiles/nothing"):
        for origin, yes in {**allowed, "https://a.example.evil.example": False, "*": False}.items():
            answer = client.get(url, headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == (origin if yes else None)
            assert "Origin" in answer.headers.get_list("vary", split_commas=True)
        assert "access-control-allow-origin" not in client.get(url).headers


@pytest.mark.parametrize("lane", LANES)
def test_the_lane_is_told(wired: TestClient, lane: str) -> None:
    for _ in range(2):
        name, _, duration = wired.get(LANES[lane]).headers["server-timing"].partition(";dur=")
        assert name == lane
        assert 0 <= float(duration) < 600_000


# Errors.


@pytest.mark.parametrize("url", ERRORS)
def test_errors_are_json_that_nobody_stores(wired: TestClient, folder: Path, url: str) -> None:
    status, code = ERRORS[url]
    answer = wired.get(url)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert set(answer.json()) == {"error", "message"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    assert str(folder.parent) not in answer.text
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("url", ["/nothing", "/api/nothing"])
def test_other_paths_have_json_errors_too(wired: TestClient, url: str) -> None:
    assert wired.get(url).json()["error"] == "not_found"
    assert wired.post("/health").json()["error"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (errors.Malformed("m"), 400),
        (errors.TooLong("m"), 414),
        (errors.TooCostly("m"), 400),
        (errors.UnsupportedFormat("m"), 400),
        (errors.NotFound("m"), 404),
        (errors.Forbidden("m"), 403),
        (wire.MethodNotAllowed("m"), 405),
        (errors.SlideUnreadable("s", "m"), 422),
        (errors.SlideChanged("s", "m"), 503),
        (errors.TileTruncated("s", "m"), 500),
        (errors.TileCorrupt("s", "m"), 500),
        (errors.Overloaded("m"), 503),
    ],
)
def test_status_of_each_error(fault: errors.PtiffserveError, status: int) -> None:
    answer = wire.error(fault)
    headers = dict(answer.headers)
    assert answer.status == status
    assert (b"retry-after" in headers) == (status == 503)
    assert (b"allow" in headers) == (status == 405)
    assert fault.code.encode() in answer.body


def test_messages_are_clean() -> None:
    """What a client wrote comes back without control characters, and not for ever."""
    answer = wire.error(errors.NotFound("a\r\nb\0c\x1b[31m\u2028\udcff" + "x" * 9999))
    assert all(byte >= 32 for byte in answer.body) and len(answer.body) < 700
    assert b"secret" not in wire.unexpected(ValueError("secret")).body


def test_too_many_renders_are_turned_away(folder: Path, tmp_path: Path, with_config: object) -> None:
    limits, catalogue = Limits(renders=1, queue=1), Catalogue(f"sqlite:///{tmp_path}/c.db")
    config = Config(store=[Store(root=str(folder))], catalogue=catalogue, limits=limits, auth=Auth(labels="allow"))
    client = with_config(config)  # type: ignore[operator]
    settle(client, 2)
    urls = [f"/iiif/3/w/grid.tiff/{x},2,300,300/100,/0/default.jpg" for x in range(1, 9)]
    answers: list[Answer] = []
    ask_all(client.app, urls, answers.append, at_once=len(urls))
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) > 0
            assert b'"overloaded"' in answer.body
    ask_all(client.app, urls, answers.append, at_once=1)
    assert [answer.status for answer in answers[-len(urls) :]] == [200] * len(urls)
    assert client.get("/slides/w/grid.tiff/label.jpg").status_code == 200


# Over real sockets.


@pytest.fixture(scope="module")
def real(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with running(folder, tmp_path_factory.mktemp("real")) as server:
        yield server


def test_the_real_server_answers_as_the_one_in_process(wired: TestClient, real: RealServer) -> None:
    for url in (*LANES.values(), *DOCUMENTS, *ERRORS):
        inside, outside = wired.get(url, headers={"host": "a.test"}), real.get(url)
        assert outside.status == inside.status_code, url
        assert outside.body == inside.content, url
        assert outside.headers.get("etag") == inside.headers.get("etag"), url
        head = real.get(url, method="HEAD")
        assert (head.status, head.headers.get("content-length")) == (outside.status, str(len(outside.body)))


WARM = [
    "/tiles/w/grid.tiff/2/{x}/{y}.jpg",
    "/tiles/w%2Fgrid.tiff/2/{x}/{y}.jpg",
    "/deepzoom/w/grid.tiff_files/10/{x}_{y}.jpg",
]


@pytest.mark.parametrize("form", WARM)
def test_a_warm_server_answers_as_a_cold_one(wired: TestClient, real: RealServer, form: str) -> None:
    """Once a level was asked for, its neighbours, edges, gaps and what lies outside are still told apart."""
    places = [(x, y) for y in range(5) for x in range(6)]
    with real.connect() as connection, connection.makefile("rb") as stream:
        for x, y in [(1, 1), (1, 1), *places, *reversed(places)]:
            url = form.format(x=x, y=y)
            inside = wired.get(url, headers={"host": "a.test"})
            connection.sendall(f"GET {url} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            outside = read_reply(stream)
            assert (outside.status, outside.body) == (inside.status_code, inside.content), url
            for name in (
                "etag",
                "last-modified",
                "cache-control",
                "content-type",
                "access-control-allow-origin",
                "link",
            ):
                assert outside.headers.get(name) == inside.headers.get(name), (url, name)


@pytest.mark.parametrize(("headers", "status"), CONDITIONS)
def test_a_warm_server_keeps_to_conditions(real: RealServer, headers: dict[str, str], status: int) -> None:
    for url in (LANES["stored"], LANES["blank"]):
        first = [real.get(url) for _ in range(3)][-1]
        said = [f"{name}: {value.replace('TAG', first.headers['etag'])}" for name, value in headers.items()]
        answer = real.get(url, *said)
        assert (answer.status, answer.body) == (status, first.body if status == 200 else b""), url
        assert real.get(url, *said, method="HEAD").status == status
        for odd in ("?a=b", "?", "?origin=bottom"):
            assert real.get(url + odd).body == first.body
        assert real.get(url, method="POST").status == 405
        assert real.get(url, "Origin: https://a.example").headers["access-control-allow-origin"] == "*"


def tile_request(version: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {LANES['stored']} HTTP/{version}", *headers, "", ""]).encode()


def test_http_1_0_and_missing_hosts(real: RealServer) -> None:
    tile = real.get(LANES["stored"])
    old = real.raw(tile_request("1.0"))
    assert (old.status, old.body) == (200, tile.body)
    assert real.raw(tile_request("1.1", "Connection: close")).status == 400
    assert real.raw(tile_request("1.1", "Host: a", "Host: b", "Connection: close")).status == 400
    assert real.raw(tile_request("1.1", "Host: a/../admin?x=", "Connection: close")).status == 400
    assert real.raw(b"GET " + DOCUMENTS[0].encode() + b" HTTP/1.0\r\n\r\n").status == 400


def test_a_connection_is_kept(real: RealServer) -> None:
    urls = [*LANES.values(), *DOCUMENTS, "/tiles/nothing", "/health"] * 3
    with real.connect() as connection, connection.makefile("rb") as stream:
        for url in urls:
            connection.sendall(f"GET {url} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
            assert read_reply(stream).body == real.get(url).body or "health" in url


def test_pipelined_requests_are_answered_in_order(real: RealServer) -> None:
    urls = [*LANES.values(), *DOCUMENTS, "/tiles/nothing"] * 4
    expected = {url: real.get(url).body for url in set(urls)}
    with real.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(b"".join(f"GET {url} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode() for url in urls))
        assert [read_reply(stream).body for _ in urls] == [expected[url] for url in urls]


def test_head_over_the_wire_leaves_the_connection_in_step(real: RealServer) -> None:
    tile = real.get(LANES["stored"])
    with real.connect() as connection, connection.makefile("rb") as stream:
        for _ in range(3):
            for url in (*LANES.values(), "/tiles/nothing"):
                connection.sendall(f"HEAD {url} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                read_reply(stream, head=True)
            connection.sendall(tile_request("1.1", "Host: a"))
            assert read_reply(stream).body == tile.body


@pytest.mark.parametrize("size", [2100, 16_000, 60_000])
def test_long_urls_are_414(real: RealServer, size: int) -> None:
    answer = real.get("/tiles/" + "a/" * (size // 2) + "0/0/0.jpg")
    assert (answer.status, answer.headers["cache-control"]) == (414, "no-store")
    assert b'"too_long"' in answer.body


def test_other_forms_of_the_target(real: RealServer) -> None:
    tile = real.get(LANES["stored"])
    absolute = real.get("http://a.test" + LANES["stored"])
    assert absolute.status == 400 or absolute.body == tile.body
    for target in ("*", "http://a.test", "a.test:80", LANES["stored"] + "#part"):
        for method in ("GET", "OPTIONS", "CONNECT"):
            answer = real.get(target, method=method)
            assert answer.status < 500, (method, target, answer)
    assert real.get("/health").status == 200


def workers_of(server: RealServer, ports: list[int]) -> dict[int, int]:
    """Which process holds the other end of each of our connections, by /proc."""
    inodes = {}
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        local, remote = (int(side.rpartition(":")[2], 16) for side in fields[1:3])
        if local == server.port and remote in ports:
            inodes[f"socket:[{fields[9]}]"] = remote
    found = {}
    for process in Path("/proc").glob("[0-9]*/fd"):
        try:
            links = [str(link.readlink()) for link in process.iterdir()]
        except OSError:
            continue  # another's process, or one that has just ended
        found.update({inodes[link]: int(process.parent.name) for link in links if link in inodes})
    return found


def test_two_workers_give_the_same_tags_and_bytes(folder: Path, tmp_path: Path) -> None:
    urls = [*LANES.values(), *DOCUMENTS]
    with running(folder, tmp_path / "state", "--workers", "2") as server:
        answers: dict[int, set[tuple[object, ...]]] = {}
        end = time.monotonic() + 60
        while len(answers) < 2 and time.monotonic() < end:
            for pid, said in _asked(server, urls):
                answers.setdefault(pid, set()).update(said)
    assert len(answers) == 2, "one worker took every connection"
    first, second = answers.values()
    assert first == second and len(first) == len(urls)


def _asked(server: RealServer, urls: list[str]) -> Iterator[tuple[int, set[tuple[object, ...]]]]:
    """Eight connections at once, each with its worker and all its answers."""
    connections = [server.connect() for _ in range(8)]
    try:
        for connection in connections:  # accepted by a worker once it has answered
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a.test\r\n\r\n")
            connection.recv(65536)
        pids = workers_of(server, [connection.getsockname()[1] for connection in connections])
        for connection in connections:
            yield pids[connection.getsockname()[1]], set(_answers(connection, urls))
    finally:
        for connection in connections:
            connection.close()


def _answers(connection: object, urls: list[str]) -> Iterator[tuple[object, ...]]:
    with connection.makefile("rb") as stream:  # type: ignore[attr-defined]
        for url in urls:
            connection.sendall(f"GET {url} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())  # type: ignore[attr-defined]
            reply = read_reply(stream)
            yield url, reply.status, reply.headers["etag"], reply.headers.get("last-modified"), reply.body


def test_the_date_is_the_files() -> None:
    assert formatdate(1_700_000_000, usegmt=True) == DATE
