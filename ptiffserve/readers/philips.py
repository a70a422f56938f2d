"""Philips TIFF ("Philips DP"): which directories are levels, and how large they truly are (philips.md sections 2, 4, 7)."""

import re
from itertools import pairwise

from ptiffserve._ptiff import Directory, Grid, TiffError
from ptiffserve.errors import NotFound, SlideUnreadable
from ptiffserve.geometry import Level, Pyramid, Size, ceil_div
from ptiffserve.readers import philips_xml
from ptiffserve.readers.base import Probe
from ptiffserve.readers.philips_xml import Document, NotPhilips
from ptiffserve.readers.tiff import (
    DESCRIPTION,
    NEW_SUBFILE_TYPE,
    SOFTWARE,
    TILE_OFFSETS,
    Picture,
    Plane,
    TiffReader,
    grid_of,
    plane_of,
    strip_picture,
)

_LEVEL = re.compile(r"level=(\d{1,2})\s+mag=")
_PICTURES = {"label": "LABELIMAGE", "macro": "MACROIMAGE"}


def detect(probe: Probe) -> str:
    if not probe.directories:
        return probe.fault or "not a TIFF"
    first = probe.directories[0]
    if not first.text(SOFTWARE, 64).startswith("Philips"):
        return "its Software tag does not begin with Philips"
    try:
        _document(first)
    except NotPhilips as error:
        return str(error)
    return ""


def open(probe: Probe) -> TiffReader:
    """SlideUnreadable where there is not exactly one WSI in the XML, or no level that fits the others."""
    document = _document(probe.directories[0])
    if sum(image.kind == "WSI" for image in document.images) != 1:
        raise SlideUnreadable(probe.name, "philips: its XML does not describe exactly one WSI")
    planes = _planes(probe)
    downsamples = _downsamples(planes, document)
    kept = [(plane, d) for plane, d in zip(planes, downsamples, strict=True) if d]
    levels, grids = _levels(probe, kept)
    reader = TiffReader(probe.source, "philips", Pyramid(levels, _mpp(document)), grids, _pictures(probe, document))
    reader.barcode = document.barcode
    reader.fault = probe.fault
    return reader


def _document(first: Directory) -> Document:
    if first.count(DESCRIPTION) > philips_xml.MAX_DOCUMENT:
        raise NotPhilips("its description is too long to be Philips's")
    return philips_xml.parse(first.text(DESCRIPTION, philips_xml.MAX_DOCUMENT))


def _planes(probe: Probe) -> list[Plane]:
    """The tiled directories that are levels: the first, then those marked as reduced. Macro and Label may be tiled too."""
    planes = [plane_of(probe.directories[0])]
    for directory in probe.directories[1:]:
        if TILE_OFFSETS not in directory or not (directory.first(NEW_SUBFILE_TYPE, 0) or 0) & 1:
            continue
        if not _picture_name(directory):
            planes.append(plane_of(directory))
    if any(b.size.width > a.size.width or b.size.height > a.size.height for a, b in pairwise(planes)):
        raise TiffError("its levels do not become smaller")
    return planes


def _downsamples(planes: list[Plane], document: Document) -> list[int]:
    """Level-0 pixels per pixel of each plane, 0 for a plane that is no level of this picture.

    From the nominal spacings of the XML's levels where they are complete, else from `level=N` descriptions or the order.
    """
    wsi = document.image("WSI")
    spacings = wsi.levels if wsi else []
    if len(spacings) == len(planes) and spacings and all(spacings):
        found = [_ratio(spacing, spacings[0]) for spacing in spacings]
    else:
        found = [1 << _number(plane.directory, order) for order, plane in enumerate(planes)]
    return [d if _plausible(plane, planes[0], d) else 0 for plane, d in zip(planes, found, strict=True)]


def _ratio(spacing: tuple[float, float] | None, base: tuple[float, float] | None) -> int:
    """Mean of both ratios, rounded: the six digits of the XML make them inexact."""
    if spacing is None or base is None:
        return 0
    return round((spacing[0] / base[0] + spacing[1] / base[1]) / 2)


def _number(directory: Directory, order: int) -> int:
    said = _LEVEL.match(directory.text(DESCRIPTION, 256))
    return min(int(said[1]) if said else order, 30)


def _plausible(plane: Plane, base: Plane, d: int) -> bool:
    """The stored grid is the base's at that downsample, give or take a row or column (CAMELYON17 is one row short)."""
    if d < 1:
        return False
    wide, high = (
        ceil_div(ceil_div(stored, d), tile) - got
        for stored, tile, got in (
            (base.size.width, plane.tile.width, plane.grid.width),
            (base.size.height, plane.tile.height, plane.grid.height),
        )
    )
    return abs(wide) <= 1 and abs(high) <= 1


def _levels(probe: Probe, kept: list[tuple[Plane, int]]) -> tuple[tuple[Level, ...], list[Grid]]:
    """True sizes: the tags of level 0, which is padded by an unknown amount, divided by the downsample, rounded down."""
    base = kept[0][0].size
    levels, grids = [], []
    for index, (plane, d) in enumerate(kept):
        grid, stored = grid_of(plane, probe.source, probe.name, index)
        size = Size(max(1, base.width // d), max(1, base.height // d))
        levels.append(Level(size, plane.tile, plane.grid, d, stored))
        grids.append(grid)
    return tuple(levels), grids


def _mpp(document: Document) -> tuple[float, float] | None:
    """The WSI's own spacing is measured; those of its levels are nominal. Millimetres, row first."""
    wsi = document.image("WSI")
    if wsi is None or wsi.spacing is None:
        return None
    return 1000 * wsi.spacing[1], 1000 * wsi.spacing[0]


def _picture_name(directory: Directory) -> str:
    word = directory.text(DESCRIPTION, 64).lstrip()[:5].lower()
    return word if word in _PICTURES else ""


def _pictures(probe: Probe, document: Document) -> dict[str, Picture]:
    """Label and macro: a directory of their own where there is one, else the XML's base64."""
    found: dict[str, Picture] = {}
    for directory in probe.directories[1:]:
        name = _picture_name(directory)
        if name and name not in found and TILE_OFFSETS not in directory:
            found[name] = _from_directory(directory, probe)
    for name, kind in _PICTURES.items():
        image = document.image(kind)
        if name not in found and image is not None and image.has_data:
            found[name] = _from_xml(probe, name, kind)
    return found


def _from_directory(directory: Directory, probe: Probe) -> Picture:
    return lambda: strip_picture(directory, probe.source, probe.name)


def _from_xml(probe: Probe, name: str, kind: str) -> Picture:
    def load() -> bytes:
        text = probe.directories[0].text(DESCRIPTION, philips_xml.MAX_DOCUMENT)
        data = philips_xml.picture(text, kind)
        if data[:2] != b"\xff\xd8":
            raise NotFound(f"the {name} in the slide's XML is not a JPEG")
        return data

    return load
