"""Open slides and lanes: bounded, keyed by the whole fingerprint, honest about overload and change."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ptiffserve.address import Associated, Blob, Tile, View, plan
from ptiffserve.config import Store
from ptiffserve.errors import NotFound, Overloaded, SlideChanged, SlideUnreadable
from ptiffserve.geometry import Box, Size
from ptiffserve.service import SLIDE_OVERHEAD, OpenSlides, Service
from ptiffserve.slide import Slide
from ptiffserve.sources.file import FileSource, inside
from ptiffserve.sync.index import index
from ptiffserve.sync.scan import look


def indexed(folder: Path, name: str) -> Slide:
    fingerprint = look(folder, name)
    assert fingerprint is not None
    slide = index(Store(root=str(folder), label="S"), name, fingerprint, None)
    assert slide is not None
    return slide


@pytest.fixture
def folder(tmp_path: Path, slides: Path) -> Path:
    for n in range(5):
        shutil.copy(slides / "big420.tiff", tmp_path / f"{n}.tiff")
    return tmp_path


@pytest.fixture
def opened(folder: Path) -> OpenSlides:
    return OpenSlides(lambda slide: FileSource(inside(folder, slide.path), slide.key), 3, 1 << 30)


@pytest.fixture
def service(opened: OpenSlides) -> Iterator[Service]:
    service = Service(opened, renders=1, queue=2)
    yield service
    service.close()


class TestOpenSlides:
    def test_bounded_by_number(self, opened: OpenSlides, folder: Path) -> None:
        slides = [indexed(folder, f"{n}.tiff") for n in range(5)]
        for slide in slides:
            opened.open(slide)
        assert [opened.get(slide) is not None for slide in slides] == [False, False, True, True, True]

    def test_least_recently_used_goes_first(self, opened: OpenSlides, folder: Path) -> None:
        slides = [indexed(folder, f"{n}.tiff") for n in range(4)]
        for n in (0, 1, 2, 0, 3):
            opened.open(slides[n])
        assert [opened.get(slide) is not None for slide in slides] == [True, False, True, True]

    def test_bounded_by_bytes(self, folder: Path) -> None:
        opened = OpenSlides(
            lambda slide: FileSource(inside(folder, slide.path), slide.key), 100, 2 * (SLIDE_OVERHEAD + 2000)
        )
        for n in range(5):
            opened.open(indexed(folder, f"{n}.tiff"))
        assert len(opened) == 2

    def test_an_evicted_slide_still_serves_who_holds_it(self, opened: OpenSlides, folder: Path) -> None:
        reader = opened.open(indexed(folder, "0.tiff"))
        tile = reader.tile(1, 0, 0)
        for n in range(1, 5):
            opened.open(indexed(folder, f"{n}.tiff"))
        assert reader.tile(1, 0, 0) == tile

    def test_descriptors_close_with_the_last_holder(self, opened: OpenSlides, folder: Path) -> None:
        count = lambda: len(list(Path("/proc/self/fd").iterdir()))  # noqa: E731
        before = count()
        for n in range(5):
            opened.open(indexed(folder, f"{n}.tiff"))
        assert count() == before + 3

    def test_the_same_path_with_other_bytes_is_another_slide(
        self, opened: OpenSlides, folder: Path, slides: Path
    ) -> None:
        before = indexed(folder, "0.tiff")
        old = opened.open(before)
        (folder / "0.tiff").unlink()
        shutil.copy(slides / "rgb.tiff", folder / "0.tiff")
        after = msgspec.structs.replace(indexed(folder, "0.tiff"), id=before.id)
        assert opened.open(after) is not old
        assert opened.open(after).pyramid != old.pyramid
        assert opened.open(before) is old

    def test_a_file_that_is_not_the_recorded_one(self, opened: OpenSlides, folder: Path, slides: Path) -> None:
        slide = indexed(folder, "0.tiff")
        shutil.copy(slides / "rgb.tiff", folder / "0.tiff")
        with pytest.raises(SlideChanged):
            opened.open(slide)

    def test_missing_unreadable_and_outside(self, opened: OpenSlides, folder: Path) -> None:
        slide = indexed(folder, "0.tiff")
        with pytest.raises(NotFound):
            opened.open(msgspec.structs.replace(slide, state="missing"))
        (folder / "junk.tiff").write_bytes(b"junk")
        with pytest.raises(SlideUnreadable):
            opened.open(indexed(folder, "junk.tiff"))
        with pytest.raises(NotFound):
            opened.open(msgspec.structs.replace(slide, path="../0.tiff"))

    def test_many_threads_open_and_read(self, opened: OpenSlides, folder: Path) -> None:
        slides = [indexed(folder, f"{n}.tiff") for n in range(5)]
        right = opened.open(slides[0]).tile(1, 0, 0)
        wrong: list[object] = []

        def work(seed: int) -> None:
            for n in range(200):
                tile = opened.open(slides[(n * 7 + seed) % 5]).tile(1, 0, 0)
                if tile != right:
                    wrong.append(tile)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(opened) == 3


def answer(service: Service, asked: Tile | View | Associated) -> Blob:
    return asyncio.run(_answer(service, asked))


async def _answer(service: Service, asked: Tile | View | Associated) -> Blob:
    return await service.answer(asked)


class TestLanes:
    def test_each_lane(self, service: Service, folder: Path) -> None:
        slide = indexed(folder, "0.tiff")
        sparse = _first_sparse(slide, service)
        assert answer(service, Tile(slide, 1, 0, 0)).lane == "stored"
        assert answer(service, sparse).lane == "blank"
        edge = plan(View(slide, Box(1024, 0, 512, 1024), Size(128, 256)))
        assert isinstance(edge, View)
        assert edge.level == 2
        assert answer(service, edge).lane == "lossless"
        assert answer(service, View(slide, Box(3, 5, 100, 100), Size(50, 50))).lane == "render"

    def test_at_hand_only_when_open_and_warm(self, service: Service, folder: Path) -> None:
        slide = indexed(folder, "0.tiff")
        tile = Tile(slide, 1, 0, 0)
        assert service.answer_now(tile) is None
        waited = answer(service, tile)
        assert service.answer_now(tile) == waited
        assert service.answer_now(View(slide, Box(0, 0, 10, 10), Size(5, 5))) is None

    def test_too_many_renders(self, service: Service, folder: Path) -> None:
        slide = indexed(folder, "0.tiff")
        views = [View(slide, Box(n, 0, 1000, 1000), Size(700, 700)) for n in range(6)]

        async def all_at_once() -> list[object]:
            return await asyncio.gather(*(service.answer(view) for view in views), return_exceptions=True)

        results = asyncio.run(all_at_once())
        assert sum(isinstance(result, Blob) for result in results) == 2
        assert sum(isinstance(result, Overloaded) for result in results) == 4
        assert answer(service, views[0]).lane == "render"

    def test_a_truncated_file_is_told_as_changed(self, service: Service, folder: Path) -> None:
        slide = indexed(folder, "0.tiff")
        answer(service, Tile(slide, 1, 0, 0))
        with (folder / "0.tiff").open("r+b") as file:
            file.truncate(100)
        assert service.answer_now(Tile(slide, 1, 0, 0)) is None
        with pytest.raises(SlideChanged):
            answer(service, Tile(slide, 1, 0, 0))


def _first_sparse(slide: Slide, service: Service) -> Tile:
    reader = service.slides.open(slide)
    grid = reader.pyramid.levels[0].grid
    cells = ((col, row) for row in range(grid.height) for col in range(grid.width))
    return next(Tile(slide, 0, col, row) for col, row in cells if reader.tile(0, col, row) == b"")
