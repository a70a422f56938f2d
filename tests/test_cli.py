"""The command line as a user meets it: a process, its output, its exit code."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import reference

ROOT = Path(__file__).parents[1]
PORT_TEXT = "at http://127.0.0.1:"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    state = tmp_path_factory.mktemp("state")
    return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state), "COLUMNS": "200"}


def run(environment: dict[str, str], *arguments: object, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ptiffserve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def serving(environment: dict[str, str], *arguments: object) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [sys.executable, "-m", "ptiffserve", "serve", "--port", str(port), *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def fetch(url: str, seconds: float = 30) -> bytes:
    """The body at `url`, asked again until it is there."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_info(environment: dict[str, str], slides: Path) -> None:
    text = run(environment, "info", slides / "big420.tiff").stdout.decode()
    assert "philips" in text
    assert "1536 x 1280" in text
    said = json.loads(run(environment, "info", slides / "big420.tiff", "--json").stdout)
    assert said["barcode"] == "S26-001234"
    assert [level["scale"] for level in said["levels"]] == [1, 2, 4, 8]
    assert sum(said["levels"][0][kind] for kind in ("stored", "sparse", "truncated")) == 6 * 5


def test_tile_is_the_bytes_as_served(environment: dict[str, str], slides: Path, tmp_path: Path) -> None:
    from ptiffserve.readers import open_slide
    from ptiffserve.sources.file import FileSource

    right = open_slide(FileSource(slides / "big420.tiff"), "x").tile(1, 1, 0)
    assert run(environment, "tile", slides / "big420.tiff", 1, 1, 0).stdout == right
    run(environment, "tile", slides / "big420.tiff", 1, 1, 0, "-o", tmp_path / "t.jpg")
    assert (tmp_path / "t.jpg").read_bytes() == right
    assert b"no tile" in run(environment, "tile", slides / "big420.tiff", 9, 0, 0, code=1).stderr


def test_sample_takes_every_option(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "s.tiff"
    run(
        environment, "sample", path, "--width", 700, "--height", 500, "--tile", 128, "--quality", 70, "--sparse", 0.5,
        "--subsampling", "422", "--photometric", "ycbcr", "--classic", "--no-macro", "--label", "--barcode", "X-1", "--seed", 9,
    )  # fmt: skip
    slide = reference.facts(path)
    assert isinstance(slide, reference.Facts), slide
    assert (slide.vendor, slide.properties["openslide.barcode"], slide.associated) == ("philips", "X-1", ("label",))
    assert b"subsampling" in run(environment, "sample", path, "--subsampling", "411", code=1).stderr


@pytest.mark.parametrize("arguments", [["serve"], ["serve", "/none"], ["serve", ".", "--port", "99999"]])
def test_wrong_settings_end_with_2_and_name_the_key(environment: dict[str, str], arguments: list[str]) -> None:
    error = run(environment, *arguments, code=2).stderr.decode()
    assert "server.port" in error or "store" in error


def test_wrong_usage_ends_with_2(environment: dict[str, str]) -> None:
    run(environment, "serve", "--colour", code=2)
    run(environment, "nothing", code=2)


def test_unreadable_file_ends_with_1(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "x.tiff").write_bytes(b"junk")
    assert b"x.tiff" in run(environment, "info", tmp_path / "x.tiff", code=1).stderr
    run(environment, "info", tmp_path / "none.tiff", code=1)


def test_a_taken_port_is_told(environment: dict[str, str], slides: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = run(environment, "serve", slides, "--port", taken.getsockname()[1], code=2).stderr
    assert b"server.port" in error


def test_serve_keeps_ids_over_restarts(environment: dict[str, str], slides: Path) -> None:
    def ids() -> dict[str, str]:
        with serving(environment, slides) as (base, process):
            fetch(f"{base}/iiif/3/slides%2Fone.tiff/info.json")
            listed = json.loads(fetch(f"{base}/api/slides"))["slides"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        return {slide["key"]: slide["id"] for slide in listed}

    before = ids()
    assert before
    after = ids()
    assert before.items() <= after.items()


def test_workers_share_one_catalogue(environment: dict[str, str], slides: Path) -> None:
    with serving(environment, slides, "--workers", 2) as (base, process):
        url = f"{base}/tiles/slides/big420.tiff/0/0/0.jpg"
        bodies = {fetch(url) for _ in range(20)}
        assert len(bodies) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


def test_tiles_only_lists_and_writes_nothing(environment: dict[str, str], slides: Path) -> None:
    with serving(environment, slides) as (base, _):
        fetch(f"{base}/iiif/3/slides%2Fone.tiff/info.json")
    with serving(environment, slides, "--tiles-only") as (base, _):
        assert fetch(f"{base}/iiif/3/slides%2Fone.tiff/info.json")
        assert fetch(f"{base}/health")
        for path in ("/api/slides", "/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(base + path)


def test_url_tells_slide_plan_lane_and_bytes(environment: dict[str, str], slides: Path) -> None:
    said = run(environment, "url", "http://x/deepzoom/slides/big420.tiff_files/10/1_1.jpg?v=1", slides).stdout.decode()
    assert "slides/big420.tiff" in said
    assert "tile: level 1, col 1, row 1" in said
    assert "stored" in said
    said = run(
        environment, "url", "/iiif/3/slides%2Fbig420.tiff/3,5,100,100/50,50/0/default.png", slides
    ).stdout.decode()
    assert "render" in said
    assert b"no such slide" in run(environment, "url", "/iiif/3/none/full/max/0/default.jpg", slides, code=1).stderr
    run(environment, "url", "/nothing", slides, code=1)


def test_url_understands_what_other_servers_clients_ask(
    environment: dict[str, str], slides: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[[store]]\nroot = "{slides}"\nurl_path = "/data/images"\n')
    for url in (
        "/iip?FIF=slides/big420.tiff&JTL=2,4",
        "http://x/fcgi-bin/iipsrv.fcgi/IIP/raw/?token=x&DeepZoom=/data/images/big420.tiff_files/10/1_1.jpg",
        "/zoomify/slides%2Fbig420.tiff/TileGroup0/2-1-1.jpg",
        "/data/images/big420.tiff/512,512,512,512/256,/0/default.jpg",
    ):
        assert b"tile: level 1, col 1, row 1" in run(environment, "url", url, "--config", config).stdout, url
    assert b"document" in run(environment, "url", "/iip?FIF=slides/big420.tiff&OBJ=Max-size", "--config", config).stdout


def test_check_has_a_line_for_everything(environment: dict[str, str], slides: Path, tmp_path: Path) -> None:
    lines = run(environment, "check", slides).stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 5
    assert "5 files" in lines[1]
    lines = run(environment, "check", slides, tmp_path / "none", code=1).stdout.decode().splitlines()
    assert any(line.startswith("FAIL  store") and "none" in line for line in lines)
    config = tmp_path / "c.toml"
    config.write_text(f'[catalogue]\nurl = "mongodb://me:geheim@127.0.0.1:9/x"\n[[store]]\nroot = "{slides}"\n')
    done = run(environment, "check", "--config", config, code=1)
    assert "FAIL  catalogue: the catalogue does not answer" in done.stdout.decode()
    assert b"geheim" not in done.stdout + done.stderr
