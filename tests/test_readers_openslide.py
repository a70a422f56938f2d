"""Slides read through OpenSlide: damaged, replaced, many at once, or without the library."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn import (
    SOAK,
    Pixels,
    by_openslide,
    dicom,
    difference,
    limited,
    opened,
    pixels,
    whole,
)

from ptiffserve.errors import SlideChanged, SlideError, SlideUnreadable, TileCorrupt, TooCostly
from ptiffserve.geometry import Box
from ptiffserve.readers import foreign_pool
from ptiffserve.readers.foreign_pool import PROGRAM, Pool


@pytest.fixture(scope="module")
def region(shared: Path) -> Pixels:
    """CMU-1-Small-Region as OpenSlide shows the SVS."""
    return by_openslide(shared / "svs" / "CMU-1-Small-Region.svs")


@pytest.fixture
def copied(shared: Path, tmp_path: Path) -> Path:
    """The DICOM's largest file in a folder of its own slide."""
    folder = tmp_path / "dicom"
    shutil.copytree(shared / "dicom" / "CMU-1-Small-Region-fixed", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


def damaged(path: Path) -> tuple[int, int]:
    """Breaks the JPEG in the middle of the file; gives the column and row of its frame."""
    data = bytearray(path.read_bytes())
    starts, at = [], data.find(b"\xff\xd8\xff")
    while at >= 0:
        starts.append(at)
        at = data.find(b"\xff\xd8\xff", at + 1)
    assert len(starts) == 10 * 13
    frame = 64
    data[starts[frame] : starts[frame] + 4] = bytes(4)
    path.write_bytes(data)
    return frame % 10, frame // 10


def test_a_damaged_frame_costs_that_frame(copied: Path, region: Pixels) -> None:
    """OpenSlide's handle stays in error after a failure; ours does not."""
    col, row = damaged(copied)
    reader = opened(copied)
    truth = region
    for _ in range(3):
        with pytest.raises(TileCorrupt, match="openslide: ") as caught:
            reader.pixels(0, Box(col * 240 + 5, row * 240 + 5, 20, 20))
        assert str(copied.parent) not in str(caught.value)
        assert difference(pixels(reader, 0, Box(0, 0, 700, 240)), truth[:240, :700]) == 0


def crashing(path: Path) -> None:
    """Moves the first frame behind the end of the file in the table of frames: OpenSlide 4.0.1 reads from address 0."""
    data = bytearray(path.read_bytes())
    table = data.index(b"OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0") + 16
    data[table + 3] = 1
    path.write_bytes(data)


def test_a_crash_of_openslide_costs_that_request(copied: Path, region: Pixels) -> None:
    crashing(copied)
    reader = opened(copied)
    for _ in range(3):
        with pytest.raises(TileCorrupt, match=r"openslide: it crashed \(signal 11\)"):
            reader.pixels(0, Box(0, 0, 10, 10))
        assert difference(pixels(reader, 0, Box(240, 0, 500, 500)), region[:500, 240:740]) == 0


def test_many_threads_and_a_damaged_frame(copied: Path, region: Pixels) -> None:
    col, row = damaged(copied)
    reader = opened(copied)
    truth = region
    faults: list[BaseException] = []
    failed = threading.Event()

    def bad() -> None:
        for _ in range(10 * SOAK):
            try:
                reader.pixels(0, Box(col * 240, row * 240, 240, 240))
                faults.append(AssertionError("the damaged frame was served"))
            except TileCorrupt:
                failed.set()

    def good(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30 * SOAK):
            x, y = int(rng.integers(0, 2100)), int(rng.integers(0, 1300))  # above row 6
            try:
                if difference(pixels(reader, 0, Box(x, y, 100, 100)), truth[y : y + 100, x : x + 100]):
                    faults.append(AssertionError(f"wrong pixels at {x}, {y}"))
            except BaseException as fault:  # TileCorrupt too: the handle that another request broke is not its fault
                faults.append(fault)

    threads = [threading.Thread(target=bad), *(threading.Thread(target=good, args=(seed,)) for seed in range(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert failed.is_set()
    assert difference(pixels(reader, 0, Box(0, 0, 300, 300)), truth[:300, :300]) == 0


def test_a_slide_replaced_while_open(copied: Path) -> None:
    """OpenSlide would read on by path."""
    reader = opened(copied)
    reader.pixels(0, Box(0, 0, 10, 10))
    other = copied.with_name("other")
    other.write_bytes(copied.read_bytes())
    other.replace(copied)
    with pytest.raises(SlideChanged):
        reader.pixels(0, Box(0, 0, 10, 10))
    with pytest.raises(SlideChanged):
        reader.picture("label")
    copied.unlink()
    with pytest.raises(SlideChanged):
        reader.pixels(0, Box(0, 0, 10, 10))


def test_dicom_cut_anywhere(copied: Path, region: Pixels) -> None:
    data = copied.read_bytes()
    truth = region
    outcomes = set()
    for end in np.linspace(0, len(data) - 1, 12 * SOAK).astype(int):
        copied.write_bytes(data[:end])
        try:
            reader = opened(copied)
            box = Box(0, 2700, 2220, 267)
            assert difference(pixels(reader, 0, box), truth[2700:]) == 0
            outcomes.add("served")
        except SlideError as error:
            outcomes.add(error.code)
    assert "slide_unreadable" in outcomes


def test_regions_beyond_one_stripe(shared: Path) -> None:
    """The picture is asked of OpenSlide in stripes; none is lost or moved."""
    path = dicom(shared)
    assert difference(whole(opened(path)), by_openslide(path)) == 0
    with pytest.raises(TooCostly):
        opened(path).pixels(0, Box(0, 0, 2**20, 2**20))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """program(code) puts other code before, or in place of, the program that OpenSlide runs in."""
    own = Pool("openslide", 1)
    monkeypatch.setattr("ptiffserve.readers.openslide.pool", own)
    yield lambda code: monkeypatch.setattr(foreign_pool, "COMMAND", [sys.executable, "-I", "-c", code])
    own.close()


def test_without_openslide_only_its_format_is_missing(shared: Path, program: Callable[[str], None]) -> None:
    code = f"import sys, runpy; sys.modules['openslide'] = None; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    program(code)
    assert opened(shared / "svs" / "CMU-1-Small-Region.svs").format == "tiled"
    with pytest.raises(SlideUnreadable, match="openslide: OpenSlide is not installed"):
        opened(dicom(shared))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import time; time.sleep(100)", "it took longer than"),
        ("print('{\"size\": 0}', flush=True); import time; time.sleep(100)", "it took longer than"),
        ("print('{\"size\": 0}'); print('{\"size\": 9}short', end='')", r"its process ended \(0\)"),
        ("raise SystemExit(3)", r"its process ended \(3\)"),
        ("print('not JSON')", "its process ended"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", r"it crashed \(signal 6\)"),
    ],
)
def test_a_process_that_hangs_or_ends(
    shared: Path, program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.setattr(foreign_pool, "PATIENCE", 3.0)
    program(code)
    with pytest.raises(SlideUnreadable, match=reason):
        opened(dicom(shared))
    monkeypatch.undo()
    assert opened(dicom(shared)).format == "openslide"


def test_what_a_library_prints_is_no_answer(shared: Path, program: Callable[[str], None]) -> None:
    program(f"""
import os, runpy
there = runpy.run_path({str(PROGRAM)!r})
region = there["OpenSlide"].region
there["OpenSlide"].region = lambda *asked: (os.write(1, b"oops"), print("oops", flush=True), region(*asked))[2]
there["main"]("openslide")
""")
    path = dicom(shared)
    assert difference(pixels(opened(path), 0, Box(0, 0, 300, 300)), by_openslide(path)[:300, :300]) == 0


def test_a_slide_replaced_while_it_is_read(copied: Path, program: Callable[[str], None]) -> None:
    program(f"""
import os, runpy
there = runpy.run_path({str(PROGRAM)!r})
region = there["OpenSlide"].region
there["OpenSlide"].region = lambda *asked: (region(*asked), os.utime({str(copied)!r}, (1, 1)))[0]
there["main"]("openslide")
""")
    reader = opened(copied)
    with pytest.raises(SlideChanged):
        reader.pixels(0, Box(0, 0, 10, 10))


PARENT = """
import os, signal, sys
from pathlib import Path
from ptiffserve.geometry import Box
from ptiffserve.readers import open_slide
from ptiffserve.readers.openslide import pool
from ptiffserve.sources.file import FileSource
reader = open_slide(FileSource(Path(sys.argv[1])), "dicom")
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(1)"])
def test_the_processes_end_with_the_server(shared: Path, end: str) -> None:
    code = PARENT + "print(*[p._running.pid for p in pool._idle.queue if p._running], flush=True)\n" + end
    done = subprocess.run([sys.executable, "-c", code, str(dicom(shared))], capture_output=True, text=True, timeout=60)
    (pid,) = done.stdout.split()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_fork_has_processes_of_its_own(shared: Path) -> None:
    code = (
        PARENT
        + """
child = os.fork()
for i in range(20):
    x = 1000 if child else 0
    assert reader.pixels(0, Box(x, 0, 100 + i, 50)).width == 100 + i
if not child:
    pool.close()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert limited(code, str(dicom(shared))) == "7"


def test_libvips_does_not_spoil_openslide(shared: Path) -> None:
    """libvips loads the system's OpenSlide with global symbols; the one from the wheel must not bind to them."""
    said = limited("import pyvips\n" + PARENT + "print(reader.pixels(0, Box(0, 0, 9, 9)).width)", str(dicom(shared)))
    assert said == "9"
