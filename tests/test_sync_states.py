"""Any sequence of what happens to a folder, and syncs between: what the catalogue then says, and which slides kept their id."""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec
from files import MEMORY, content, put, touch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Store
from ptiffserve.slide import Slide, mark
from ptiffserve.sync.result import Result
from ptiffserve.sync.run import sync

SOAK = bool(os.environ.get("PTIFFSERVE_SOAK"))
NAMES = st.sampled_from(["a.tiff", "b.tiff", "x/a.tiff", "x/y/c.tiff"])
# A few contents, so that copies are common.
NUMBERS = st.integers(1, 3)
ANCHOR = "anchor.tiff"


class Folder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=MEMORY))
        self.root = self.place / "root"
        self.catalogue = Embedded(self.place / "catalogue.db")
        self.store = Store(root=str(self.root), label="S")
        self.files = {ANCHOR: 0}
        self.synced: dict[str, int] = {}
        put(self.root / ANCHOR, 0)

    def teardown(self) -> None:
        self.catalogue.close()
        shutil.rmtree(self.place)

    @rule(name=NAMES, number=NUMBERS, in_place=st.booleans())
    def write(self, name: str, number: int, in_place: bool) -> None:
        put(self.root / name, number, in_place)
        self.files[name] = number

    @rule(name=NAMES, number=st.just(-1))
    def break_(self, name: str, number: int) -> None:
        self.write(name, number, in_place=True)

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        touch(self.root / self._one(data))

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data(), to=NAMES)
    def move(self, data: st.DataObject, to: str) -> None:
        name = self._one(data)
        (self.root / to).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).rename(self.root / to)
        self.files[to] = self.files.pop(name)

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data(), to=NAMES)
    def copy(self, data: st.DataObject, to: str) -> None:
        self.write(to, self.files[self._one(data)], in_place=False)

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self._one(data)
        (self.root / name).unlink()
        del self.files[name]

    def _one(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(name for name in self.files if name != ANCHOR)))

    @rule()
    def sweep(self) -> None:
        """What is missing by now goes."""
        gone = {slide.id for slide in self._slides() if slide.state == "missing"}
        result = self._sync(remove_after=0.0)
        there = {slide.id for slide in self._slides()}
        assert result.removed == len(gone - there)
        assert all(slide.id not in gone or slide.state != "missing" for slide in self._slides())

    @rule()
    def sync(self) -> None:
        self._sync(remove_after=1e9)

    def _sync(self, remove_after: float) -> Result:
        before = {slide.id: slide for slide in self._slides()}
        store = msgspec.structs.replace(self.store, remove_after=remove_after)
        said = msgspec.structs.replace(sync(store, self.catalogue, dry_run=True), seconds=0.0)
        assert {slide.id: slide for slide in self._slides()} == before
        result = msgspec.structs.replace(sync(store, self.catalogue), seconds=0.0)
        assert result == said
        after = {slide.id: slide for slide in self._slides()}
        self._check_files(list(after.values()), result)
        self._check_ids(before, after)
        self._check_counts(before, after, result)
        generation = self.catalogue.generation()
        again = msgspec.structs.replace(sync(self.store, self.catalogue), seconds=0.0)
        assert again == Result(failed=again.failed)
        assert sorted(f.path for f in again.failed) == sorted(f.path for f in result.failed)
        assert self.catalogue.generation() == generation
        self.synced = dict(self.files)
        return result

    def _slides(self) -> list[Slide]:
        slides = list(self.catalogue.each("S"))
        assert {slide.id: mark(slide) for slide in slides} == {each.id: each for each in self.catalogue.marks("S")}
        return slides

    def _check_files(self, slides: list[Slide], result: Result) -> None:
        """Every file is in one place of the catalogue, as what it is."""
        places = {slide.path: slide for slide in slides if slide.state != "missing"}
        copies = {alias.path: (slide, alias) for slide in slides for alias in slide.also}
        assert sorted([*places, *copies]) == sorted(self.files)
        for path, slide in places.items():
            assert slide.state == ("ready" if self.files[path] >= 0 else "unreadable")
            assert slide.fingerprint.size == (self.root / path).stat().st_size
            assert slide.fingerprint.mtime_ns == (self.root / path).stat().st_mtime_ns
        for path, (slide, alias) in copies.items():
            assert slide.state == "ready"
            assert content(self.files[path]) == content(self.files[slide.path])
            assert alias.fingerprint.inode == (self.root / path).stat().st_ino
        assert {failure.path for failure in result.failed} == {name for name, n in self.files.items() if n < 0}

    def _check_ids(self, before: dict[str, Slide], after: dict[str, Slide]) -> None:
        for slide in before.values():
            if slide.state == "missing":
                continue
            if slide.path in self.files:
                assert after[slide.id].path == slide.path, "a name that is still there keeps its record"
                continue
            number = self.synced[slide.path]
            homes = [name for name, n in self.files.items() if n == number]
            known = {other.path for other in before.values()}
            if homes and not known.intersection(homes) and slide.state == "ready" and self._alone(number, before):
                assert after[slide.id].path in homes, "a slide that was moved keeps its id"

    def _alone(self, number: int, before: dict[str, Slide]) -> bool:
        """Whether no other record, of a file there was or is missing, had this content."""
        digests = [slide.digest for slide in before.values()]
        mine = [slide for slide in before.values() if self.synced.get(slide.path) == number and slide.state == "ready"]
        return len(mine) == 1 and digests.count(mine[0].digest) == 1

    def _check_counts(self, before: dict[str, Slide], after: dict[str, Slide], result: Result) -> None:
        def missing(slides: dict[str, Slide]) -> set[str]:
            return {name for name, slide in slides.items() if slide.state == "missing"}

        came_back = missing(before) & (after.keys() - missing(after))
        same_path = {name for name in came_back if before[name].path == after[name].path}
        moved = {name for name in before.keys() & after.keys() if before[name].path != after[name].path}
        assert result.added == len(after.keys() - before.keys()) + len(same_path)
        assert result.moved == len(moved)
        assert result.missing == len(missing(after) - missing(before))
        changed = {
            name
            for name in before.keys() & after.keys() - moved - same_path - missing(after)
            if self.files[after[name].path] != self.synced[after[name].path]
        }
        assert result.changed == len(changed)


Folder.TestCase.settings = settings(
    max_examples=1000 if SOAK else 40,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestFolder = Folder.TestCase
