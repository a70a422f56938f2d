"""Tiled JPEG TIFF pyramids in general: Aperio SVS, and what libvips, tifffile and scanners' exporters write."""

from ptiffserve._ptiff import Directory, TiffError
from ptiffserve.errors import SlideUnreadable
from ptiffserve.geometry import Pyramid, Size
from ptiffserve.readers.base import Probe
from ptiffserve.readers.tiff import (
    DESCRIPTION,
    IMAGE_DEPTH,
    NEW_SUBFILE_TYPE,
    RESOLUTION_UNIT,
    TILE_OFFSETS,
    X_RESOLUTION,
    Y_RESOLUTION,
    Picture,
    Plane,
    TiffReader,
    grid_of,
    level_of,
    plane_of,
    positive,
    strip_picture,
)

MAX_DESCRIPTION = 65536
MAX_KEYS = 1000
# ResolutionUnit -> microns; a unit of 1 ("none") or any other gives no scale.
MICRONS = {2: 25400.0, 3: 10000.0}


def detect(probe: Probe) -> str:
    if not probe.directories:
        return probe.fault or "not a TIFF"
    if TILE_OFFSETS not in probe.directories[0]:
        return "its first directory is not tiled"
    try:
        plane_of(probe.directories[0])
    except TiffError as error:
        return str(error)
    return ""


def open(probe: Probe) -> TiffReader:
    base, *rest = probe.directories
    if base.first(IMAGE_DEPTH, 1) != 1:
        raise SlideUnreadable(probe.name, f"cannot handle an image depth of {base.first(IMAGE_DEPTH)}")
    planes = pyramid_planes(plane_of(base), rest)
    tables = [grid_of(plane, probe.source, probe.name, i) for i, plane in enumerate(planes)]
    size = planes[0].size
    levels = tuple(level_of(plane, size, stored) for plane, (_, stored) in zip(planes, tables, strict=True))
    pictures = _pictures(probe)
    pyramid = Pyramid(levels, _mpp(base))
    reader = TiffReader(probe.source, "tiled", pyramid, [grid for grid, _ in tables], pictures)
    reader.fault = probe.fault
    return reader


def pyramid_planes(base: Plane, directories: list[Directory]) -> list[Plane]:
    """The base and every directory that is the same picture smaller, finest first."""
    found = [base]
    for directory in directories:
        if TILE_OFFSETS not in directory:
            continue
        try:
            plane = plane_of(directory)
        except TiffError:
            continue  # an associated image in a coding of its own: no level
        if _same_picture(base.size, plane.size):
            found.append(plane)
    found[1:] = sorted(found[1:], key=lambda plane: -plane.size.width)
    return found


def _same_picture(base: Size, size: Size) -> bool:
    """Smaller than the base, and of its shape to a pixel a side."""
    if size.width >= base.width or size.height > base.height:
        return False
    d = max(base.width / size.width, base.height / size.height)
    e = min(base.width / max(1, size.width - 1), base.height / max(1, size.height - 1))
    return d <= e or (abs(base.width / d - size.width) <= 1 and abs(base.height / d - size.height) <= 1)


def _mpp(base: Directory) -> tuple[float, float] | None:
    """Aperio's `MPP = 0.4990` in the description, else the TIFF resolution tags."""
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


def _pictures(probe: Probe) -> dict[str, Picture]:
    """Label, macro and thumbnail: by the description's second line in Aperio files, by its leading word elsewhere."""
    pictures: dict[str, Picture] = {}
    aperio = probe.directories[0].text(DESCRIPTION, 16).startswith("Aperio")
    for directory in probe.directories[1:]:
        if TILE_OFFSETS in directory:
            continue
        name = _picture_name(directory, aperio)
        if name and name not in pictures:
            pictures[name] = _loader(directory, probe)
    return pictures


def _picture_name(directory: Directory, aperio: bool) -> str:
    lines = directory.text(DESCRIPTION, MAX_DESCRIPTION).splitlines()
    if not aperio:
        word = lines[0].split(" ", 1)[0].lower() if lines else ""
    elif not directory.first(NEW_SUBFILE_TYPE, 0):
        return "thumbnail"
    else:
        word = lines[1].split(" ", 1)[0].lower() if len(lines) > 1 else ""
    return word if word in ("label", "macro", "thumbnail") else ""


def _loader(directory: Directory, probe: Probe) -> Picture:
    return lambda: strip_picture(directory, probe.source, probe.name)
