"""The uploaded files themselves, and SlideAtlas's ways of sending them: against a real server process."""

import hashlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from bson import ObjectId
from mongo_server import Elsewhere, MongoServer
from tus_client import Said, ask, send
from upload_server import Served, upload_server

from ptiffserve.sources.mongo import database

SECRET = "a secret of this test"
TOKEN = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, mongo_server: MongoServer | Elsewhere) -> Iterator[Served]:
    """Labels are denied: files go to who has the secret."""
    with upload_server(
        tmp_path_factory.mktemp("uploads"), mongo_server.url(f"uploads{ObjectId()}"), labels="deny", secret=SECRET
    ) as server:
        yield server


@pytest.fixture(scope="module", params=["FOLDER", "GRID"])
def attached(request: pytest.FixtureRequest, served: Served, slides: Path) -> tuple[str, bytes]:
    """The URL of an uploaded file, and its bytes."""
    data = (slides / "big420.tiff").read_bytes()
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="f"; filename="\xc3\xbc \xe2\x82\xac.tiff"\r\n\r\n'
        + data
        + b"\r\n--edge--\r\n"
    )
    kind = "multipart/form-data; boundary=edge"
    said = ask(served.port, "POST", f"/api/stores/{request.param}/uploads", body, Content_Type=kind, **TOKEN)
    assert said.status == 201, said
    return f"/api/stores/{request.param}/attachments/{json.loads(said.body)['id']}", data


def test_the_whole_file(served: Served, attached: tuple[str, bytes]) -> None:
    url, data = attached
    said = ask(served.port, "GET", url, **TOKEN)
    assert (said.status, said.body == data) == (200, True)
    assert said.headers["content-type"] == "application/octet-stream"
    assert said.headers["x-content-type-options"] == "nosniff"
    assert said.headers["accept-ranges"] == "bytes"
    assert (
        said.headers["content-disposition"]
        == "attachment; filename=\"_ _.tiff\"; filename*=UTF-8''%C3%BC%20%E2%82%AC.tiff"
    )
    head = ask(served.port, "HEAD", url, **TOKEN)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(data))
    assert {k: v for k, v in head.headers.items() if k != "date"} == {
        k: v for k, v in said.headers.items() if k != "date"
    }
    for condition in ({"If_None_Match": said.headers["etag"]}, {"If_Modified_Since": said.headers["last-modified"]}):
        assert ask(served.port, "GET", url, **condition, **TOKEN).status == 304
    assert ask(served.port, "GET", url, If_None_Match='"other"', **TOKEN).status == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, None),
        ("bytes=1000-300000", 1000, 300001),
        ("bytes=262143-262144", 262143, 262145),
        ("bytes=-5", -5, None),
        ("bytes=-99999999999", 0, None),
        ("bytes=5-99999999999", 5, None),
    ],
)
def test_a_range(served: Served, attached: tuple[str, bytes], asked: str, start: int, end: int | None) -> None:
    url, data = attached
    said = ask(served.port, "GET", url, Range=asked, **TOKEN)
    assert said.status == 206
    assert said.body == data[start:end]
    first = start % len(data)
    assert said.headers["content-range"] == f"bytes {first}-{first + len(said.body) - 1}/{len(data)}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=" + "0-," * 2000, "bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=-"]
)
def test_what_is_no_single_range_is_the_whole(served: Served, attached: tuple[str, bytes], asked: str) -> None:
    url, data = attached
    said = ask(served.port, "GET", url, Range=asked, **TOKEN)
    assert (said.status, len(said.body)) == (200, len(data))


def test_a_range_that_is_not_there_and_one_with_a_condition(served: Served, attached: tuple[str, bytes]) -> None:
    url, data = attached
    said = ask(served.port, "GET", url, Range=f"bytes={len(data)}-", **TOKEN)
    assert (said.status, said.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert ask(served.port, "GET", url, Range="bytes=-0", **TOKEN).status == 416
    tag = ask(served.port, "HEAD", url, **TOKEN).headers["etag"]
    assert ask(served.port, "GET", url, Range="bytes=0-9", If_Range=tag, **TOKEN).status == 206
    assert ask(served.port, "GET", url, Range="bytes=0-9", If_Range='"old"', **TOKEN).status == 200


def test_who_may_not_see_labels_gets_no_file(served: Served, attached: tuple[str, bytes]) -> None:
    url, _ = attached
    said = ask(served.port, "GET", url)
    assert (said.status, json.loads(said.body)["error"]) == (401, "unauthorized")
    assert ask(served.port, "GET", url, Authorization="Bearer wrong").status == 401


@pytest.mark.parametrize("name", ["0" * 24, "x", "..%2f..%2fetc%2fpasswd", "FOLDER%2fx.tiff"])
@pytest.mark.parametrize("store", ["FOLDER", "GRID", "NOBODY"])
def test_there_is_no_such_file(served: Served, store: str, name: str) -> None:
    said = ask(served.port, "GET", f"/api/stores/{store}/attachments/{name}", **TOKEN)
    assert (said.status, json.loads(said.body)["error"]) == (404, "not_found")


# SlideAtlas's.


def post(
    served: Served, url: str, name: str, data: bytes, fields: dict[str, object] | None = None, **headers: str
) -> Said:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in (fields or {}).items()
    ]
    parts.append(f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + data)
    body = b"".join(parts) + b"\r\n--edge--\r\n"
    return ask(served.port, "POST", url, body, Content_Type="multipart/form-data; boundary=edge", **headers, **TOKEN)


def chunk(served: Served, url: str, data: bytes, start: int, size: int) -> Said:
    part = data[start : start + size]
    return ask(
        served.port, "PUT", url, part, Content_Range=f"bytes {start}-{start + len(part) - 1}/{len(data)}", **TOKEN
    )


@pytest.fixture
def session(served: Served) -> str:
    """One with a document, as SlideAtlas has it."""
    return str(database(served.mongo).sessions.insert_one({"label": "All", "views": []}).inserted_id)


def test_an_attachment_in_one(served: Served, session: str) -> None:
    data = random.Random(1).randbytes(700_000)
    home = f"/api/v2/sessions/{session}/attachments"
    said = post(served, home, "report.pdf", data)
    assert said.status == 201
    url = urlsplit(said.headers["location"]).path
    got = ask(served.port, "GET", url, **TOKEN)
    assert got.body == data
    assert got.headers["content-md5"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert ask(served.port, "GET", url, If_None_Match=got.headers["etag"], **TOKEN).status == 304
    listed = json.loads(ask(served.port, "GET", home, **TOKEN).body)["attachments"]
    assert listed == [{"id": url.rpartition("/")[2], "name": "report.pdf", "length": len(data)}]
    assert ask(served.port, "DELETE", url, **TOKEN).status == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert ask(served.port, method, url, **TOKEN).status == 404


def begun(served: Served, session: str, data: bytes, size: int) -> str:
    """The path of an attachment of which the first chunk is there."""
    said = post(
        served,
        f"/api/v2/sessions/{session}/attachments",
        "a.bin",
        data[:size],
        Content_Range=f"bytes 0-{size - 1}/{len(data)}",
    )
    assert said.status == 201
    return urlsplit(said.headers["location"]).path


def test_chunks_in_any_order_and_twice(served: Served, session: str) -> None:
    size = 100_000
    data = random.Random(2).randbytes(7 * size + 4321)
    url = begun(served, session, data, size)
    starts = [start for start in range(size, len(data), size) for _ in range(2)]
    random.Random(3).shuffle(starts)
    missing = set(starts)
    for start in starts:
        assert ask(served.port, "GET", url, **TOKEN).status == (404 if missing else 200)
        assert chunk(served, url, data, start, size).status == 204
        missing.discard(start)
    got = ask(served.port, "GET", url, **TOKEN)
    assert got.body == data
    assert got.headers["content-md5"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert chunk(served, url, data, 0, size).status == 204  # again, after the end
    assert ask(served.port, "GET", url, **TOKEN).body == data


def test_all_chunks_at_once(served: Served, session: str) -> None:
    size = 50_000
    data = random.Random(4).randbytes(12 * size + 1)
    url = begun(served, session, data, size)
    with ThreadPoolExecutor(8) as pool:
        for said in pool.map(lambda start: chunk(served, url, data, start, size), [*range(0, len(data), size)] * 2):
            assert said.status == 204
    assert ask(served.port, "GET", url, **TOKEN).body == data


def test_ranges_that_are_wrong(served: Served, session: str) -> None:
    size = 1000
    data = bytes(3500)
    home = f"/api/v2/sessions/{session}/attachments"
    url = urlsplit(
        post(served, home, "a", data[:size], Content_Range=f"bytes 0-{size - 1}/3500").headers["location"]
    ).path
    for said, length in (
        ("bytes 1000-1999/4000", 1000),
        ("bytes 1000-1998/3500", 999),
        ("bytes 1001-2000/3500", 1000),
        ("bytes 3000-3999/3500", 1000),
        ("bytes 2000-1000/3500", 0),
        ("bytes 1000-1999/3500", 5),
        ("bytes 1000-1999/*", 1000),
        ("items 1000-1999/3500", 1000),
        ("", 1000),
    ):
        assert ask(served.port, "PUT", url, data[:length], Content_Range=said, **TOKEN).status == 400, said
    assert ask(served.port, "PUT", url, data[:1000], **TOKEN).status == 400
    assert ask(served.port, "GET", url, **TOKEN).status == 404
    assert post(served, home, "a", data[:10], Content_Range="bytes 0-10/3500").status == 400
    assert post(served, home, "a", b"").status == 400
    assert (
        ask(served.port, "PUT", f"{home}/{ObjectId()}", data[:1000], Content_Range="bytes 0-999/3500", **TOKEN).status
        == 404
    )


def test_sessions_that_are_none(served: Served) -> None:
    assert ask(served.port, "GET", "/api/v2/sessions/GRID/attachments", **TOKEN).status == 200
    assert ask(served.port, "GET", "/api/v2/sessions/FOLDER/attachments", **TOKEN).status == 410
    for name in (str(ObjectId()), "x", "%00"):
        assert ask(served.port, "GET", f"/api/v2/sessions/{name}/attachments", **TOKEN).status == 404
    assert ask(served.port, "GET", "/api/v2/sessions/GRID/attachments").status == 401
    assert ask(served.port, "POST", "/api/v2/sessions/GRID/imagefiles", b"").status == 401


def flowed(served: Served, session: str, identity: str, data: bytes, number: int, total: int) -> Said:
    start, end = (number - 1) << 20, len(data) if number == total else number << 20
    fields = {
        "flowIdentifier": identity,
        "flowChunkNumber": number,
        "flowTotalChunks": total,
        "flowFilename": f"{identity}.ptif",
    }
    return post(served, f"/api/v2/sessions/{session}/imagefiles/{identity}", "blob", data[start:end], fields)


def test_a_slide_by_flow_in_any_order_becomes_viewable(served: Served, session: str, slides: Path) -> None:
    data = (slides / "big444.tiff").read_bytes() + bytes(2_500_000)
    begun = ask(served.port, "POST", f"/api/v2/sessions/{session}/imagefiles", b"", **TOKEN)
    assert begun.status == 201
    identity = json.loads(begun.body)["id"]
    total = len(data) >> 20  # flow.js's last chunk takes what is over
    assert total >= 2
    order = [*range(total, 0, -1), 1]
    slide = ""
    for index, number in enumerate(order):
        said = flowed(served, session, identity, data, number, total)
        assert said.status == 200, said
        told = json.loads(said.body)
        assert (told["success"], told["current_chunk"], told["total_chunks"]) == (True, number, total)
        assert ("last" in told) == (index >= total - 1)
        slide = told["id"]
    assert slide == identity
    assert ask(served.port, "GET", f"/tiles/{slide}/0/0/0.jpg").status == 200
    assert ask(served.port, "GET", f"/api/stores/GRID/attachments/{slide}", **TOKEN).body == data
    database(served.mongo).imagefiles.uploads.delete_one({"_id": ObjectId(identity)})
    assert flowed(served, session, identity, data, 1, total).status == 409  # not over a slide that is there


def test_flow_chunks_that_are_wrong(served: Served, session: str) -> None:
    identity = str(ObjectId())
    url = f"/api/v2/sessions/{session}/imagefiles/{identity}"
    good = {"flowIdentifier": identity, "flowChunkNumber": 1, "flowTotalChunks": 2, "flowFilename": "a.tiff"}
    piece = bytes(1 << 20)
    for wrong in (
        {"flowChunkNumber": 3},
        {"flowChunkNumber": 0},
        {"flowTotalChunks": "x"},
        {"flowFilename": "a.exe"},
        {"flowIdentifier": "b"},
    ):
        assert post(served, url, "blob", piece, good | wrong).status == 400
    assert post(served, url, "blob", piece[:-1], good).status == 400
    assert post(served, url, "blob", bytes(3 << 20), good).status in (400, 413)
    assert post(served, url, "blob", piece, good).status == 200
    assert post(served, url, "blob", piece, good | {"flowTotalChunks": 3}).status == 400
    assert send(served.port, "GRID", "x.tiff", b"x").status == 401
