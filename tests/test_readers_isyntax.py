"""Philips iSyntax. No real file is free to have: the reader is tested over a stand-in for pyisyntax, and pyisyntax itself,
where it is installed, on what is no iSyntax."""

import importlib.util
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn import Pixels, check_regions, difference, opened, pixels, written
from PIL import Image

from ptiffserve.errors import SlideUnreadable, TileCorrupt
from ptiffserve.geometry import Box
from ptiffserve.readers import foreign_pool
from ptiffserve.readers.foreign_pool import PROGRAM, Pool

STANDIN = Path(__file__).with_name("standin")
HEAD = b'<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>\n<DataObject ObjectType="DPUfsImport">\n</DataObject>\r\n\x04'
SIZES = [(1000, 700), (500, 350), (250, 175)]
REAL = importlib.util.find_spec("isyntax")
installed = pytest.mark.skipif(REAL is None, reason="pyisyntax is not installed")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path | None], None]]:
    """library(folder): the process finds the package `isyntax` there, or nowhere."""
    own = Pool("isyntax", 1)
    monkeypatch.setattr("ptiffserve.readers.isyntax.pool", own)

    def use(folder: Path | None) -> None:
        found = f"sys.path.insert(0, {str(folder)!r})" if folder else "sys.modules['isyntax'] = None"
        code = f"import sys, runpy; {found}; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
        monkeypatch.setattr(foreign_pool, "COMMAND", [sys.executable, "-I", "-c", code])

    yield use
    own.close()


def isyntax(path: Path, **said: object) -> Path:
    path.write_bytes(HEAD + json.dumps({"sizes": SIZES, "barcode": "B-17"} | said).encode())
    return path


def jpeg(path: Path, colour: str) -> str:
    Image.new("RGB", (60, 40), colour).save(path, "JPEG")
    return path.name


def truth(level: int) -> Pixels:
    width, height = SIZES[level]
    rows, cols = np.mgrid[0:height, 0:width]
    shown = np.stack([cols % 251, rows % 241, cols * 0 + 40 * level], -1).astype(np.uint8)
    shown[:10, :10] = 255
    return shown


def test_through_the_stand_in(library: Callable[[Path | None], None], tmp_path: Path) -> None:
    library(STANDIN)
    label, macro = jpeg(tmp_path / "label.jpg", "red"), jpeg(tmp_path / "macro.jpg", "blue")
    reader = opened(isyntax(tmp_path / "a.isyntax", label=label, macro=macro))
    assert (reader.format, reader.barcode, reader.pyramid.mpp) == ("isyntax", "B-17", (0.25, 0.5))
    assert [(level.size.width, level.scale, level.tile.width) for level in reader.pyramid.levels] == [
        (1000, 1, 256), (500, 2, 256), (250, 4, 256),
    ]  # fmt: skip
    for level in range(3):
        check_regions(reader, level, truth(level))
    assert reader.associated() == ("label", "macro")
    assert difference(np.asarray(Image.open(io.BytesIO(reader.picture("label"))))[20, 30], np.uint8([254, 0, 0])) <= 1


def test_what_is_odd_costs_that_alone(library: Callable[[Path | None], None], tmp_path: Path) -> None:
    library(STANDIN)
    (tmp_path / "junk").write_bytes(b"no JPEG")
    reader = opened(isyntax(tmp_path / "a.isyntax", label="junk", barcode="\u00e9"))
    assert (reader.associated(), reader.barcode) == ((), "")
    reader = opened(isyntax(tmp_path / "b.isyntax", broken=True))
    with pytest.raises(TileCorrupt, match="isyntax: LibISyntaxFatalError"):
        pixels(reader, 0, Box(0, 0, 10, 10))
    for sizes in ([], [(0, 5)], [(1 << 31, 7)]):
        with pytest.raises(SlideUnreadable, match="isyntax: its levels have the sizes"):
            opened(isyntax(tmp_path / "c.isyntax", sizes=sizes))


def test_without_the_extra_the_reason_says_so(library: Callable[[Path | None], None], tmp_path: Path) -> None:
    library(None)
    with pytest.raises(SlideUnreadable, match="isyntax: pyisyntax, the extra `isyntax`, is not installed"):
        opened(isyntax(tmp_path / "a.isyntax"))
    assert opened(written(tmp_path / "b.tif")).format == "tiled"


@pytest.mark.parametrize("head", [b"", b"junk", b"<x/>", b"x" + HEAD, b'<DataObject ObjectType="DPScannedImage">'])
def test_other_files_are_not_taken_for_one(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.isyntax"
    path.write_bytes(head + bytes(2000))
    with pytest.raises(SlideUnreadable, match="isyntax: not a Philips iSyntax"):
        opened(path)


BROKEN = {
    "header alone": HEAD,
    "no end of header": HEAD[:-1] + bytes(5000),
    "cut header": HEAD[:100],
    "zeros behind": HEAD + bytes(100_000),
    "ones behind": HEAD + b"\xff" * 100_000,
}


@installed
@pytest.mark.parametrize("what", BROKEN)
def test_libisyntax_refuses_junk(library: Callable[[Path | None], None], tmp_path: Path, what: str) -> None:
    assert REAL is not None
    assert REAL.origin is not None
    library(Path(REAL.origin).parents[1])
    path = tmp_path / "a.isyntax"
    path.write_bytes(BROKEN[what])
    for _ in range(2):
        with pytest.raises(SlideUnreadable, match=r"isyntax: (LibISyntax|it crashed|it took)"):
            opened(path)


@installed
def test_the_stand_in_has_pyisyntaxs_api() -> None:
    import isyntax as real
    from isyntax.lowlevel import libisyntax

    spec = importlib.util.spec_from_file_location("standin", STANDIN / "isyntax" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    standin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standin)  # its exceptions come from the real package, which must have them
    for name, ours in vars(standin.ISyntax).items():
        if name.startswith("_"):
            continue
        theirs = inspect.getattr_static(real.ISyntax, name)
        assert type(ours) is type(theirs), name
        assert signature(ours) == signature(theirs), name
    for name in ("LibISyntaxError", "LibISyntaxFatalError", "NullPointerError"):
        assert issubclass(getattr(libisyntax, name), Exception)


def signature(member: object) -> inspect.Signature:
    function = getattr(member, "fget", None) or getattr(member, "__func__", member)
    return inspect.signature(function)
