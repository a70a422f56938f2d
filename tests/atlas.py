"""Slides with a colour in each quarter, and a served store of them whose id is known, as SlideAtlas's clients know it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from PIL import Image
from served import settle
from starlette.testclient import TestClient

from ptiffserve.app import create_app
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.config import Auth, Catalogue, Config, Store, StoreRecord

RED, GREEN, BLUE, YELLOW = (220, 20, 30), (20, 200, 40), (20, 40, 220), (230, 220, 20)
# By quad letter, clockwise from the top left.
COLOURS = {"q": RED, "r": GREEN, "s": BLUE, "t": YELLOW}


def quarters(level: int, width: int, height: int) -> np.ndarray:
    """Red, green, blue and yellow, clockwise from the top left, that meet at pixel 512, 512 of full resolution."""
    out = np.empty((height, width, 3), np.uint8)
    right, low = (np.arange(side) * 2**level >= 512 for side in (width, height))
    for y, row in ((~low, (RED, GREEN)), (low, (YELLOW, BLUE))):
        for x, colour in zip((~right, right), row, strict=True):
            out[np.ix_(y, x)] = colour
    return out


class Atlas(NamedTuple):
    """A client of a served store; `db` is the store's id, `ids` those of its slides by the names of their files."""

    client: TestClient
    db: str
    label: str
    ids: dict[str, str]


@contextmanager
def atlas(folder: Path, state: Path, labels: str = "deny") -> Iterator[Atlas]:
    """The application over a folder, every slide of it listed."""
    path = state / "catalogue.db"
    config = Config(store=[Store(root=str(folder))], catalogue=Catalogue(f"sqlite:///{path}"), auth=Auth(labels=labels))
    number = sum(1 for each in folder.rglob("*.tif*"))
    with TestClient(create_app(config), follow_redirects=False) as client:
        settle(client, number)
        slides = client.get("/api/slides?limit=1000").json()["slides"]
        ids = {slide["path"].rpartition("/")[2]: slide["id"] for slide in slides}
        yield Atlas(client, store_id(path, folder.name, str(folder)), folder.name, ids)


def store_id(path: Path, label: str, root: str) -> str:
    """The id of a store in an embedded catalogue, recorded there if it was not."""
    catalogue = Embedded(path)
    try:
        known = {store.label: store.id for store in catalogue.stores()}
        if label not in known:
            known[label] = "5f" * 12
            catalogue.put_store(StoreRecord(id=known[label], label=label, root=root))
        return known[label]
    finally:
        catalogue.close()


def shown(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def is_colour(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 6) -> bool:
    return bool(np.abs(pixels - np.array(colour)).max() <= tolerance)


def error_of(answer: object) -> str:
    """The code of an error, which is JSON whatever was asked."""
    said = msgspec.json.decode(answer.content)  # type: ignore[attr-defined]
    assert set(said) == {"error", "message"}
    return str(said["error"])
