"""Pictures beside the slide: barcodes that can be read back, labels put together with them, and who may see either."""

import base64
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dpufs
import numpy as np
import pages
import pytest
import pyvips
import zxingcpp
from atlas import Atlas, atlas, error_of, shown
from PIL import Image

from ptiffserve import barcode, encode
from ptiffserve.errors import UnsupportedFormat

LONG = "S26-001234|Müller, K.|HE|" + "x" * 40
GS1 = "0109506000134352\x1d10ABC123\x1d2112345"
SHORT = "S26-001234 A1"
FORMATS = sorted(encode.formats())


def label_picture() -> bytes:
    """Wider than high, another colour at each end: which way it lies can be seen."""
    pixels = np.full((200, 320, 3), 230, np.uint8)
    pixels[:, :80] = (200, 30, 30)
    pixels[:, 240:] = (30, 30, 200)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


LABEL = label_picture()


def philips(path: Path, said: str | None, label: bytes | None) -> None:
    """A slide of 600 x 400 px without tiles, with that barcode and label in its XML."""
    pictures = [dpufs.picture("LABELIMAGE", base64.b64encode(label).decode())] if label is not None else []
    coded = base64.b64encode(said.encode()).decode() if said is not None else None
    xml = dpufs.document(dpufs.wsi([dpufs.nominal(40, 0)]), *pictures, barcode=coded)
    path.write_bytes(pages.write(dpufs.levels([(600, 400)], xml), True))


SLIDES = {
    "both": (SHORT, LABEL),
    "code": (SHORT, None),
    "long": (LONG, None),
    "gs1": (GS1, None),
    "label": (None, LABEL),
    "neither": (None, None),
    "broken": (SHORT, b"\xff\xd8 no picture"),
    "hopeless": (None, b"\xff\xd8 no picture"),
    "huge": ("x" * 3000, LABEL),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside") / "beside"
    folder.mkdir()
    for name, (said, label) in SLIDES.items():
        philips(folder / f"{name}.tiff", said, label)
    return folder


@pytest.fixture(scope="module")
def open_labels(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with atlas(folder, tmp_path_factory.mktemp("catalogue"), labels="allow") as found:
        yield found


@pytest.fixture(scope="module")
def denied(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atlas]:
    with atlas(folder, tmp_path_factory.mktemp("catalogue")) as found:
        yield found


def read(data: bytes) -> list[tuple[str, str]]:
    """(symbology, text) of the symbols in a picture of any format."""
    pixels = pyvips.Image.new_from_buffer(data, "").colourspace("srgb").numpy()[..., :3].astype(np.uint8)
    found = zxingcpp.read_barcodes(np.ascontiguousarray(pixels[..., ::-1]), text_mode=zxingcpp.TextMode.Plain)
    return [(str(one.format), one.text) for one in found]


def url(served: Atlas, slide: str, rest: str) -> str:
    return f"/slides/{served.ids[f'{slide}.tiff']}/{rest}"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("slide", ["code", "long", "gs1"])
def test_a_barcode_is_read_back_from_its_picture(open_labels: Atlas, slide: str, form: str) -> None:
    answer = open_labels.client.get(url(open_labels, slide, f"barcode.{form}"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, encode.formats()[form])
    kind = "Code 128" if slide == "code" else "Data Matrix"
    assert read(answer.content) == [(kind, SLIDES[slide][0])]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("slide", ["both", "code", "long", "gs1", "broken"])
def test_a_composed_label_has_symbol_and_scanned_label(open_labels: Atlas, slide: str, form: str) -> None:
    answer = open_labels.client.get(url(open_labels, slide, f"label.{form}?compose=1"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, encode.formats()[form])
    assert [text for _, text in read(answer.content)] == [SLIDES[slide][0]]


def test_the_scanned_label_stands_left_as_it_is(open_labels: Atlas) -> None:
    whole = shown(open_labels.client.get(url(open_labels, "both", "label.png?compose=1")).content)
    alone = shown(open_labels.client.get(url(open_labels, "code", "label.png?compose=1")).content)
    label = shown(LABEL)
    assert whole.shape[1] == label.shape[1] + alone.shape[1]
    top, other = ((whole.shape[0] - side.shape[0]) // 2 for side in (label, alone))
    assert np.abs(whole[top : top + label.shape[0], : label.shape[1]] - label).max() <= 2
    assert np.array_equal(whole[other : other + alone.shape[0], label.shape[1] :], alone)
    # Under the symbol stands what it says.
    symbol = shown(open_labels.client.get(url(open_labels, "code", "barcode.png")).content)
    below = alone[20 + symbol.shape[0] + 10 :]
    assert (below < 128).any()


def test_composed_without_a_barcode_is_the_label_and_without_both_is_not_found(open_labels: Atlas) -> None:
    label = shown(open_labels.client.get(url(open_labels, "label", "label.png?compose=1")).content)
    assert np.abs(label - shown(LABEL)).max() <= 2
    for slide in ("neither", "hopeless"):
        answer = open_labels.client.get(url(open_labels, slide, "label.png?compose=1"))
        assert (answer.status_code, error_of(answer)) == (404, "not_found"), slide
    for rest in ("barcode.png", "barcode.svg", "barcode.txt"):
        assert open_labels.client.get(url(open_labels, "label", rest)).status_code == 404, rest
    assert open_labels.client.get(url(open_labels, "both", "composed.png")).status_code == 404


def test_not_composed_is_the_label_as_stored(open_labels: Atlas) -> None:
    for rest in ("label.jpg", "label.jpg?compose=0", "label.jpg?compose="):
        assert open_labels.client.get(url(open_labels, "both", rest)).content == LABEL, rest
    tags = {
        open_labels.client.get(url(open_labels, "both", rest)).headers["etag"]
        for rest in (
            "label.jpg",
            "label.jpg?compose=1",
            "barcode.jpg",
            "barcode.svg",
            "barcode.txt",
            "barcode.png?width=999",
        )
    }
    assert len(tags) == 6


def test_svg_and_text_of_a_barcode(open_labels: Atlas) -> None:
    text = open_labels.client.get(url(open_labels, "gs1", "barcode.txt"))
    assert (text.text, text.headers["content-type"]) == (GS1, "text/plain; charset=utf-8")
    drawn = open_labels.client.get(url(open_labels, "long", "barcode.svg"))
    assert drawn.headers["content-type"] == "image/svg+xml"
    # Drawn by another library, it says the same.
    picture = pyvips.Image.svgload_buffer(drawn.content, scale=2).flatten(background=[255, 255, 255])
    assert read(picture.pngsave_buffer()) == [("Data Matrix", LONG)]


def test_a_barcode_keeps_whole_modules_in_the_size_that_is_asked(open_labels: Atlas) -> None:
    for width in (170, 400, 1000):
        answer = open_labels.client.get(url(open_labels, "code", f"barcode.png?width={width}"))
        pixels = shown(answer.content)
        assert pixels.shape[1] <= width
        if width > 200:
            assert set(np.unique(pixels)) == {0, 255}
            assert read(answer.content) == [("Code 128", SHORT)]
    fitted = shown(open_labels.client.get(url(open_labels, "both", "label.jpg?compose=1&width=300&height=300")).content)
    assert max(fitted.shape) == 300


def test_what_no_symbol_holds_is_refused(open_labels: Atlas) -> None:
    for rest in ("barcode.png", "barcode.svg", "label.png?compose=1"):
        answer = open_labels.client.get(url(open_labels, "huge", rest))
        assert (answer.status_code, error_of(answer)) == (400, "unsupported_format"), rest
    assert open_labels.client.get(url(open_labels, "huge", "barcode.txt")).text == SLIDES["huge"][0]


def test_the_kind_of_symbol_goes_by_content() -> None:
    assert barcode.linear("S26-001234")
    assert barcode.linear("~" * barcode.LINEAR)
    for other in ("~" * (barcode.LINEAR + 1), "Müller", "a\x1db", "a\tb", "日本"):
        assert not barcode.linear(other), other
    with pytest.raises(UnsupportedFormat):
        barcode.symbol("x" * 3000, 1)


def test_labels_and_barcodes_are_refused_by_default(denied: Atlas) -> None:
    image = denied.ids["both.tiff"]
    names = [f"/slides/{image}/{name}.{form}" for name in ("label", "barcode") for form in ("jpg", "png")]
    more = [f"/slides/{image}/{rest}" for rest in ("barcode.svg", "barcode.txt", "label.jpg?compose=1")]
    legacy = [f"/label?img={image}&db={denied.db}", f"/label/{denied.db}/{image}", "/apiv1/slides/both.tiff/label/"]
    for each in (*names, *more, *legacy, f"/slides/{denied.ids['code.tiff']}/label.png?compose=1"):
        for headers in ({}, {"if-none-match": "*"}):
            answer = denied.client.get(each, headers=headers)
            assert (answer.status_code, error_of(answer)) == (403, "forbidden"), each
    listed = denied.client.get("/apiv1/slides").json()["slides"]
    assert {entry["barcode"] for entry in listed} == {""}
    assert SHORT not in denied.client.get("/api/slides?limit=1000").text


def test_letters_are_left_out_on_a_machine_without_fonts(tmp_path: Path) -> None:
    """The symbol says it all; nothing fails."""
    (tmp_path / "fonts.conf").write_text('<?xml version="1.0"?><fontconfig></fontconfig>')
    code = "from ptiffserve import encode; found = encode.lettering('S26-001234 <&', 400); print(found and found.width)"
    env = {**os.environ, "FONTCONFIG_FILE": str(tmp_path / "fonts.conf"), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert encode.lettering("S26-001234 <&\x1d", 400) is not None
