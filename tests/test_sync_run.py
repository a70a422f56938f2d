"""A whole sync: what it counts, what it never does, killed at any point, two at once, on a machine that is not the store's."""

import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from files import MEMORY, content, put, touch
from real_server import running

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Store, StoreRecord
from ptiffserve.readers import READING
from ptiffserve.slide import Slide, mark
from ptiffserve.sources.file import FileSource
from ptiffserve.sync.content import name_of, same
from ptiffserve.sync.diff import NEVER
from ptiffserve.sync.lock import alone
from ptiffserve.sync.result import Failure, Result
from ptiffserve.sync.run import Busy, sync
from ptiffserve.sync.settle import at_once

KILLS = 500 if os.environ.get("PTIFFSERVE_SOAK") else 50


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for number, name in enumerate(("a.tiff", "b.tiff", "deep/c.tiff", "deep/er/d.TIF")):
        put(root / name, number)
    return root


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root=str(root), label="S")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Embedded]:
    catalogue = Embedded(tmp_path / "catalogue.db")
    yield catalogue
    catalogue.close()


def run(store: Store, catalogue: Embedded, **more: object) -> Result:
    return msgspec.structs.replace(sync(store, catalogue, **more), seconds=0.0)  # type: ignore[arg-type]


def by_path(catalogue: Embedded) -> dict[str, Slide]:
    return {slide.path: slide for slide in catalogue.each("S")}


class TestCounts:
    def test_first_and_second(self, store: Store, catalogue: Embedded) -> None:
        said: list[tuple[int, int]] = []
        first = sync(store, catalogue, lambda done, total: said.append((done, total)))
        assert msgspec.structs.replace(first, seconds=0.0) == Result(added=4)
        assert first.seconds > 0
        assert said[0] == (0, 4)
        assert said[-1] == (4, 4)
        before, generation = by_path(catalogue), catalogue.generation()
        assert run(store, catalogue) == Result()
        assert (by_path(catalogue), catalogue.generation()) == (before, generation)
        assert all(len(slide.digest) == 32 and slide.reading == READING for slide in before.values())

    def test_touched_only_is_silent(self, store: Store, root: Path, catalogue: Embedded) -> None:
        run(store, catalogue)
        before = by_path(catalogue)
        touch(root / "a.tiff")
        shutil.copy(root / "b.tiff", root / "new")
        (root / "new").replace(root / "b.tiff")
        touch(root / "b.tiff")
        assert run(store, catalogue) == Result()
        for path in ("a.tiff", "b.tiff"):
            after = by_path(catalogue)[path]
            assert after.fingerprint != before[path].fingerprint
            assert msgspec.structs.replace(after, fingerprint=before[path].fingerprint) == before[path]
        assert run(store, catalogue) == Result()

    @pytest.mark.parametrize("back", [-3600, 3600])
    def test_changed_is_seen_whichever_way_the_time_went(
        self, store: Store, root: Path, catalogue: Embedded, back: int
    ) -> None:
        run(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        at = before.fingerprint.mtime_ns + back * 10**9
        (root / "a.tiff").write_bytes(content(77))
        os.utime(root / "a.tiff", ns=(at, at))
        assert run(store, catalogue) == Result(changed=1)
        after = by_path(catalogue)["a.tiff"]
        assert (after.id, after.added) == (before.id, before.added)
        assert after.changed > before.changed
        assert after.digest != before.digest

    @pytest.mark.parametrize("how", ["rename", "copy", "copy later"])
    def test_moved_keeps_its_id(self, store: Store, root: Path, catalogue: Embedded, how: str) -> None:
        run(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        (root / "other").mkdir()
        if how == "rename":
            (root / "a.tiff").rename(root / "other/z.tiff")
        else:
            shutil.copy(root / "a.tiff", root / ".kept")
            (root / "a.tiff").unlink()
            if how == "copy later":
                assert run(store, catalogue) == Result(missing=1)
            (root / ".kept").rename(root / "other/z.tiff")
            touch(root / "other/z.tiff")
        assert run(store, catalogue) == Result(moved=1)
        after = by_path(catalogue)
        assert "a.tiff" not in after
        assert (after["other/z.tiff"].id, after["other/z.tiff"].state) == (before.id, "ready")
        assert run(store, catalogue) == Result()

    def test_missing_comes_back_or_is_removed(self, store: Store, root: Path, catalogue: Embedded) -> None:
        run(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        (root / "a.tiff").rename(root / ".kept")
        assert run(store, catalogue) == Result(missing=1)
        assert run(store, catalogue) == Result()
        (root / ".kept").rename(root / "a.tiff")
        assert run(store, catalogue) == Result(added=1)
        assert msgspec.structs.replace(by_path(catalogue)["a.tiff"], changed=before.changed) == before
        (root / "a.tiff").unlink()
        assert run(store, catalogue) == Result(missing=1)
        soon = msgspec.structs.replace(store, remove_after=0.0)
        assert run(soon, catalogue) == Result(removed=1)
        assert "a.tiff" not in by_path(catalogue)
        assert run(soon, catalogue) == Result()

    def test_bad_files_are_told_each_time_and_the_rest_goes_on(
        self, store: Store, root: Path, catalogue: Embedded
    ) -> None:
        put(root / "0.tiff", -1)
        put(root / "z.tiff", 0)
        cut = content(9)[:700]
        (root / "cut.tiff").write_bytes(cut)
        touch(root / "cut.tiff")
        first = run(store, catalogue)
        assert (first.added, first.changed) == (6, 0)
        assert {failure.path for failure in first.failed} == {"0.tiff", "cut.tiff"}
        assert all(failure.reason for failure in first.failed)
        assert by_path(catalogue)["0.tiff"].state == "unreadable"
        generation = catalogue.generation()
        second = run(store, catalogue)
        assert (second.added, second.changed, {f.path for f in second.failed}) == (0, 0, {"0.tiff", "cut.tiff"})
        assert catalogue.generation() == generation
        put(root / "0.tiff", 50)
        put(root / "cut.tiff", 51)
        assert run(store, catalogue) == Result(changed=2)

    def test_an_old_record_is_read_again_in_silence(self, store: Store, catalogue: Embedded) -> None:
        run(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        catalogue.put([msgspec.structs.replace(before, reading=READING - 1, digest="", associated=("old",))])
        assert run(store, catalogue) == Result()
        assert by_path(catalogue)["a.tiff"] == before

    def test_another_setting_for_colours_is_a_change(self, store: Store, catalogue: Embedded) -> None:
        run(store, catalogue)
        assert run(msgspec.structs.replace(store, icc="srgb"), catalogue) == Result(changed=4)


class TestCopies:
    def test_the_same_bytes_have_one_record(self, store: Store, root: Path, catalogue: Embedded) -> None:
        run(store, catalogue)
        shutil.copy(root / "a.tiff", root / "deep/copy.tiff")
        touch(root / "deep/copy.tiff")
        os.link(root / "a.tiff", root / "link.tiff")
        (root / "soft.tiff").symlink_to(root / "a.tiff")
        assert run(store, catalogue) == Result()
        assert len(by_path(catalogue)) == 4
        assert {alias.path for alias in by_path(catalogue)["a.tiff"].also} == {
            "deep/copy.tiff",
            "link.tiff",
            "soft.tiff",
        }
        generation = catalogue.generation()
        assert run(store, catalogue) == Result()
        assert catalogue.generation() == generation

    def test_the_record_goes_to_the_copy_that_is_left(self, store: Store, root: Path, catalogue: Embedded) -> None:
        put(root / "twin.tiff", 0)
        assert run(store, catalogue) == Result(added=4)
        before = by_path(catalogue)["a.tiff"]
        assert [alias.path for alias in before.also] == ["twin.tiff"]
        (root / "a.tiff").unlink()
        assert run(store, catalogue) == Result(moved=1)
        after = by_path(catalogue)["twin.tiff"]
        assert (after.id, after.also, after.state) == (before.id, (), "ready")
        assert run(store, catalogue) == Result()

    def test_a_copy_that_changes_is_a_slide_of_its_own(self, store: Store, root: Path, catalogue: Embedded) -> None:
        put(root / "twin.tiff", 0)
        run(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        put(root / "twin.tiff", 60)
        assert run(store, catalogue) == Result(added=1)
        assert by_path(catalogue)["a.tiff"].also == ()
        put(root / "twin.tiff", 0)
        assert run(store, catalogue) == Result(changed=1), "it has a record by now"
        put(root / "third.tiff", 1)
        assert run(store, catalogue) == Result()
        put(root / "b.tiff", 61)
        assert run(store, catalogue) == Result(added=1, changed=1), "the original changed: its copy is what it was"
        assert by_path(catalogue)["a.tiff"].id == before.id

    def test_the_copy_was_touched_when_the_original_went(self, store: Store, root: Path, catalogue: Embedded) -> None:
        put(root / "twin.tiff", 0)
        run(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        (root / "a.tiff").unlink()
        touch(root / "twin.tiff")
        assert run(store, catalogue) == Result(moved=1)
        after = by_path(catalogue)["twin.tiff"]
        assert (after.id, after.also) == (before.id, ())

    def test_a_copy_that_goes_is_forgotten(self, store: Store, root: Path, catalogue: Embedded) -> None:
        put(root / "twin.tiff", 0)
        run(store, catalogue)
        (root / "twin.tiff").unlink()
        assert run(store, catalogue) == Result()
        assert by_path(catalogue)["a.tiff"].also == ()

    def test_files_of_one_name_of_content_that_differ(self, store: Store, root: Path, catalogue: Embedded) -> None:
        """Large ones that differ between the pieces that are looked at."""
        data = bytearray(content(5) + bytes(400_000))
        (root / "x.tiff").write_bytes(data)
        data[len(content(5)) + 64 * 1024 + 9000] ^= 1
        (root / "y.tiff").write_bytes(data)
        touch(root / "x.tiff")
        touch(root / "y.tiff")
        x, y = FileSource(root / "x.tiff"), FileSource(root / "y.tiff")
        assert name_of(x) == name_of(y)
        assert not same(x, y)
        assert run(store, catalogue) == Result(added=6)
        assert by_path(catalogue)["x.tiff"].also == by_path(catalogue)["y.tiff"].also == ()


class TestNothingIsLost:
    def test_unmounted(self, store: Store, root: Path, tmp_path: Path, catalogue: Embedded) -> None:
        run(store, catalogue)
        before = by_path(catalogue)
        root.rename(tmp_path / "away")
        result = run(store, catalogue)
        assert result.broken
        assert result == Result(failed=[Failure(".", result.broken)])
        root.mkdir()
        result = run(msgspec.structs.replace(store, remove_after=0.0), catalogue)
        assert "empty" in result.broken
        assert result == Result(failed=[Failure(".", result.broken)])
        assert by_path(catalogue) == before
        root.rmdir()
        (tmp_path / "away").rename(root)
        assert run(store, catalogue) == Result()

    def test_a_folder_that_cannot_be_listed(self) -> None:
        with _as_nobody() as place:
            root = place / "root"
            for number, name in enumerate(("a.tiff", "deep/b.tiff", "deep/er/c.tiff")):
                put(root / name, number)
            catalogue, store = Embedded(place / "catalogue.db"), Store(root=str(root), label="S")
            assert run(store, catalogue) == Result(added=3)
            before = by_path(catalogue)
            (root / "deep").chmod(0)
            try:
                result = run(msgspec.structs.replace(store, remove_after=0.0), catalogue)
            finally:
                (root / "deep").chmod(0o755)
            assert result == Result(failed=[Failure("deep/", "cannot be listed: Permission denied")])
            assert by_path(catalogue) == before
            (root / "a.tiff").unlink()
            assert run(store, catalogue) == Result(missing=1)
            catalogue.close()

    def test_a_file_that_may_not_be_read_is_tried_again(self) -> None:
        with _as_nobody() as place:
            root = place / "root"
            put(root / "a.tiff", 1)
            (root / "a.tiff").chmod(0)
            catalogue, store = Embedded(place / "catalogue.db"), Store(root=str(root), label="S")
            assert [failure.reason for failure in run(store, catalogue).failed] == [
                "cannot be opened: Permission denied"
            ]
            generation = catalogue.generation()
            assert run(store, catalogue).failed
            assert catalogue.generation() == generation
            (root / "a.tiff").chmod(0o644)
            assert run(store, catalogue).failed == []
            assert by_path(catalogue)["a.tiff"].state == "ready"
            catalogue.close()

    def test_links_and_loops(self, store: Store, root: Path, tmp_path: Path, catalogue: Embedded) -> None:
        put(tmp_path / "outside.tiff", 9)
        (root / "out.tiff").symlink_to(tmp_path / "outside.tiff")
        (root / "loop.tiff").symlink_to("loop.tiff")
        (root / "round").symlink_to(root)
        result = run(store, catalogue)
        assert result.added == 4
        assert {failure.path for failure in result.failed} == {"out.tiff", "loop.tiff"}

    def test_a_dry_run_writes_nothing(self, store: Store, root: Path, catalogue: Embedded) -> None:
        run(store, catalogue)
        (root / "a.tiff").rename(root / "z.tiff")
        put(root / "b.tiff", 70)
        (root / "deep/c.tiff").unlink()
        put(root / "new.tiff", 71)
        put(root / "copy.tiff", 3)
        before, generation = by_path(catalogue), catalogue.generation()
        said = run(store, catalogue, dry_run=True)
        assert said == Result(added=1, changed=1, moved=1, missing=1)
        assert (by_path(catalogue), catalogue.generation()) == (before, generation)
        assert run(store, catalogue) == said

    def test_a_file_that_grows_waits(self, store: Store, root: Path, catalogue: Embedded) -> None:
        run(store, catalogue)
        data, done = content(80), threading.Event()

        def write() -> None:
            with (root / "slow.tiff").open("wb", buffering=0) as file:
                for byte in range(0, len(data) - 10, 10):
                    file.write(data[byte : byte + 10])
                    if done.wait(0.05):
                        break
                file.write(data[file.tell() :])

        writer = threading.Thread(target=write)
        writer.start()
        try:
            time.sleep(0.2)
            assert run(store, catalogue) == Result()
        finally:
            done.set()
            writer.join()
        assert run(store, catalogue) == Result(added=1)
        assert by_path(catalogue)["slow.tiff"].state == "ready"

    def test_a_time_that_lies_ahead(self, store: Store, root: Path, catalogue: Embedded) -> None:
        os.utime(root / "a.tiff", (time.time() + 10_000, time.time() + 10_000))
        assert run(store, catalogue) == Result(added=4)


class TestWhoseStore:
    def test_a_record_whose_file_nobody_saw_yet(self, store: Store, root: Path, catalogue: Embedded) -> None:
        """Of an image that SlideAtlas wrote: its file is found, or it is missing, and stays so."""
        never = Slide(
            id="e" * 24, store="S", path="a.tiff", fingerprint=NEVER, state="unreadable", added=1, changed=1, reason="?"
        )
        other = msgspec.structs.replace(never, id="f" * 24, path="none.tiff")
        catalogue.put([never, other])
        soon = msgspec.structs.replace(store, remove_after=0.0)
        assert run(soon, catalogue) == Result(added=3, changed=1, missing=1)
        assert run(soon, catalogue) == Result()
        assert (by_path(catalogue)["a.tiff"].id, by_path(catalogue)["a.tiff"].state) == (never.id, "ready")
        assert by_path(catalogue)["none.tiff"].id == other.id

    def test_another_machine_and_another_kind(self, root: Path, catalogue: Embedded) -> None:
        away = StoreRecord(root=str(root), label="S", id="a" * 24, host_name="elsewhere.example")
        catalogue.put_store(away)
        assert run(away, catalogue) == Result(failed=[Failure(".", "this store's folder is on elsewhere.example")])
        assert catalogue.stores() == [away]
        assert by_path(catalogue) == {}
        assert run(Store(root="", label="S"), catalogue).broken
        assert "kind object" in run(Store(root="s3://bucket", label="S"), catalogue).broken

    def test_last_sync_is_noted_and_nothing_else(self, root: Path, tmp_path: Path, catalogue: Embedded) -> None:
        record = StoreRecord(root=str(root), label="S", id="a" * 24, host_name=platform.node())
        catalogue.put_store(msgspec.structs.replace(record, tile_endpoint="https://tiles.example"))
        before = time.time()
        sync(record, catalogue)
        (noted,) = catalogue.stores()
        assert before <= noted.last_sync <= time.time()
        assert noted.tile_endpoint == "https://tiles.example"
        sync(record, catalogue, growing=at_once)
        assert catalogue.stores() == [noted], "a server that looks each second does not write each second"
        sync(record, catalogue)
        assert catalogue.stores()[0].last_sync > noted.last_sync
        (noted,) = catalogue.stores()
        root.rename(tmp_path / "away")
        assert sync(record, catalogue).broken
        assert catalogue.stores() == [noted], "it was not completed"


def test_two_at_once_are_one(store: Store, root: Path, tmp_path: Path) -> None:
    for number in range(100, 160):
        put(root / f"more-{number}.tiff", number)
    results: list[Result] = []

    def one() -> None:
        catalogue = Embedded(tmp_path / "catalogue.db")
        results.append(sync(store, catalogue))
        catalogue.close()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.added for result in results) == [0] * 5 + [64]
    catalogue = Embedded(tmp_path / "catalogue.db")
    assert len(by_path(catalogue)) == 64
    with alone(catalogue, "S"), pytest.raises(Busy):
        sync(store, catalogue, growing=at_once)
    with alone(catalogue, "other"):
        assert run(store, catalogue) == Result()
    catalogue.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def test_killed_at_any_point_the_next_run_completes(memory: Path) -> None:
    root, chance = memory / "root", random.Random(1)
    for number in range(100, 134):
        put(root / f"more-{number}.tiff", number)
    path, store = memory / "killed.db", Store(root=str(root), label="S")
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
    command = [sys.executable, str(tests / "sync_forks.py"), str(path), str(root)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as forks:
        duration = max(_sync_in_a_child(forks, "never")[1], 0.02)
        killed = 0
        for turn in range(KILLS):
            was = _ids(path)
            _mix(root, 1000 * (turn + 1), chance)
            code, _ = _sync_in_a_child(forks, chance.uniform(0, duration))
            killed += code == signal.SIGKILL
            _check_healed(path, store, was)
        assert forks.stdin
        forks.stdin.close()
    assert killed > KILLS // 4


def _sync_in_a_child(forks: "subprocess.Popen[str]", delay: object) -> tuple[int, float]:
    """How it ended, and after how long; killed after `delay` seconds."""
    assert forks.stdin
    assert forks.stdout
    forks.stdin.write(f"{delay}\n")
    code, seconds = forks.stdout.readline().split()
    return int(code), float(seconds)


def _ids(path: Path) -> dict[str, str]:
    """The ids of what is there, by content."""
    catalogue = Embedded(path)
    found = {slide.digest: slide.id for slide in catalogue.each("S") if slide.state == "ready"}
    catalogue.close()
    return found


def _mix(root: Path, number: int, chance: random.Random) -> None:
    """New, changed, moved, copied and removed files, enough for some batches."""
    files = sorted(path for path in root.rglob("*.tiff") if path.is_file())
    picked = chance.sample(files, 15)
    for path in picked[:3]:
        put(path, number := number + 1)
    for path in picked[3:7]:
        path.rename(path.with_name(f"moved-{number}-{path.name[-12:]}"))
    for path in picked[7:13]:
        path.unlink()
    for path in picked[13:]:
        shutil.copy(path, root / f"copy-{number}-{path.name[-12:]}")
        touch(root / f"copy-{number}-{path.name[-12:]}")
    for _ in range(4):
        put(root / f"new/{number}.tiff", number := number + 1)


def _check_healed(path: Path, store: Store, was: dict[str, str]) -> None:
    catalogue = Embedded(path)
    for slide in catalogue.each("S"):
        assert slide.state != "ready" or slide.pyramid is not None
    sync(store, catalogue)
    assert run(store, catalogue) == Result()
    slides = list(catalogue.each("S"))
    assert sorted(map(msgspec.json.encode, catalogue.marks("S"))) == sorted(
        msgspec.json.encode(mark(s)) for s in slides
    )
    there = [slide.path for slide in slides if slide.state == "ready"] + [
        a.path for slide in slides for a in slide.also
    ]
    files = [str(file.relative_to(store.root)) for file in Path(store.root).rglob("*.[tT][iI]*") if file.is_file()]
    assert sorted(there) == sorted(files)
    assert {slide.state for slide in slides} <= {"ready", "missing"}
    ids = {slide.id for slide in slides if slide.state == "ready"}
    for slide in slides:
        if slide.id in ids:
            source = FileSource(Path(store.root) / slide.path)
            assert (source.fingerprint(), name_of(source)) == (slide.fingerprint, slide.digest)
            # A name that is still there keeps its record: then the content that went elsewhere gets another.
            before = was.get(slide.digest, slide.id)
            assert before == slide.id or before in ids, "a slide lost its id"
    catalogue.close()


def test_a_running_server_sees_what_comes_changes_and_goes(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path / "state", slides=4) as server:

        def record(path: str) -> dict[str, object]:
            answer = server.get(f"/api/slides/root/{path}")
            found: dict[str, object] = msgspec.json.decode(answer.body) if answer.status == 200 else {}
            return found

        def within(seconds: float, true: Callable[[], bool]) -> None:
            end = time.monotonic() + seconds
            while not true():
                assert time.monotonic() < end, "the server did not notice"
                time.sleep(0.02)

        put(root / "new.tiff", 90)
        within(4, lambda: record("new.tiff").get("state") == "ready")
        before = record("new.tiff")
        put(root / "new.tiff", 91)
        within(4, lambda: record("new.tiff")["fingerprint"] != before["fingerprint"])
        assert record("new.tiff")["id"] == before["id"]
        (root / "new.tiff").unlink()
        within(4, lambda: record("new.tiff")["state"] == "missing")


class _as_nobody:  # noqa: N801 - used as a word
    """A folder of an unprivileged user's, and that user's rights while it lasts: root may read everything."""

    def __enter__(self) -> Path:
        self._user = os.geteuid()
        self._place = Path(tempfile.mkdtemp())
        if self._user == 0:
            os.chown(self._place, 65534, 65534)
            os.seteuid(65534)
        return self._place

    def __exit__(self, *_: object) -> None:
        os.seteuid(self._user)
        shutil.rmtree(self._place)
