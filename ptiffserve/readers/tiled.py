"""Tiled TIFF pyramids in general: Aperio SVS, OME-TIFF, and what libvips, tifffile and scanners' exporters write.

JPEG levels go the compiled path, any others are rendered by pages.py.
"""

from collections.abc import Sequence

from ptiffserve._ptiff import Directory, TiffError, children
from ptiffserve.errors import SlideUnreadable
from ptiffserve.geometry import Pyramid, Size
from ptiffserve.readers import ome
from ptiffserve.readers.base import Probe, Reader
from ptiffserve.readers.pages import PageReader, page_of, page_plane
from ptiffserve.readers.tiff import (
    COMPRESSION,
    DESCRIPTION,
    HEAD_BYTES,
    IMAGE_DEPTH,
    JPEG,
    NEW_SUBFILE_TYPE,
    RESOLUTION_UNIT,
    RGB,
    SOFTWARE,
    TILE_OFFSETS,
    X_RESOLUTION,
    Y_RESOLUTION,
    YCBCR,
    Coding,
    Picture,
    Plane,
    TiffReader,
    grid_of,
    level_of,
    plane_of,
    positive,
    strip_picture,
    table_of,
)

MAX_DESCRIPTION = 65536
MAX_KEYS = 1000
# Sides have 31 bits, and a scale may have one level between two of them.
MAX_LEVELS = 64
XMP, TILE_COUNTS = 700, 325
# ResolutionUnit -> microns; a unit of 1 ("none") or any other gives no scale.
MICRONS = {2: 25400.0, 3: 10000.0}


def detect(probe: Probe) -> str:
    if not probe.directories:
        return probe.fault or "not a TIFF"
    base = probe.directories[0]
    if TILE_OFFSETS not in base:
        return "its first directory is not tiled"
    try:
        _plane(base, probe)
    except TiffError as error:
        return str(error)
    return _stitched(base)


def open(probe: Probe) -> Reader:
    base = probe.directories[0]
    if base.first(IMAGE_DEPTH, 1) != 1:
        raise SlideUnreadable(probe.name, f"cannot handle an image depth of {base.first(IMAGE_DEPTH)}")
    images, faults = _ome(base)
    subs, broken = _children(base)
    plane = _plane(base, probe)
    _check_channels(plane, images)
    planes = pyramid_planes(plane, subs, probe)
    if len(planes) == 1:
        planes = pyramid_planes(plane, probe.directories[1:], probe)
    reader = _reader(probe, planes, subs, _mpp(base, images), _pictures(probe, images))
    reader.fault = "; ".join(fault for fault in (probe.fault, faults, broken) if fault)
    reader.profile = probe.profile
    return reader


def _reader(
    probe: Probe,
    planes: list[Plane],
    subs: list[Directory],
    mpp: tuple[float, float] | None,
    pictures: dict[str, Picture],
) -> Reader:
    """On the compiled path where the base is JPEG."""
    size, source = planes[0].size, probe.source
    if planes[0].compression == JPEG:
        tables = [grid_of(plane, source, probe.name, i, probe.carried) for i, plane in enumerate(planes)]
        levels = tuple(level_of(plane, size, coding) for plane, (_, coding) in zip(planes, tables, strict=True))
        return TiffReader(source, "tiled", Pyramid(levels, mpp), [grid for grid, _ in tables], pictures)
    where = {directory.offset: (directory.index, -1) for directory in probe.directories}
    where |= {directory.offset: (0, i) for i, directory in enumerate(subs)}
    pages = [page_of(plane, where[plane.directory.offset], source, probe.name, i) for i, plane in enumerate(planes)]
    levels = tuple(level_of(page.plane, size, Coding(page.stored)) for page in pages)
    return PageReader(source, probe.name, Pyramid(levels, mpp), pages, pictures)


def _plane(directory: Directory, probe: Probe) -> Plane:
    """The directory as a possible level. TiffError with the reason where it is none."""
    if directory.first(COMPRESSION, 1) != JPEG:
        return page_plane(directory)
    plane = plane_of(directory)
    if plane.photometric == RGB and _is_jfif(plane, probe):
        return plane._replace(photometric=YCBCR)
    return plane


def _is_jfif(plane: Plane, probe: Probe) -> bool:
    """Whether the tiles say JFIF, and so YCbCr, against the photometric tag: Bio-Formats writes RGB over such tiles."""
    if plane.samples != 3:
        return False
    offset, count = plane.directory.first(TILE_OFFSETS, 0) or 0, plane.directory.first(TILE_COUNTS, 0)
    if not count:
        offset, count = table_of(plane, probe.source, probe.name, 0).some_stored() or (0, 0)
    head = probe.source.read(offset, min(count, HEAD_BYTES))
    return head[:4] == b"\xff\xd8\xff\xe0" and head[6:11] == b"JFIF\0"


def _stitched(base: Directory) -> str:
    """Why tiles laid side by side would be a wrong picture: overlapping fields, several regions (OpenSlide's formats)."""
    if base.text(SOFTWARE, 64).startswith("MedScan"):
        return "a Trestle slide, whose tiles overlap"
    if "www.leica-microsystems.com/scn/" in base.text(DESCRIPTION, 4096):
        return "a Leica SCN slide, whose regions have directories of their own"
    if "<iScan" in base.text(XMP, MAX_DESCRIPTION):
        return "a Ventana slide, whose tiles overlap"
    return ""


def _children(base: Directory) -> tuple[list[Directory], str]:
    """The SubIFDs of the base, where OME-TIFF keeps the smaller levels, and "" or what is wrong with them."""
    try:
        return children(base), ""
    except TiffError as error:
        return [], f"its SubIFDs cannot be read: {error}"


def _ome(base: Directory) -> tuple[list[ome.Image], str]:
    """What the description says if it is OME-XML, and "" or why it cannot be understood."""
    if "<OME" not in base.text(DESCRIPTION, 4096):
        return [], ""
    try:
        return ome.parse(base.text(DESCRIPTION, ome.MAX_DOCUMENT)), ""
    except ome.NotOme as error:
        return [], str(error)


def _check_channels(plane: Plane, images: list[ome.Image]) -> None:
    """One of several channels is not the picture."""
    for image in images:
        if image.ifd == 0 and image.size == plane.size and image.channels > plane.samples:
            raise TiffError(f"its {image.channels} channels are kept in separate directories")


def pyramid_planes(base: Plane, directories: Sequence[Directory], probe: Probe) -> list[Plane]:
    """The base and every directory that is the same picture smaller, finest first."""
    found = [base]
    compiled = base.compression == JPEG
    for directory in directories:
        if TILE_OFFSETS not in directory or (compiled and directory.first(COMPRESSION, 1) != JPEG):
            continue
        try:
            plane = _plane(directory, probe)
        except TiffError:
            continue  # an associated image in a coding of its own: no level
        if _same_picture(base.size, plane.size):
            found.append(plane)
    found[1:] = sorted(found[1:], key=lambda plane: -plane.size.width)
    return found[:MAX_LEVELS]


def _same_picture(base: Size, size: Size) -> bool:
    """Smaller than the base, and of its shape to a pixel a side."""
    if size.width >= base.width or size.height > base.height:
        return False
    d = max(base.width / size.width, base.height / size.height)
    e = min(base.width / max(1, size.width - 1), base.height / max(1, size.height - 1))
    return d <= e or (abs(base.width / d - size.width) <= 1 and abs(base.height / d - size.height) <= 1)


def _mpp(base: Directory, images: list[ome.Image]) -> tuple[float, float] | None:
    """OME's physical size or Aperio's `MPP = 0.4990` in the description, else the TIFF resolution tags."""
    for image in images:
        if image.ifd == 0 and image.mpp:
            return image.mpp
    description = base.text(DESCRIPTION, MAX_DESCRIPTION)
    if description.startswith("Aperio"):
        value = positive(_aperio(description).get("MPP", ""))
        return (value, value) if value else None
    unit = MICRONS.get(base.first(RESOLUTION_UNIT, 2) or 0)
    x, y = (_per_unit(base.rational(tag)) for tag in (X_RESOLUTION, Y_RESOLUTION))
    return (unit / x, unit / y) if unit and x and y else None


def _per_unit(rational: tuple[int, int] | None) -> float | None:
    if rational is None or 0 in rational:
        return None
    return rational[0] / rational[1]


def _aperio(description: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in description.split("|", MAX_KEYS)[1:MAX_KEYS])
    return {key.strip(): value.strip() for key, _, value in pairs}


def _pictures(probe: Probe, images: list[ome.Image]) -> dict[str, Picture]:
    """Label, macro and thumbnail: by the description's second line in Aperio files, by OME's name, by its leading word."""
    pictures: dict[str, Picture] = {}
    aperio = probe.directories[0].text(DESCRIPTION, 16).startswith("Aperio")
    said = {image.ifd: _known(image.name) for image in images if image.ifd}
    for directory in probe.directories[1:]:
        name = said.get(directory.index, "")
        if TILE_OFFSETS not in directory:
            name = name or _picture_name(directory, aperio)
        if name and name not in pictures:
            pictures[name] = _loader(directory, probe)
    return pictures


def _picture_name(directory: Directory, aperio: bool) -> str:
    lines = directory.text(DESCRIPTION, MAX_DESCRIPTION).splitlines()
    if not aperio:
        return _known(lines[0]) if lines else ""
    if not directory.first(NEW_SUBFILE_TYPE, 0):
        return "thumbnail"
    return _known(lines[1]) if len(lines) > 1 else ""


def _known(text: str) -> str:
    """The kind of picture that a text begins with, or ""."""
    word = text.split(" ", 1)[0].lower()
    return word if word in ("label", "macro", "thumbnail") else ""


def _loader(directory: Directory, probe: Probe) -> Picture:
    return lambda: strip_picture(directory, probe.source, probe.name)
