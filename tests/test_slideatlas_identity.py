"""Check 20 of seeds.md: many files whose names end alike, random tiles of all of them at once, on a real server.

The old store kept its readers by the last ten characters of the path: one patient's slide was served for another's.
"""

import http.client
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from atlas import is_colour, shown
from real_server import RealServer, running
from tiny_tiff import Tiny, write

SOAK = os.environ.get("PTIFFSERVE_SOAK") == "1"
SLIDES = 2000 if SOAK else 120
ASKED = 50_000 if SOAK else 1_600
CLIENTS = 12
OPEN = 16
TILE = 32
LABEL = "alike"


def colour(slide: int, col: int, row: int) -> tuple[int, int, int]:
    """Of a tile; no two slides share one, not even nearly."""
    return 12 * (slide % 16) + 20, 12 * (slide // 16 % 16) + 20, 60 + 24 * (slide // 256) + 6 * (col + 2 * row)


def painted(slide: int) -> Tiny:
    def paint(level: int, width: int, height: int) -> np.ndarray:
        out = np.empty((height, width, 3), np.uint8)
        for row in range(2):
            for col in range(2):
                part = out[row * height // 2 : (row + 1) * height // 2, col * width // 2 : (col + 1) * width // 2]
                part[:] = colour(slide, col, row)
        return out

    return Tiny(2 * TILE, 2 * TILE, TILE, paint=paint)


def name(slide: int) -> str:
    return f"case{slide:05}-slide-0001.tiff"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    state = tmp_path_factory.mktemp("identity")
    folder = state / LABEL
    folder.mkdir()
    for slide in range(SLIDES):
        write(painted(slide), folder / name(slide))
    config = state / "site.toml"
    config.write_text(f'[[store]]\nroot = "{folder}"\n[limits]\nslides_open = {OPEN}\n')
    with running(config, state / "state", slides=min(SLIDES, 1000)) as server:
        for _ in range(600):
            if len(ids(server)) == SLIDES:
                break
            time.sleep(0.1)
        yield server


def descriptors(server: RealServer) -> int:
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def ids(server: RealServer) -> dict[str, str]:
    found, after = {}, ""
    while after is not None:
        page = msgspec.json.decode(server.get(f"/api/slides?limit=1000&after={quote(after, safe='')}").body)
        found |= {slide["path"]: slide["id"] for slide in page["slides"]}
        after = page["next"]
    return found


def ask(port: int, known: dict[str, str], seed: int) -> tuple[int, list[str]]:
    """Random tiles over one connection: how many were answered, and what was wrong."""
    chance, wrong = random.Random(seed), []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    number = ASKED // CLIENTS
    for _ in range(number):
        slide, col, row = chance.randrange(SLIDES), chance.randrange(2), chance.randrange(2)
        letter = {(0, 0): "q", (1, 0): "r", (1, 1): "s", (0, 1): "t"}[col, row]
        file = name(slide)
        url = chance.choice(
            [
                f"/tile?img={known[file]}&db={LABEL}&name=t{letter}.jpg",
                f"/tile/{LABEL}/{known[file]}/t{letter}.jpg",
                f"/apiv1/slides/{file}/{col}/{row}/0",
                f"/tileat/{LABEL}/{known[file]}?x={col * TILE + 3}&y={row * TILE + 3}&z=1",
            ]
        )
        connection.request("GET", url)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200 or not is_colour(shown(body), colour(slide, col, row), 3):
            wrong.append(f"{answer.status} {url}")
    connection.close()
    return number, wrong


def test_check_20_every_tile_is_of_its_own_slide_and_handles_are_bounded(server: RealServer) -> None:
    assert len({name(slide)[-10:] for slide in range(SLIDES)}) == 1
    known = ids(server)
    assert len(known) == SLIDES
    before = descriptors(server)
    most = 0
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(ask, server.port, known, seed) for seed in range(CLIENTS)]
        while not all(one.done() for one in asked):
            most = max(most, descriptors(server))
            time.sleep(0.02)
    results = [one.result() for one in asked]
    assert sum(number for number, _ in results) == ASKED // CLIENTS * CLIENTS
    assert [one for _, wrong in results for one in wrong] == []
    # Open slides, a connection for each client, and slides that are being opened by the reader threads meanwhile.
    assert most <= before + OPEN + CLIENTS + 4 * (os.cpu_count() or 1)
    assert descriptors(server) <= before + OPEN + 4
