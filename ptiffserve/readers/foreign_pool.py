"""Processes that a foreign library runs in, one for each request at a time: a crash or a hang costs that request.

Measured on OpenSlide 4.0.1: a changed byte in a DICOM's table of frames ends the process with a segmentation fault, one in
the tile size of a generic TIFF with an abort. They would be the worker's.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Any

PROGRAM = Path(__file__).with_name("foreign_process.py")
# Isolated: this folder must not be on the path, where the libraries' names are other modules.
COMMAND = [sys.executable, "-I", str(PROGRAM)]
PATIENCE = 60.0
MAX_LINE = 16 << 20
# How talking to a process fails: it ended, it was too slow (a TimeoutError is an OSError), it said what is no answer.
_BROKEN = (OSError, EOFError, ValueError)


class Failed(Exception):
    """The library could not do it; the message is its reason, or how it ended."""


class Process:
    """One of them, started by its first request and again after each end."""

    def __init__(self, library: str) -> None:
        self._library = library
        self._running: subprocess.Popen[bytes] | None = None

    def ask(self, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The answer and the bytes behind it. Failed with the reason; a process that ended or was too slow is replaced."""
        end = time.monotonic() + PATIENCE
        running = self._running or self._started(end)
        try:
            _write(running, json.dumps(asked).encode() + b"\n")
            said, data = _answer(running, end)
        except _BROKEN as error:
            raise Failed(self._ended(error)) from error
        if "error" in said:
            raise Failed(said["error"])
        return said, data

    def _started(self, end: float) -> "subprocess.Popen[bytes]":
        environ = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        self._running = subprocess.Popen(  # noqa: S603 - our own program, no shell
            [*COMMAND, self._library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
        )
        try:
            said, _ = _answer(self._running, end)
        except _BROKEN as error:
            raise Failed(self._ended(error)) from error
        if "error" in said:
            self.close()
            raise Failed(said["error"])
        return self._running

    def _ended(self, error: Exception) -> str:
        """Makes sure of it, and says how."""
        running = self._running
        code = _exit_code(running) if running and isinstance(error, EOFError | BrokenPipeError) else None
        self.close()
        if isinstance(error, TimeoutError):
            return f"it took longer than {PATIENCE:.0f} s"
        return f"it crashed (signal {-code})" if code and code < 0 else f"its process ended ({code})"

    def close(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        running.kill()
        for pipe in (running.stdin, running.stdout):
            if pipe is not None:
                pipe.close()
        running.wait()


def _exit_code(running: "subprocess.Popen[bytes]") -> int | None:
    """Of a process that has closed its pipe, and so is ending."""
    try:
        return running.wait(5)
    except subprocess.TimeoutExpired:
        return None


def _write(running: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert running.stdin is not None
    running.stdin.write(data)
    running.stdin.flush()


def _answer(running: "subprocess.Popen[bytes]", end: float) -> tuple[dict[str, Any], bytes]:
    assert running.stdout is not None
    fd = running.stdout.fileno()
    head = bytearray()
    while b"\n" not in head:
        if len(head) > MAX_LINE:
            raise EOFError
        head += _some(fd, 1 << 16, end)
    line, _, rest = bytes(head).partition(b"\n")
    said = json.loads(line)
    data = bytearray(rest)
    while len(data) < said["size"]:
        data += _some(fd, min(said["size"] - len(data), 1 << 20), end)
    return said, bytes(data)


def _some(fd: int, size: int, end: float) -> bytes:
    """At least one byte. EOFError at the end, TimeoutError when the time is over."""
    left = end - time.monotonic()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError
    data = os.read(fd, size)
    if not data:
        raise EOFError
    return data


class Pool:
    """Processes for one library, as many as there are processors unless it is said, the most recently used first."""

    def __init__(self, library: str, number: int = 0) -> None:
        self._library = library
        self._number = number or os.cpu_count() or 1
        self._reset()
        atexit.register(self.close)
        # The pipes belong to the parent: two processes must not talk into one.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._idle: LifoQueue[Process] = LifoQueue()
        for _ in range(self._number):
            self._idle.put(Process(self._library))

    def ask(self, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """As Process.ask; waits for an idle process."""
        with self._one() as process:
            return process.ask(asked)

    @contextmanager
    def _one(self) -> Iterator[Process]:
        idle = self._idle
        process = idle.get()
        try:
            yield process
        finally:
            idle.put(process)

    def close(self) -> None:
        """Ends the processes that are idle; the next request starts them again."""
        processes = [self._idle.get() for _ in range(self._idle.qsize())]
        for process in processes:
            process.close()
            self._idle.put(process)
