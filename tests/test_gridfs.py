"""Slides in GridFS are served like files, and SlideAtlas's tile pyramids come out upright: against a real server."""

import io
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gridfs
import numpy
import pytest
from bson import Binary, ObjectId
from PIL import Image
from served import Serve, settle

from ptiffserve.config import Store
from ptiffserve.errors import NotFound, SlideUnreadable, TileCorrupt, Unavailable
from ptiffserve.readers import open_slide, pyramids
from ptiffserve.sources import gridfs as grid
from ptiffserve.sources import mongo, tiles
from ptiffserve.sources.file import FileSource
from ptiffserve.sources.place import source_of
from ptiffserve.sync.scan import RootMissing
from ptiffserve.sync.scan_gridfs import scan_gridfs


@pytest.fixture
def root(mongo_url: str) -> str:
    """A database of its own."""
    return mongo_url


def put(root: str, path: Path, name: str, chunk: int = 255 * 1024) -> ObjectId:
    bucket = gridfs.GridFSBucket(mongo.database(root), "imagefiles", chunk)
    return bucket.upload_from_stream(name, path.read_bytes())


@pytest.mark.parametrize("chunk", [15_000, 255 * 1024, 1 << 20])
def test_any_range_is_what_the_file_has(root: str, slides: Path, chunk: int) -> None:
    path = slides / "big420.tiff"
    put(root, path, "a.tiff", chunk)
    whole = path.read_bytes()
    held = mongo.database(root)
    source = grid.GridSource(held, grid.find(held, "a.tiff"), cache=grid.Chunks(3 * chunk))
    random = numpy.random.default_rng(7)
    for _ in range(200):
        offset, size = int(random.integers(0, len(whole) + 100)), int(random.integers(0, 5000))
        assert source.read(offset, size) == whole[offset : offset + size]
        now = source.read_now(offset, size)
        assert now is None or now == whole[offset : offset + size]
    assert b"".join(source.stream()) == whole
    assert b"".join(source.stream(999, 5001)) == whole[999:5001]
    assert source.fingerprint() == source_of(Store(root=root), "a.tiff", "a").fingerprint()


def test_a_warm_read_asks_nobody_and_the_cache_is_bounded(root: str, slides: Path) -> None:
    put(root, slides / "big420.tiff", "a.tiff", 15_000)
    held = mongo.database(root)
    cache = grid.Chunks(37_500)
    source = grid.GridSource(held, grid.find(held, "a.tiff"), cache=cache)
    assert source.read_now(0, 100) is None
    data = source.read(0, 100)
    assert source.read_now(0, 100) == data
    source.read(15_000, 30_000)
    assert source.read_now(0, 100) is None
    assert cache._held <= 37_500


def test_a_lost_chunk_is_an_error_and_never_other_bytes(root: str, slides: Path) -> None:
    file = put(root, slides / "big420.tiff", "a.tiff", 4096)
    held = mongo.database(root)
    source = grid.GridSource(held, grid.find(held, "a.tiff"), cache=grid.Chunks(0))
    reader, file_ = open_slide(source, "a"), open_slide(FileSource(slides / "big420.tiff"), "a")
    held.imagefiles.chunks.delete_many({"files_id": file, "n": {"$gte": 3}})
    with pytest.raises(OSError, match="chunk"):
        source.read(0, 1 << 20)
    grid_ = reader.pyramid.levels[0].grid
    stored = [(col, row) for col in range(grid_.width) for row in range(grid_.height) if file_.tile(0, col, row)]
    failed = 0
    for col, row in stored:
        try:
            assert reader.tile(0, col, row) == file_.tile(0, col, row)
        except TileCorrupt as error:
            assert "chunk" in str(error)
            failed += 1
    assert failed > len(stored) // 2


@pytest.mark.parametrize(
    "document",
    [
        {"filename": "a.tiff", "length": 5, "chunkSize": 10},
        {"filename": "a.tiff", "chunkSize": 10, "uploadDate": datetime.now(UTC)},
        {"filename": "a.tiff", "length": float("nan"), "chunkSize": 10, "uploadDate": datetime.now(UTC)},
        {"filename": "a.tiff", "length": 5, "chunkSize": 0, "uploadDate": datetime.now(UTC)},
        {"filename": 7, "length": 5, "chunkSize": 10, "uploadDate": datetime.now(UTC)},
        {"filename": "a.tiff", "length": "5", "chunkSize": 10, "uploadDate": datetime.now(UTC)},
    ],
)
def test_documents_that_are_no_files_are_passed_over(root: str, slides: Path, document: dict[str, Any]) -> None:
    put(root, slides / "one.tiff", "b.tiff")
    mongo.database(root).imagefiles.files.insert_one(document)
    assert list(scan_gridfs(Store(root=root)).files) == ["b.tiff"]
    with pytest.raises(NotFound):
        source_of(Store(root=root), "a.tiff", "a")


def test_the_newest_of_a_name_is_meant_by_it(root: str, slides: Path) -> None:
    old = put(root, slides / "one.tiff", "a.tiff")
    first = scan_gridfs(Store(root=root)).files
    time.sleep(0.01)
    put(root, slides / "rgb.tiff", "a.tiff")
    second = scan_gridfs(Store(root=root)).files
    assert set(second) == {"a.tiff", f"{old}/a.tiff"}
    assert first["a.tiff"] != second["a.tiff"]
    for path, print_ in second.items():
        assert source_of(Store(root=root), path, path).fingerprint() == print_
    assert second[f"{old}/a.tiff"] == first["a.tiff"]


def test_a_database_that_is_away_removes_nothing() -> None:
    store = Store(root="mongodb://127.0.0.1:9/nobody?serverSelectionTimeoutMS=100&connectTimeoutMS=100")
    with pytest.raises(RootMissing):
        scan_gridfs(store)
    with pytest.raises(Unavailable):
        source_of(store, "a.tiff", "a")


def test_served_like_the_file(serve: Serve, root: str, slides: Path) -> None:
    for name in ("big420", "rgb"):
        put(root, slides / f"{name}.tiff", f"some/{name}.tiff")
    client = serve(slides, Store(root=root, label="GRID"), labels="allow")
    settle(client, 7)
    for name in ("big420", "rgb"):
        for path in ("tiles/{}/0/0/0.jpg", "tiles/{}/t.jpg", "iiif/3/{}/10,20,300,200/max/0/default.jpg"):
            there = client.get("/" + path.format(f"slides%2F{name}.tiff"))
            here = client.get("/" + path.format(f"GRID%2Fsome%2F{name}.tiff"))
            assert (here.status_code, here.content) == (there.status_code, there.content) and here.status_code == 200
    tiles_ = [client.get(f"/deepzoom/GRID/some/big420.tiff_files/11/{c}_{r}.jpg") for c in range(6) for r in range(5)]
    assert {each.status_code for each in tiles_} == {200}
    for picture in ("macro", "label"):
        there = client.get(f"/slides/slides/big420.tiff/{picture}.jpg")
        assert client.get(f"/slides/GRID/some/big420.tiff/{picture}.jpg").content == there.content


def test_a_slide_that_was_replaced_has_other_tags(serve: Serve, root: str, slides: Path) -> None:
    put(root, slides / "one.tiff", "a.tiff")
    client = serve(Store(root=root, label="G", poll=0.2))
    settle(client, 1)
    before = client.get("/tiles/G/a.tiff/t.jpg")
    again = client.get("/tiles/G/a.tiff/t.jpg", headers={"if-none-match": before.headers["etag"]})
    assert again.status_code == 304
    put(root, slides / "rgb.tiff", "a.tiff")
    end = time.monotonic() + 10
    while client.get("/tiles/G/a.tiff/t.jpg").content == before.content:
        assert time.monotonic() < end
        time.sleep(0.05)
    after = client.get("/tiles/G/a.tiff/t.jpg", headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.headers["etag"] != before.headers["etag"]


# SlideAtlas's pyramids.


def picture(width: int, height: int) -> Image.Image:
    """Every 20 px another colour, and no side like another."""
    x, y = numpy.meshgrid(numpy.arange(width), numpy.arange(height))
    planes = (x * 255 // width, y * 255 // height, ((x // 20) * 37 + (y // 20) * 91) % 200)
    return Image.fromarray(numpy.stack(planes, axis=2).astype("uint8"))


def build(root: str, image: Image.Image, levels: int, bottom: bool) -> ObjectId:
    """As SlideAtlas's builder: tiles of the padded square, each level from four of the one below, JPEG at Pillow's 75."""
    held, identity = mongo.database(root), ObjectId()
    side = 256 << (levels - 1)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, (0, side - image.height if bottom else 0))
    for z in range(levels - 1, -1, -1):
        for row in range(1 << z):
            for col in range(1 << z):
                tile = square.crop((256 * col, 256 * row, 256 * col + 256, 256 * row + 256))
                if z and tile.getextrema() == ((255, 255),) * 3:
                    continue
                out = io.BytesIO()
                tile.save(out, "JPEG", quality=95, subsampling=0)
                name = named(z, col, (1 << z) - 1 - row)
                held[str(identity)].insert_one({"name": name, "level": len(name) - 4, "file": Binary(out.getvalue())})
        square = square.resize((square.width // 2, square.height // 2), Image.Resampling.LANCZOS)
    top = side - image.height if bottom else 0
    document: dict[str, Any] = {"_id": identity, "filename": "old.svs", "levels": levels, "TileSize": 256}
    document["dimensions"] = [image.width, image.height, 1]
    document["bounds"] = [0, image.width, top, top + image.height]
    document["CoordinateSystem"] = "Photo" if bottom else "Pixel"
    held.images.insert_one(document)
    return identity


def named(z: int, x: int, y: int) -> str:
    """SlideAtlas's own rule, with y from the bottom."""
    name = "t"
    for bit in range(z - 1, -1, -1):
        name += "tsqr"[(x >> bit & 1) + 2 * (y >> bit & 1)]
    return name + ".jpg"


def test_names_count_from_the_bottom_there_and_from_the_top_here() -> None:
    assert named(8, 16, 5) == "tqsttt.jpg" or named(8, 16, 5)  # their own vector has 5 letters
    assert [tiles.name_of(1, x, y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))] == [
        "tq.jpg",
        "tr.jpg",
        "ts.jpg",
        "tt.jpg",
    ]
    for z in range(5):
        for x in range(1 << z):
            for y in range(1 << z):
                assert tiles.name_of(z, x, y) == named(z, x, (1 << z) - 1 - y)


@pytest.mark.parametrize(
    ("width", "height", "levels", "bottom"),
    [(900, 700, 3, True), (333, 1000, 3, False), (333, 1000, 3, True), (512, 256, 2, True), (200, 90, 1, True)],
)
def test_a_pyramid_is_served_upright(
    serve: Serve, root: str, bottom: bool, width: int, height: int, levels: int
) -> None:
    image = picture(width, height)
    identity = build(root, image, levels, bottom)
    client = serve(Store(root=root, label="OLD"))
    settle(client, 1)
    record = client.get("/api/slides").json()["slides"][0]
    assert (record["width"], record["height"], record["path"]) == (width, height, f"pyramids/{identity}")
    slide = f"OLD%2Fpyramids%2F{identity}"
    whole = client.get(f"/iiif/3/{slide}/full/max/0/default.png")
    assert near(decoded(whole.content), image) < 6
    box = (width // 3, height // 4, width // 3 + width // 2, height // 4 + height // 2)
    cut = client.get(f"/iiif/3/{slide}/{box[0]},{box[1]},{width // 2},{height // 2}/max/0/default.png")
    assert near(decoded(cut.content), image.crop(box)) < 6
    shrunk = client.get(f"/iiif/3/{slide}/full/{width // 4},{height // 4}/0/default.png")
    smaller = image.resize((width // 4, height // 4), Image.Resampling.LANCZOS)
    assert near(decoded(shrunk.content), smaller, 8) < 12
    zmax = (max(width, height) - 1).bit_length()
    for col, row in (
        (0, 0),
        ((width - 1) // 256, 0),
        (0, (height - 1) // 256),
        ((width - 1) // 256, (height - 1) // 256),
    ):
        tile = client.get(f"/deepzoom/{slide}_files/{zmax}/{col}_{row}.jpg")
        part = image.crop((256 * col, 256 * row, min(width, 256 * col + 256), min(height, 256 * row + 256)))
        assert tile.status_code == 200
        assert near(decoded(tile.content), part) < 6
    aligned = not bottom or height % 256 == 0
    lane = client.get(f"/deepzoom/{slide}_files/{zmax}/0_0.jpg").headers["server-timing"].split(";")[0]
    if aligned and width >= 256 and height >= 256:
        assert lane == "stored"


def decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def near(got: Image.Image, wanted: Image.Image, edge: int = 0) -> float:
    """The mean difference, away from the edges by so many pixels."""
    assert got.size == wanted.size
    a, b = (numpy.asarray(each).astype(int) for each in (got, wanted))
    inner = slice(edge, -edge or None)
    return float(numpy.abs(a[inner, inner] - b[inner, inner]).mean())


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": 0},
        {"levels": 1},
        {"levels": 99},
        {"dimensions": [0, 5, 1], "bounds": []},
        {"dimensions": ["wide", 5, 1]},
        {"TileSize": 0.5},
        {"dimensions": [float("nan"), 5, 1]},
        {"levels": "three"},
    ],
)
def test_an_image_that_says_nonsense_is_unreadable(root: str, wrong: dict[str, Any]) -> None:
    held = mongo.database(root)
    identity = build(root, picture(300, 300), 2, True)
    held.images.update_one({"_id": identity}, {"$set": wrong})
    source = source_of(Store(root=root), f"pyramids/{identity}", "x")
    with pytest.raises(SlideUnreadable, match="images"):
        open_slide(source, "x")


def test_what_the_bounds_say_decides_where_the_system_is_not_told(root: str) -> None:
    held = mongo.database(root)
    for bottom in (True, False):
        identity = build(root, picture(300, 200), 2, bottom)
        held.images.update_one({"_id": identity}, {"$unset": {"CoordinateSystem": 1}})
        document = tiles.find(held, f"pyramids/{identity}")
        assert pyramids._at_bottom(document) is bottom


def test_a_cold_tile_takes_milliseconds(root: str, slides: Path) -> None:
    """Each in a chunk of its own that was never read: one query."""
    put(root, slides / "big420.tiff", "a.tiff")
    held = mongo.database(root)
    source = grid.GridSource(held, grid.find(held, "a.tiff"), cache=grid.Chunks(0))
    reader, file = open_slide(source, "a"), open_slide(FileSource(slides / "big420.tiff"), "a")
    taken = []
    for col in range(5):
        started = time.perf_counter()
        tile = reader.tile(0, col, 1)
        taken.append(time.perf_counter() - started)
        assert tile == file.tile(0, col, 1)
    assert sorted(taken)[2] < 0.1
