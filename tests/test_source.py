"""ruff, mypy and the import law are tests: one command checks everything."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ptiffserve"

# The import law of the house: a module imports from its own group or from those before it.
GROUPS = [
    {"errors", "geometry", "_ptiff", "_jpeg", "_pixels"},
    {"address", "slide", "config", "loading"},
    {"encode", "raster", "pdf", "icc", "barcode"},
    {"sources"},
    {"readers", "cache", "catalogue", "sample"},
    {"service", "render", "beside"},
    {"protocols", "auth", "wire"},
    {"endpoint", "lane", "sync"},
    {"uploads"},
    {"api", "viewer", "app", "explain"},
    {"cli", "__main__"},
]
RANK = {room: rank for rank, group in enumerate(GROUPS) for room in group}
FEW = {
    "pyvips": {"encode", "sample"},
    "openslide": {"readers"},
    "isyntax": {"readers"},
    "sqlite3": {"catalogue", "cli"},
    "pymongo": {"catalogue", "sources", "uploads"},
    "bson": {"catalogue", "sources", "uploads"},
    "gridfs": {"sources", "uploads"},
    "huey": {"sync"},
    "redis": {"cache", "sync"},
    "zxingcpp": {"barcode"},
    "starlette": {"app", "api", "viewer"},
    "uvicorn": {"cli", "lane"},
    "typer": {"cli"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_import_law(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "ptiffserve" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[parts[1]] <= RANK[here], f"{here} imports {name}, which lies to its right"
            if here == "protocols":
                assert parts[1] == "protocols" or RANK[parts[1]] <= 1, f"a protocol imports {name}"
        if parts[0] in FEW:
            assert here in FEW[parts[0]], f"{here} imports {parts[0]}"


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    run("ruff", "check", "--no-cache", ".")
    run("ruff", "format", "--no-cache", "--check", ".")


def test_mypy() -> None:
    run("mypy", "--strict", "-p", "ptiffserve")
