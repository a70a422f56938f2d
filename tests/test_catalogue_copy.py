"""Catalogues copied from one back end into the other, by the command."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from contract_catalogue import record

from ptiffserve.catalogue.base import Catalogue
from ptiffserve.catalogue.opened import open_url
from ptiffserve.config import StoreRecord
from ptiffserve.errors import ConfigError
from ptiffserve.slide import Alias, Fingerprint, Slide

ROOT = Path(__file__).parents[1]


def command(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ptiffserve", "catalogue", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def content(catalogue: Catalogue) -> tuple[list[StoreRecord], list[Slide]]:
    stores = catalogue.stores()
    return stores, [slide for store in stores for slide in catalogue.each(store.label)]


def fill(catalogue: Catalogue) -> None:
    huge = Fingerprint(2**64 - 1, 2**63, 5, 1_700_000_000_123_456_789)
    more = {"also": (Alias("ü.tiff", huge),), "digest": "ab" * 16, "reading": 2, "added": 1732493.1234567891}
    catalogue.put_store(StoreRecord(root="/x", label="A", id="a" * 24, last_sync=1732493.1234567, exclude=["*.tmp"]))
    catalogue.put_store(StoreRecord(root="mongodb://u:p@h/d", label="B", id="b" * 24, configured=True, host_name="h"))
    catalogue.put([record(n, fingerprint=huge, **more) for n in range(20)])
    catalogue.put([record(50, store="B", pyramid=None, state="unreadable", reason="why"), record(51, store="B")])


@pytest.mark.parametrize("first", ["sqlite", "mongodb"])
def test_there_and_back_again(first: str, tmp_path: Path, mongo_url: str) -> None:
    sqlite = f"sqlite:///{tmp_path}/a.db"
    one, two = (sqlite, mongo_url) if first == "sqlite" else (mongo_url, sqlite)
    catalogue = open_url(one)
    fill(catalogue)
    before = content(catalogue)
    catalogue.close()
    back = f"sqlite:///{tmp_path}/back.db"
    for source, target in ((one, two), (one, two), (two, back)):
        assert "2 stores and 22 slides" in command("copy", source, target)
        catalogue = open_url(target)
        assert content(catalogue) == before
        catalogue.close()


def test_what_is_there_already(tmp_path: Path) -> None:
    one, two = (open_url(f"sqlite:///{tmp_path}/{name}.db") for name in "ab")
    fill(one)
    two.put_store(StoreRecord(root="/old", label="A", id="c" * 24))
    two.put([record(99, path="other.tiff")])
    assert "2 stores and 22 slides" in command("copy", f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")
    store = two.stores()[0]
    assert (store.id, store.root) == ("c" * 24, "/x")
    assert {slide.id for slide in two.each("A")} == {record(n).id for n in [*range(20), 99]}
    assert msgspec.structs.replace(store, id="a" * 24) == one.stores()[0]
    one.close()
    two.close()


def test_catalogues_that_are_none(tmp_path: Path) -> None:
    good = f"sqlite:///{tmp_path}/a.db"
    assert "sqlite:///" in command("copy", "/plain/path", good, code=2)
    assert "database" in command("copy", good, "mongodb://127.0.0.1:9", code=2)
    assert "does not answer" in command("copy", "mongodb://me:geheim@127.0.0.1:9/x", good, code=1)
    with pytest.raises(ConfigError):
        open_url("mysql://me:geheim@h/d")
