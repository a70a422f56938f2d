"""Both validators of the IIIF Image API against the running server, with their own picture as a slide.

They share the name of their package, so each has a virtual environment of its own; the first run installs them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvips
from real_server import RealServer, running

ROOT = Path(__file__).parents[1]
PACKAGES = {"classic": "iiif-validator==1.0.5", "ng": "iiif-validator-ng==0.1.0"}
IDENTIFIER = "67352ccc-d1b0-11e1-89ae-279075081939"
SEEDS = range(20 if os.environ.get("PTIFFSERVE_SOAK") else 2)
# The sanitizers' libraries are for our own process, and our source tree is none of theirs.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "PYTHONPATH")}


def run(*command: str | Path) -> tuple[int, str]:
    said = [str(part) for part in command]
    done = subprocess.run(said, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def installed(name: str) -> Path:
    """The Python of a validator's own environment."""
    home = ROOT / f".venv-iiif-{name}"
    done = home / PACKAGES[name]
    if not done.exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", home],
            [home / "bin" / "python", "-m", "pip", "install", "-q", PACKAGES[name]],
        ):
            status, said = run(*command)
            assert status == 0, said
        done.touch()
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def classic() -> Path:
    return installed("classic")


@pytest.fixture(scope="module")
def ng() -> Path:
    return installed("ng")


@pytest.fixture(scope="module")
def server(ng: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The validators' picture as a tiled pyramid, under its own name without an ending, so its prefix is iiif/N/images."""
    folder = tmp_path_factory.mktemp("iiif")
    (folder / "images").mkdir()
    (picture,) = ng.parents[1].glob("lib/*/site-packages/iiif_validator/validation_image.png")
    image = pyvips.Image.new_from_file(str(picture))
    image.tiffsave(
        str(folder / "images" / IDENTIFIER),
        tile=True,
        pyramid=True,
        tile_width=256,
        tile_height=256,
        compression="jpeg",
        Q=90,
    )
    config = folder / "ptiffserve.toml"
    config.write_text(f'[[store]]\nroot = "{folder / "images"}"\ninclude = ["*"]\n')
    with running(folder / "images", folder / "state", "--config", str(config), slides=1) as server:
        yield server


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("ours", "theirs", "tests"), [("2", "2.0", 42), ("3", "3.0", 45)])
def test_classic(classic: Path, server: RealServer, ours: str, theirs: str, tests: int, seed: int) -> None:
    """Levels 0 to 3: everything there is (30 and 33 of these are levels 0 to 2)."""
    runner = Path(__file__).parent / "validators" / "classic.py"
    where = ["-s", f"127.0.0.1:{server.port}", "-p", f"iiif/{ours}/images", "-i", IDENTIFIER]
    status, said = run(classic, runner, str(seed), *where, f"--version={theirs}", "--level", "3", "-v")
    assert status == 0, said
    assert f"Done ({tests} tests, 0 failures)" in said


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("version", "tests"), [("2", 44), ("3", 46)])
def test_ng(ng: Path, server: RealServer, version: str, tests: int, seed: int) -> None:
    runner = Path(__file__).parent / "validators" / "ng.py"
    base = f"http://127.0.0.1:{server.port}/iiif/{version}/images"
    status, said = run(ng, runner, str(seed), version, base, IDENTIFIER)
    assert status == 0, said
    assert f"Done ({tests} tests, 0 failures)" in said
