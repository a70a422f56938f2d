"""One body of tests for every catalogue backend: a test file gives it a fixture `catalogue` and `another` (same data)."""

from collections.abc import Callable

import msgspec
import pytest

from ptiffserve.catalogue.base import Catalogue, Query
from ptiffserve.config import StoreRecord
from ptiffserve.errors import Conflict
from ptiffserve.geometry import Level, Pyramid, Size
from ptiffserve.slide import Alias, Fingerprint, Mark, Slide, mark

LEVEL = Level(Size(1000, 800), Size(256, 256), Size(4, 4), 1, "jpg")


def record(number: int, store: str = "A", **more: object) -> Slide:
    slide = Slide(
        id=f"{number:024x}",
        store=store,
        path=f"folder/slide-{number:03}.tiff",
        fingerprint=Fingerprint(1, number, 10**12, 1_700_000_000_123_456_789),
        state="ready",
        added=1.5,
        changed=2.5,
        pyramid=Pyramid((LEVEL,), (0.25, 0.26)),
        barcode=f"B{number}",
        associated=("label", "macro"),
    )
    return msgspec.structs.replace(slide, **more)


class CatalogueContract:
    def test_a_record_comes_back_whole(self, catalogue: Catalogue) -> None:
        slide = record(1, path="ünï/cødé <b>\n.tiff", reason="x" * 1000)
        catalogue.put([slide])
        assert catalogue.get(slide.id) == slide
        assert catalogue.get(slide.key) == slide
        assert list(catalogue.each("A")) == [slide]

    def test_what_is_not_there(self, catalogue: Catalogue) -> None:
        for name in ("", "A", "A/", "0" * 24, "A/none.tiff", "\0", "x" * 5000, "A/\ud800", "'; DROP TABLE slides; --"):
            assert catalogue.get(name) is None
        assert list(catalogue.each("none")) == []

    def test_other_names(self, catalogue: Catalogue) -> None:
        alias = Alias("deep/copy.tiff", Fingerprint(1, 2, 3, 4))
        slide = record(1, also=(alias, Alias("b.tiff", alias.fingerprint)))
        catalogue.put([slide, record(2)])
        assert catalogue.get("A/deep/copy.tiff") == catalogue.get("A/b.tiff") == slide
        assert catalogue.get("B/b.tiff") is None
        assert catalogue.get("A/copy.tiff") is None
        fewer = msgspec.structs.replace(slide, also=(alias,))
        catalogue.put([fewer])
        assert catalogue.get("A/b.tiff") is None
        assert catalogue.get("A/deep/copy.tiff") == fewer
        own = record(3, path="deep/copy.tiff")
        catalogue.put([own])
        assert catalogue.get("A/deep/copy.tiff") == own
        catalogue.forget([slide.id, own.id])
        assert catalogue.get("A/deep/copy.tiff") is None

    def test_put_replaces_by_id(self, catalogue: Catalogue) -> None:
        catalogue.put([record(1), record(2)])
        moved = record(1, path="elsewhere.tiff", state="missing")
        catalogue.put([moved])
        assert catalogue.get(moved.id) == moved
        assert catalogue.get(record(1).key) is None
        assert len(list(catalogue.each("A"))) == 2

    def test_forget(self, catalogue: Catalogue) -> None:
        catalogue.put([record(1), record(2)])
        catalogue.forget([record(1).id, "f" * 24])
        assert [slide.id for slide in catalogue.each("A")] == [record(2).id]

    def test_marks_are_what_the_records_say(self, catalogue: Catalogue) -> None:
        alias = Alias("other.tiff", Fingerprint(1, 2, 3, 4))
        catalogue.put(
            [record(1, digest="ab" * 16, also=(alias,), reading=2), record(2, reason="x"), record(4, store="B")]
        )
        catalogue.put([record(2, state="missing"), record(3)])
        catalogue.forget([record(3).id])
        catalogue.put([record(5, path=record(2).path)])

        def marks(store: str) -> list[Mark]:
            return sorted(catalogue.marks(store), key=lambda each: each.id)

        assert [each.id for each in marks("A")] == [record(1).id, record(5).id]
        for store in ("A", "B", "none"):
            assert marks(store) == sorted(map(mark, catalogue.each(store)), key=lambda each: each.id)
        catalogue.forget_store("A")
        assert marks("A") == []
        assert len(marks("B")) == 1

    def test_a_walk_is_not_disturbed_by_writes(self, catalogue: Catalogue) -> None:
        catalogue.put(record(n) for n in range(10))
        seen = []
        for slide in catalogue.each("A"):
            seen.append(slide.id)
            catalogue.put([msgspec.structs.replace(slide, reason="seen")])
        assert sorted(seen) == [record(n).id for n in range(10)]

    def test_pages_are_in_order_and_complete(self, catalogue: Catalogue) -> None:
        catalogue.put(record(n, store=store) for store in ("A", "B") for n in _numbers(store))
        found, cursor = [], ""
        while True:
            page = catalogue.page(Query(("A", "B"), after=cursor, limit=7))
            found += [slide.key for slide in page.slides]
            cursor = page.next
            if not cursor:
                break
        assert len(found) == 50
        assert found == sorted(found)

    def test_conditions(self, catalogue: Catalogue) -> None:
        catalogue.put([record(1), record(2, path="100%_a.tiff"), record(3, state="unreadable"), record(4, store="B")])
        assert self.numbers(catalogue, Query(("A",))) == [1, 2, 3]
        assert self.numbers(catalogue, Query(("A", "B"), text="SLIDE-00")) == [1, 3, 4]
        assert self.numbers(catalogue, Query(("A",), text="%_")) == [2]
        assert self.numbers(catalogue, Query(("A",), state="unreadable")) == [3]
        assert self.numbers(catalogue, Query(("A", "B"), barcode="B4")) == [4]
        assert self.numbers(catalogue, Query(())) == []

    def numbers(self, catalogue: Catalogue, query: Query) -> list[int]:
        return sorted(int(slide.id, 16) for slide in catalogue.page(query).slides)

    def test_generation_changes_when_another_process_writes(
        self, catalogue: Catalogue, another: Callable[[], Catalogue]
    ) -> None:
        before = catalogue.generation()
        assert catalogue.generation() == before
        other = another()
        other.put([record(9)])
        other.close()
        assert catalogue.generation() != before
        assert catalogue.get(record(9).id) == record(9)

    def test_generation_changes_when_it_writes_itself(self, catalogue: Catalogue) -> None:
        before = catalogue.generation()
        catalogue.put([record(1)])
        assert catalogue.generation() != before

    def test_stores(self, catalogue: Catalogue) -> None:
        assert catalogue.stores() == []
        first = StoreRecord(root="/x/ü", label="B", id="b" * 24, last_sync=1.25, exclude=["*.tmp"], icc="srgb")
        second = StoreRecord(root="mongodb://h/d", label="A", id="a" * 24, host_name="h", configured=True)
        before = catalogue.generation()
        catalogue.put_store(first)
        catalogue.put_store(second)
        assert catalogue.generation() != before
        assert catalogue.stores() == [second, first]
        renamed = msgspec.structs.replace(first, label="C")
        catalogue.put_store(renamed)
        assert catalogue.stores() == [second, renamed]
        with pytest.raises(Conflict):
            catalogue.put_store(msgspec.structs.replace(renamed, label="A"))
        assert catalogue.stores() == [second, renamed]

    def test_synced_says_nothing_else(self, catalogue: Catalogue) -> None:
        store = StoreRecord(root="/x/ü", label="B", id="b" * 24, tile_endpoint="https://t", include=["*.tif"])
        catalogue.put_store(store)
        before = catalogue.generation()
        at = 1_764_032_551.25
        catalogue.synced(store.id, at)
        catalogue.synced("c" * 24, at)
        assert catalogue.stores() == [msgspec.structs.replace(store, last_sync=at)]
        assert catalogue.generation() != before

    def test_a_store_is_forgotten_with_its_slides(self, catalogue: Catalogue) -> None:
        catalogue.put_store(StoreRecord(root="/x", label="A", id="a" * 24))
        catalogue.put_store(StoreRecord(root="/y", label="B", id="b" * 24))
        catalogue.put([record(1), record(2, store="B")])
        catalogue.forget_store("A")
        assert [store.label for store in catalogue.stores()] == ["B"]
        assert catalogue.get(record(1).id) is None
        assert catalogue.get(record(2).id) == record(2, store="B")

    def test_all_or_none(self, catalogue: Catalogue) -> None:
        def records() -> object:
            yield record(1)
            raise OSError("the scan broke off")

        try:
            catalogue.put(records())  # type: ignore[arg-type]
        except OSError:
            pass
        else:
            raise AssertionError("the error was swallowed")
        assert list(catalogue.each("A")) == []


def _numbers(store: str) -> range:
    return range(25) if store == "A" else range(100, 125)
