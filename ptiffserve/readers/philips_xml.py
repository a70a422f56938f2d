"""The DPUfsImport document in a Philips TIFF's first ImageDescription (philips.md section 3). Parses; decides nothing."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError, XMLParser, fromstring

# Philips-2.tiff keeps 844 kB of macro picture in it; twenty times that is no description any more.
MAX_DOCUMENT = 16 << 20
# A real one has a few hundred, seven deep.
MAX_ELEMENTS = 20_000
MAX_BARCODE = 4096
_IMAGE_DATA = "PIM_DP_IMAGE_DATA"
# How a JPEG begins in base64. No more than the beginning is kept of a picture that was not asked for.
_JPEG = "/9j/"
_BEGINNING = 64


class NotPhilips(ValueError):
    """The text is not a DPUfsImport document; the message says what it is instead."""


@dataclass
class Image:
    """A DPScannedImage. `spacing` and those of its levels are (row, column) in millimetres, None where unreadable.

    `data`: the base64 of its picture where that was asked for, else no more of it than tells a JPEG.
    """

    kind: str = ""
    spacing: tuple[float, float] | None = None
    levels: list[tuple[float, float] | None] = field(default_factory=list)
    data: str = ""

    @property
    def has_jpeg(self) -> bool:
        return self.data.lstrip().startswith(_JPEG)


@dataclass
class Document:
    barcode: str = ""
    images: list[Image] = field(default_factory=list)

    def image(self, kind: str) -> Image | None:
        """The first image of a kind: WSI, MACROIMAGE, LABELIMAGE."""
        return next((image for image in self.images if image.kind == kind), None)

    def pictured(self, kind: str) -> Image | None:
        """The first image of a kind that brings a JPEG."""
        return next((image for image in self.images if image.kind == kind and image.has_jpeg), None)


def parse(stored: bytes) -> Document:
    """The document without its pictures. NotPhilips for anything else, and for any DOCTYPE."""
    return _read(_text(_without_pictures(stored)))


def _text(stored: bytes) -> bytes:
    """As far as the first NUL, and UTF-8 in any case."""
    return stored.split(b"\0", 1)[0].decode("utf-8", "replace").lstrip("\ufeff \t\r\n").encode("utf-8")


def _without_pictures(stored: bytes) -> bytes:
    """Only the beginning of each picture's base64: no parser need see the megabytes of them."""
    kept, at = [], 0
    while (name := stored.find(_IMAGE_DATA.encode(), at)) >= 0:
        start = stored.find(b">", name) + 1
        end = stored.find(b"<", start)
        beginning = stored[start : start + _BEGINNING]
        if not start or end < start + _BEGINNING or b"&" in beginning:
            kept.append(stored[at : name + 1])
            at = name + 1
        else:
            kept.append(stored[at : start + _BEGINNING])
            at = end
    return b"".join([*kept, stored[at:]])


def picture(stored: bytes, kind: str) -> bytes:
    """The JPEG of the first image of `kind` that has one, b"" where there is none or its base64 is junk."""
    found = _read(_text(stored)).pictured(kind)
    return unbase64(found.data) if found else b""


def unbase64(text: str) -> bytes:
    """Lenient base64: white space, missing padding and trailing garbage (a stray "/" after libisyntax) are forgiven."""
    clean = re.sub(r"[^A-Za-z0-9+/]", "", text.split("=", 1)[0])
    clean = clean[: len(clean) - 1] if len(clean) % 4 == 1 else clean
    try:
        return base64.b64decode(clean + "=" * (-len(clean) % 4))
    except binascii.Error:
        return b""


def barcode_text(value: str) -> str:
    """Base64 of the text in Philips's files, the plain text in other writers' (opentile does the same)."""
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return value.strip()
    # Plain text may be lawful base64 of junk. GS separates the fields of a GS1 code.
    return decoded if decoded.replace("\x1d", "").isprintable() else value.strip()


def spacing(value: str) -> tuple[float, float] | None:
    """A pair of quoted numbers, row first: `"0.000226891" "0.000226907"`; OpenSlide takes a decimal comma too."""
    parts = value.replace('"', " ").replace(",", ".").split()
    try:
        row, column = (float(part) for part in parts)
    except ValueError:
        return None
    return (row, column) if 0 < row < 1e3 and 0 < column < 1e3 else None


def _tree(data: bytes) -> Element:
    """The root element. Everything that would make a parser work for long is refused before it starts."""
    if b"<!DOCTYPE" in data:
        raise NotPhilips("its description has a DOCTYPE, which Philips never writes")
    if data.count(b"<") > 2 * MAX_ELEMENTS or data.count(b"=") > 4 * MAX_ELEMENTS:
        raise NotPhilips("its description has too many elements to be Philips's")
    try:
        root = fromstring(data, XMLParser(encoding="utf-8"))  # noqa: S314 - entities need a DOCTYPE
    except ParseError as error:
        raise NotPhilips(f"its description is not well-formed XML: {error}") from error
    if root.tag != "DataObject" or root.get("ObjectType") != "DPUfsImport":
        raise NotPhilips("its description is not a DPUfsImport document")
    return root


def _read(data: bytes) -> Document:
    root = _tree(data)
    images = [_image(each) for each in root.iter("DataObject") if each.get("ObjectType") == "DPScannedImage"]
    barcodes = (each.text or "" for each in root.iter("Attribute") if each.get("Name") == "PIM_DP_UFS_BARCODE")
    return Document(next((barcode_text(text) for text in barcodes if 0 < len(text) <= MAX_BARCODE), ""), images)


def _image(scanned: Element) -> Image:
    image = Image()
    for attribute in scanned.iterfind("Attribute"):
        name, text = attribute.get("Name"), attribute.text or ""
        if name == "PIM_DP_IMAGE_TYPE":
            image.kind = text.strip()
        elif name == _IMAGE_DATA:
            image.data = text
        elif name == "DICOM_PIXEL_SPACING":
            image.spacing = spacing(text)
    levels = (each for each in scanned.iter("DataObject") if each.get("ObjectType") == "PixelDataRepresentation")
    image.levels = [_level_spacing(level) for level in levels]
    return image


def _level_spacing(level: Element) -> tuple[float, float] | None:
    texts = [each.text or "" for each in level.iterfind("Attribute") if each.get("Name") == "DICOM_PIXEL_SPACING"]
    return spacing(texts[-1]) if texts else None
