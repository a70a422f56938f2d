"""The contestants: ptiffserve, nginx with the same tiles as files, Debian's iipsrv behind that nginx, bare uvicorn."""

import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import NamedTuple

from processes import Process, free_port

IIPSRV = "/usr/lib/iipimage-server/iipsrv.fcgi"
BENCH = Path(__file__).parent

NGINX_CONF = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    types {{ image/jpeg jpg; }}
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    proxy_temp_path {folder}/proxy;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 100000000;
    open_file_cache max=100000 inactive=600s;
    open_file_cache_valid 600s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root};
        location /fcgi-bin/ {{
            fastcgi_pass iipsrv;
            fastcgi_keep_conn on;
            fastcgi_buffers 32 16k;
            fastcgi_param PATH_INFO $fastcgi_script_name;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
            fastcgi_param HTTP_HOST $http_host;
        }}
    }}
    upstream iipsrv {{ server 127.0.0.1:{fastcgi}; keepalive 16; }}
}}
"""


class Contestant(NamedTuple):
    """`processes`: (name, process) of all whose time is counted, the one that is asked first."""

    name: str
    processes: list[tuple[str, Process]]
    paths: list[str]

    @property
    def port(self) -> int:
        return self.processes[0][1].port


class MissingTool(RuntimeError):
    """A program of the comparison is not installed; the message says which package brings it."""


def require(*programs: tuple[str, str]) -> None:
    """(program, Debian package) each. MissingTool for all that are absent."""
    missing = [f"{program} (apt-get install {package})" for program, package in programs if not which(program)]
    if missing:
        raise MissingTool("the comparison needs " + ", ".join(missing))


def ptiffserve(store: Path, folder: Path, core: int) -> Process:
    port = free_port()
    command = [sys.executable, "-m", "ptiffserve", "serve", str(store), "--port", str(port), "--workers", "1"]
    state = {
        "PTIFFSERVE_CATALOGUE_URL": f"sqlite:///{folder}/catalogue.db",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(BENCH.parent), os.environ.get("PYTHONPATH", "")])),
    }
    return Process(command, port, core, folder / "ptiffserve.log", state)


def floor(tile: Path, folder: Path, core: int) -> Process:
    """uvicorn with an application that sends one resident buffer: what any ASGI server pays."""
    port = free_port()
    return Process([sys.executable, str(BENCH / "floor.py"), str(port), str(tile)], port, core, folder / "floor.log")


def nginx(root: Path, folder: Path, core: int, fastcgi: int) -> Process:
    port = free_port()
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(user=user, folder=folder, port=port, root=root, fastcgi=fastcgi), "utf-8")
    return Process(["nginx", "-p", str(folder), "-c", str(conf)], port, core, folder / "nginx.log")


def iipsrv(images: Path, folder: Path, core: int, quality: int = 75) -> Process:
    """Its settings are Debian's, but for the quality that is asked for: a cache of 10 MB of encoded tiles, quality 75."""
    port = free_port()
    environ = {"FILESYSTEM_PREFIX": f"{images}/", "VERBOSITY": "0", "LOGFILE": str(folder / "iipsrv.out")}
    environ["JPEG_QUALITY"] = str(quality)
    return Process(
        [IIPSRV, "--bind", f"127.0.0.1:{port}", "--backlog", "1024"], port, core, folder / "iip.log", environ
    )


def running(start: Callable[[], Process], stop: Callable[[Callable[[], None]], object]) -> Process:
    """Starts a process, has it stopped later through `stop` even if it never answers, and waits for it."""
    process = start()
    stop(process.stop)
    process.wait()
    return process
