"""The embedded catalogue against the contract, and what is its own: durability over a kill, names, look-up."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from contract_catalogue import CatalogueContract, record

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.catalogue.lookup import INTERVAL, Lookup
from ptiffserve.catalogue.served import Served
from ptiffserve.config import Store, StoreRecord
from ptiffserve.errors import NotFound
from ptiffserve.slide import mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "catalogue.db"


@pytest.fixture
def catalogue(path: Path) -> Iterator[Embedded]:
    catalogue = Embedded(path)
    yield catalogue
    catalogue.close()


@pytest.fixture
def another(path: Path) -> Callable[[], Embedded]:
    return lambda: Embedded(path)


class TestEmbedded(CatalogueContract):
    pass


def test_marks_of_a_catalogue_that_had_none(path: Path) -> None:
    catalogue = Embedded(path)
    catalogue.put([record(1), record(2, store="B")])
    catalogue.close()
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE marks; PRAGMA user_version = 0")
    connection.close()
    catalogue = Embedded(path)
    assert [*catalogue.marks("A"), *catalogue.marks("B")] == [mark(record(1)), mark(record(2, store="B"))]
    catalogue.close()


def test_committed_records_survive_a_kill(path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from ptiffserve.catalogue.embedded import Embedded\n"
        "from contract_catalogue import record\n"
        "catalogue = Embedded(Path(sys.argv[1]))\n"
        "for n in range(10**6):\n"
        "    catalogue.put([record(n)]); print(n, flush=True)\n"
    )
    tests = Path(__file__).parent
    command = [sys.executable, "-c", script, str(path), str(tests), str(tests.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [int(next(process.stdout)) for _ in range(30)]
        os.kill(process.pid, signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    catalogue = Embedded(path)
    known = {slide.id for slide in catalogue.each("A")}
    catalogue.close()
    assert {record(n).id for n in said} <= known


def test_readers_and_a_writer_at_once(catalogue: Embedded) -> None:
    faults: list[Exception] = []

    def read() -> None:
        try:
            for n in range(200):
                found = catalogue.get(record(n).id)
                assert found is None or found == record(n)
                catalogue.generation()
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(200):
        catalogue.put([record(n)])
    for thread in threads:
        thread.join()
    assert faults == []


class TestLookup:
    def test_asks_once_in_a_generation(self, catalogue: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
        catalogue.put([record(1)])
        asked: list[str] = []
        real = catalogue.get
        monkeypatch.setattr(catalogue, "get", lambda name: asked.append(name) or real(name))
        lookup = Lookup(catalogue, ["A"])
        for _ in range(3):
            assert lookup.get(record(1).id) == record(1)
            assert lookup.get("A/none") is None
        assert asked == [record(1).id, "A/none"]

    def test_sees_a_change_within_its_interval(self, catalogue: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = [100.0]
        monkeypatch.setattr("ptiffserve.catalogue.lookup.monotonic", lambda: clock[0])
        lookup = Lookup(catalogue, ["A"])
        assert lookup.get(record(1).key) is None
        catalogue.put([record(1)])
        assert lookup.get(record(1).key) is None
        clock[0] += INTERVAL
        assert lookup.get(record(1).key) == record(1)

    def test_slides_of_other_stores_are_not_there(self, catalogue: Embedded) -> None:
        catalogue.put([record(1, store="B")])
        assert Lookup(catalogue, ["A"]).get(record(1).id) is None

    def test_a_path_where_clients_see_the_file_is_a_name(self, catalogue: Embedded) -> None:
        slide = record(1)
        catalogue.put([slide])
        lookup = Lookup(catalogue, ["A"], {"/data/images": "A"})
        assert lookup.get(f"/data/images/{slide.path}") == slide
        for name in (
            f"/data/images//{slide.path}",
            f"/data/imagesX/{slide.path}",
            f"data/images/{slide.path}",
            f"/{slide.key}",
        ):
            assert lookup.get(name) is None, name


class TestServed:
    STORES = (Store(root="/a", label="A", schedule="0 1 * * *"), Store(root="/b", label="B"))

    def test_processes_that_start_at_once_agree(self, path: Path) -> None:
        found: list[list[StoreRecord]] = []

        def start() -> None:
            catalogue = Embedded(path)
            served = Served(catalogue, self.STORES, writes=True)
            served.start()
            found.append([served["A"], served["B"]])
            catalogue.close()

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(each == found[0] for each in found)
        assert all(store.configured and len(store.id) == 24 for store in found[0])

    def test_what_became_of_a_store_is_kept(self, catalogue: Embedded) -> None:
        before = StoreRecord(root="/old", label="A", id="a" * 24, last_sync=5.0, host_name="h", tile_endpoint="/t")
        catalogue.put_store(before)
        served = Served(catalogue, self.STORES, writes=True)
        served.start()
        kept = msgspec.structs.replace(before, root="/a", schedule="0 1 * * *", configured=True)
        assert served["A"] == kept
        assert catalogue.stores()[0] == kept
        generation = catalogue.generation()
        Served(catalogue, self.STORES, writes=True).start()
        assert catalogue.generation() == generation, "nothing new, nothing written"

    def test_stores_of_other_configurations_are_not_served(self, catalogue: Embedded) -> None:
        catalogue.put_store(StoreRecord(root="/x", label="X", id="a" * 24, configured=True))
        catalogue.put_store(StoreRecord(root="/y", label="Y", id="b" * 24, url_path="/data/y"))
        served = Served(catalogue, self.STORES, writes=False)
        assert served.renew() == {"/data/y": "Y"}
        assert sorted(served) == ["A", "B", "Y"]
        assert [store.label for store in catalogue.stores()] == ["X", "Y"], "it may not write"
        assert served.named("b" * 24).label == served.named("Y").label == "Y"
        for name in ("", "X", "a" * 24):
            with pytest.raises(NotFound):
                served.named(name)
