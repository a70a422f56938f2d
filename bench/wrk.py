"""One run of wrk over a list of paths. Starts no server."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_suffix(".lua")


class Run(NamedTuple):
    """What the client saw. Latencies in microseconds; `errors` are failed connections, timeouts and statuses over 399."""

    requests: int
    seconds: float
    nbytes: int
    errors: int
    p50: float
    p99: float
    slowest: float


def wrk(port: int, paths: Path, core: int, seconds: float, connections: int) -> Run:
    """`paths`: a file with a path a line. One thread, keep-alive, on `core`."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "10s", "--latency", "-s", str(SCRIPT), f"http://127.0.0.1:{port}/", "--", str(paths)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    told = json.loads(found.stdout.rpartition("JSON ")[2])
    return Run(
        told["requests"],
        told["micros"] / 1e6,
        told["bytes"],
        told["errors"],
        told["p50"],
        told["p99"],
        told["max"],
    )
