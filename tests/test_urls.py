"""One plan: every spelling of a stored tile is that tile. Golden tables in urls/, and the arithmetic of quad names."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import pytest
from served import Serve, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, wave, write

from ptiffserve.address import WHITE, Tile, View
from ptiffserve.config import Store
from ptiffserve.endpoint import dialect_of, dialects
from ptiffserve.errors import Malformed, PtiffserveError
from ptiffserve.protocols.base import Offer
from ptiffserve.protocols.xyz import quad_index, quad_name
from ptiffserve.slide import Slide
from ptiffserve.sync.index import index
from ptiffserve.sync.scan import look

TABLES = {
    "stored": ("deep/er/grid.tiff", Tiny(1000, 700, 256, paint=wave)),
    "single": ("single.tiff", Tiny(256, 256, 256, paint=wave)),
    "near": ("deep/er/grid.tiff", Tiny(1000, 700, 256, paint=wave)),
    "slideatlas": ("deep/er/grid.tiff", Tiny(1000, 700, 256, paint=wave)),
}
# Where clients see the folder.
URL_PATH = "/data/my images"
OFFER = Offer(("jpg", "png", "webp"), 8192, 8192, 1 << 24)


class Line(NamedTuple):
    url: str
    plan: str
    lane: str
    group: str


def table(name: str) -> Iterator[Line]:
    for text in (Path(__file__).parent / "urls" / f"{name}.txt").read_text("utf-8").splitlines():
        if text and not text.startswith("#"):
            yield Line(*(column.strip() for column in text.split(" |")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slides of the tables, one of them two folders deep."""
    folder = tmp_path_factory.mktemp("urls") / "url slides"
    for path, slide in dict(TABLES.values()).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write(slide, folder / path)
    return folder


@pytest.fixture(scope="module")
def tables_client(serve: Serve, folder: Path) -> TestClient:
    client = serve(Store(root=str(folder), url_path=URL_PATH))
    settle(client, 2)
    return client


def spelt(url: str, slide_id: str, key: str) -> str:
    """The line's URL with a slide's names in it."""
    escaped = quote(key, safe="")
    shouted = "".join(f"%{byte:02x}" for byte in key.encode())
    path = f"{URL_PATH}/{key.partition('/')[2]}"
    names = {"id": slide_id, "db": quote(key.partition("/")[0]), "file": quote(key.rpartition("/")[2])}
    return url.format(**names, key=quote(key), escaped=escaped, shouted=shouted, path=quote(path), raw=path)


def planned(url: str, names: dict[str, Slide]) -> str:
    """What the protocol makes of a URL, as the tables write it. No server, no file."""
    path, _, query = url.partition("?")
    segments = [unquote(segment) for segment in path.split("/")[1:]]
    dialect = dialect_of(dialects([URL_PATH]), path)
    assert dialect is not None
    try:
        for reading in dialect.parse(segments, query.encode()):
            if reading.name in names:
                return shown(dialect.resolve(reading.asked, names[reading.name], OFFER))
    except PtiffserveError as fault:
        return f"{({'not_found': 404}).get(fault.code, 400)} {fault.code}"
    return "404 not_found"


def shown(asked: object) -> str:
    if isinstance(asked, Tile):
        return f"Tile {asked.level} {asked.col} {asked.row}"
    assert isinstance(asked, View)
    box, size = asked.box, asked.size
    words = ["View", f"{box.x},{box.y},{box.width},{box.height}", f"{size.width}x{size.height}", asked.format]
    words += [asked.quality] if asked.quality != "color" else []
    words += [f"{asked.turn:g}"] if asked.turn else []
    words += ["mirror"] if asked.mirror else []
    words += [f"level={asked.level}"] if asked.level >= 0 else []
    words += [f"background={asked.background}"] if asked.background != WHITE else []
    words += [f"strength={asked.strength}"] if asked.strength else []
    return " ".join(words)


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_what_the_protocols_plan(folder: Path, name: str) -> None:
    path, _ = TABLES[name]
    fingerprint = look(folder, path)
    assert fingerprint is not None
    slide = index(Store(root=str(folder), label="url slides"), path, fingerprint, None)
    names = {slide.id: slide, slide.key: slide, f"{URL_PATH}/{slide.path}": slide, path.rpartition("/")[2]: slide}
    lines = list(table(name))
    found = [planned(spelt(line.url, slide.id, slide.key), names) for line in lines]
    wrong = [(line.url, got, line.plan) for line, got in zip(lines, found, strict=True) if got != line.plan]
    assert not wrong


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_what_the_server_answers(tables_client: TestClient, name: str) -> None:
    """Lane, and one ETag and one body for each group; no two groups share either."""
    key = f"url slides/{TABLES[name][0]}"
    slide_id = tables_client.get(f"/api/slides/{quote(key)}").json()["id"]
    groups = defaultdict(set)
    for number, line in enumerate(table(name)):
        answer = tables_client.get(spelt(line.url, slide_id, key))
        if line.lane == "-":
            assert f"{answer.status_code} {answer.json()['error']}" == line.plan, line.url
            continue
        assert answer.status_code == 200, (line.url, answer.text)
        assert answer.headers["server-timing"].partition(";")[0] == line.lane, line.url
        group = f"{name} {number}" if line.group == "-" else line.group
        groups[group].add((answer.headers["etag"], answer.headers["content-type"], answer.content))
    assert {group: len(said) for group, said in groups.items() if len(said) != 1} == {}
    tags = [next(iter(said))[0] for said in groups.values()]
    assert len(set(tags)) == len(tags) > 0


# seeds.md, section S1.1: SlideAtlas's own unit tests, and what was found by running its functions.
BOTTOM_UP = {"t": (0, 0, 0), "tt": (1, 0, 0), "tq": (1, 0, 1), "tqr": (2, 1, 3), "tqsttt": (5, 8, 16)}
TOP_DOWN = {"tq": (1, 0, 0), "tr": (1, 1, 0), "ts": (1, 1, 1), "tt": (1, 0, 1), "tqr": (2, 1, 0), "tqs": (2, 1, 1)}


def every_name(depth: int) -> Iterator[str]:
    for z in range(depth + 1):
        for letters in product("qrst", repeat=z):
            yield "t" + "".join(letters)


def test_seed_vectors() -> None:
    for vectors, origin in ((TOP_DOWN, "top"), (BOTTOM_UP, "bottom")):
        for name, zxy in vectors.items():
            assert quad_index(name, origin) == zxy, name
            assert quad_name(*zxy, origin) == name


@pytest.mark.parametrize("origin", ["top", "bottom"])
def test_quad_names_and_indices_are_each_others_inverse(origin: str) -> None:
    names = list(every_name(4))
    assert len(names) == 341
    assert [quad_name(*quad_index(name, origin), origin) for name in names] == names
    assert len({quad_index(name, origin) for name in names}) == len(names)


def test_flip_identity() -> None:
    for name in every_name(4):
        z, x, y = quad_index(name)
        assert quad_index(name, "bottom") == (z, x, 2**z - 1 - y), name


@pytest.mark.parametrize(
    "name", ["", "q", "T", "tQ", "t q", "tu", "tqrsx", "t\n", "tq\n", "ttt.", "t" + "q" * 32, "tqq\u0301"]
)
def test_what_is_no_quad_name(name: str) -> None:
    with pytest.raises(Malformed):
        quad_index(name)
