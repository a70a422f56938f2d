"""Philips headers for tests: the DPUfsImport document and the directories that go with it, written by hand."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pages
from pages import LONG, SHORT, Page

from ptiffserve.readers import open_slide
from ptiffserve.readers.base import Reader
from ptiffserve.sources.file import FileSource

PROLOG = '<?xml version="1.0" encoding="UTF-8" ?>\n'


def attribute(name: str, value: str) -> str:
    return f'<Attribute Name="{name}" Group="0x301D" Element="0x1000" PMSVR="IString">{escape(value)}</Attribute>\n'


def array(name: str, *objects: str) -> str:
    return f'<Attribute Name="{name}"><Array>\n{"".join(objects)}</Array></Attribute>\n'


def thing(kind: str, *attributes: str) -> str:
    return f'<DataObject ObjectType="{kind}">\n{"".join(attributes)}</DataObject>\n'


def pair(row: object, column: object) -> str:
    return f'"{row}" "{column}"'


def wsi(spacings: Sequence[str], spacing: str = pair(0.00025, 0.00025), more: str = "") -> str:
    """The scanned image; `spacings` are those of its levels."""
    levels = [thing("PixelDataRepresentation", attribute("DICOM_PIXEL_SPACING", one)) for one in spacings]
    return thing(
        "DPScannedImage",
        attribute("PIM_DP_IMAGE_TYPE", "WSI"),
        attribute("DICOM_PIXEL_SPACING", spacing) if spacing else "",
        array("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", *levels),
        more,
    )


def picture(kind: str, data: str) -> str:
    more = attribute("PIM_DP_IMAGE_DATA", data) + attribute("DICOM_PIXEL_SPACING", pair(0.0315, 0.0315))
    return thing("DPScannedImage", attribute("PIM_DP_IMAGE_TYPE", kind), more)


def document(*images: str, barcode: str | None = None, prolog: str = PROLOG) -> str:
    said = attribute("PIM_DP_UFS_BARCODE", barcode) if barcode is not None else ""
    return prolog + thing("DPUfsImport", said, array("PIM_DP_SCANNED_IMAGES", *images))


def nominal(magnification: float, level: int) -> str:
    """The spacing that Philips writes for a level: six digits."""
    spacing = f"{0.01 / magnification * 2**level:.6g}"
    return pair(spacing, spacing)


def level(width: int, height: int, description: str, first: bool, tile: int = 512) -> Page:
    """A level of which no tile is stored."""
    tags: dict[int, pages.Field] = {
        254: (LONG, [0 if first else 1]),
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8, 8, 8]),
        259: (SHORT, [7]),
        262: (SHORT, [6]),
        277: (SHORT, [3]),
        284: (SHORT, [1]),
        322: (SHORT, [tile]),
        323: (SHORT, [tile]),
    }
    made = Page(tags, [b""] * (-(-width // tile) * -(-height // tile)))
    made.say("Philips DP v1.0", 305)
    made.say(description)
    return made


def levels(sizes: Sequence[tuple[int, int]], xml: str, magnification: float = 40) -> list[Page]:
    said = [xml, *(f"level={i} mag={magnification / 2**i:g} quality=80" for i in range(1, len(sizes)))]
    return [level(*size, said[i], i == 0) for i, size in enumerate(sizes)]


def opened(path: Path) -> Reader:
    return open_slide(FileSource(path, path.name), path.name)


def written(folder: Path, made: Sequence[Page], big: bool = True) -> Path:
    path = folder / "slide.tiff"
    path.write_bytes(pages.write(made, big))
    return path
