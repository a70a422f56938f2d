"""Any sequence of uploads, replacements, removals, syncs and kills, with a real server over either catalogue.

A 200 always carries the right slide's bytes, and what was acknowledged is there after kill -9.
"""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from files import touch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from PIL import Image
from real_server import RealServer, Reply, running
from tiny_tiff import Tiny, write

SOAK = bool(os.environ.get("PTIFFSERVE_SOAK"))
SIDE = 64
# How long after a change the server may still show what was there before: it looks once a second, and is busy here.
NOTICE_SECONDS = 5.0
NAMES = st.sampled_from(["a.tiff", "b.tiff", "deep/c.tiff"])
KINDS = st.integers(0, 2)


def colour(number: int) -> tuple[int, int, int]:
    """Far enough from every other number's that a JPEG of it tells them apart."""
    return tuple(16 + 16 * (number // 14**place % 14) for place in range(3))  # type: ignore[return-value]


def content(number: int, folder: Path) -> bytes:
    path = folder / f"{number}.tiff"
    if not path.exists():
        solid = np.empty((SIDE, SIDE, 3), np.uint8)
        solid[:] = colour(number)
        write(Tiny(SIDE, SIDE, SIDE, paint=lambda level, width, height: solid), path)
    return path.read_bytes()


def shows(reply: Reply, number: int) -> bool:
    seen = np.asarray(Image.open(BytesIO(reply.body)).convert("RGB"), np.int16)
    return seen.shape == (SIDE, SIDE, 3) and bool(np.abs(seen - colour(number)).max() <= 7)


class World:
    """A store, its server, and contents that no other sequence of the same world has."""

    def __init__(self, place: Path, catalogue: str, stack: ExitStack) -> None:
        self.place, self.root, self._stack = place, place / "root", stack
        self.root.mkdir(parents=True)
        (place / "made").mkdir()
        self._config = place / "ptiffserve.toml"
        self._config.write_text(f'[catalogue]\nurl = "{catalogue}"\n[[store]]\nlabel = "S"\nroot = "{self.root}"\n')
        # A store that became empty would be taken for one whose disk is away.
        (self.root / "anchor.tiff").write_bytes(self.content(0))
        self.numbers = count(1, 3)
        self.start()

    def start(self) -> None:
        self.server: RealServer = self._stack.enter_context(running(self._config, self.place / "state"))

    def kill(self) -> None:
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()
        self.start()

    def content(self, number: int) -> bytes:
        return content(number, self.place / "made")

    def tile(self, name: str) -> Reply:
        return self.server.get(f"/tiles/{name}/0/0/0.jpg")

    def upload(self, name: str, data: bytes) -> Reply:
        told = base64.b64encode(name.encode()).decode()
        head = (
            "POST /api/stores/S/uploads HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\n"
            f"Upload-Length: {len(data)}\r\nUpload-Metadata: filename {told}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return self.server.raw(head.encode() + data)

    def sync(self) -> dict[str, object]:
        head = "POST /api/stores/S/sync HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        asked = self.server.raw(head.encode())
        assert asked.status == 202, asked
        task = json.loads(asked.body)["task"]
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told = json.loads(self.server.get(f"/api/tasks/{task}").body)
            if told["state"] in ("done", "failed"):
                assert told["state"] == "done", told
                return told["result"]  # type: ignore[no-any-return]
            time.sleep(0.05)
        raise AssertionError(f"the sync did not end: {told}")


class States(RuleBasedStateMachine):
    """Files of this sequence lie in a folder of their own. `files`: the number of each file's content."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.base = next(self.world.numbers)
        self.prefix = f"s{self.base}"
        self.files: dict[str, int] = {}
        self.before: dict[str, list[tuple[int | None, float]]] = {}
        self.acknowledged: dict[str, str] = {}

    def teardown(self) -> None:
        for name in self.files:
            (self.world.root / self.prefix / name).unlink()

    def _changed(self, name: str, number: int | None) -> None:
        """Notes what is there from now on, and what was until now: several things may follow upon another quickly."""
        self.before.setdefault(name, []).append((self.files.get(name), time.monotonic()))
        self.acknowledged = {slide: at for slide, at in self.acknowledged.items() if at != name}
        if number is None:
            del self.files[name]
        else:
            self.files[name] = number

    @rule(name=NAMES, kind=KINDS)
    def upload(self, name: str, kind: int) -> None:
        number = self.base + kind
        reply = self.world.upload(f"{self.prefix}/{name}", self.world.content(number))
        taken = name in self.files and self.files[name] != number
        if reply.status == 409:
            assert taken, reply
            return
        # Where the name is taken, only content that the store has already is at home: as the slide that it is there.
        assert reply.status == 201 and (not taken or number in self.files.values()), reply
        slide = reply.headers["ptiffserve-slide"]
        tile = self.world.tile(slide)
        assert tile.status == 200 and shows(tile, number), (tile.status, tile.body[:200])
        if number not in self.files.values():
            self._changed(name, number)
            self.acknowledged[slide] = name

    @rule(name=NAMES, kind=KINDS, in_place=st.booleans())
    def put(self, name: str, kind: int, in_place: bool) -> None:
        """A scanner writes over a file, or renames one into its place."""
        number = self.base + kind
        path = self.world.root / self.prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path if in_place else path.with_name(".new")
        written.write_bytes(self.world.content(number))
        written.replace(path)
        touch(path)
        self._changed(name, number)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.world.root / self.prefix / name).unlink()
        self._changed(name, None)

    @rule(name=NAMES)
    def look(self, name: str) -> None:
        asked = time.monotonic()
        reply = self.world.tile(f"S/{self.prefix}/{name}")
        assert reply.status in (200, 404, 422, 503), reply
        if reply.status == 200:
            earlier = {number for number, until in self.before.get(name, []) if asked - until < NOTICE_SECONDS}
            allowed = {self.files.get(name)} | earlier
            assert any(number and shows(reply, number) for number in allowed), (name, allowed)

    @rule()
    def sync(self) -> None:
        """Soon after it, every file is served as what it is; of copies, one."""
        result = self.world.sync()
        assert not [each for each in result["failed"] if each["path"].startswith(self.prefix)], result  # type: ignore[attr-defined,index]
        end = time.monotonic() + 1.0
        while self._served() != set(self.files.values()):
            assert time.monotonic() < end, (self.files, self._served())
            time.sleep(0.05)
        self.before = {}

    def _served(self) -> set[int]:
        """The numbers of files that are served as they are."""
        replies = {name: self.world.tile(f"S/{self.prefix}/{name}") for name in self.files}
        assert all(reply.status in (200, 404) for reply in replies.values()), replies
        return {
            number
            for name, number in self.files.items()
            if replies[name].status == 200 and shows(replies[name], number)
        }

    @rule()
    def kill(self) -> None:
        self.world.kill()
        for slide, name in self.acknowledged.items():
            reply = self.world.tile(slide)
            assert reply.status == 200 and shows(reply, self.files[name]), (name, reply.status)


@pytest.fixture(params=["embedded", "mongodb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    embedded = f"sqlite:///{tmp_path}/catalogue.db"
    catalogue = embedded if request.param == "embedded" else request.getfixturevalue("mongo_url")
    with ExitStack() as stack:
        yield World(tmp_path / "world", catalogue, stack)


def test_any_sequence(world: World) -> None:
    bound = type("Bound", (States,), {"world": world})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        bound,
        settings=settings(
            # A failing sequence is told as it is: to shrink it would take a server's start for each try.
            phases=(Phase.generate,),
            max_examples=12 if SOAK else 3,
            stateful_step_count=20 if SOAK else 12,
            derandomize=not SOAK,  # every run the same sequences; soak looks for others
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
