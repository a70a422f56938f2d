"""Philips files that differ: OpenSlide's and slideio's cases, associated pictures, and XML that means harm.

Each case is a small sample slide whose directories are edited here. Where OpenSlide refuses and ptiffserve does not, the
case says why: one wrong line in a header is no reason to withhold the tiles.
"""

import base64
import io
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import dpufs
import numpy as np
import oracle
import pages
import pytest
import reference
from dpufs import document, opened, pair, picture, wsi
from pages import LONG, SHORT, Page
from PIL import Image
from served import Serve, settle

from ptiffserve.errors import NotFound, SlideUnreadable, TileCorrupt
from ptiffserve.readers import philips_xml
from ptiffserve.readers.philips_xml import NotPhilips, barcode_text, parse, spacing, unbase64

CASES = Path(__file__).parent / "cases" / "philips"
Edit = Callable[[list[Page]], object]
LEVELS = 4  # of the slide that is edited; then Macro, then Label


@pytest.fixture(scope="module")
def base(slides: Path) -> Path:
    return slides / "big420.tiff"


def edited(base: Path, folder: Path, edit: Edit) -> Path:
    made = pages.read(base)
    assert [one.text()[:6] for one in made[1:]] == ["level="] * (LEVELS - 1) + ["Macro ", "Label"]
    edit(made)
    return dpufs.written(folder, made)


def reworded(old: str, new: str, count: int = 1) -> Edit:
    """Replaces words in the XML; at least one occurrence must be there."""

    def edit(made: list[Page]) -> None:
        assert old in made[0].text()
        made[0].say(made[0].text().replace(old, new, count))

    return edit


def substituted(pattern: str, new: str, count: int = 1) -> Edit:
    def edit(made: list[Page]) -> None:
        text, done = re.subn(pattern, new, made[0].text(), count=count, flags=re.S)
        assert done
        made[0].say(text)

    return edit


def tag(index: int, number: int, kind: int, *values: int) -> Edit:
    return lambda made: made[index].tags.__setitem__(number, (kind, values))


def both(*edits: Edit) -> Edit:
    return lambda made: [edit(made) for edit in edits]


def swap(made: list[Page]) -> None:
    made[1], made[2] = made[2], made[1]


def sparse(made: list[Page]) -> None:
    for one in made[:LEVELS]:
        one.data = [b"" if i % 2 else data for i, data in enumerate(one.data)]


def interloper(made: list[Page]) -> None:
    """A tiled directory that nobody declared, smaller than the level behind it."""
    stranger = Page(dict(made[3].tags), list(made[3].data), kinds=made[3].kinds)
    stranger.say("somebody else's picture")
    made.insert(1, stranger)


def twice(made: list[Page]) -> None:
    made.insert(2, Page(dict(made[1].tags), list(made[1].data), kinds=made[1].kinds))


def without_pictures(made: list[Page]) -> None:
    del made[LEVELS:]


LABEL_DATA = r'(LABELIMAGE.*?IMAGE_DATA"[^>]*>)[^<]*'
MACRO_DATA = r'(MACROIMAGE.*?IMAGE_DATA"[^>]*>)[^<]*'


def bad_spacing(made: list[Page]) -> None:
    """The spacing of the last level is no number."""
    text = made[0].text()
    at = text.rindex("DICOM_PIXEL_SPACING", 0, text.index("PIM_DP_IMAGE_COLUMNS"))
    made[0].say(text[:at] + re.sub(r">[^<]*<", ">&quot;x&quot; &quot;y&quot;<", text[at:], count=1))


def no_spacings(made: list[Page]) -> None:
    substituted(r'<Attribute Name="DICOM_PIXEL_SPACING"[^>]*>[^<]*</Attribute>', "", 0)(made)


class Case(NamedTuple):
    """`ours` and `theirs`: the format as which each reader opens it, or the words ("!") in which it refuses."""

    edit: Edit
    ours: str
    theirs: str
    why: str = ""


TABLE = {
    # OpenSlide's
    "philips-tiff": Case(lambda made: None, "philips", "philips"),
    "associated-bad-compression": Case(
        tag(LEVELS, 259, SHORT, 9), "philips", "!compression", "the macro fails when it is asked for"
    ),
    "associated-with-xml": Case(lambda made: None, "philips", "philips"),
    "associated-xml-bad-jpeg": Case(
        both(without_pictures, substituted(LABEL_DATA, r"\1/9j/QUJD")), "philips", "philips"
    ),
    "associated-xml-only": Case(without_pictures, "philips", "philips"),
    "bad-compression": Case(tag(2, 259, SHORT, 9), "!directory 2 has compression 9", "!compression"),
    "bad-level-order": Case(swap, "philips", "!dimensions", "levels say their numbers"),
    "bad-subfile-type": Case(tag(2, 254, LONG, 0), "philips", "!reduced-resolution", "the level says that it is one"),
    "no-imagedescription": Case(lambda made: made[0].tags.pop(270), "tiled", "generic-tiff"),
    "sparse": Case(sparse, "philips", "philips"),
    "xml-bad-pixel-spacing": Case(bad_spacing, "philips", "!pixel spacing", "the level says its number"),
    "xml-bad-root-element": Case(
        both(reworded("<DataObject ", "<Data ", 1), substituted(r"</DataObject>\s*$", "</Data>")),
        "tiled",
        "generic-tiff",
    ),
    "xml-malformed": Case(reworded("</Array>", "</Arra>"), "tiled", "generic-tiff"),
    "xml-missing-pixel-spacing": Case(no_spacings, "philips", "!downsamples", "the levels say their numbers"),
    "xml-no-main-image": Case(reworded(">WSI<", ">OTHER<"), "!exactly one WSI", "!one WSI image"),
    "xml-no-objecttype": Case(reworded(' ObjectType="DPUfsImport"', ""), "tiled", "generic-tiff"),
    "xml-valid-objective-power": Case(reworded("levels=10003", "levels=40"), "philips", "philips"),
    # slideio's
    "interloper": Case(interloper, "philips", "!dimensions", "it does not say that it is a level"),
    "level-not-stored": Case(lambda made: made.pop(2), "philips", "!downsamples", "the others say their numbers"),
    "two-levels-of-equal-size": Case(twice, "philips", "!downsamples", "the second is left out"),
    "duplicate-macro": Case(lambda made: made.append(made[LEVELS]), "philips", "philips"),
    "byte-order-mark": Case(reworded("<?xml", "\ufeff<?xml"), "philips", "philips"),
    "empty-attribute": Case(reworded("<Attribute ", "<Attribute/><Attribute "), "philips", "philips"),
    "no-prolog": Case(substituted(r"^<\?xml[^>]*>\s*", ""), "philips", "philips"),
    # others
    "two-main-images": Case(reworded(">MACROIMAGE<", ">WSI<"), "!exactly one WSI", "!one WSI image"),
    "no-software": Case(lambda made: made[0].tags.pop(305), "tiled", "generic-tiff"),
    "other-software": Case(lambda made: made[0].say("Phil", 305), "tiled", "generic-tiff"),
    "other-encoding": Case(reworded("UTF-8", "ISO-8859-1"), "philips", "philips"),
    "unknown-entity": Case(reworded(">WSI<", ">&who;<"), "tiled", "generic-tiff"),
    "no-levels-in-xml": Case(
        substituted(r"<DataObject ObjectType=\"PixelDataRepresentation\">.*?</DataObject>", "", 0),
        "philips",
        "!downsamples",
        "the levels say their numbers",
    ),
    "comma-for-point": Case(substituted(r"(&quot;0)\.", r"\1,", 0), "philips", "philips"),
}


@pytest.mark.parametrize("name", TABLE)
def test_case(base: Path, tmp_path: Path, name: str) -> None:
    case = TABLE[name]
    path = edited(base, tmp_path, case.edit)
    check_theirs(path, case.theirs)
    if case.ours.startswith("!"):
        with pytest.raises(SlideUnreadable, match=case.ours[1:]):
            opened(path)
        return
    assert opened(path).format == case.ours
    check_levels(path, case)


def check_theirs(path: Path, theirs: str) -> None:
    facts = reference.facts(path)
    if theirs.startswith("!"):
        assert isinstance(facts, str), facts
        assert theirs[1:] in facts
    else:
        assert isinstance(facts, reference.Facts), facts
        assert facts.vendor == theirs


def check_levels(path: Path, case: Case) -> None:
    """Levels in their order, each with its own tiles; where OpenSlide opens it as Philips, the same as it says."""
    reader = opened(path)
    scales = [level.scale for level in reader.pyramid.levels]
    assert scales == sorted(set(scales))
    assert scales[0] == 1
    if case.ours == "philips":
        assert scales == [1, 2, 4, 8][: len(scales)] or scales == [1, 2, 8]
        assert [(one.size.width, one.size.height) for one in reader.pyramid.levels] == [
            (1536 // d, 1280 // d) for d in scales
        ]
    widths = {one.first(oracle.WIDTH, 0): one for one in oracle.walk(path.read_bytes())[0]}
    for index, level in enumerate(reader.pyramid.levels):
        directory = widths[level.grid.width * level.tile.width]
        for row in range(level.grid.height):
            for col in range(level.grid.width):
                assert reader.tile(index, col, row) == oracle.tile(directory, col, row)
    if case.theirs == case.ours == "philips":
        facts = reference.facts(path)
        assert isinstance(facts, reference.Facts)
        assert facts.sizes == tuple((one.size.width, one.size.height) for one in reader.pyramid.levels)


@pytest.mark.parametrize("name", [name for name, case in TABLE.items() if case.ours == "philips" and case.why])
def test_leniency_loses_no_level(base: Path, tmp_path: Path, name: str) -> None:
    found = [level.scale for level in opened(edited(base, tmp_path, TABLE[name].edit)).pyramid.levels]
    assert found == ([1, 2, 8] if name == "level-not-stored" else [1, 2, 4, 8])


def test_levels_by_their_place_where_none_says_its_number(base: Path, tmp_path: Path) -> None:
    def edit(made: list[Page]) -> None:
        for one in made[1:LEVELS]:
            del one.tags[270]

    path = edited(base, tmp_path, edit)
    check_levels(path, TABLE["philips-tiff"])
    path = edited(base, tmp_path, both(edit, no_spacings))
    assert [level.scale for level in opened(path).pyramid.levels] == [1, 2, 4, 8]


def test_a_directory_of_another_shape_is_no_level(base: Path, tmp_path: Path) -> None:
    path = edited(base, tmp_path, lambda made: made[2].tags.__setitem__(256, (LONG, [256 * 6])))
    assert [level.scale for level in opened(path).pyramid.levels] == [1, 2, 8]


# ---- associated pictures -----------------------------------------------------------------------------------


def shown(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["label", "macro"])
@pytest.mark.parametrize("edit", [lambda made: None, without_pictures], ids=["directory", "xml"])
def test_pictures_equal_openslides(base: Path, tmp_path: Path, name: str, edit: Edit) -> None:
    path = edited(base, tmp_path, edit)
    assert sorted(opened(path).associated()) == ["label", "macro"]
    data = opened(path).picture(name)
    assert data[:2] == b"\xff\xd8"
    assert np.array_equal(shown(data), reference.associated(path, name))


def test_the_directory_comes_before_the_xml(base: Path, tmp_path: Path) -> None:
    other = base64.b64encode(jpeg((40, 30), "red")).decode()
    path = edited(base, tmp_path, substituted(LABEL_DATA, rf"\g<1>{other}"))
    assert shown(opened(path).picture("label")).shape[:2] != (30, 40)
    path = edited(base, tmp_path, both(substituted(LABEL_DATA, rf"\g<1>{other}"), lambda made: made.pop()))
    assert shown(opened(path).picture("label")).shape[:2] == (30, 40)
    assert np.array_equal(shown(opened(path).picture("label")), reference.associated(path, "label"))


def jpeg(size: tuple[int, int], colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    ["", "  \n ", "QUJD", "not base64 at all", "/9j", "!!!!", "iVBORw0KGgo="],
    ids=lambda data: data.strip() or "none",
)
def test_what_is_no_jpeg_is_no_picture(base: Path, tmp_path: Path, data: str) -> None:
    path = edited(base, tmp_path, both(without_pictures, substituted(LABEL_DATA, rf"\g<1>{data}")))
    assert opened(path).associated() == ("macro",)
    with pytest.raises(NotFound, match="no label"):
        opened(path).picture("label")


def test_a_directory_that_cannot_be_decoded_fails_alone(base: Path, tmp_path: Path) -> None:
    reader = opened(edited(base, tmp_path, TABLE["associated-bad-compression"].edit))
    assert sorted(reader.associated()) == ["label", "macro"]
    with pytest.raises(TileCorrupt, match="directory 4"):
        reader.picture("macro")
    assert reader.picture("label")[:2] == b"\xff\xd8"


@pytest.mark.parametrize("tables", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\0\4ab\xff\xd9"])
def test_a_picture_with_broken_tables(base: Path, tmp_path: Path, tables: bytes) -> None:
    path = edited(base, tmp_path, lambda made: made[LEVELS].tags.__setitem__(347, (7, tables or b"x")))
    with pytest.raises(TileCorrupt, match="directory 4"):
        opened(path).picture("macro")


def test_a_macro_kept_as_one_tile(base: Path, tmp_path: Path) -> None:
    """Some writers tile even that: it is a picture, and no level."""

    def edit(made: list[Page]) -> None:
        whole = Page(dict(made[3].tags), [data or b"" for data in made[3].data], kinds=made[3].kinds)
        whole.say("Macro")
        made[LEVELS] = whole

    reader = opened(edited(base, tmp_path, edit))
    assert len(reader.pyramid.levels) == LEVELS
    assert shown(reader.picture("macro")).shape == (256, 256, 3)


def test_pictures_over_http(base: Path, tmp_path: Path, serve: Serve) -> None:
    """Denied unless allowed; then the stored bytes, or another format of the same."""
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "a.tiff").write_bytes(base.read_bytes())
    denied, allowed = serve(folder), serve(folder, labels="allow")
    for client in (denied, allowed):
        settle(client, 1)
    for name in ("label", "macro"):
        assert denied.get(f"/slides/store/a.tiff/{name}.jpg").status_code == 403
        answer = allowed.get(f"/slides/store/a.tiff/{name}.jpg")
        assert answer.headers["server-timing"].startswith("stored")
        expected = reference.associated(base, name)
        assert np.array_equal(shown(answer.content), expected)
        assert np.array_equal(shown(allowed.get(f"/slides/store/a.tiff/{name}.png").content), expected)
        fitted = shown(allowed.get(f"/slides/store/a.tiff/{name}.png?width=100&height=100").content)
        assert max(fitted.shape[:2]) == 100
    assert allowed.get("/slides/store/a.tiff/thumb.jpg").status_code == 404


# ---- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "barcode"),
    [
        ("MzMxMTk0MA==", "3311940"),
        (" MzMxMTk0MA==\n", "3311940"),
        ("3311940", "3311940"),
        ("12345678", "12345678"),
        ("AAAA", "AAAA"),
        ("S14-00346;A;1", "S14-00346;A;1"),
        (base64.b64encode("Ä1 µ".encode()).decode(), "Ä1 µ"),
        (base64.b64encode(b"01\x1d17").decode(), "01\x1d17"),
        (base64.b64encode(b"\xff\xfe\x80").decode(), base64.b64encode(b"\xff\xfe\x80").decode()),
        ("", ""),
    ],
)
def test_barcodes(base: Path, tmp_path: Path, said: str, barcode: str) -> None:
    assert barcode_text(said) == barcode
    path = edited(base, tmp_path, substituted(r'(UFS_BARCODE"[^>]*>)[^<]*', rf"\g<1>{said}"))
    assert opened(path).barcode == barcode


def test_no_barcode(base: Path, tmp_path: Path) -> None:
    path = edited(base, tmp_path, substituted(r'(UFS_BARCODE"[^>]*>)[^<]*', r"\g<1>" + "7" * 5000))
    assert opened(path).barcode == ""
    assert opened(edited(base, tmp_path, reworded("PIM_DP_UFS_BARCODE", "NOTHING"))).barcode == ""


@pytest.mark.parametrize(
    ("said", "pair_of"),
    [
        ('"0.000226891" "0.000226907"', (0.000226891, 0.000226907)),
        ("0.25 0.5", (0.25, 0.5)),
        ('"2.5e-4"\n\t"2.5E-04"', (0.00025, 0.00025)),
        ('"0.25""0.5"', (0.25, 0.5)),
        ('"0,25" "0,5"', (0.25, 0.5)),
        ('"0.25"', None),
        ('"0.25" "0.25" "0.25"', None),
        ('"0" "0.25"', None),
        ('"-0.25" "0.25"', None),
        ('"nan" "0.25"', None),
        ('"inf" "0.25"', None),
        ('"1e400" "0.25"', None),
        ("", None),
    ],
)
def test_spacings(said: str, pair_of: tuple[float, float] | None) -> None:
    assert spacing(said) == pair_of


def test_spacing_is_row_then_column_and_the_wsis_own(base: Path, tmp_path: Path) -> None:
    """Not that of a level, which comes later, nor that of the macro."""
    edit = substituted(r'(DICOM_PIXEL_SPACING"[^>]*>)[^<]*', r"\g<1>&quot;0.0003&quot; &quot;0.0002&quot;")
    path = edited(base, tmp_path, edit)
    assert opened(path).pyramid.mpp == pytest.approx((0.2, 0.3))
    facts = reference.facts(path)
    assert isinstance(facts, reference.Facts)
    assert float(facts.properties["openslide.mpp-x"]) == pytest.approx(0.2)
    assert float(facts.properties["openslide.mpp-y"]) == pytest.approx(0.3)


def test_no_scale_of_its_own_is_none(tmp_path: Path) -> None:
    """A macro's spacing is 0.0315 mm: a scale bar by that would be a hundred times wrong."""
    xml = document(picture("MACROIMAGE", ""), wsi([pair(1, 1)], spacing=""))
    assert opened(dpufs.written(tmp_path, dpufs.levels([(512, 512)], xml))).pyramid.mpp is None


@pytest.mark.parametrize("junk", ["", "/", "=", "==\n", "=/", "\n/ "])
def test_base64_with_junk_behind_it(junk: str) -> None:
    data = jpeg((8, 8), "blue")
    text = base64.encodebytes(data).decode().rstrip() + junk
    assert unbase64(text)[: len(data)] == data
    assert len(unbase64(text)) <= len(data) + 1
    assert unbase64("") == unbase64("!") == b""


# ---- XML that means harm -----------------------------------------------------------------------------------


def opened_with(folder: Path, xml: str) -> str:
    """The format as which a Philips header with that XML is opened."""
    return opened(dpufs.written(folder, dpufs.levels([(512, 512)], xml))).format


def test_a_doctype_is_refused_whatever_it_says(tmp_path: Path) -> None:
    xml = document(wsi([pair(1, 1)]))
    assert opened_with(tmp_path, xml) == "philips"
    for doctype in ("<!DOCTYPE DataObject>", '<!DOCTYPE DataObject [<!ENTITY x "y">]>'):
        bad = xml.replace("?>\n", f"?>\n{doctype}\n", 1)
        with pytest.raises(NotPhilips, match="DOCTYPE"):
            parse(bad.encode())
        assert opened_with(tmp_path, bad) == "tiled"


def test_billion_laughs(tmp_path: Path) -> None:
    xml = (CASES / "billion-laughs.xml").read_text()
    with pytest.raises(NotPhilips, match="DOCTYPE"):
        parse(xml.encode())
    assert opened_with(tmp_path, xml) == "tiled"


def test_an_entity_is_not_expanded_in_the_rest_of_what_was_read(tmp_path: Path) -> None:
    """16 MB that would be gigabytes: most of them are never looked at."""
    entity = "x" * 4_000_000
    xml = f'<!DOCTYPE DataObject [<!ENTITY e "{entity}">]><DataObject>' + "&e;" * 3_000_000 + "</DataObject>"
    data = xml.encode()
    tracemalloc.start()
    try:
        with pytest.raises(NotPhilips, match="DOCTYPE"):
            parse(data)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(xml)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["external-entity", "external-schema"])
def test_nothing_is_fetched(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        xml = (CASES / f"{name}.xml").read_text().replace("LISTENER", host)
        assert xml.count(host) >= 3
        assert opened_with(tmp_path, xml) == ("tiled" if name == "external-entity" else "philips")
        with pytest.raises(TimeoutError):
            listener.accept()


def test_objects_out_of_place() -> None:
    found = parse((CASES / "spacing-without-image.xml").read_bytes())
    assert [(image.kind, image.spacing, image.levels) for image in found.images] == [("WSI", None, [])]


def test_a_picture_that_comes_before_its_type() -> None:
    """The first of its kind that has a JPEG; line breaks are part of base64."""
    xml = (CASES / "picture-before-its-type.xml").read_bytes()
    assert parse(xml).pictured("LABELIMAGE")
    assert philips_xml.picture(xml, "LABELIMAGE") == b"\xff\xd8\xff\xe0\0\x10JFIF"
    assert philips_xml.picture(xml, "MACROIMAGE") == b""


@pytest.mark.parametrize(
    "body",
    [
        "<a>" * 2_000_000,
        "<a>" * 1_000_000 + "</a>" * 1_000_000,
        '<DataObject ObjectType="DPScannedImage"/>' * 200_000,
        '<DataObject ObjectType="DPScannedImage">' + '<DataObject ObjectType="PixelDataRepresentation"/>' * 200_000,
        '<Attribute Name="PIM_DP_UFS_BARCODE">' + "x" * 8_000_000 + "</Attribute>",
        '<Attribute Name="PIM_DP_UFS_BARCODE">' + "<b/>x" * 1_000_000 + "</Attribute>",
        "<a " + " ".join(f'a{i}=""' for i in range(300_000)) + "/>",
        "<!-- " + "x" * 8_000_000 + " -->",
        "<![CDATA[" + "]" * 8_000_000 + "]]>",
        "&#65;" * 1_500_000,
    ],
    ids=["deep", "deep-closed", "images", "levels", "barcode", "mixed", "attributes", "comment", "cdata", "references"],
)
def test_large_documents_cost_little(tmp_path: Path, body: str) -> None:
    """Bounded in memory, a small multiple of the text, and in elements. Which of the two formats it is does not matter."""
    xml = document(wsi([pair(1, 1)])).replace("</DataObject>\n", f"</DataObject>\n{body}", 1)
    assert len(xml) < philips_xml.MAX_DOCUMENT
    path = dpufs.written(tmp_path, dpufs.levels([(512, 512)], xml))
    tracemalloc.start()
    try:
        assert opened(path).format in ("philips", "tiled")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_elements_are_counted() -> None:
    for number, refused in ((philips_xml.MAX_ELEMENTS - 10, False), (2 * philips_xml.MAX_ELEMENTS + 1, True)):
        xml = '<DataObject ObjectType="DPUfsImport">' + "<a/>" * number + "</DataObject>"
        if refused:
            with pytest.raises(NotPhilips, match="too many elements"):
                parse(xml.encode())
        else:
            assert parse(xml.encode()).images == []


def test_64_megabytes_of_description_are_not_read(tmp_path: Path) -> None:
    made = dpufs.levels([(512, 512)], "x")
    path = tmp_path / "slide.tiff"
    data = bytearray(pages.write(made))
    at = data.index((270).to_bytes(2, "little") + b"\2\0")
    data[at + 4 : at + 20] = (64 << 20).to_bytes(8, "little") + len(data).to_bytes(8, "little")
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(len(data) + (64 << 20))
    tracemalloc.start()
    try:
        assert opened(path).format == "tiled"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_description_of_philips_2s_size_is_no_burden(base: Path, tmp_path: Path) -> None:
    """Its macro takes 844 kB of base64; only the picture that is asked for is kept."""
    big = base64.b64encode(jpeg((8, 8), "red") + bytes(900_000)).decode()
    path = edited(base, tmp_path, both(without_pictures, substituted(MACRO_DATA, rf"\g<1>{big}")))
    tracemalloc.start()
    try:
        reader = opened(path)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 400_000
    assert shown(reader.picture("macro")).shape == (8, 8, 3)
