"""What the browser tests talk about: the site that is visited, and what a page did unseen."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from playwright.sync_api import Page

TISSUE = "tissue.tiff"
SMALL = "folder/small one.tiff"
HOSTILE = "<img src=x onerror=document.title='hacked'>.tiff"
JUNK = "junk.tiff"
BARCODE = "S26-424242"


@dataclass
class Site:
    """A running server: `folder` is what it serves."""

    url: str
    folder: Path

    def slides(self) -> dict[str, dict[str, Any]]:
        """Every record by its path."""
        with urlopen(f"{self.url}/api/slides?limit=1000") as answer:
            return {record["path"]: record for record in json.load(answer)["slides"]}

    def slide(self, path: str = TISSUE) -> dict[str, Any]:
        return self.slides()[path]

    def remove(self, path: Path) -> None:
        """Removes a slide, and waits: the next page, told of it just before the server misses it, would ask in vain."""
        path.unlink()
        name = str(path.relative_to(self.folder))
        self.until(lambda slides: name not in slides or slides[name]["state"] == "missing")

    def until(self, wanted: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        for _ in range(300):
            if wanted(self.slides()):
                return
            time.sleep(0.1)
        raise AssertionError(f"the server still has {self.slides()}")


@dataclass
class Heard:
    """What a page did that its user does not see."""

    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    tiles: int = 0

    def attach(self, page: Page) -> None:
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda asked: self.hosts.add(urlsplit(asked.url).hostname or asked.url[:40]))
        page.on("response", lambda answer: self._answered(answer.url, answer.status))
        page.on("requestfailed", lambda asked: self._broke(asked.url, asked.failure or ""))

    def _answered(self, url: str, status: int) -> None:
        self.tiles += "_files/" in url
        if status >= 400:
            self.failed.append(f"{status} {url}")

    def _broke(self, url: str, why: str) -> None:
        if "ERR_ABORTED" not in why:  # left with the page
            self.failed.append(f"{why} {url}")

    def nothing_wrong(self) -> None:
        assert self.errors == []
        assert self.failed == []
        assert self.hosts == {"127.0.0.1"}
