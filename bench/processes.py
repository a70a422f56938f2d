"""Processes that a benchmark starts: pinned to a core, waited for, their processor time read, stopped. Knows no server."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class NotStarted(RuntimeError):
    """A server did not begin to answer; the message holds the end of what it wrote."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Process:
    """A server listening on `port`, in a session of its own so that its children end with it."""

    def __init__(
        self, command: Sequence[str], port: int, core: int, log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._log = log
        with log.open("wb") as out:
            self._name = command[0]
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **(environ or {})},
            )

    def wait(self, seconds: float = 30) -> None:
        """Until the port takes connections. NotStarted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise NotStarted(f"{self._name}: {self._log.read_text('utf-8', 'replace')[-2000:]}")

    def seconds(self) -> float:
        """Processor time used so far, children included."""
        return sum(map(_seconds, self._family()))

    def resident(self) -> int:
        """Resident bytes of it and its children; pages that they share count for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096 for pid in self._family())

    def stop(self) -> None:
        """Asks its session to end, then makes whatever is left of it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)

    def _family(self) -> list[int]:
        """taskset has become the server, so the first is the server itself; then what it forked, and so on."""
        found = [self._process.pid]
        for pid in found:
            found.extend(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()))
        return found


def _seconds(pid: int) -> float:
    """utime + stime, and those of children already gone. The name, in brackets, may hold spaces."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS
