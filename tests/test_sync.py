"""Scan, diff, apply and the watch, on real folders with real slides."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Store, StoreRecord
from ptiffserve.slide import Fingerprint, Slide
from ptiffserve.sync.apply import Result, apply
from ptiffserve.sync.diff import diff
from ptiffserve.sync.scan import RootMissing, scan
from ptiffserve.sync.watch import Watch, refresh


@pytest.fixture
def root(tmp_path: Path, slides: Path) -> Path:
    root = tmp_path / "root"
    (root / "deep" / "er").mkdir(parents=True)
    shutil.copy(slides / "one.tiff", root / "a.tiff")
    shutil.copy(slides / "rgb.tiff", root / "deep" / "b.TIFF")
    shutil.copy(slides / "big420.tiff", root / "deep" / "er" / "c.ptif")
    return root


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root=str(root), label="S")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Embedded]:
    catalogue = Embedded(tmp_path / "catalogue.db")
    yield catalogue
    catalogue.close()


def sync(store: Store, catalogue: Embedded) -> Result:
    return apply(store, scan(store), catalogue)


def by_path(catalogue: Embedded) -> dict[str, Slide]:
    return {slide.path: slide for slide in catalogue.each("S")}


class TestScan:
    def test_finds_by_pattern_at_any_depth(self, store: Store, root: Path) -> None:
        (root / "notes.txt").write_text("x")
        (root / ".hidden.tiff").write_text("x")
        assert sorted(scan(store).files) == ["a.tiff", "deep/b.TIFF", "deep/er/c.ptif"]

    def test_opens_nothing(self, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*arguments: object, **keywords: object) -> None:
            raise AssertionError("a file was opened")

        monkeypatch.setattr(os, "open", never)
        monkeypatch.setattr("builtins.open", never)
        assert len(scan(store).files) == 3

    def test_a_missing_root_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(RootMissing):
            scan(Store(root=str(tmp_path / "none"), label="S"))

    def test_odd_things_are_failures_of_their_own(self, store: Store, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside.tiff"
        outside.write_bytes(b"x")
        (root / "link.tiff").symlink_to(outside)
        (root / "inner.tiff").symlink_to(root / "a.tiff")
        (root / "loop.tiff").symlink_to(root / "loop.tiff")
        (root / "folder.tiff").mkdir()
        (root / "loops").symlink_to(root)
        os.mkfifo(root / "pipe.tiff")
        Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.tiff")).write_bytes(b"x")
        (root / ("n" * 250 + ".tiff")).write_bytes(b"x")
        (root / "new\nline.tiff").write_bytes(b"x")
        found = scan(store)
        assert {"inner.tiff", "n" * 250 + ".tiff", "new\nline.tiff"} <= set(found.files)
        reasons = dict(found.failed)
        assert "leads out" in reasons["link.tiff"]
        assert "not a regular file" in reasons["pipe.tiff"]
        assert "not UTF-8" in reasons["??.tiff"]
        assert "loop.tiff" in reasons
        assert not {"link.tiff", "pipe.tiff", "folder.tiff", "loop.tiff"} & set(found.files)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
    def test_an_unreadable_folder_is_a_failure_of_its_own(self, store: Store, root: Path) -> None:
        (root / "deep").chmod(0)
        try:
            found = scan(store)
        finally:
            (root / "deep").chmod(0o755)
        assert list(found.files) == ["a.tiff"]
        assert found.failed[0][0] == "deep/"


PATHS = st.sampled_from(["a", "b", "c", "d"])
PRINTS = st.builds(Fingerprint, st.just(1), st.integers(1, 4), st.just(5), st.integers(1, 2))


def known(path: str, fingerprint: Fingerprint, state: str = "ready") -> Slide:
    return Slide(id=path * 24, store="S", path=path, fingerprint=fingerprint, state=state, added=0, changed=0)


@given(st.dictionaries(PATHS, PRINTS), st.dictionaries(PATHS, PRINTS), st.booleans())
def test_diff_accounts_for_every_path_once(
    found: dict[str, Fingerprint], before: dict[str, Fingerprint], lost: bool
) -> None:
    state = "missing" if lost else "ready"
    changes = diff(found, [known(path, fingerprint, state) for path, fingerprint in before.items()])
    moved_to = [path for _, path in changes.moved]
    assert sorted([*changes.added, *moved_to]) == sorted(set(found) - set(before))
    assert {slide.path for slide in changes.changed} == {p for p in found if p in before and found[p] != before[p]}
    for slide, path in changes.moved:
        assert slide.fingerprint == found[path]
        assert slide.path not in found
    vanished = set(before) - set(found) - {slide.path for slide, _ in changes.moved}
    assert {slide.path for slide in changes.gone} == (set() if lost else vanished)
    back = {p for p in found if before.get(p) == found[p]}
    assert {slide.path for slide in changes.back} == (back if lost else set())


class TestApply:
    def test_records_are_what_the_files_say(self, store: Store, catalogue: Embedded) -> None:
        assert sync(store, catalogue) == Result(3, 0, 0, 0, [])
        slide = by_path(catalogue)["deep/er/c.ptif"]
        assert (slide.state, slide.format, slide.barcode) == ("ready", "philips", "S26-001234")
        assert slide.pyramid is not None
        assert slide.pyramid.mpp == pytest.approx((0.226907, 0.226891))
        assert slide.associated == ("macro", "label")

    def test_a_second_run_changes_nothing(self, store: Store, catalogue: Embedded) -> None:
        sync(store, catalogue)
        before, generation = by_path(catalogue), catalogue.generation()
        assert sync(store, catalogue) == Result(0, 0, 0, 0, [])
        assert by_path(catalogue) == before
        assert catalogue.generation() == generation

    def test_one_bad_file_is_one_bad_record(self, store: Store, root: Path, catalogue: Embedded) -> None:
        (root / "0-junk.tiff").write_bytes(b"II*\0junk")
        (root / "1-empty.tiff").write_bytes(b"")
        result = sync(store, catalogue)
        assert [path for path, _ in result.failed] == ["0-junk.tiff", "1-empty.tiff"]
        states = {path: slide.state for path, slide in by_path(catalogue).items()}
        assert states.pop("0-junk.tiff") == states.pop("1-empty.tiff") == "unreadable"
        assert set(states.values()) == {"ready"}
        assert all(by_path(catalogue)[path].reason for path, _ in result.failed)

    def test_a_changed_file_keeps_its_id(self, store: Store, root: Path, slides: Path, catalogue: Embedded) -> None:
        sync(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        shutil.copy(slides / "big444.tiff", root / "a.tiff")
        assert sync(store, catalogue).changed == 1
        after = by_path(catalogue)["a.tiff"]
        assert after.id == before.id
        assert after.fingerprint != before.fingerprint
        assert after.pyramid != before.pyramid

    def test_a_moved_file_keeps_its_id(self, store: Store, root: Path, catalogue: Embedded) -> None:
        sync(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        (root / "a.tiff").rename(root / "deep" / "moved.tiff")
        assert sync(store, catalogue) == Result(0, 0, 1, 0, [])
        assert by_path(catalogue)["deep/moved.tiff"].id == before.id
        assert "a.tiff" not in by_path(catalogue)

    def test_a_vanished_file_is_missing_and_comes_back(
        self, store: Store, root: Path, tmp_path: Path, catalogue: Embedded
    ) -> None:
        sync(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        (root / "a.tiff").rename(tmp_path / "kept")
        assert sync(store, catalogue).missing == 1
        assert by_path(catalogue)["a.tiff"].state == "missing"
        assert sync(store, catalogue) == Result(0, 0, 0, 0, [])
        (tmp_path / "kept").rename(root / "a.tiff")
        sync(store, catalogue)
        after = by_path(catalogue)["a.tiff"]
        assert (after.id, after.state, after.pyramid) == (before.id, "ready", before.pyramid)

    def test_an_emptied_root_removes_nothing(self, store: Store, root: Path, catalogue: Embedded) -> None:
        sync(store, catalogue)
        shutil.rmtree(root)
        root.mkdir()
        result = sync(store, catalogue)
        assert result.missing == 0
        assert "nothing is marked missing" in result.failed[-1][1]
        assert {slide.state for slide in catalogue.each("S")} == {"ready"}

    def test_killed_at_any_point_the_next_run_completes(
        self, store: Store, root: Path, tmp_path: Path, slides: Path
    ) -> None:
        for n in range(40):
            shutil.copy(slides / "one.tiff", root / f"more-{n}.tiff")
        script = (
            "import sys; from pathlib import Path\n"
            "from ptiffserve.catalogue.embedded import Embedded\n"
            "from ptiffserve.config import Store\n"
            "from ptiffserve.sync import apply as m\n"
            "from ptiffserve.sync.scan import scan\n"
            "m.BATCH = 3\n"
            "s = Store(root=sys.argv[2], label='S'); print('go', flush=True)\n"
            "m.apply(s, scan(s), Embedded(Path(sys.argv[1])))\n"
        )
        path = tmp_path / "killed.db"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        for delay in (0.0, 0.01, 0.03, 0.06):
            command = [sys.executable, "-c", script, str(path), str(root)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
                assert process.stdout
                process.stdout.readline()
                time.sleep(delay)
                process.kill()
        catalogue = Embedded(path)
        sync(store, catalogue)
        assert set(by_path(catalogue)) == set(scan(store).files)
        assert {slide.state for slide in catalogue.each("S")} == {"ready"}
        catalogue.close()


class TestRefresh:
    def test_gives_the_new_record(self, store: Store, root: Path, slides: Path, catalogue: Embedded) -> None:
        sync(store, catalogue)
        before = by_path(catalogue)["a.tiff"]
        assert refresh({"S": store}, catalogue, before) == before
        shutil.copy(slides / "rgb.tiff", root / "a.tiff")
        assert refresh({"S": store}, catalogue, before) is None, "it may be written still"
        os.utime(root / "a.tiff", (1_700_000_000, 1_700_000_000))
        after = refresh({"S": store}, catalogue, before)
        assert after is not None
        assert after.id == before.id
        assert after == by_path(catalogue)["a.tiff"]
        (root / "a.tiff").unlink()
        assert refresh({"S": store}, catalogue, before) is None


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.02)


class TestWatch:
    @pytest.fixture
    def watch(self, root: Path, catalogue: Embedded, tmp_path: Path) -> Iterator[Watch]:
        store = StoreRecord(root=str(root), label="S", poll=0.1, id="5" * 24)
        watch = Watch({"S": store}, catalogue, tmp_path / "lock")
        watch.start()
        yield watch
        watch.stop()

    def test_follows_the_folder(self, watch: Watch, root: Path, slides: Path, catalogue: Embedded) -> None:
        until(lambda: len(by_path(catalogue)) == 3)
        shutil.copy(slides / "one.tiff", root / "new.tiff")
        until(lambda: "new.tiff" in by_path(catalogue))
        (root / "new.tiff").unlink()
        until(lambda: by_path(catalogue)["new.tiff"].state == "missing")

    def test_waits_for_a_file_that_grows(self, watch: Watch, root: Path, slides: Path, catalogue: Embedded) -> None:
        until(lambda: len(by_path(catalogue)) == 3)
        data = (slides / "big420.tiff").read_bytes()
        step = len(data) // 12
        with (root / "slow.tiff").open("wb", buffering=0) as file:
            for at in range(0, len(data), step):
                file.write(data[at : at + step])
                time.sleep(0.15)
                assert "slow.tiff" not in by_path(catalogue)
        until(lambda: "slow.tiff" in by_path(catalogue))
        assert by_path(catalogue)["slow.tiff"].state == "ready"

    def test_an_unmounted_root_changes_nothing_and_heals(
        self, watch: Watch, root: Path, tmp_path: Path, catalogue: Embedded
    ) -> None:
        until(lambda: len(by_path(catalogue)) == 3)
        root.rename(tmp_path / "away")
        time.sleep(0.5)
        assert {slide.state for slide in catalogue.each("S")} == {"ready"}
        (tmp_path / "away").rename(root)
        (root / "a.tiff").unlink()
        until(lambda: by_path(catalogue)["a.tiff"].state == "missing")

    def test_only_one_of_two_works_and_the_other_takes_over(
        self, watch: Watch, root: Path, catalogue: Embedded, tmp_path: Path
    ) -> None:
        until(lambda: len(by_path(catalogue)) == 3)
        store = StoreRecord(root=str(root), label="T", poll=0.1, id="7" * 24)
        second = Watch({"T": store}, catalogue, tmp_path / "lock")
        second.start()
        try:
            time.sleep(0.5)
            assert list(catalogue.each("T")) == []
            watch.stop()
            until(lambda: len(list(catalogue.each("T"))) == 3)
        finally:
            second.stop()
