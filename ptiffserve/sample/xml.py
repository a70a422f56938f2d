"""The DPUfsImport document that Philips keeps in the first ImageDescription. Text only."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from ptiffserve.sample.layout import Grid

MAGNIFICATION = 44
MEASURED = ("0.000226891", "0.000226907")  # mm, row then column: what the scanner measured, not what it aimed at

# Name -> group, element, type, as in a file from a real scanner
_KNOWN = {
    "DICOM_MANUFACTURER": ("0x0008", "0x0070", "IString"),
    "DICOM_DERIVATION_DESCRIPTION": ("0x0008", "0x2111", "IString"),
    "DICOM_SOFTWARE_VERSIONS": ("0x0018", "0x1020", "IStringArray"),
    "DICOM_SAMPLES_PER_PIXEL": ("0x0028", "0x0002", "IUInt16"),
    "DICOM_PHOTOMETRIC_INTERPRETATION": ("0x0028", "0x0004", "IString"),
    "DICOM_PLANAR_CONFIGURATION": ("0x0028", "0x0006", "IUInt16"),
    "DICOM_PIXEL_SPACING": ("0x0028", "0x0030", "IDoubleArray"),
    "DICOM_BITS_ALLOCATED": ("0x0028", "0x0100", "IUInt16"),
    "DICOM_BITS_STORED": ("0x0028", "0x0101", "IUInt16"),
    "DICOM_HIGH_BIT": ("0x0028", "0x0102", "IUInt16"),
    "DICOM_PIXEL_REPRESENTATION": ("0x0028", "0x0103", "IUInt16"),
    "DICOM_LOSSY_IMAGE_COMPRESSION": ("0x0028", "0x2110", "IString"),
    "DICOM_LOSSY_IMAGE_COMPRESSION_RATIO": ("0x0028", "0x2112", "IDoubleArray"),
    "DICOM_LOSSY_IMAGE_COMPRESSION_METHOD": ("0x0028", "0x2114", "IStringArray"),
    "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE": ("0x1001", "0x8B01", "IDataObjectArray"),
    "PIIM_PIXEL_DATA_REPRESENTATION_NUMBER": ("0x1001", "0x8B02", "IUInt16"),
    "PIIM_DP_PIXEL_DATA_REPRESENTATION_POSITION": ("0x101D", "0x100B", "IDoubleArray"),
    "PIIM_PIXEL_DATA_REPRESENTATION_ROWS": ("0x2001", "0x115D", "IUInt32"),
    "PIIM_PIXEL_DATA_REPRESENTATION_COLUMNS": ("0x2001", "0x115E", "IUInt32"),
    "PIM_DP_SOURCE_FILE": ("0x301D", "0x1000", "IString"),
    "PIM_DP_UFS_INTERFACE_VERSION": ("0x301D", "0x1001", "IString"),
    "PIM_DP_UFS_BARCODE": ("0x301D", "0x1002", "IString"),
    "PIM_DP_SCANNED_IMAGES": ("0x301D", "0x1003", "IDataObjectArray"),
    "PIM_DP_IMAGE_TYPE": ("0x301D", "0x1004", "IString"),
    "PIM_DP_IMAGE_DATA": ("0x301D", "0x1005", "IString"),
    "PIM_DP_IMAGE_ROWS": ("0x301D", "0x1006", "IUInt32"),
    "PIM_DP_IMAGE_COLUMNS": ("0x301D", "0x1007", "IUInt32"),
    "UFS_IMAGE_PIXEL_TRANSFORMATION_METHOD": ("0x301D", "0x2013", "IString"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the document says. `pictures` are whole JPEGs by image type (MACROIMAGE, LABELIMAGE)."""

    grids: Sequence[Grid]
    quality: int
    rgb: bool
    big: bool
    barcode: str
    pictures: dict[str, bytes]


def document(facts: Facts) -> str:
    """The whole document, with its prologue."""
    images = [_object("DPScannedImage", _slide(facts))]
    images += [_object("DPScannedImage", _picture(kind, data)) for kind, data in facts.pictures.items()]
    root = [
        _attribute("DICOM_MANUFACTURER", "PHILIPS"),
        _sequence("PIM_DP_SCANNED_IMAGES", images),
        _attribute("PIM_DP_UFS_BARCODE", b64encode(facts.barcode.encode()).decode()),
        _attribute("PIM_DP_UFS_INTERFACE_VERSION", "3.0"),
        _attribute("DICOM_SOFTWARE_VERSIONS", _array("4.0.3")),
    ]
    return '<?xml version="1.0" encoding="UTF-8" ?>\n' + _object("DPUfsImport", root)


def level_description(level: int, quality: int) -> str:
    """The ImageDescription of every level but the first."""
    return f"level={level} mag={MAGNIFICATION / 2**level:g} quality={quality}"


def _slide(facts: Facts) -> Iterator[str]:
    derived = f"tiff-useBigTIFF={facts.big:d}-useRgb={facts.rgb:d}-levels=10003,10002,10000,10001-processing=0"
    base = facts.grids[0]
    yield _attribute("PIM_DP_IMAGE_TYPE", "WSI")
    yield _attribute("UFS_IMAGE_PIXEL_TRANSFORMATION_METHOD", "0")
    yield _attribute("DICOM_BITS_ALLOCATED", "8")
    yield _attribute("DICOM_BITS_STORED", "8")
    yield _attribute("DICOM_DERIVATION_DESCRIPTION", f'{derived}-q{facts.quality}-sourceFilename="sample.isyntax"')
    yield _attribute("DICOM_HIGH_BIT", "7")
    yield _attribute("DICOM_LOSSY_IMAGE_COMPRESSION", "01")
    yield _attribute("DICOM_LOSSY_IMAGE_COMPRESSION_METHOD", _array("PHILIPS_TIFF_1_0"))
    yield _attribute("DICOM_LOSSY_IMAGE_COMPRESSION_RATIO", _array("3"))
    yield _attribute("DICOM_PHOTOMETRIC_INTERPRETATION", "RGB")
    yield _attribute("DICOM_PIXEL_REPRESENTATION", "0")
    yield _attribute("DICOM_PIXEL_SPACING", _array(*MEASURED))
    yield _attribute("DICOM_PLANAR_CONFIGURATION", "0")
    yield _attribute("DICOM_SAMPLES_PER_PIXEL", "3")
    levels = [_object("PixelDataRepresentation", _level(grid)) for grid in facts.grids]
    yield _sequence("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", levels)
    yield _attribute("PIM_DP_IMAGE_COLUMNS", str(base.width))
    yield _attribute("PIM_DP_IMAGE_ROWS", str(base.height))
    yield _attribute("PIM_DP_SOURCE_FILE", "%FILENAME%")


def _level(grid: Grid) -> Iterator[str]:
    spacing = f"{0.01 / MAGNIFICATION * 2**grid.level:.6g}"
    yield _attribute("DICOM_PIXEL_SPACING", _array(spacing, spacing))
    yield _attribute("PIIM_DP_PIXEL_DATA_REPRESENTATION_POSITION", _array("0", "0", "0"))
    yield _attribute("PIIM_PIXEL_DATA_REPRESENTATION_COLUMNS", str(grid.width))
    yield _attribute("PIIM_PIXEL_DATA_REPRESENTATION_NUMBER", str(grid.level))
    yield _attribute("PIIM_PIXEL_DATA_REPRESENTATION_ROWS", str(grid.height))


def _picture(kind: str, data: bytes) -> Iterator[str]:
    yield _attribute("PIM_DP_IMAGE_TYPE", kind)
    yield _attribute("PIM_DP_IMAGE_DATA", b64encode(data).decode())


def _attribute(name: str, value: str) -> str:
    return _element(name, escape(value, {'"': "&quot;"}))


def _sequence(name: str, objects: Sequence[str]) -> str:
    return _element(name, "\n<Array>\n" + "".join(objects) + "</Array>\n")


def _element(name: str, content: str) -> str:
    group, element, kind = _KNOWN[name]
    return f'<Attribute Name="{name}" Group="{group}" Element="{element}" PMSVR="{kind}">{content}</Attribute>\n'


def _object(kind: str, attributes: Iterator[str] | Sequence[str]) -> str:
    return f'<DataObject ObjectType="{kind}">\n' + "".join(attributes) + "</DataObject>\n"


def _array(*values: str) -> str:
    return " ".join(f'"{value}"' for value in values)
