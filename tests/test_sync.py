"""Scan, diff, apply and the watch, on real folders with real slides."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from files import put
from hypothesis import given
from hypothesis import strategies as st

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Store, StoreRecord
from ptiffserve.readers import READING
from ptiffserve.slide import Fingerprint, Slide, mark
from ptiffserve.sync.apply import apply
from ptiffserve.sync.diff import Rules, diff
from ptiffserve.sync.result import Result
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

    def test_endings_and_other_patterns(self, root: Path) -> None:
        for name in ("x.TIFF", "tiff", ".tiff", "y.tif.bak", "z.ome.tif", "CASE-1.img", "deep/skip.tiff"):
            (root / name).write_text("x")

        def found(include: list[str], exclude: tuple[str, ...] = ()) -> list[str]:
            return sorted(scan(Store(root=str(root), label="S", include=include, exclude=list(exclude))).files)

        assert found(["*.tiff"], ("deep/*",)) == ["a.tiff", "x.TIFF"]
        assert found(["*.ome.tif", "case-?.img"]) == ["CASE-1.img", "z.ome.tif"]
        assert found(["*.[pt]tif*", "tiff"]) == ["deep/er/c.ptif", "tiff"]
        assert found([]) == []

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
        reasons = {failure.path: failure.reason for failure in found.failed}
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
        assert found.failed[0].path == "deep/"


PATHS = st.sampled_from(["a", "b", "c", "d"])
PRINTS = st.builds(Fingerprint, st.just(1), st.integers(1, 4), st.just(5), st.integers(1, 2))


RULES = Rules("embed", READING, 0.0)


def known(path: str, fingerprint: Fingerprint, state: str = "ready") -> Slide:
    return Slide(
        id=path * 24, store="S", path=path, fingerprint=fingerprint, state=state, added=0, changed=0, reading=READING
    )


@given(st.dictionaries(PATHS, PRINTS), st.dictionaries(PATHS, PRINTS), st.booleans())
def test_diff_accounts_for_every_path_once(
    found: dict[str, Fingerprint], before: dict[str, Fingerprint], lost: bool
) -> None:
    state = "missing" if lost else "ready"
    changes = diff(found, [mark(known(path, fingerprint, state)) for path, fingerprint in before.items()], (), RULES)
    moved_to = [move.path for move in changes.moved]
    assert sorted([*changes.new, *moved_to]) == sorted(set(found) - set(before))
    assert {each.path for each in changes.suspect} == {p for p in found if p in before and found[p] != before[p]}
    for move in changes.moved:
        assert move.mark.fingerprint == found[move.path] == move.fingerprint
        assert move.mark.path not in found
    vanished = set(before) - set(found) - {move.mark.path for move in changes.moved}
    assert {each.path for each in changes.lost} == vanished
    assert {each.path for each in changes.gone} == (set() if lost else vanished)
    back = {p for p in found if before.get(p) == found[p]}
    assert {each.path for each in changes.back} == (back if lost else set())
    assert not (changes.again or changes.expired or changes.faulty)


class TestApply:
    def test_records_are_what_the_files_say(self, store: Store, catalogue: Embedded) -> None:
        assert sync(store, catalogue) == Result(added=3)
        slide = by_path(catalogue)["deep/er/c.ptif"]
        assert (slide.state, slide.format, slide.barcode) == ("ready", "philips", "S26-001234")
        assert slide.pyramid is not None
        assert slide.pyramid.mpp == pytest.approx((0.226907, 0.226891))
        assert slide.associated == ("macro", "label")

    def test_a_second_run_changes_nothing(self, store: Store, catalogue: Embedded) -> None:
        sync(store, catalogue)
        before, generation = by_path(catalogue), catalogue.generation()
        assert sync(store, catalogue) == Result()
        assert by_path(catalogue) == before
        assert catalogue.generation() == generation

    def test_one_bad_file_is_one_bad_record(self, store: Store, root: Path, catalogue: Embedded) -> None:
        (root / "0-junk.tiff").write_bytes(b"II*\0junk")
        (root / "1-empty.tiff").write_bytes(b"")
        result = sync(store, catalogue)
        assert [failure.path for failure in result.failed] == ["0-junk.tiff", "1-empty.tiff"]
        states = {path: slide.state for path, slide in by_path(catalogue).items()}
        assert states.pop("0-junk.tiff") == states.pop("1-empty.tiff") == "unreadable"
        assert set(states.values()) == {"ready"}
        assert all(by_path(catalogue)[failure.path].reason for failure in result.failed)

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
        assert sync(store, catalogue) == Result(moved=1)
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
        assert sync(store, catalogue) == Result()
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
        assert "nothing is marked missing" in result.failed[-1].reason
        assert {slide.state for slide in catalogue.each("S")} == {"ready"}


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
        watch = Watch(
            {"S": StoreRecord(root=str(root), label="S", poll=0.1, id="5" * 24)}, catalogue, tmp_path / "lock"
        )
        watch.start()
        yield watch
        watch.stop()

    def test_follows_the_folder(self, watch: Watch, root: Path, slides: Path, catalogue: Embedded) -> None:
        until(lambda: len(by_path(catalogue)) == 3)
        shutil.copy(slides / "classic422.tiff", root / "new.tiff")
        until(lambda: "new.tiff" in by_path(catalogue))
        (root / "new.tiff").unlink()
        until(lambda: by_path(catalogue)["new.tiff"].state == "missing")

    def test_waits_for_a_file_that_grows(self, watch: Watch, root: Path, slides: Path, catalogue: Embedded) -> None:
        until(lambda: len(by_path(catalogue)) == 3)
        data = (slides / "big444.tiff").read_bytes()
        step = len(data) // 12
        with (root / "slow.tiff").open("wb", buffering=0) as file:
            for at in range(0, len(data), step):
                file.write(data[at : at + step])
                time.sleep(0.15)
                assert "slow.tiff" not in by_path(catalogue)
        until(lambda: "slow.tiff" in by_path(catalogue))
        assert by_path(catalogue)["slow.tiff"].state == "ready"

    def test_what_stirs_in_a_tree_too_large_to_look_at_often(
        self, root: Path, slides: Path, catalogue: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ptiffserve.sync.watch.LOAD", 1e-9)
        watch = Watch(
            {"S": StoreRecord(root=str(root), label="S", poll=0.1, id="5" * 24)}, catalogue, tmp_path / "lock"
        )
        watch.start()
        try:
            until(lambda: len(by_path(catalogue)) == 3)
            shutil.copy(slides / "classic422.tiff", root / "deep" / "new.tiff")
            until(lambda: "deep/new.tiff" in by_path(catalogue))
            (root / "deep/er/c.ptif").unlink()
            until(lambda: by_path(catalogue)["deep/er/c.ptif"].state == "missing")
            (root / "made").mkdir()
            time.sleep(0.3)
            shutil.copy(slides / "big444.tiff", root / "made" / "new.tiff")
            until(lambda: "made/new.tiff" in by_path(catalogue))
        finally:
            watch.stop()

    def test_stops_in_the_middle_of_a_sync(self, root: Path, catalogue: Embedded, tmp_path: Path) -> None:
        for number in range(800):
            put(root / f"many/{number}.tiff", number)
        watch = Watch(
            {"S": StoreRecord(root=str(root), label="S", poll=0.1, id="5" * 24)}, catalogue, tmp_path / "lock"
        )
        watch.start()
        until(lambda: len(by_path(catalogue)) > 0)
        watch.stop()
        assert len(by_path(catalogue)) < 803

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
        second = Watch(
            {"T": StoreRecord(root=str(root), label="T", poll=0.1, id="7" * 24)}, catalogue, tmp_path / "lock"
        )
        second.start()
        try:
            time.sleep(0.5)
            assert list(catalogue.each("T")) == []
            watch.stop()
            until(lambda: len(list(catalogue.each("T"))) == 3)
        finally:
            second.stop()
