"""Uploads by tus, by form and from the server's disk, into folders and into GridFS: against a real server process."""

import base64
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from bson import ObjectId
from mongo_server import Elsewhere, MongoServer
from real_server import running
from tus_client import ask, break_off, create, left_over, offset, patch, send
from typer.testing import CliRunner
from upload_server import Served, upload_server

from ptiffserve import uploads
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.cli import cli
from ptiffserve.config import Store
from ptiffserve.errors import ConfigError, Conflict, Malformed, NotFound, SlideUnreadable, Unavailable
from ptiffserve.readers import open_slide
from ptiffserve.sources.file import FileSource
from ptiffserve.sources.mongo import database
from ptiffserve.sources.place import source_of
from ptiffserve.sync.run import sync
from ptiffserve.uploads import grid
from ptiffserve.uploads.base import fresh
from ptiffserve.uploads.names import path_for
from ptiffserve.uploads.take import finish, ingest

SOAK = bool(os.environ.get("PTIFFSERVE_SOAK"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, mongo_server: MongoServer | Elsewhere) -> Iterator[Served]:
    with upload_server(tmp_path_factory.mktemp("uploads"), mongo_server.url(f"uploads{ObjectId()}")) as server:
        yield server


@pytest.fixture(params=["FOLDER", "GRID"])
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def other(data: bytes, mark: str) -> bytes:
    """A slide with other bytes: behind all that is read."""
    return data + mark.encode()


def test_in_pieces_then_it_is_a_slide(served: Served, slides: Path, store: str) -> None:
    data = other((slides / "big420.tiff").read_bytes(), f"pieces {store}")
    said = create(served.port, store, "in/a folder/pieces.tiff", len(data))
    assert said.status == 201
    assert said.headers["tus-resumable"] == "1.0.0"
    location = said.headers["location"]
    at = 0
    for number, size in enumerate((1, 100_000, 262_144, 5, 300_000, 1 << 20, 1 << 20, 1 << 20, 1 << 20)):
        assert offset(served.port, location) == at
        piece = data[at : at + size]
        assert not ask(served.port, "GET", f"/api/slides?store={store}&q=pieces").body.count(b'"key"')
        said = patch(served.port, location, at, piece, ("", "sha1", "sha256", "md5", "sha512")[number % 5])
        assert said.status == 204, said
        at += len(piece)
        assert said.headers["upload-offset"] == str(at)
        if at == len(data):
            break
    slide = said.headers["ptiffserve-slide"]
    record = json.loads(ask(served.port, "GET", f"/api/slides/{slide}").body)
    assert (record["key"], record["state"]) == (f"{store}/in/a folder/pieces.tiff", "ready")
    tile = ask(served.port, "GET", f"/tiles/{slide}/0/0/0.jpg")
    assert (tile.status, tile.body[:2]) == (200, b"\xff\xd8")
    assert offset(served.port, location) == len(data)
    assert ask(served.port, "HEAD", location).headers["ptiffserve-slide"] == slide
    time.sleep(1.5)  # the watch looks at the file too, and finds it known
    record = json.loads(ask(served.port, "GET", f"/api/slides/{store}%2Fin%2Fa%20folder%2Fpieces.tiff").body)
    assert record["id"] == slide


def test_the_same_content_twice_is_one(served: Served, slides: Path, store: str) -> None:
    data = other((slides / "one.tiff").read_bytes(), f"twice {store}")
    before = served.holds(store)
    first = send(served.port, store, "twice.tiff", data)
    again = send(served.port, store, "twice.tiff", data)
    renamed = send(served.port, store, "thrice.tiff", data)
    assert {first.status, again.status, renamed.status} == {204}
    assert len({each.headers["ptiffserve-slide"] for each in (first, again, renamed)}) == 1
    assert served.holds(store) == before + 1
    assert not left_over(served.root)


def test_a_name_that_is_taken_by_another_is_refused(served: Served, slides: Path, store: str) -> None:
    data = (slides / "one.tiff").read_bytes()
    assert send(served.port, store, "taken.tiff", other(data, f"a{store}")).status == 204
    said = send(served.port, store, "taken.tiff", other(data, f"b{store}"))
    assert (said.status, json.loads(said.body)["error"]) == (409, "conflict")
    assert not left_over(served.root)
    assert not served.chunks_without_file()


@pytest.mark.parametrize("at_once", [200 if SOAK else 12])
def test_twice_at_once_is_one(served: Served, slides: Path, store: str, at_once: int) -> None:
    data = other((slides / "one.tiff").read_bytes(), f"at once {store}")
    before = served.holds(store)
    with ThreadPoolExecutor(at_once) as pool:
        said = list(pool.map(lambda _: send(served.port, store, "at once.tiff", data), range(at_once)))
    assert {each.status for each in said} == {204}
    assert len({each.headers["ptiffserve-slide"] for each in said}) == 1
    assert served.holds(store) == before + 1
    assert not left_over(served.root)
    assert not served.chunks_without_file()


@pytest.mark.parametrize("percent", [0, 1, 50, 99, 100])
def test_a_connection_that_breaks_is_gone_on_with(served: Served, slides: Path, store: str, percent: int) -> None:
    data = other((slides / "rgb.tiff").read_bytes(), f"broken {store} {percent}")
    location = create(served.port, store, f"broken{percent}.tiff", len(data)).headers["location"]
    break_off(served.port, location, 0, data, len(data) * percent // 100)
    end = time.monotonic() + 10
    slide = ""
    while not slide:
        assert time.monotonic() < end
        time.sleep(0.1)
        head = ask(served.port, "HEAD", location)
        assert head.status == 200
        at = int(head.headers["upload-offset"])
        assert at <= len(data) * percent // 100
        said = patch(served.port, location, at, data[at:])
        assert said.status in (204, 409, 404)  # the end of the broken one is still at work
        slide = said.headers.get("ptiffserve-slide", "")
    got = ask(served.port, "GET", f"/tiles/{slide}/0/0/0.jpg")
    assert got.status == 200


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_wrong_checksum_keeps_nothing(served: Served, slides: Path, store: str, algorithm: str) -> None:
    data = other((slides / "one.tiff").read_bytes(), f"sum {store} {algorithm}")
    location = create(served.port, store, f"sum{algorithm}.tiff", len(data)).headers["location"]
    assert patch(served.port, location, 0, data[:1000], algorithm).status == 204
    wrong = f"{algorithm} {base64.b64encode(b'x' * 20).decode()}"
    said = patch(served.port, location, 1000, data[1000:], Upload_Checksum=wrong)
    assert (said.status, json.loads(said.body)["error"]) == (422, "checksum_mismatch")
    assert offset(served.port, location) == 1000
    said = patch(served.port, location, 1000, data[1000:], algorithm)
    assert said.status == 204 and "ptiffserve-slide" in said.headers


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("html", b"<html><script>alert(1)</script>" * 100),
        ("zip", b"PK\x03\x04" + bytes(5000)),
        ("elf", b"\x7fELF" + bytes(5000)),
        ("head", b"II*\0\x08\0\0\0"),
        ("directory", b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100)),
    ],
)
def test_what_is_no_slide_is_never_one(served: Served, store: str, what: str, data: bytes) -> None:
    before = served.holds(store)
    said = send(served.port, store, f"{what}.tiff", data)
    assert (said.status, json.loads(said.body)["error"]) == (422, "slide_unreadable")
    assert served.holds(store) == before
    assert not (served.root / f"{what}.tiff").exists()
    assert not left_over(served.root)
    assert not served.chunks_without_file()


def test_pieces_that_do_not_fit(served: Served, slides: Path, store: str) -> None:
    data = (slides / "one.tiff").read_bytes()
    location = create(served.port, store, "fit.tiff", len(data)).headers["location"]
    assert patch(served.port, location, 5, data).status == 409
    assert patch(served.port, location, 0, data + b"more").status == 413
    assert ask(served.port, "PATCH", location, data, Tus_Resumable="1.0.0", Upload_Offset="0").status == 400
    assert patch(served.port, location, 0, data, Upload_Offset="-1").status == 400
    assert patch(served.port, location, 0, data, Tus_Resumable="0.2.2").status == 412
    assert patch(served.port, location, 0, data, Upload_Checksum="crc32 AAAA").status == 400
    assert offset(served.port, location) == 0
    assert ask(served.port, "DELETE", location, Tus_Resumable="1.0.0").status == 204
    assert ask(served.port, "HEAD", location).status == 404
    assert patch(served.port, location, 0, data).status == 404
    assert not left_over(served.root)


def test_what_cannot_be_begun(served: Served) -> None:
    home = "/api/stores/FOLDER/uploads"
    assert ask(served.port, "POST", home, Tus_Resumable="1.0.0").status == 400
    assert create(served.port, "FOLDER", "a.tiff", 0).status == 400
    assert create(served.port, "FOLDER", "a.tiff", 100 << 30).status == 413
    assert create(served.port, "FOLDER", "", 5).status == 400
    assert create(served.port, "FOLDER", "a.exe", 5).status == 400
    assert create(served.port, "NOBODY", "a.tiff", 5).status == 404
    assert (
        ask(served.port, "POST", home, Tus_Resumable="1.0.0", Upload_Length="5", Upload_Metadata="filename %%%").status
        == 400
    )
    assert ask(served.port, "POST", home, Tus_Resumable="1.0.0", Upload_Length="1e9").status == 400
    assert ask(served.port, "POST", home, Tus_Resumable="1.0.0", Upload_Defer_Length="1").status == 400
    assert ask(served.port, "HEAD", f"{home}/{'0' * 24}").status == 404
    assert ask(served.port, "HEAD", f"{home}/..%2f..%2fetc").status == 404
    assert ask(served.port, "GET", f"{home}/{'0' * 24}").status == 405
    options = ask(served.port, "OPTIONS", home)
    assert (options.status, options.headers["tus-version"], options.headers["tus-max-size"]) == (
        204,
        "1.0.0",
        "50000000",
    )
    assert {"creation", "checksum", "termination", "expiration"} <= set(options.headers["tus-extension"].split(","))


def test_who_may_not_write_may_not_upload(served: Served) -> None:
    for header in ({"X_Forwarded_For": "10.0.0.1"}, {"Origin": "http://evil.test"}):
        assert create(served.port, "FOLDER", "a.tiff", 5, **header).status == 403
        assert ask(served.port, "POST", "/api/stores/FOLDER/ingest", b"{}", **header).status == 403


def test_with_creation_in_one_request(served: Served, slides: Path, store: str) -> None:
    data = other((slides / "one.tiff").read_bytes(), f"one request {store}")
    encoded = base64.b64encode(b"request.tiff").decode()
    said = ask(
        served.port,
        "POST",
        f"/api/stores/{store}/uploads",
        data,
        Tus_Resumable="1.0.0",
        Upload_Length=str(len(data)),
        Upload_Metadata=f"filename {encoded}",
        Content_Type="application/offset+octet-stream",
    )
    assert said.status == 201
    assert said.headers["upload-offset"] == str(len(data))
    assert ask(served.port, "GET", f"/api/slides/{said.headers['ptiffserve-slide']}").status == 200


# Names.


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a.tif", "a.tif"),
        ("../../x.tif", "x.tif"),
        ("/etc/passwd/x.tif", "etc/passwd/x.tif"),
        ("C:\\slides\\x.tif", "C_/slides/x.tif"),
        ("con.tif", "_con.tif"),
        ("AUX/x.tif", "_AUX/x.tif"),
        ("a\0b\r\nSet-Cookie: c.tif", "a_b__Set-Cookie_ c.tif"),
        (".hidden/.x.tif", "hidden/x.tif"),
        ("x.tif. . ", "x.tif"),
        ("a//b/./c/../x.tif", "a/b/c/x.tif"),
        ("u\u0308.tif", "\u00fc.tif"),
        ("~x.tif", "~x.tif"),
        ("Größe 1%2f2.tif", "Größe 1%2f2.tif"),
    ],
)
def test_a_name_becomes_a_path_inside(name: str, path: str) -> None:
    assert path_for(Store(root="/x"), name) == path


def test_a_long_name_is_cut_and_keeps_its_ending() -> None:
    path = path_for(Store(root="/x"), "é" * 4096 + ".tiff")
    assert path.endswith(".tiff")
    assert len(path.encode()) <= 200


@pytest.mark.parametrize("name", ["", "..", "/", "...", "x", "x.exe", ".tif", "a/" * 500 + "x.tif", "\0", " . "])
def test_names_of_nothing_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        path_for(Store(root="/x"), name)


def test_a_name_never_leads_out_through_a_link(served: Served, slides: Path, tmp_path: Path) -> None:
    (served.root / "out").symlink_to(tmp_path)
    try:
        said = send(served.port, "FOLDER", "out/x.tiff", other((slides / "one.tiff").read_bytes(), "link"))
        assert said.status == 404
        assert not list(tmp_path.iterdir())
    finally:
        (served.root / "out").unlink()


# Forms.


def form(name: str, data: bytes, *more: bytes, field: str = "file") -> tuple[bytes, str]:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n",
        *more,
        b"--edge--\r\n",
    ]
    return b"".join(parts), "multipart/form-data; boundary=edge"


def test_by_form(served: Served, slides: Path, store: str) -> None:
    data = other((slides / "one.tiff").read_bytes(), f"form {store}")
    body, kind = form("../form.tiff", data)
    said = ask(served.port, "POST", f"/api/stores/{store}/uploads", body, Content_Type=kind)
    assert said.status == 201
    told = json.loads(said.body)
    assert (told["key"], told["added"]) == (f"{store}/form.tiff", True)
    assert said.headers["location"] == f"/api/slides/{told['id']}"
    again = ask(served.port, "POST", f"/api/stores/{store}/uploads", body, Content_Type=kind)
    assert (again.status, json.loads(again.body)["id"]) == (200, told["id"])
    assert not left_over(served.root)


def test_forms_that_are_refused(served: Served) -> None:
    home = "/api/stores/FOLDER/uploads"
    field = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    head = b'--edge\r\nContent-Disposition: form-data; name="a"; filename="a.tiff"\r\n'
    kind = "multipart/form-data; boundary=edge"
    for body, status in (
        (b"", 400),
        (b"--edge--\r\n", 400),
        (field * 1000 + b"--edge--\r\n", 400),
        (head * 2 + b"\r\nx\r\n--edge--\r\n", 400),
        (head + b"\r\nx\r\n--edge--\r\n", 422),
        (head + b"x: y\r\n" * 10_000 + b"\r\nx\r\n--edge--\r\n", 400),
        (field.replace(b"1", b"1" * 200_000) + b"--edge--\r\n", 400),
        (head + b"\r\nx\r\n" + head + b"\r\nx\r\n--edge--\r\n", 400),
        (b"junk" * 1000 + head + b"\r\nx", 400),
    ):
        said = ask(served.port, "POST", home, body, Content_Type=kind)
        assert said.status == status, (body[:80], said)
    assert ask(served.port, "POST", home, b"x", Content_Type="multipart/form-data").status == 400
    assert (
        ask(served.port, "POST", home, b"x", Content_Type=f"multipart/form-data; boundary={'b' * 5000}").status == 400
    )
    assert not left_over(served.root)


def test_too_large_is_said_before_it_is_read(served: Served) -> None:
    kind = "multipart/form-data; boundary=edge"
    head = f"POST /api/stores/FOLDER/uploads HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {100 << 30}\r\n\r\n"
    said = served.server.raw(head.encode())
    assert said.status == 413


# Files of this machine.


def test_ingest_of_a_file_and_of_a_slide_of_another_store(served: Served, slides: Path) -> None:
    data = other((slides / "one.tiff").read_bytes(), "ingest")
    (served.root / "elsewhere.bin").write_bytes(data)
    wanted = {"path": str(served.root / "elsewhere.bin"), "name": "ingested.tiff"}
    said = ask(served.port, "POST", "/api/stores/GRID/ingest", json.dumps(wanted).encode())
    assert said.status == 201
    slide = json.loads(said.body)["id"]
    for asked in ({"slide": slide}, {"slide": "GRID/ingested.tiff"}):
        said = ask(served.port, "POST", "/api/stores/FOLDER/ingest", json.dumps(asked).encode())
        assert said.status in (200, 201)
        assert json.loads(said.body)["key"] == "FOLDER/ingested.tiff"
    assert (served.root / "ingested.tiff").read_bytes() == data


def test_ingest_of_what_is_not_ours(served: Served, tmp_path: Path, slides: Path) -> None:
    shutil.copy(slides / "one.tiff", tmp_path / "x.tiff")
    (served.root / "leak.tiff").symlink_to(tmp_path / "x.tiff")
    for asked, status in (
        ({"path": "/etc/passwd"}, 403),
        ({"path": "/nowhere/at/all"}, 403),
        ({"path": str(tmp_path / "x.tiff")}, 403),
        ({"path": str(served.root / "leak.tiff")}, 403),
        ({"path": f"{served.root}/../x.tiff"}, 403),
        ({"path": "x.tiff"}, 400),
        ({"path": f"{served.root}/none.tiff"}, 404),
        ({"path": f"{served.root}/\0"}, 400),
        ({"slide": "0" * 24}, 404),
        ({}, 400),
        ({"path": "/a", "slide": "b"}, 400),
        ({"path": 7}, 400),
    ):
        said = ask(served.port, "POST", "/api/stores/GRID/ingest", json.dumps(asked).encode())
        assert said.status == status, (asked, said)
    (served.root / "leak.tiff").unlink()


# Many, full, dead.


def test_many_at_once(served: Served, slides: Path, store: str) -> None:
    """No half slide, no failure but being told to come again; tiles go on."""
    number = 2000 if SOAK else 16
    data = (slides / "one.tiff").read_bytes()
    before = served.holds(store) if not SOAK else 0

    def one(index: int) -> int:
        for _ in range(600):
            said = send(served.port, store, f"many/{index}.tiff", other(data, f"many {store} {index}"))
            if said.status != 503:
                return said.status
            time.sleep(0.1)
        return 0

    with ThreadPoolExecutor(min(number, 400)) as pool:
        statuses = list(pool.map(one, range(number)))
    assert set(statuses) == {204}
    if not SOAK:
        assert served.holds(store) == before + number
    assert not left_over(served.root)
    assert not served.chunks_without_file()


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", path], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_full_disk_shows_nothing_and_gives_room_back(tmp_path: Path, slides: Path) -> None:
    data = (slides / "one.tiff").read_bytes()
    with small_disk(tmp_path / "root"), running(tmp_path / "root", tmp_path / "state") as server:
        assert create(server.port, "root", "large.tiff", 10 << 20).status == 507
        first = create(server.port, "root", "first.tiff", 2 << 20).headers["location"]
        filling = tmp_path / "root" / "filling.bin"
        room = shutil.disk_usage(tmp_path / "root").free
        filling.write_bytes(bytes(room - (1 << 20)))
        said = patch(server.port, first, 0, bytes(2 << 20))
        assert (said.status, json.loads(said.body)["error"]) == (507, "disk_full")
        assert not left_over(tmp_path / "root")
        assert shutil.disk_usage(tmp_path / "root").free >= (1 << 20) - 65536
        assert ask(server.port, "HEAD", first).status == 404
        filling.unlink()
        assert send(server.port, "root", "next.tiff", data).status == 204


def test_killed_then_gone_on_with(tmp_path: Path, slides: Path) -> None:
    data = (slides / "rgb.tiff").read_bytes()
    (tmp_path / "root").mkdir()
    config = tmp_path / "config.toml"
    config.write_text(f'[[store]]\nroot = "{tmp_path}/root"\n')
    half = len(data) // 2
    with running(config, tmp_path / "state") as server:
        location = create(server.port, "root", "a.tiff", len(data)).headers["location"]
        assert patch(server.port, location, 0, data[:half]).status == 204
        server.process.kill()
        server.process.wait()
    with running(config, tmp_path / "state") as server:
        assert offset(server.port, location) == half
        assert patch(server.port, location, half, data[half:]).headers["ptiffserve-slide"]
    assert (tmp_path / "root" / "a.tiff").read_bytes() == data


# The room without HTTP: what dies between its steps, and the janitor.


@pytest.fixture(params=["folder", "gridfs"])
def place(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> Iterator[uploads.Place]:
    if request.param == "folder":
        (tmp_path / "root").mkdir()
        yield uploads.place_of(Store(root=str(tmp_path / "root"), label="P"))
        return
    root = f"{served.mongo}p{ObjectId()}"
    root = root.replace(root.rpartition("/")[2], f"p{ObjectId()}")
    yield uploads.place_of(Store(root=root, label="P"))
    held = database(root)
    held.client.drop_database(held.name)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Embedded]:
    held = Embedded(tmp_path / "catalogue.db")
    yield held
    held.close()


def written(place: uploads.Place, name: str, data: bytes) -> "uploads.base.Upload":
    upload = fresh(name, len(data))
    place.begin(upload)
    with place.writer(upload) as writer:
        writer.write(data)
    return place.load(upload.id)


def test_another_name_of_a_slide_is_not_its_place(catalogue: Embedded, slides: Path, tmp_path: Path) -> None:
    """A copy was deleted, and something else is uploaded by its name: the slide that was copied stays what it is."""
    root = tmp_path / "root"
    root.mkdir()
    data = (slides / "one.tiff").read_bytes()
    for name in ("a.tiff", "b.tiff"):
        (root / name).write_bytes(data)
    store = Store(root=str(root), label="P")
    sync(store, catalogue)
    (kept,) = catalogue.each("P")
    other_name = kept.also[0].path
    (root / other_name).unlink()
    place = uploads.place_of(store)
    taken = finish(place, written(place, other_name, other(data, "new")), catalogue)
    assert taken.added and taken.slide.id != kept.id
    assert catalogue.get(kept.id) == kept
    assert catalogue.get(f"P/{other_name}") == taken.slide


def test_a_step_that_was_done_may_be_done_again(place: uploads.Place, catalogue: Embedded, slides: Path) -> None:
    """Dead after it was revealed, and after it was recorded."""
    data = (slides / "one.tiff").read_bytes()
    upload = written(place, "a.tiff", data)
    place.reveal(upload, place.digest(upload))
    taken = finish(place, upload, catalogue)
    assert (taken.slide.id, taken.slide.path) == (upload.id, "a.tiff")
    assert finish_again(place, data, catalogue) == taken.slide.id
    assert len(list(catalogue.each("P"))) == 1


def finish_again(place: uploads.Place, data: bytes, catalogue: Embedded) -> str:
    taken = finish(place, written(place, "b.tiff", data), catalogue)
    assert not taken.added
    return taken.slide.id


def test_one_writer_at_a_time(place: uploads.Place) -> None:
    upload = fresh("a.tiff", 10)
    place.begin(upload)
    with place.writer(upload) as writer:
        writer.write(b"12345")
        with pytest.raises(Conflict), place.writer(upload):
            pass
    assert place.load(upload.id).offset == 5
    with place.writer(place.load(upload.id)) as writer:
        writer.write(b"678")
        writer.cut()
        writer.write(b"ab")
    assert place.load(upload.id).offset == 7


def test_the_janitor_takes_what_is_old_and_nothing_else(
    place: uploads.Place, catalogue: Embedded, slides: Path
) -> None:
    data = (slides / "one.tiff").read_bytes()
    kept = finish(place, written(place, "a.tiff", data), catalogue)
    left = written(place, "b.tiff", data[:1000])
    assert place.sweep(3600) == 0
    assert place.load(left.id).offset == 1000
    time.sleep(1.1)
    assert uploads.sweep(place.store, 0.5) == 2
    with pytest.raises(NotFound):
        place.load(left.id)
    assert finish_again(place, data, catalogue) == kept.slide.id


def test_the_janitor_takes_chunks_of_nothing(served: Served, slides: Path) -> None:
    place = uploads.place_of(Store(root=served.mongo, label="GRID"))
    held = database(served.mongo)
    orphan = ObjectId()
    held.imagefiles.chunks.insert_many([{"files_id": orphan, "n": n, "data": b"x"} for n in range(3)])
    place.sweep(3600)
    assert held.imagefiles.chunks.count_documents({"files_id": orphan}) == 3
    before = held.imagefiles.chunks.count_documents({})
    time.sleep(1.5)
    place.sweep(1)
    assert held.imagefiles.chunks.count_documents({"files_id": orphan}) == 0
    assert held.imagefiles.chunks.count_documents({}) == before - 3


def test_a_file_that_cannot_be_taken_leaves_nothing(place: uploads.Place, catalogue: Embedded, tmp_path: Path) -> None:
    (tmp_path / "x.tiff").write_bytes(b"no slide" * 1000)
    with pytest.raises(SlideUnreadable):
        ingest(place, FileSource(tmp_path / "x.tiff"), "x.tiff", catalogue)
    assert place.sweep(-1) == 0


class Cutting:
    """A way to the database that breaks every connection after so many bytes, some of which have been answered."""

    def __init__(self, port: int, seed: int) -> None:
        self._to = port
        self._random = random.Random(seed)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.cuts = 0
        self.cutting = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            left = [self._random.randrange(200, 40_000)]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(one, other, left), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, left: list[int]) -> None:
        try:
            while data := one.recv(4096):
                left[0] -= len(data)
                if self.cutting and left[0] < 0:
                    self.cuts += 1
                    break
                other.sendall(data)
        except OSError:
            pass
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        one.close()  # the other thread closes the other


def test_cut_from_the_database_at_any_moment(
    served: Served, slides: Path, catalogue: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows then what was written: no doubles, no half slide, nothing left behind the janitor."""
    monkeypatch.setattr(grid, "LEASE", 0.2)
    wanted = 1000 if SOAK else 12
    name = f"cut{ObjectId()}"
    cutting = Cutting(int(served.mongo.split(":")[2].split("/")[0]), 5)
    through = f"mongodb://127.0.0.1:{cutting.port}/{name}?directConnection=true"
    data = (slides / "one.tiff").read_bytes()
    made: list[str] = []
    while cutting.cuts < wanted:
        made.append(insisted(through, other(data, f"cut {len(made)}"), f"{len(made)}.tiff", catalogue))
    cutting.cutting = False
    time.sleep(1.1)
    place = uploads.place_of(Store(root=f"{served.mongo.rpartition('/')[0]}/{name}", label="P"))
    place.sweep(0.1)
    bucket = database(place.store.root).imagefiles
    assert len(set(made)) == len(made) == len(list(catalogue.each("P"))) == bucket.files.count_documents({})
    assert bucket.chunks.count_documents({}) == len(made) * -(-len(data) // grid.CHUNK)
    for slide in catalogue.each("P"):
        assert open_slide(source_of(place.store, slide.path, slide.key), slide.key).pyramid == slide.pyramid
    database(place.store.root).client.drop_database(name)
    database(through).client.close()
    cutting.close()


def insisted(root: str, data: bytes, name: str, catalogue: Embedded) -> str:
    """As a client of tus would go on: asks how far it came, and sends the rest. It may have to begin anew."""
    place = uploads.place_of(Store(root=root, label="P"))
    upload = fresh(name, len(data))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            try:
                there = place.load(upload.id)
            except NotFound:
                upload = fresh(name, len(data))
                place.begin(upload)
                continue
            if there.slide:
                return there.slide
            if not there.complete:
                with place.writer(there) as writer:
                    writer.write(data[writer.offset :])
                continue
            return finish(place, there, catalogue).slide.id
        except (Unavailable, Conflict):
            time.sleep(0.01)
    raise AssertionError("it never came through")


@pytest.mark.parametrize("kind", ["folder", "gridfs"])
def test_the_command_puts_a_file_into_a_store(served: Served, slides: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "root").mkdir()
    root = str(tmp_path / "root") if kind == "folder" else served.mongo.rpartition("/")[0] + f"/c{ObjectId()}"
    config = tmp_path / "config.toml"
    config.write_text(f'[catalogue]\nurl = "sqlite:///{tmp_path}/c.db"\n[[store]]\nlabel = "S"\nroot = "{root}"\n')
    words = ["--store", "S", "--config", str(config)]
    ingested = ["ingest", str(slides / "one.tiff"), *words, "--to"]
    done = CliRunner().invoke(cli, [*ingested, kind])
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.stdout.split()[1] == "S/one.tiff"
    assert "already" in CliRunner().invoke(cli, [*ingested, kind]).stdout
    wrong = CliRunner().invoke(cli, [*ingested, "gridfs" if kind == "folder" else "folder"])
    assert isinstance(wrong.exception, ConfigError)
    none = CliRunner().invoke(cli, ["ingest", str(config), *words, "--name", "x.tiff"])
    assert isinstance(none.exception, SlideUnreadable)
    if kind == "gridfs":
        held = database(root)
        held.client.drop_database(held.name)
