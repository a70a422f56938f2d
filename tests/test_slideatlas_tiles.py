"""SlideAtlas's tiles (seeds.md, acceptance checks 1 to 6): names, orientation, levels, bytes, edges, HTTP."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
from atlas import COLOURS, Atlas, atlas, error_of, is_colour, quarters, shown
from served import SAMPLES, drawn, settle
from starlette.testclient import TestClient
from tiny_tiff import Tiny, wave, write

from ptiffserve.app import create_app
from ptiffserve.config import Catalogue, Config, Store

SIZE = {"width": 1000, "height": 700, "tile": 256}
SLIDES = {
    "quarters.tiff": Tiny(**SIZE, paint=quarters),
    "wave.tiff": Tiny(**SIZE, paint=wave),
    "sparse.tiff": Tiny(**SIZE, paint=wave, sparse=frozenset({(0, 1, 1), (2, 0, 0)})),
    "thin.tiff": Tiny(513, 257, 256, paint=wave),
    "short.tiff": Tiny(**SIZE, paint=quarters, levels=2),
    "small.tiff": Tiny(90, 40, 256, paint=wave),
    "padded.tiff": Tiny(**SIZE, paint=wave, philips=True, padded=True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("atlas") / "atlas slides"
    folder.mkdir()
    for name, slide in SLIDES.items():
        write(slide, folder / name)
    for name in ("big420", "rgb"):
        (folder / f"{name}.tiff").write_bytes(drawn(SAMPLES[name]).read_bytes())
    return folder


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with atlas(folder, tmp_path_factory.mktemp("catalogue")) as found:
        yield found


def tile(served: Atlas, slide: str, name: str) -> bytes:
    answer = served.client.get(f"/tile?img={served.ids[slide]}&db={served.db}&name={name}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return answer.content


@pytest.mark.parametrize("name", ["x", "tz", "", "t", "tq", ".jpg", "tx.jpg", "q.jpg", "Tq.jpg", "t q.jpg", "tq.exe"])
def test_check_1_a_bad_name_is_refused_and_never_a_fault(served: Atlas, name: str) -> None:
    image = served.ids["wave.tiff"]
    for url in (f"/tile?img={image}&db={served.db}&name={name}", f"/tile/{served.db}/{image}/{name}"):
        answer = served.client.get(url)
        assert answer.status_code in (400, 404), url
        assert error_of(answer) in ("malformed", "not_found", "unsupported_format")


def test_check_2_letters_are_quadrants_of_the_screen(served: Atlas) -> None:
    """The same pixels as z/x/y, DeepZoom and IIIF for the same place."""
    image = served.ids["quarters.tiff"]
    for letter, (col, row) in {"q": (0, 0), "r": (1, 0), "s": (1, 1), "t": (0, 1)}.items():
        pixels = shown(tile(served, "quarters.tiff", f"t{letter}.jpg"))
        width, height = 256 if col == 0 else 244, 256 if row == 0 else 94
        assert pixels.shape == (256, 256, 3)
        assert is_colour(pixels[8 : height - 8, 8 : width - 8], COLOURS[letter]), letter
        z_x_y = served.client.get(f"/tiles/{image}/1/{col}/{row}.jpg")
        assert z_x_y.content == tile(served, "quarters.tiff", f"t{letter}.jpg")
        region = f"{512 * col},{512 * row},{2 * width},{2 * height}"
        others = (
            f"/deepzoom/{image}_files/9/{col}_{row}.jpg",
            f"/iiif/3/{image}/{region}/{width},{height}/0/default.jpg",
        )
        for url in others:
            clipped = shown(served.client.get(url).content)
            assert is_colour(clipped[8 : height - 8, 8 : width - 8], COLOURS[letter]), url


def test_check_3_levels_run_from_the_whole_slide_to_full_resolution(served: Atlas) -> None:
    image = served.ids["wave.tiff"]
    whole = shown(tile(served, "wave.tiff", "t.jpg"))
    assert np.abs(whole[:175, :250] - wave(2, 250, 175)).max() <= 6
    finest = shown(tile(served, "wave.tiff", "tqs.jpg"))
    assert np.abs(finest - wave(0, 1000, 700)[256:512, 256:512]).max() <= 6
    # The stand-alone server counts the other way.
    answer = served.client.get("/apiv1/slides/wave.tiff/1/1/0")
    assert answer.content == tile(served, "wave.tiff", "tqs.jpg")
    assert served.client.get("/apiv1/slides/wave.tiff/0/0/2").content == tile(served, "wave.tiff", "t.jpg")
    for name in ("tqqq.jpg", "t" + 31 * "q" + ".jpg"):
        assert served.client.get(f"/tile/{served.db}/{image}/{name}").status_code == 404, name
    # A pyramid that stops before it is one tile has no root.
    short = served.ids["short.tiff"]
    assert served.client.get(f"/tile/{served.db}/{short}/t.jpg").status_code == 404
    assert served.client.get(f"/tile/{served.db}/{short}/tq.jpg").status_code == 200
    # Less than half a tile is one level all the same.
    assert shown(tile(served, "small.tiff", "t.jpg")).shape == (256, 256, 3)


@pytest.mark.parametrize("slide", ["wave.tiff", "big420.tiff", "rgb.tiff"])
def test_check_4_a_tile_is_what_libtiff_decodes(served: Atlas, folder: Path, slide: str) -> None:
    """wave.tiff has no JPEGTables, rgb.tiff is not YCbCr. One SOI, one EOI."""
    data = tile(served, slide, "tqs.jpg" if slide == "wave.tiff" else "tqqs.jpg")
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    assert data.count(b"\xff\xd8\xff") == 1
    assert data.count(b"\xff\xd9") == 1
    truth = pyvips.Image.tiffload(str(folder / slide), page=0).crop(256, 256, 256, 256)
    if truth.bands > 3:
        truth = truth[:3]
    served_pixels = pyvips.Image.jpegload_buffer(data)
    difference = np.abs(served_pixels.numpy().astype(int) - truth.numpy().astype(int)).max()
    assert difference == 0


def test_check_5_edges_are_whole_and_what_is_not_stored_is_not_found(served: Atlas) -> None:
    thin = served.ids["thin.tiff"]
    for place in ("tqq", "tqr", "trq", "tqt", "tqs", "trt"):
        assert shown(tile(served, "thin.tiff", f"{place}.jpg")).shape == (256, 256, 3), place
    for place in ("trr", "ttq", "tsq"):
        assert served.client.get(f"/tile/{served.db}/{thin}/{place}.jpg").status_code == 404, place
    sparse = served.ids["sparse.tiff"]
    for name, level in (("tqs", "1/1/0"), ("t", "0/0/2")):
        missing = served.client.get(f"/tile/{served.db}/{sparse}/{name}.jpg")
        assert (missing.status_code, error_of(missing)) == (404, "not_found")
        assert served.client.get(f"/apiv1/slides/sparse.tiff/{level}").status_code == 404
    # ... while z/x/y has it blank.
    assert served.client.get(f"/tiles/{sparse}/2/1/1.jpg").headers["server-timing"].startswith("blank")


def test_check_5_a_padded_slide_has_the_tiles_of_its_grid(served: Atlas) -> None:
    """Philips pads level sizes to whole tiles: 1024 x 768, so 4 x 3 tiles, and the padding of the file in them."""
    found = {(x, y) for x in range(5) for y in range(5) if tile_at(served, "padded.tiff", x, y) == 200}
    assert found == {(x, y) for x in range(4) for y in range(3)}


def tile_at(served: Atlas, slide: str, x: int, y: int) -> int:
    return served.client.get(f"/tileat/{served.db}/{served.ids[slide]}?x={256 * x}&y={256 * y}&z=2").status_code


def test_a_place_in_pixels_is_the_tile_there(served: Atlas) -> None:
    image = served.ids["wave.tiff"]
    base = f"/tileat/{served.db}/{image}"
    for query, name in {
        "x=0&y=0&z=0": "t",
        "x=255&y=255&z=1": "tq",
        "x=256&y=0&z=1": "tr",
        "x=300&y=256&z=1": "ts",
        "x=511&y=257&z=2": "tqs",
    }.items():
        assert served.client.get(f"{base}?{query}").content == tile(served, "wave.tiff", f"{name}.jpg"), query
        assert served.client.get(f"/tileat?img={image}&db={served.db}&{query}").status_code == 200
    for query in ("x=0&y=0&z=3", "x=1024&y=0&z=2", "x=0&y=768&z=2", "x=0&y=0&z=99999999"):
        assert served.client.get(f"{base}?{query}").status_code == 404, query
    for query in ("", "x=0&y=0", "x=0&y=0&z=-1", "x=a&y=0&z=0", "x=0.5&y=0&z=0", "x=-1&y=0&z=0"):
        assert served.client.get(f"{base}?{query}").status_code == 400, query


def test_check_6_both_forms_and_the_names_of_a_store_are_one_tile(served: Atlas) -> None:
    image = served.ids["wave.tiff"]
    urls = [
        f"/tile?img={image}&db={served.db}&name=tqs.jpg",
        f"/tile?name=tqs.jpg&db={served.db}&img={image}&extra=1",
        f"/tile/{served.db}/{image}/tqs.jpg",
        f"/tile/atlas%20slides/{image}/tqs.jpg",
        f"/tile?img={image}&db=atlas+slides&name=tqs.jpg",
        f"/tiles/{image}/2/1/1.jpg",
    ]
    answers = [served.client.get(url) for url in urls]
    assert {answer.status_code for answer in answers} == {200}
    assert len({(answer.headers["etag"], answer.content) for answer in answers}) == 1
    assert not answers[0].headers["etag"].startswith("W/")
    head = served.client.head(urls[0])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answers[0].content))


def test_check_6_not_modified_is_said_only_of_what_is_there(served: Atlas) -> None:
    image, sparse = served.ids["wave.tiff"], served.ids["sparse.tiff"]
    url = f"/tile/{served.db}/{image}/tqs.jpg"
    tag = served.client.get(url).headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = served.client.get(url, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
    assert served.client.get(url, headers={"if-none-match": '"other"'}).status_code == 200
    for missing in (f"/tile/{served.db}/{sparse}/tqs.jpg", f"/tile/{served.db}/{image}/tqqq.jpg"):
        for known in ("*", tag):
            assert served.client.get(missing, headers={"if-none-match": known}).status_code == 404, missing


def test_check_6_what_is_unknown_or_malformed_is_an_error_in_json(served: Atlas) -> None:
    image, other = served.ids["wave.tiff"], "0" * 24
    for db, img in (
        (other, image),
        (served.db, other),
        (other, other),
        ("no store", image),
        ("zz", image),
        (served.db, "zz"),
        (served.db, 'a"b'),
        (served.db + "00", image),
        (served.db.upper(), image),
    ):
        for url in (f"/tile/{db}/{img}/t.jpg", f"/thumb/{db}/{img}", f"/tileat/{db}/{img}?x=0&y=0&z=0"):
            answer = served.client.get(url)
            assert (answer.status_code, error_of(answer)) == (404, "not_found"), url
            assert answer.headers["content-type"] == "application/json"
        answer = served.client.get("/tile", params={"db": db, "img": img, "name": "t.jpg"})
        assert (answer.status_code, error_of(answer)) == (404, "not_found"), (db, img)
    for url in ("/tile", f"/tile?img={image}&name=t.jpg", f"/tile?db={served.db}&name=t.jpg", "/thumb", "/label?db=a"):
        assert served.client.get(url).status_code == 400, url
    assert served.client.post(f"/tile/{served.db}/{image}/t.jpg").status_code == 405


def test_a_slide_of_another_store_is_not_found(folder: Path, tmp_path: Path) -> None:
    """The store that is said must be the slide's: ids of slides are no way around it."""
    other = tmp_path / "other"
    other.mkdir()
    write(SLIDES["quarters.tiff"], other / "quarters.tiff")
    config = Config(
        store=[Store(root=str(folder)), Store(root=str(other))], catalogue=Catalogue(f"sqlite:///{tmp_path}/c.db")
    )
    with TestClient(create_app(config)) as client:
        settle(client, len(SLIDES) + 3)
        found = {slide["key"]: slide["id"] for slide in client.get("/api/slides?limit=1000").json()["slides"]}
        mine = found["other/quarters.tiff"]
        assert client.get(f"/tile/other/{mine}/t.jpg").status_code == 200
        assert client.get(f"/tile/atlas%20slides/{mine}/t.jpg").status_code == 404
        assert client.get(f"/thumb?db=atlas%20slides&img={mine}").status_code == 404


def test_check_6_a_replaced_file_has_another_tag_and_other_tiles(tmp_path: Path) -> None:
    folder = tmp_path / "changing"
    folder.mkdir()
    write(SLIDES["wave.tiff"], folder / "a.tiff")
    with atlas(folder, tmp_path) as served:
        url = f"/tile/{served.db}/{served.ids['a.tiff']}/t.jpg"
        before = served.client.get(url)
        write(SLIDES["quarters.tiff"], tmp_path / "new.tiff")
        (tmp_path / "new.tiff").replace(folder / "a.tiff")
        for _ in range(200):
            after = served.client.get(url, headers={"if-none-match": before.headers["etag"]})
            if after.status_code == 200:
                break
            time.sleep(0.05)
        assert after.status_code == 200
        assert after.headers["etag"] != before.headers["etag"]
        assert is_colour(shown(after.content)[8:120, 8:120], COLOURS["q"])


CUTOUTS = {
    "[300,310,300,310]": (256, 256, 256, 256),
    "[0,256,0,256]": (0, 0, 256, 256),
    "[0,257,0,256]": (0, 0, 512, 256),
    "[255.5,256.5,0,1]": (0, 0, 512, 256),
    "[-50,10,-50,10]": (0, 0, 256, 256),
    "[100,5000,600,5000]": (0, 512, 1024, 256),
}


@pytest.mark.parametrize("bounds", CUTOUTS)
def test_a_cutout_is_rounded_out_to_tiles(served: Atlas, bounds: str) -> None:
    x, y, width, height = CUTOUTS[bounds]
    answer = served.client.get(f"/cutout/{served.db}/{served.ids['wave.tiff']}/piece.png?bounds={bounds}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="piece.png"'
    pixels = shown(answer.content)
    assert pixels.shape == (height, width, 3)
    truth = wave(0, 1000, 700)[y : y + height, x : x + width]
    assert np.abs(pixels[: truth.shape[0], : truth.shape[1]] - truth).max() <= 6
    assert (pixels[truth.shape[0] :] == 255).all()
    assert (pixels[:, truth.shape[1] :] == 255).all()


def test_cutouts_in_other_formats_and_those_that_are_refused(served: Atlas) -> None:
    base = f"/cutout/{served.db}/{served.ids['wave.tiff']}"
    for name, media_type in {
        "a.jpg": "jpeg",
        "a.jpeg": "jpeg",
        "a.tif": "tiff",
        "a.svs": "tiff",
        "A.PNG": "png",
    }.items():
        answer = served.client.get(f"{base}/{name}?bounds=[0,10,0,10]")
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"image/{media_type}"), name
    # A whole tile as JPEG is the stored one, and a name is never more than a name.
    answer = served.client.get(f"{base}/x%22%0d%0aevil:1.jpg?bounds=[256,512,256,512]&debug=1")
    assert answer.content == tile(served, "wave.tiff", "tqs.jpg")
    assert answer.headers["content-disposition"] == 'attachment; filename="x___evil_1.jpg"'
    for query in ("", "?bounds=", "?bounds=[1,2,3]", "?bounds=1,2,3,4", "?bounds=[5,5,0,1]", "?bounds=[2000,2001,0,1]"):
        assert served.client.get(f"{base}/a.png{query}").status_code == 400, query
    for name in ("a.exe", "a", "a."):
        assert served.client.get(f"{base}/{name}?bounds=[0,1,0,1]").status_code == 400, name
