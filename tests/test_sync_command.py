"""`ptiffserve sync` as a user meets it: what it prints, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from files import put

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for number in range(3):
        put(tmp_path / f"one/slide-{number}.tiff", number)
    put(tmp_path / "two/[b]x.tiff", -1)
    path = tmp_path / "ptiffserve.toml"
    path.write_text(
        f'[catalogue]\nurl = "sqlite:///{tmp_path}/catalogue.db"\n'
        f'[[store]]\nroot = "{tmp_path}/one"\n[[store]]\nroot = "{tmp_path}/two"\nlabel = "Zwei"\n'
    )
    return path


def run(config: Path, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ptiffserve", "sync", *arguments, "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def told(config: Path, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(run(config, "--json", *arguments, code=code).stdout)
    return found


def test_json_is_the_result_of_each_store(config: Path) -> None:
    said = told(config, "--dry-run")
    assert (said["one"]["added"], said["Zwei"]["added"]) == (3, 1)
    said = told(config)
    assert list(said) == ["one", "Zwei"]
    assert said["one"].pop("seconds") >= 0
    assert said["one"] == {"added": 3, "changed": 0, "moved": 0, "missing": 0, "removed": 0, "failed": []}
    assert said["Zwei"]["failed"][0]["path"] == "[b]x.tiff"
    assert told(config, "one")["one"]["added"] == 0


def test_a_table_says_what_changed(config: Path) -> None:
    said = run(config).stdout
    assert "added" in said
    (row,) = [line for line in said.splitlines() if " one " in line]
    assert [cell.strip() for cell in row.split("│")][1:8] == ["one", "3", "0", "0", "0", "0", "0"]
    assert "Zwei/[b]x.tiff: " in said


def test_a_store_that_failed_ends_with_1_and_the_others_go_on(config: Path) -> None:
    (config.parent / "two/[b]x.tiff").unlink()
    (config.parent / "two").rmdir()
    said = told(config, code=1)
    assert said["one"]["added"] == 3
    assert said["Zwei"]["failed"][0]["path"] == "."


def test_a_store_that_nobody_knows_ends_with_2(config: Path) -> None:
    assert "no store three" in run(config, "three", code=2).stderr
