"""WebP tiles: sent as they lie in the file for `.webp`, and only those that are what their level promises."""

import io
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from drawn import Pixels, coded, difference, opened, picture, place, retag, webp, whole, written
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from served import Serve, settle

from ptiffserve.errors import NotFound, SlideChanged, TileCorrupt, TileTruncated
from ptiffserve.geometry import Size
from ptiffserve.readers.webp import NotWebp, check

SIZE = Size(96, 64)


def lossy(tile: Pixels) -> bytes:
    return bytes(imagecodecs.webp_encode(tile, level=80))


def by_pillow(tile: Pixels, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "WEBP", **options)
    return out.getvalue()


def animated(tile: Pixels) -> bytes:
    return by_pillow(tile, save_all=True, append_images=[Image.fromarray(255 - tile)])


def named(tile: Pixels) -> bytes:
    exif = Image.Exif()
    exif[0x013B] = "Doe, Jane"
    return by_pillow(tile, exif=exif)


@pytest.mark.parametrize("code", [webp, lossy])
def test_tiles_are_the_files_own(tmp_path: Path, code: Callable[[Pixels], bytes]) -> None:
    path = coded(tmp_path / "a.tif", 50001, code)
    reader, data = opened(path), path.read_bytes()
    assert {level.stored for level in reader.pyramid.levels} == {"webp"}
    for index in range(25):
        offset, count = place(path, index)
        tile = reader.tile(0, index % 5, index // 5)
        assert tile == reader.tile_now(0, index % 5, index // 5) == data[offset : offset + count]
    if code is webp:
        shown = np.asarray(Image.open(io.BytesIO(reader.tile(0, 1, 1))).convert("RGB"))
        assert difference(shown, picture()[64:128, 96:192]) == 0


@pytest.mark.parametrize(("code", "reason"), [
    (animated, "an animation"), (named, "Exif metadata"),
    (lambda tile: lossy(tile[:48]), "96 x 48, not 96 x 64"), (lambda tile: b"\xff\xd8" + bytes(90), "not begin"),
    (lambda tile: webp(tile)[:-1], "bytes, not"), (lambda tile: webp(tile) + b"\0\0", "bytes, not"),
])  # fmt: skip
def test_tiles_that_may_not_be_sent(tmp_path: Path, code: Callable[[Pixels], bytes], reason: str) -> None:
    """Where the first is so, none is sent as it is; another one is an error of that tile."""
    path = coded(tmp_path / "a.tif", 50001, code)
    assert opened(path).pyramid.levels[0].stored == ""
    with pytest.raises(NotFound):
        opened(path).tile(0, 0, 0)
    tiles = iter(range(25))
    reader = opened(coded(path, 50001, lambda tile: (code if next(tiles) == 7 else webp)(tile)))
    assert reader.pyramid.levels[0].stored == "webp"
    for read in (reader.tile, reader.tile_now):
        with pytest.raises(TileCorrupt, match=reason):
            read(0, 2, 1)
        assert read(0, 1, 1)


def test_alpha_is_rendered(tmp_path: Path) -> None:
    rgba = np.dstack([picture(), picture()[..., 0]])
    path = written(tmp_path / "a.tif", rgba, compression="webp", extrasamples=["unassalpha"])
    assert opened(path).pyramid.levels[0].stored == ""


def test_sparse_truncated_and_changed(tmp_path: Path) -> None:
    path = coded(tmp_path / "a.tif", 50001, webp)
    retag(path, "TileByteCounts", 0, index=3)
    retag(path, "TileOffsets", path.stat().st_size - 3, index=4)
    reader = opened(path)
    assert reader.tile(0, 3, 0) == reader.tile_now(0, 3, 0) == b""
    assert reader.tile(0, 99, 99) == b""
    with pytest.raises(TileTruncated):
        reader.tile_now(0, 4, 0)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    for read in (reader.tile, reader.tile_now):
        with pytest.raises(SlideChanged):
            read(0, 1, 1)


@given(st.binary(max_size=64), st.sampled_from([b"VP8 ", b"VP8L", b"VP8X", b"ALPH"]))
def test_any_bytes_are_judged(rest: bytes, kind: bytes) -> None:
    body = b"WEBP" + kind + rest
    for data in (rest, b"RIFF" + struct.pack("<I", len(body)) + body):
        try:
            check(data, SIZE)
        except NotWebp:
            continue
        assert data[:4] == b"RIFF"
        assert kind != b"ALPH"


@given(st.integers(0, 200), st.integers(0, 255))
def test_one_changed_byte_never_passes_as_another_size(at: int, value: int) -> None:
    data = bytearray(webp(np.ascontiguousarray(picture()[:64, :96])))
    data[at] = value
    try:
        check(bytes(data), SIZE)
    except NotWebp:
        return
    try:
        shown = Image.open(io.BytesIO(bytes(data)))
    except Exception:
        return  # no picture at all: as with JPEG, what lies behind the header is the client's to find
    assert shown.size == (96, 64)


def test_over_http(serve: Serve, shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "store" / "webp.tiff"
    path.parent.mkdir()
    shutil.copy(shared / "tiff" / "wsic-CMU-1-Small-Region.webp.tiff", path)
    offset, count = place(path, 9 + 2)
    stored = path.read_bytes()[offset : offset + count]
    with tifffile.TiffFile(path) as tiff:
        index = next(i for i, size in enumerate(tiff.pages[0].databytecounts) if i > 30 and size)
    retag(path, "TileByteCounts", 0, index=index)
    client = serve(path.parent)
    settle(client, 1)
    urls = ["/tiles/store%2Fwebp.tiff/4/2/1.webp", "/deepzoom/store%2Fwebp.tiff_files/12/2_1.webp",
            "/iiif/3/store%2Fwebp.tiff/512,256,256,256/max/0/default.webp"]  # fmt: skip
    for _ in range(3):
        answers = [client.get(url) for url in urls]
        assert {answer.headers["content-type"] for answer in answers} == {"image/webp"}
        assert {answer.headers["server-timing"].split(";")[0] for answer in answers} == {"stored"}
        assert len({answer.headers["etag"] for answer in answers}) == 1
        assert {answer.content for answer in answers} == {stored}
    again = client.get(urls[0], headers={"if-none-match": answers[0].headers["etag"]})
    assert again.status_code == 304
    jpeg = client.get(urls[0].replace(".webp", ".jpg"))
    assert jpeg.headers["server-timing"].startswith("render")
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert jpeg.headers["etag"] != answers[0].headers["etag"]
    shown = np.asarray(Image.open(io.BytesIO(jpeg.content))).astype(int)
    truth = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB"))
    assert np.abs(shown - truth).mean() < 4
    blank = client.get(f"/tiles/store%2Fwebp.tiff/4/{index % 9}/{index // 9}.webp")
    assert blank.headers["server-timing"].startswith("blank")
    assert blank.headers["content-type"] == "image/webp"
    assert (np.asarray(Image.open(io.BytesIO(blank.content)).convert("RGB")) == 255).all()


def test_the_picture_is_the_same_rendered(tmp_path: Path) -> None:
    assert difference(whole(opened(coded(tmp_path / "a.tif", 50001, webp))), picture()) == 0
