"""Philips TIFF ("Philips DP"): which directories are levels, and how large they truly are (philips.md sections 2, 4, 7)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ptiffserve._ptiff import Directory, Grid
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

# A side has at most 31 bits.
MAX_LEVEL = 30
_LEVEL = re.compile(r"level=(\d{1,2})\s+mag=")
_PICTURES = {"label": "LABELIMAGE", "macro": "MACROIMAGE"}


def detect(probe: Probe) -> str:
    if not probe.directories:
        return probe.fault or "not a TIFF"
    first = probe.directories[0]
    if not first.text(SOFTWARE, 64).startswith("Philips"):
        return "its Software tag does not begin with Philips"
    try:
        probe.noted["philips"] = _document(first)
    except NotPhilips as error:
        return str(error)
    return ""


def open(probe: Probe) -> TiffReader:
    """SlideUnreadable where there is not exactly one WSI in the XML, or no level that fits the others."""
    document: Document = probe.noted["philips"]
    if sum(image.kind == "WSI" for image in document.images) != 1:
        raise SlideUnreadable(probe.name, "philips: its XML does not describe exactly one WSI")
    levels, grids = _levels(probe, _scaled(_planes(probe), document))
    reader = TiffReader(probe.source, "philips", Pyramid(levels, _mpp(document)), grids, _pictures(probe, document))
    reader.barcode = document.barcode
    reader.fault = probe.fault
    reader.profile = probe.profile
    return reader


def _document(first: Directory) -> Document:
    if first.count(DESCRIPTION) > philips_xml.MAX_DOCUMENT:
        raise NotPhilips("its description is too long to be Philips's")
    return philips_xml.parse(first.blob(DESCRIPTION, philips_xml.MAX_DOCUMENT))


class _Said(NamedTuple):
    """A plane that may be a level, and the number that its description gives it, 0 where it gives none."""

    plane: Plane
    level: int


def _planes(probe: Probe) -> list[_Said]:
    """The tiled directories that may be levels: the first, then those that say so. Macro and Label may be tiled too."""
    planes = [_Said(plane_of(probe.directories[0]), 0)]
    for directory in probe.directories[1:]:
        description = directory.text(DESCRIPTION, 256)
        if TILE_OFFSETS in directory and not _picture_name(description):
            level = _said_level(description)
            if level or (directory.first(NEW_SUBFILE_TYPE, 0) or 0) & 1:
                planes.append(_Said(plane_of(directory), level))
    return planes


def _scaled(planes: list[_Said], document: Document) -> list[tuple[Plane, int]]:
    """The planes that are levels and the level-0 pixels that a pixel of each spans, finest first.

    A level is known by its `level=N`; by its place where the XML describes as many levels as there are planes, or where
    none says its number. Others are no level of this picture; nor is a second one of the same downsample.
    """
    wsi = document.image("WSI")
    spacings = wsi.levels if wsi else []
    placed = len(spacings) == len(planes) or not any(said.level for said in planes)
    base = planes[0].plane
    found = {1: base}
    for order in sorted(range(1, len(planes)), key=lambda i: not planes[i].level):
        plane, level = planes[order]
        number = level or (order if placed else 0)
        for d in (_ratio(spacings, number), 1 << min(number, MAX_LEVEL)) if number else ():
            if _plausible(plane, base, d):
                found.setdefault(d, plane)
                break
    return [(found[d], d) for d in sorted(found)]


def _ratio(spacings: Sequence[tuple[float, float] | None], level: int) -> int:
    """The downsample by the nominal spacings, 0 where they do not say: the mean of both ratios, rounded.

    The six digits of the XML make them inexact.
    """
    if level >= len(spacings):
        return 0
    base, spacing = spacings[0], spacings[level]
    if spacing is None or base is None:
        return 0
    return round((spacing[0] / base[0] + spacing[1] / base[1]) / 2)


def _said_level(description: str) -> int:
    said = _LEVEL.match(description)
    return int(said[1]) if said and int(said[1]) <= MAX_LEVEL else 0


def _plausible(plane: Plane, base: Plane, d: int) -> bool:
    """The stored grid is the base's at that downsample, give or take a row or column (CAMELYON17 is one row short)."""
    if not 1 <= d <= max(base.size.width, base.size.height):
        return False
    wide = ceil_div(ceil_div(base.size.width, d), plane.tile.width) - plane.grid.width
    high = ceil_div(ceil_div(base.size.height, d), plane.tile.height) - plane.grid.height
    return abs(wide) <= 1 and abs(high) <= 1


def _levels(probe: Probe, kept: list[tuple[Plane, int]]) -> tuple[tuple[Level, ...], list[Grid]]:
    """True sizes: the tags of level 0, which is padded by an unknown amount, divided by the downsample, rounded down."""
    base = kept[0][0].size
    levels, grids = [], []
    for index, (plane, d) in enumerate(kept):
        grid, coding = grid_of(plane, probe.source, probe.name, index, probe.carried)
        size = Size(max(1, base.width // d), max(1, base.height // d))
        levels.append(Level(size, plane.tile, plane.grid, d, *coding))
        grids.append(grid)
    return tuple(levels), grids


def _mpp(document: Document) -> tuple[float, float] | None:
    """The WSI's own spacing is measured; those of its levels are nominal. Millimetres, row first."""
    wsi = document.image("WSI")
    if wsi is None or wsi.spacing is None:
        return None
    return 1000 * wsi.spacing[1], 1000 * wsi.spacing[0]


def _picture_name(description: str) -> str:
    word = description.lstrip()[:5].lower()
    return word if word in _PICTURES else ""


def _pictures(probe: Probe, document: Document) -> dict[str, Picture]:
    """Label and macro: a directory of their own where there is one, else the XML's base64."""
    found: dict[str, Picture] = {}
    for directory in probe.directories[1:]:
        name = _picture_name(directory.text(DESCRIPTION, 64))
        if name and name not in found:
            found[name] = _from_directory(directory, probe)
    for name, kind in _PICTURES.items():
        if name not in found and document.pictured(kind):
            found[name] = _from_xml(probe, name, kind)
    return found


def _from_directory(directory: Directory, probe: Probe) -> Picture:
    return lambda: strip_picture(directory, probe.source, probe.name)


def _from_xml(probe: Probe, name: str, kind: str) -> Picture:
    def load() -> bytes:
        text = probe.directories[0].blob(DESCRIPTION, philips_xml.MAX_DOCUMENT)
        data = philips_xml.picture(text, kind)
        if data[:2] != b"\xff\xd8":
            raise NotFound(f"the {name} in the slide's XML is not a JPEG")
        return data

    return load
