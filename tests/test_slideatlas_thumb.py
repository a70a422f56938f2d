"""SlideAtlas's thumb, label and macro (seeds.md, acceptance checks 7 and 8), with labels shown and with labels denied."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import dpufs
import numpy as np
import pages
import pytest
from atlas import BLUE, COLOURS, GREEN, RED, YELLOW, Atlas, atlas, error_of, is_colour, quarters, shown
from PIL import Image
from tiny_tiff import Tiny, write

SIZE = {"width": 1000, "height": 700, "tile": 256}


def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


def drawn(width: int, height: int) -> bytes:
    """Red, green, blue, yellow, clockwise from the top left."""
    pixels = np.empty((height, width, 3), np.uint8)
    across, down = width // 2, height // 2
    pixels[:down, :across], pixels[:down, across:] = RED, GREEN
    pixels[down:, across:], pixels[down:, :across] = BLUE, YELLOW
    return jpeg(pixels)


# Not square: turned without room for it, it would be cut.
LABEL = drawn(300, 200)
MACROS = {"macro": (800, 400), "low": (120, 60), "odd": (333, 777)}


def philips(path: Path, label: bytes | None, macro: bytes | None) -> None:
    """A slide of 600 x 400 px, all of it sparse."""
    given = {"LABELIMAGE": label, "MACROIMAGE": macro}
    pictures = [dpufs.picture(kind, base64.b64encode(data).decode()) for kind, data in given.items() if data]
    xml = dpufs.document(dpufs.wsi([dpufs.nominal(40, 0)]), *pictures, barcode="UzI2LTAwMTIzNA==")
    path.write_bytes(pages.write(dpufs.levels([(600, 400)], xml), True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thumbs") / "thumbs"
    folder.mkdir()
    for name, size in MACROS.items():
        philips(folder / f"{name}.tiff", LABEL, drawn(*size))
    philips(folder / "nolabel.tiff", None, drawn(800, 400))
    philips(folder / "nomacro.tiff", LABEL, None)
    philips(folder / "brokenlabel.tiff", b"\xff\xd8 no picture", drawn(800, 400))
    philips(folder / "bomb.tiff", LABEL, jpeg(np.zeros((6000, 6000, 3), np.uint8)))
    philips(folder / "brokenmacro.tiff", LABEL, LABEL[: len(LABEL) // 2])
    write(Tiny(**SIZE, paint=quarters), folder / "root.tiff")
    write(Tiny(**SIZE, paint=quarters, levels=2), folder / "stops.tiff")
    write(Tiny(**SIZE, paint=quarters, sparse=frozenset({(2, 0, 0), (1, 1, 0)})), folder / "sparse.tiff")
    write(Tiny(**SIZE, paint=quarters, levels=1), folder / "nothing.tiff")
    return folder


@pytest.fixture(scope="module")
def allowed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with atlas(folder, tmp_path_factory.mktemp("catalogue"), labels="allow") as found:
        yield found


@pytest.fixture(scope="module")
def denied(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with atlas(folder, tmp_path_factory.mktemp("catalogue")) as found:
        yield found


def thumb(served: Atlas, name: str) -> bytes:
    """In both its forms."""
    image = served.ids[f"{name}.tiff"]
    one, two = served.client.get(f"/thumb?img={image}&db={served.db}"), served.client.get(f"/thumb/{served.db}/{image}")
    assert (one.status_code, one.headers["content-type"]) == (200, "image/jpeg"), one.text
    assert one.content == two.content
    assert one.headers["etag"] == two.headers["etag"]
    again = served.client.get(f"/thumb/{served.db}/{image}", headers={"if-none-match": one.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    return one.content


@pytest.mark.parametrize("name", MACROS)
def test_check_7_the_label_turned_and_the_macro_side_by_side(allowed: Atlas, name: str) -> None:
    pixels = shown(thumb(allowed, name))
    width, height = MACROS[name]
    scale = min(1, 100 / height)
    across, down = round(width * scale), round(height * scale)
    assert pixels.shape == (100, across + 100, 3)
    # Counter-clockwise: what was right is on top, what was on top is left.
    label = pixels[:, :100]
    for corner, colour in (((0, 0), GREEN), ((0, 50), BLUE), ((50, 50), YELLOW), ((50, 0), RED)):
        y, x = corner
        assert is_colour(label[y + 9 : y + 41, x + 9 : x + 41], colour, 30), corner
    macro = pixels[:down, 100:]
    for (y, x), colour in (((0, 0), RED), ((0, 1), GREEN), ((1, 1), BLUE), ((1, 0), YELLOW)):
        part = macro[y * down // 2 : (y + 1) * down // 2, x * across // 2 : (x + 1) * across // 2]
        assert is_colour(part[7:-7, 7:-7], colour, 30), (y, x)
    assert (pixels[down + 8 :, 108:] > 245).all()


def test_check_7_without_pictures_it_is_the_root_tile_as_stored(allowed: Atlas) -> None:
    image = allowed.ids["root.tiff"]
    assert thumb(allowed, "root") == allowed.client.get(f"/tile/{allowed.db}/{image}/t.jpg").content


@pytest.mark.parametrize(("name", "there"), [("stops", "qrst"), ("sparse", "qst")])
def test_check_7_without_a_root_it_is_its_quarters(allowed: Atlas, name: str, there: str) -> None:
    pixels = shown(thumb(allowed, name))
    assert pixels.shape == (256, 256, 3)
    corners = {"q": (0, 0, 128, 128), "r": (128, 0, 122, 128), "s": (128, 128, 122, 47), "t": (0, 128, 128, 47)}
    for letter, (x, y, width, height) in corners.items():
        colour = COLOURS[letter] if letter in there else (255, 255, 255)
        assert is_colour(pixels[y + 6 : y + height - 6, x + 6 : x + width - 6], colour), letter


@pytest.mark.parametrize("name", ["nothing", "nolabel", "nomacro", "brokenlabel", "brokenmacro", "bomb"])
def test_check_7_without_anything_it_is_white(allowed: Atlas, name: str) -> None:
    pixels = shown(thumb(allowed, name))
    assert pixels.shape == (256, 256, 3)
    assert (pixels == 255).all()


def test_a_thumb_shows_no_label_where_labels_are_denied(allowed: Atlas, denied: Atlas) -> None:
    """As if there were neither label nor macro: those of the XML are all that this slide has to show."""
    assert (shown(thumb(denied, "macro")) == 255).all()
    assert thumb(denied, "root") == thumb(allowed, "root")
    tag = allowed.client.get(f"/thumb/{allowed.db}/{allowed.ids['macro.tiff']}").headers["etag"]
    answer = denied.client.get(f"/thumb/{denied.db}/{denied.ids['macro.tiff']}", headers={"if-none-match": tag})
    assert answer.status_code == 200


def test_check_8_label_and_macro_are_the_bytes_of_the_xml(allowed: Atlas) -> None:
    image = allowed.ids["macro.tiff"]
    for urls, payload in (
        (
            (
                f"/label?img={image}&db={allowed.db}",
                "/apiv1/slides/macro.tiff/label/",
                "/apiv1/slides/macro.tiff/label",
            ),
            LABEL,
        ),
        (("/apiv1/slides/macro.tiff/macro/", f"/slides/{image}/macro.jpg"), drawn(800, 400)),
    ):
        for url in (*urls, *urls):
            answer = allowed.client.get(url)
            assert (answer.status_code, answer.content) == (200, payload), url
    for absent in (
        "/apiv1/slides/nolabel.tiff/label/",
        "/apiv1/slides/nomacro.tiff/macro/",
        f"/label?img={allowed.ids['root.tiff']}&db={allowed.db}",
    ):
        answer = allowed.client.get(absent)
        assert (answer.status_code, error_of(answer)) == (404, "not_found"), absent


def test_a_picture_too_large_to_be_one_is_not_decoded(allowed: Atlas) -> None:
    image = allowed.ids["bomb.tiff"]
    answer = allowed.client.get(f"/slides/{image}/macro.png")
    assert (answer.status_code, error_of(answer)) == (400, "too_costly")
    assert allowed.client.get(f"/slides/{image}/macro.jpg").status_code == 200


def test_check_8_broken_xml_still_is_a_slide(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    philips(folder / "a.tiff", LABEL, drawn(800, 400))
    data = (folder / "a.tiff").read_bytes()
    assert data.count(b"</Array>") > 0
    (folder / "a.tiff").write_bytes(data.replace(b"</Array>", b"</Arra >", 1))
    with atlas(folder, tmp_path, labels="allow") as served:
        assert served.client.get("/apiv1/slides").json() == {"slides": [{"name": "a.tiff", "barcode": ""}]}
        assert served.client.get(f"/label?img={served.ids['a.tiff']}&db={served.db}").status_code == 404
        assert (shown(thumb(served, "a")) == 255).all()


def test_macros_are_denied_with_labels(denied: Atlas) -> None:
    assert denied.client.get("/apiv1/slides/macro.tiff/macro/").status_code == 403
