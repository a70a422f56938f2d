"""The DPUfsImport document in a Philips TIFF's first ImageDescription (philips.md section 3). Parses; decides nothing."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

# Philips-2.tiff keeps 844 kB of macro picture in it; twenty times that is no description any more.
MAX_DOCUMENT = 16 << 20
# A real one has a few hundred, seven deep.
MAX_ELEMENTS = 20_000
MAX_BARCODE = 4096
# A DOCTYPE must be seen before much of what follows it is parsed: expat goes on to the end of what it was given.
_CHUNK = 1 << 18
_IMAGE_DATA = "PIM_DP_IMAGE_DATA"
# How a JPEG begins in base64. No more than the beginning is kept of a picture that was not asked for.
_JPEG = "/9j/"
_BEGINNING = 64
_WANTED = {
    "PIM_DP_IMAGE_TYPE",
    "PIM_DP_UFS_BARCODE",
    "DICOM_PIXEL_SPACING",
    _IMAGE_DATA,
}


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
    return _Walk().run(_text(_without_pictures(stored)))


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
    found = _Walk(want=kind).run(_text(stored)).pictured(kind)
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


class _Walk:
    """One pass of expat over the text: a stack of ObjectTypes, the attribute being read, and what it said."""

    def __init__(self, want: str = "") -> None:
        self.document = Document()
        self._want = want
        self._elements = 0
        self._objects: list[str] = []
        self._names: list[str] = []
        self._text: list[str] = []

    def run(self, data: bytes) -> Document:
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            for start in range(0, len(data), _CHUNK):
                parser.Parse(data[start : start + _CHUNK], False)
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise NotPhilips(f"its description is not well-formed XML: {error}") from error
        return self.document

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._objects and (name != "DataObject" or attributes.get("ObjectType") != "DPUfsImport"):
            raise NotPhilips("its description is not a DPUfsImport document")
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise NotPhilips("its description has too many elements to be Philips's")
        if name == "DataObject":
            self._objects.append(attributes.get("ObjectType", ""))
            if self._objects[-1] == "DPScannedImage":
                self.document.images.append(Image())
            elif self._objects[-1] == "PixelDataRepresentation" and self.document.images:
                self.document.images[-1].levels.append(None)
        self._names.append(attributes.get("Name", "") if name == "Attribute" else "")
        self._text.clear()

    def _characters(self, text: str) -> None:
        if not self._names or self._names[-1] not in _WANTED:
            return
        if self._names[-1] != _IMAGE_DATA or self._may_be_wanted():
            self._text.append(text)
        elif len("".join(self._text)) < len(_JPEG):
            self._text.append(text.strip()[: len(_JPEG)])

    def _may_be_wanted(self) -> bool:
        """Whether the image being read is of the wanted kind, as far as it has been said yet."""
        images = self.document.images
        return bool(self._want and images and images[-1].kind in ("", self._want))

    def _end(self, name: str) -> None:
        attribute, value = self._names.pop(), "".join(self._text)
        self._text.clear()
        if name == "DataObject":
            self._objects.pop()
        elif attribute == "PIM_DP_UFS_BARCODE" and len(value) <= MAX_BARCODE:
            self.document.barcode = self.document.barcode or barcode_text(value)
        elif attribute in _WANTED and self.document.images:
            self._note(attribute, value, self.document.images[-1])

    def _note(self, attribute: str, value: str, image: Image) -> None:
        if attribute == "PIM_DP_IMAGE_TYPE":
            image.kind = value.strip()
        elif attribute == _IMAGE_DATA:
            image.data = value
        elif attribute == "DICOM_PIXEL_SPACING" and self._objects[-1] == "DPScannedImage":
            image.spacing = spacing(value)
        elif attribute == "DICOM_PIXEL_SPACING" and self._objects[-1] == "PixelDataRepresentation" and image.levels:
            image.levels[-1] = spacing(value)


def _refuse(*_: object) -> NoReturn:
    raise NotPhilips("its description has a DOCTYPE, which Philips never writes")
