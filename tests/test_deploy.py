"""The files of deploy/ as they are: Debian's supervisor and nginx started with them, killed, restarted, asked throughout."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from real_server import running
from served import SAMPLES, drawn
from test_cli import free_port
from test_jobs import until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SOAK = bool(os.environ.get("PTIFFSERVE_SOAK"))
NAMES = ("one", "big444", "rgb", "big420", "classic422")

BASE = """
[unix_http_server]
file={folder}/supervisor.sock
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/supervisor.sock
[include]
files={file}
"""


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides") / "slides"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(drawn(SAMPLES[name]), folder / f"{name}.tiff")
    return folder


class Site(NamedTuple):
    port: int
    folder: Path
    ctl: list[str]
    group: str

    def control(self, *words: str) -> str:
        return subprocess.run([*self.ctl, *words], capture_output=True, text=True, check=False).stdout

    def pids(self) -> dict[str, int]:
        """Of the processes that run, by name."""
        found = re.findall(r"^(\S+)\s+RUNNING\s+pid (\d+)", self.control("status"), re.MULTILINE)
        return {name: int(pid) for name, pid in found}

    def webs(self) -> dict[str, int]:
        return {name: pid for name, pid in self.pids().items() if name.startswith(f"{self.group}:")}


@contextlib.contextmanager
def supervised(file: str, group: str, folder: Path, tmp_path: Path, state: Path | None = None) -> Iterator[Site]:
    """Supervisor with one of our files and a site's configuration, paths by the environment alone. `state`: where there is a
    catalogue already."""
    supervisord, supervisorctl = tool("supervisord"), tool("supervisorctl")
    program = tmp_path / "home" / "bin" / "ptiffserve"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m ptiffserve "$@"\n')
    program.chmod(0o755)
    config = tmp_path / "site.toml"
    config.write_text(
        f'[catalogue]\nurl = "sqlite:///{state or tmp_path}/catalogue.db"\n[tasks]\nurl = "sqlite:///{tmp_path}/tasks.db"\n'
        f'[[store]]\nlabel = "slides"\nroot = "{folder}"\nschedule = "* * * * *"\n'
    )
    base = tmp_path / "supervisord.conf"
    base.write_text(BASE.format(folder=tmp_path, file=DEPLOY / "supervisor" / file))
    port = free_port()
    (tmp_path / "logs").mkdir()
    said = dict(
        re.findall(r"^export (\w+)=(.*)$", (DEPLOY / "supervisor" / "ptiffserve.env").read_text(), re.MULTILINE)
    )
    ours = {
        "PTIFFSERVE_HOME": str(tmp_path / "home"),
        "PTIFFSERVE_CONFIG": str(config),
        "PTIFFSERVE_SOCKET": f"tcp://127.0.0.1:{port}",
        "PTIFFSERVE_PROCESSES": "2",
        "PTIFFSERVE_USER": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(),
        "PTIFFSERVE_LOGS": str(tmp_path / "logs"),
    }
    assert set(said) == set(ours)
    # Debian's supervisor has a Python of its own.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | ours
    with subprocess.Popen([supervisord, "-c", str(base)], env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            yield Site(port, tmp_path, [supervisorctl, "-c", str(base)], group)
        finally:
            process.terminate()
            process.wait(60)


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def answers(port: int, path: str) -> bool:
    try:
        return get(port, path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


class Load:
    """Clients that ask for tiles without end, until it is left. `failed`: what they got instead."""

    def __init__(self, port: int, kept: bool) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answered = 0
        self.retried = 0
        self.failed: list[str] = []
        target = self._kept if kept else self._single
        self._threads = [threading.Thread(target=target) for _ in range(3)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _single(self) -> None:
        """A connection for each request; nothing is tried twice."""
        while not self._stop.is_set():
            try:
                self._note(*get(self._port, TILE))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            time.sleep(0.002)

    def _kept(self) -> None:
        """One connection; where it was closed instead of answered, a GET may be sent again on a new one (RFC 9110 9.2.2)."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop.is_set():
            for last in (False, True):
                try:
                    connection.request("GET", TILE)
                    answer = connection.getresponse()
                    self._note(answer.status, answer.read())
                    break
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    self.retried += 1
                    if last:
                        self.failed.append(repr(error))
            time.sleep(0.002)
        connection.close()

    def _note(self, status: int, body: bytes) -> None:
        self.answered += 1
        if status != 200 or body[:2] != b"\xff\xd8" or body[-2:] != b"\xff\xd9":
            self.failed.append(f"{status} {body[:100]!r}")


TILE = "/deepzoom/slides/big444.tiff_files/11/1_1.jpg"


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with supervised("ptiffserve.conf", "ptiffserve", folder, tmp_path_factory.mktemp("site")) as site:
        until(lambda: answers(site.port, TILE), 40)
        until(lambda: len(site.pids()) == 3, 30)
        yield site


def holders(port: int) -> set[int]:
    """The processes that have the listening socket of the port open."""
    (inode,) = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1] == f"0100007F:{port:04X}" and line.split()[3] == "0A"
    }
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(each.readlink()) == f"socket:[{inode}]" for each in (process / "fd").iterdir()):
                found.add(int(process.name))
    return found


def test_processes_share_one_socket(site: Site) -> None:
    assert set(site.pids()) == {"ptiffserve:web-00", "ptiffserve:web-01", "ptiffserve-worker"}
    assert set(site.webs().values()) < holders(site.port)
    assert site.pids()["ptiffserve-worker"] not in holders(site.port)


def test_the_worker_syncs_by_schedule_and_request(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("POST", "/api/stores/slides/sync")
    answer = connection.getresponse()
    assert answer.status == 202
    where = answer.headers["location"]
    answer.read()
    connection.close()
    until(lambda: b'"state":"done"' in get(site.port, where)[1], 20)
    log = site.folder / "logs" / "ptiffserve-worker.log"
    until(lambda: b"round" in log.read_bytes(), 5)


def test_a_killed_process_comes_back_and_nobody_waits_for_it(site: Site) -> None:
    before = site.webs()
    for name in ("ptiffserve:web-00", "ptiffserve-worker"):
        os.kill(site.pids()[name], signal.SIGKILL)
    time.sleep(0.2)
    assert answers(site.port, TILE), "the other one answers"
    until(lambda: len(site.pids()) == 3, 30)
    after = site.webs()
    assert after["ptiffserve:web-00"] != before["ptiffserve:web-00"]
    assert after["ptiffserve:web-01"] == before["ptiffserve:web-01"]


def test_a_rolling_restart_loses_no_request(site: Site) -> None:
    before = site.webs()
    command = [str(DEPLOY / "supervisor" / "rolling-restart"), "ptiffserve"]
    environ = {**os.environ, "SUPERVISORCTL": " ".join(site.ctl)}
    with Load(site.port, kept=False) as single, Load(site.port, kept=True) as kept:
        time.sleep(0.5)
        for _ in range(5 if SOAK else 1):
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        time.sleep(0.5)
    after = site.webs()
    assert set(after) == set(before) and not set(after.values()) & set(before.values())
    assert single.answered > 500 and kept.answered > 500
    assert single.failed == []
    assert kept.failed == []


@pytest.mark.skipif(not SOAK, reason="another supervisor: in soak")
def test_tiles_only_processes_come_up(folder: Path, tmp_path: Path, site: Site) -> None:
    """They list nothing by themselves: another node keeps the catalogue."""
    with supervised("ptiffserve-tiles.conf", "ptiffserve-tiles", folder, tmp_path, site.folder) as tiles:
        until(lambda: answers(tiles.port, TILE), 40)
        assert get(tiles.port, "/api/slides")[0] == 404
        until(lambda: len(tiles.pids()) == 2, 30)


# nginx

MAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format where '$ptiffserve_slide $upstream_addr $status $request_uri';
    access_log {folder}/access.log where;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""
PATHS = (
    "/deepzoom/slides%2F{name}.tiff_files/8/0_0.jpg",
    "/deepzoom/slides/{name}.tiff.dzi",
    "/tiles/slides/{name}.tiff/0/0/0.jpg",
    "/tiles/slides%2F{name}.tiff/t.jpg",
    "/iiif/2/slides%2F{name}.tiff/full/64,/0/default.jpg",
    "/iiif/3/slides/{name}.tiff/info.json",
    "/zoomify/slides/{name}.tiff/ImageProperties.xml",
    "/slides/slides/{name}.tiff/thumbnail.jpg",
)


def site_file(ports: list[int], front: int) -> str:
    """deploy/nginx.conf with other addresses: each of the lines that name one is there once."""
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in [
        ("server 127.0.0.1:8000 ", f"server 127.0.0.1:{ports[0]} "),
        ("server 127.0.0.2:8000 ", f"server 127.0.0.1:{ports[1]} "),
        ("listen 80;", f"listen 127.0.0.1:{front};"),
    ]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def fronted(ports: list[int], tmp_path: Path) -> Iterator[int]:
    nginx, front = tool("nginx"), free_port()
    (tmp_path / "site.conf").write_text(site_file(ports, front))
    main = tmp_path / "nginx.conf"
    main.write_text(MAIN.format(folder=tmp_path))
    command = [nginx, "-c", str(main), "-e", str(tmp_path / "error.log")]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: answers(front, "/health"), 10)
            yield front
        finally:
            process.terminate()
            process.wait(20)


def test_nginx_keeps_each_slide_on_one_node(site: Site, folder: Path, tmp_path: Path) -> None:
    tool("nginx")
    with contextlib.ExitStack() as stack:
        second = stack.enter_context(running(folder, tmp_path / "b"))
        front = stack.enter_context(fronted([site.port, second.port], tmp_path))
        for name in NAMES:
            for path in PATHS:
                assert get(front, path.format(name=name))[0] == 200, path
        homes = homes_of(tmp_path / "access.log")
        assert {slide: len(nodes) for slide, nodes in homes.items() if slide.startswith("slides/")} == {
            f"slides/{name}.tiff": 1 for name in NAMES
        }
        assert len(set.union(*homes.values())) == 2, "both nodes have slides"
        second.process.terminate()
        second.process.wait(30)
        for name in NAMES:
            assert get(front, PATHS[2].format(name=name))[0] == 200, "the other node takes over"


def homes_of(log: Path) -> dict[str, set[str]]:
    homes = defaultdict(set)
    for line in log.read_text().splitlines():
        slide, node, *_ = line.split()
        homes[slide].add(node)
    return homes


def test_a_fresh_connection_is_answered_by_a_server_that_ends(folder: Path, tmp_path: Path) -> None:
    """It was accepted, and its request is on the way: it is the last one, and it is answered."""
    with running(folder, tmp_path / "state") as server:
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(20)]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.15)
        told: Counter[bytes] = Counter()
        for connection in connections:
            with connection:
                connection.sendall(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % TILE.encode())
                with connection.makefile("rb") as stream:
                    head, _, _ = stream.read().partition(b"\r\n\r\n")
            told[head.split(b"\r\n")[0]] += 1
            assert b"connection: close" in head.lower()
        assert told == {b"HTTP/1.1 200 OK": 20}
        assert server.process.wait(10) == 0
