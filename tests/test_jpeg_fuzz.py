"""Mutated JPEGs against the engine's C files under sanitizers. PTIFFSERVE_SOAK=1 takes a million of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from jpegs import SAMPLINGS, SOAK, flat, saved, stored
from PIL import Image

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "ext" / "jpeg"
ROUNDS = 10_000 if SOAK == 1 else 1_000_000
TILE = (48, 32)
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("clang") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    out = tmp_path_factory.mktemp("fuzz") / "driver"
    sources = [ROOT / "tests" / "fuzz" / "jpeg.c", *(p for p in sorted(ENGINE.glob("*.c")) if p.stem != "_jpeg")]
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter", f"-I{ENGINE}", *SANITIZE]
    done = subprocess.run(
        [compiler, *flags, *sources, "-ljpeg", "-o", out], capture_output=True, text=True, check=False
    )
    if done.returncode and re.search(r"lib(asan|ubsan|clang_rt)|-l(asan|ubsan)", done.stderr):
        pytest.skip("the compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    codings: list[dict[str, object]] = [{}, {"optimize": True}, {"restart_marker_blocks": 2}, {"progressive": True}]
    made = [
        stored(s, TILE, **c) for s in SAMPLINGS for c in codings if s not in ("440", "411") or "progressive" not in c
    ]
    made += [flat(TILE, (0x42, 0x11, 0x11)), flat(TILE, (0x22, 0x21, 0x12)), saved(Image.new("CMYK", TILE))]
    folder = tmp_path_factory.mktemp("seeds")
    for i, data in enumerate(made):
        (folder / f"{i}.jpg").write_bytes(data)
    return sorted(folder.iterdir())


def test_mutations(driver: Path, seeds: list[Path]) -> None:
    command = [driver, str(ROUNDS), "1", *map(str, TILE), *seeds]
    # Memory that a fault leaves behind would show as a leak; a preloaded runtime belongs to the tests' own process.
    environment = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    good, corrupt, refused, starved = map(int, re.findall(r"\d+", done.stdout))
    assert good + corrupt + refused + starved == ROUNDS
    assert min(good, corrupt, refused) > ROUNDS // 50
    assert starved == 0
