"""The real server over a folder of small slides, and a real Chromium looking at it.

Nothing outlives the module: Playwright keeps an event loop running, beside which other tests could not run theirs.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import BARCODE, HOSTILE, JUNK, SMALL, TISSUE, Heard, Site
from playwright.sync_api import Browser, Page, expect, sync_playwright
from served import copied

from ptiffserve.sample import Sample, write

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides to copy from: a.tiff, with tissue to compare, and the smaller b.tiff."""
    folder = tmp_path_factory.mktemp("samples")
    write(Sample(width=1792, height=1536, tile=256, seed=3, barcode=BARCODE), folder / "a.tiff")
    write(Sample(width=512, height=640, tile=256, seed=4, barcode=BARCODE), folder / "b.tiff")
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60,) * 2)  # settled files: taken at once
    return folder


@pytest.fixture(scope="module")
def site(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("slides")
    (folder / "folder").mkdir()
    shutil.copy2(samples / "a.tiff", folder / TISSUE)
    shutil.copy2(samples / "b.tiff", folder / SMALL)
    copied(samples / "b.tiff", folder / HOSTILE)
    (folder / JUNK).write_bytes(b"this is no slide\n" * 64)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = tmp_path_factory.mktemp("state")
    (state / "c.toml").write_text(f'[[store]]\nroot = "{folder}"\nurl_path = "/data/images"\n')
    command = [sys.executable, "-m", "ptiffserve", "serve", "--config", str(state / "c.toml"), "--port", str(port)]
    environment = os.environ | {"XDG_STATE_HOME": str(state)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
        try:
            _await(server, port)
            running = Site(f"http://127.0.0.1:{port}", folder)
            running.until(lambda slides: len(slides) == 4)
            yield running
        finally:
            server.terminate()


def _await(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(300):
        if server.poll() is not None:
            raise AssertionError(f"the server ended with exit code {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server does not listen")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., tuple[Page, Heard]]]:
    """A page of its own, still (no animations), 1000 x 700 unless told; options are those of a browser context."""
    contexts = []

    def make(**options: Any) -> tuple[Page, Heard]:
        said: dict[str, Any] = {"viewport": {"width": 1000, "height": 700}, "reduced_motion": "reduce"} | options
        context = chromium.new_context(**said)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page, heard = context.new_page(), Heard()
        heard.attach(page)
        return page, heard

    yield make
    for context in contexts:
        context.close()
