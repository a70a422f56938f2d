"""A DICOM series is one slide, whichever of its files OpenSlide would open."""

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn import dicom
from hypothesis import given
from hypothesis import strategies as st

from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Store
from ptiffserve.sync import series
from ptiffserve.sync.apply import apply
from ptiffserve.sync.result import Result
from ptiffserve.sync.scan import scan
from ptiffserve.sync.series import Head, members, parse


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Embedded]:
    catalogue = Embedded(tmp_path / "catalogue.db")
    yield catalogue
    catalogue.close()


def sync(root: Path, catalogue: Embedded) -> Result:
    store = Store(root=str(root), label="S")
    return apply(store, scan(store), catalogue)


def element(tag: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind
    size = len(value) if length is None else length
    return head + (struct.pack("<HI", 0, size) if kind in (b"SQ", b"UN", b"OB") else struct.pack("<H", size)) + value


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + value + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def instance(name: str, kind: str, cols: int = 0, rows: int = 0) -> bytes:
    """A head whose sequences, of known and of unknown length, name another series and another size."""
    other = element(0x0020000E, b"UI", b"9.9.9\0") + element(0x00480006, b"UL", struct.pack("<I", 1 << 30))
    return (
        bytes(128) + b"DICM"
        + element(0x00080008, b"CS", f"ORIGINAL\\PRIMARY\\{kind}\\NONE".encode())
        + element(0x00081115, b"SQ", item(other) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)
        + element(0x00081140, b"SQ", item(other))
        + element(0x0020000E, b"UI", name.encode() + b"\0" * (len(name) % 2))
        + element(0x00480006, b"UL", struct.pack("<I", cols)) + element(0x00480007, b"UL", struct.pack("<I", rows))
        + element(0x7FE00010, b"OB", bytes(500))
    )  # fmt: skip


def test_what_a_head_says() -> None:
    assert parse(instance("1.2.3", "VOLUME", 300, 200)) == Head("1.2.3", 60000)
    assert parse(instance("1.2.34", "LABEL", 300, 200)) == Head("1.2.34", 0)
    assert parse(b"II*\0") == parse(b"") == Head("", 0)


@given(st.binary(max_size=300))
def test_any_bytes_end(rest: bytes) -> None:
    parse(bytes(128) + b"DICM" + rest)


def test_a_real_series_is_one_slide(shared: Path, tmp_path: Path, catalogue: Embedded) -> None:
    root = tmp_path / "root"
    shutil.copytree(dicom(shared).parent, root / "case")
    result = sync(root, catalogue)
    (slide,) = catalogue.each("S")
    assert (slide.path, slide.state) == (f"case/{dicom(shared).name}", "ready")
    assert (result.added, result.missing) == (1, 0)
    assert result.failed == [], "its other files are passed over"
    assert sync(root, catalogue) == Result()


def test_series_are_told_apart_by_folder_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "a/1.dcm": instance("1.1", "VOLUME", 100, 100), "a/2.dcm": instance("1.1", "VOLUME", 400, 400),
        "a/3.DCM": instance("1.1", "LABEL", 9000, 9000), "a/4.dcm": instance("1.2", "VOLUME", 10, 10),
        "a/5.dcm": b"no DICOM", "a/6.dcm": b"nor this", "b/1.dcm": instance("1.1", "VOLUME", 900, 900),
        "a/7.tif": instance("1.1", "VOLUME", 900, 900),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = scan(Store(root=str(tmp_path), label="S")).files
    assert members(str(tmp_path), found) == {"a/1.dcm": "a/2.dcm", "a/3.DCM": "a/2.dcm"}
    monkeypatch.setattr(series, "parse", lambda data: pytest.fail("a head was read again"))
    assert len(members(str(tmp_path), found)) == 2


def test_a_larger_resolution_that_comes_later_stands_for_the_series(tmp_path: Path, catalogue: Embedded) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "small.dcm").write_bytes(instance("1.1", "VOLUME", 10, 10))
    sync(root, catalogue)
    (root / "large.dcm").write_bytes(instance("1.1", "VOLUME", 20, 20))
    sync(root, catalogue)
    states = {slide.path: slide.state for slide in catalogue.each("S")}
    assert states == {"small.dcm": "missing", "large.dcm": "unreadable"}, "there are no pixels in it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_head_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(instance("1.1", "VOLUME", 10, 10))
        (tmp_path / name).chmod(0)
    assert members(str(tmp_path), scan(Store(root=str(tmp_path), label="S")).files) == {}


def test_a_head_that_went_away(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(instance("1.1", "VOLUME", 10, 10))
    found = scan(Store(root=str(tmp_path), label="S")).files
    for name in found:
        (tmp_path / name).unlink()
    assert members(str(tmp_path), found) == {}
