"""SlideAtlas's stand-alone server: slides by the names of their files, its list, its viewer's page."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from atlas import Atlas, atlas, error_of, is_colour, shown
from served import SAMPLES, drawn, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, write

from ptiffserve.app import create_app
from ptiffserve.catalogue.embedded import Embedded
from ptiffserve.catalogue.lookup import FileName, Lookup, NotAtHand
from ptiffserve.catalogue.served import Served
from ptiffserve.config import Catalogue, Config, Store, StoreRecord
from ptiffserve.slide import Fingerprint, Slide, State

NAMES = ["plain.tiff", "with space.tiff", "Ünïcødé 日本.tiff", "100%_sure.tiff", "a+b&c=d.tiff", "label", "x?y#z.tiff"]
COLOURS = [(200, 30 * i, 250 - 30 * i) for i in range(len(NAMES))]


def flat(colour: tuple[int, int, int]) -> Tiny:
    return Tiny(300, 200, 256, paint=lambda level, width, height: np.full((height, width, 3), colour, np.uint8))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    folder = tmp_path_factory.mktemp("apiv1") / "by name"
    (folder / "deep/er").mkdir(parents=True)
    for number, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
        path = folder / ("deep/er" if number % 2 else "") / (name if "." in name else f"{name}.tiff")
        write(flat(colour), path)
    (folder / "philips.tiff").write_bytes(drawn(SAMPLES["big444"]).read_bytes())
    (folder / "bad.tiff").write_bytes(b"no slide at all" * 100)
    with atlas(folder, tmp_path_factory.mktemp("catalogue"), labels="allow") as found:
        yield found


def test_the_list_names_the_files_and_their_barcodes(served: Atlas) -> None:
    for url in ("/apiv1/slides", "/apiv1/slides/"):
        answer = served.client.get(url)
        assert answer.headers["content-type"] == "application/json"
        listed = {entry["name"]: entry["barcode"] for entry in answer.json()["slides"]}
        expected = {name if "." in name else f"{name}.tiff": "" for name in NAMES}
        assert listed == expected | {"philips.tiff": SAMPLES["big444"].barcode}


def test_every_listed_slide_is_found_by_its_name(served: Atlas) -> None:
    """Spaces, other scripts, percent signs, and what has a meaning in URLs."""
    for name, colour in zip(NAMES, COLOURS, strict=True):
        file = name if "." in name else f"{name}.tiff"
        answer = served.client.get(f"/apiv1/slides/{quote(file, safe='')}/0/0/0")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), file
        assert is_colour(shown(answer.content)[:200, :256], colour), file
        by_id = served.client.get(f"/tile/{served.db}/{served.ids[file]}/tq.jpg")
        assert (by_id.content, by_id.headers["etag"]) == (answer.content, answer.headers["etag"])


def test_one_picture_in_a_body(served: Atlas) -> None:
    """It used to send every tile twice."""
    data = served.client.get("/apiv1/slides/plain.tiff/0/0/0").content
    assert data.count(b"\xff\xd8\xff") == 1
    assert data.endswith(b"\xff\xd9")


@pytest.mark.parametrize(
    "rest", ["0/0/2", "0/0/99", "0/0/9999999999", "2/0/0", "0/1/0", "-1/0/0", "a/0/0", "0/0/1.0", "0/0/"]
)
def test_what_is_no_tile_is_not_found(served: Atlas, rest: str) -> None:
    answer = served.client.get(f"/apiv1/slides/plain.tiff/{rest}")
    assert (answer.status_code, error_of(answer)) == (404, "not_found")


@pytest.mark.parametrize(
    "name", ["none.tiff", "bad.tiff", "PLAIN.tiff", "lain.tiff", "..", "%2e%2e%2fplain.tiff", "%ed%a0%80"]
)
def test_an_unknown_file_is_not_found(served: Atlas, name: str) -> None:
    for rest in ("0/0/0", "label/", "macro"):
        answer = served.client.get(f"/apiv1/slides/{name}/{rest}")
        assert answer.status_code in (400, 404), rest
        assert error_of(answer) in ("malformed", "not_found")
    assert served.client.get("/ptiff-viewer", params={"image": name}).status_code == 404


def test_the_viewer_page_is_ours(served: Atlas) -> None:
    for name in ("plain.tiff", "by name/plain.tiff", served.ids["plain.tiff"]):
        answer = served.client.get("/ptiff-viewer", params={"image": name})
        assert (answer.status_code, answer.headers["location"]) == (303, "/view/by%20name/plain.tiff")
    deep = served.client.get("/ptiff-viewer", params={"image": NAMES[3]}).headers["location"]
    assert deep == f"/view/{quote('by name/deep/er/' + NAMES[3])}"
    assert served.client.get(deep).status_code == 200
    assert served.client.get("/ptiff-viewer").status_code == 404


def test_of_several_with_one_name_it_is_the_first_by_key(tmp_path: Path) -> None:
    """Whatever stores they are in; the others have their keys."""
    for store, colour in (("zulu", COLOURS[0]), ("alpha", COLOURS[3]), ("mike", COLOURS[6])):
        (tmp_path / store / "sub").mkdir(parents=True)
        write(flat(colour), tmp_path / store / "sub" / "same.tiff")
    config = Config(
        store=[Store(root=str(tmp_path / name)) for name in ("zulu", "alpha", "mike")],
        catalogue=Catalogue(f"sqlite:///{tmp_path}/c.db"),
    )
    with TestClient(create_app(config)) as client:
        settle(client, 3)
        first = client.get("/apiv1/slides/same.tiff/0/0/0").content
        assert is_colour(shown(first)[:200], COLOURS[3])
        key = client.get("/apiv1/slides/zulu%2Fsub%2Fsame.tiff/0/0/0").content
        assert key == client.get("/apiv1/slides/zulu/sub/same.tiff/0/0/0").content
        assert is_colour(shown(key)[:200], COLOURS[0])


def test_names_of_stores_follow_the_catalogue(tmp_path: Path) -> None:
    """By label and by id, and only those that are served."""
    one, two = Embedded(tmp_path / "c.db"), Embedded(tmp_path / "c.db")
    stores = Served(one, [Store(root="/a", label="A")], writes=True)
    stores.start()
    assert stores.label("A") == "A"
    assert stores.label(stores["A"].id) == "A"
    for unknown in ("", "a", "b2" * 12, "B"):
        assert stores.label(unknown) is None, unknown
    two.put_store(StoreRecord(id="b2" * 12, label="B", root="/b"))
    two.put_store(StoreRecord(id="c3" * 12, label="C", root="/c", configured=True))
    stores.renew()
    assert (stores.label("b2" * 12), stores.label("B")) == ("B", "B")
    assert stores.label("c3" * 12) is None
    for catalogue in (one, two):
        catalogue.close()


def test_names_of_files_follow_the_catalogue(tmp_path: Path) -> None:
    """What was found, or not found, by a file's name holds for one generation."""
    one, two = Embedded(tmp_path / "c.db"), Embedded(tmp_path / "c.db")
    lookup = Lookup(one, ["A", "B"])
    assert lookup.get(FileName("s.tiff")) is None
    with pytest.raises(NotAtHand):
        lookup.at_hand(FileName("other.tiff"))
    two.put([record("2", "B", "s.tiff"), record("3", "B", "a/s.tiff"), record("4", "C", "s.tiff")])
    lookup.notice()
    found = lookup.get(FileName("s.tiff"))
    assert found is not None
    assert found.key == "B/a/s.tiff"
    assert lookup.at_hand(FileName("s.tiff")) is found
    two.put([record("5", "A", "xs.tiff"), record("6", "A", "z/s.tiff", "missing"), record("7", "A", "S.tiff")])
    lookup.notice()
    again = lookup.get(FileName("s.tiff"))
    assert again is not None
    assert again.key == "B/a/s.tiff"
    for unknown in ("", "a/s.tiff", "B/a/s.tiff", "s.tif", "%.tiff", "\udc80.tiff"):
        assert lookup.get(FileName(unknown)) is None, unknown
    lookup.close()
    for catalogue in (one, two):
        catalogue.close()


def record(digit: str, store: str, path: str, state: State = "ready") -> Slide:
    there = Fingerprint(1, 2, 3, 4)
    return Slide(id=digit * 24, store=store, path=path, fingerprint=there, state=state, added=0, changed=0)
