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
_IMAGE_DATA, _TYPE, _SPACING = "PIM_DP_IMAGE_DATA", "PIM_DP_IMAGE_TYPE", "DICOM_PIXEL_SPACING"
_BARCODE = "PIM_DP_UFS_BARCODE"
_KEPT = {_IMAGE_DATA, _TYPE, _SPACING, _BARCODE}
_LEVEL = "PixelDataRepresentation"
# Two thirds of a document are attributes that say nothing to us, and most of the others is their DICOM numbers: written as
# Philips writes them, no parser need see them.
_IDLE = re.compile(rb'<Attribute Name="(?!(?:%b)")\w++"[^<>]*+>[^<]*+</Attribute>\s*+' % "|".join(_KEPT).encode())
_NUMBERS = re.compile(rb' Group="\w++" Element="\w++" PMSVR="\w++"(?=>)')
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

    def say(self, name: str, text: str) -> None:
        """Notes one of its attributes."""
        if name == _TYPE:
            self.kind = text.strip()
        elif name == _IMAGE_DATA:
            self.data = text
        elif name == _SPACING:
            self.spacing = spacing(text)

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
    return _read(_text(_NUMBERS.sub(b"", _IDLE.sub(b"", _without_pictures(stored)))))


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
        row, column = map(float, parts)
    except ValueError:
        return None
    return (row, column) if 0 < row < 1e3 and 0 < column < 1e3 else None


def _read(data: bytes) -> Document:
    """Everything that would make a parser work for long is refused before it starts."""
    if data.count(b"<") > 2 * MAX_ELEMENTS or data.count(b"=") > 4 * MAX_ELEMENTS:
        raise NotPhilips("its description has too many elements to be Philips's")
    return _Walk().run(data)


class _Walk:
    """One pass over the document: of its attributes only those are kept that say something of images and barcode."""

    def __init__(self) -> None:
        self._document = Document()
        self._parser = expat.ParserCreate("utf-8")
        # The DataObjects around the place: type, and the image that each is or lies in.
        self._objects: list[tuple[str, Image | None]] = []
        self._name = ""  # of the attribute that is being read
        self._text: list[str] = []

    def run(self, data: bytes) -> Document:
        parser = self._parser
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler, parser.EndElementHandler = self._root, self._end
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise NotPhilips(f"its description is not well-formed XML: {error}") from error
        finally:
            parser.StartElementHandler = parser.EndElementHandler = None  # no cycle for the collector
        return self._document

    def _root(self, tag: str, attributes: dict[str, str]) -> None:
        if (tag, attributes.get("ObjectType")) != ("DataObject", "DPUfsImport"):
            raise NotPhilips("its description is not a DPUfsImport document")
        self._objects.append(("DPUfsImport", None))
        self._parser.StartElementHandler = self._start

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "Attribute":
            name = attributes.get("Name", "")
            if name in _KEPT:
                self._name, self._text = name, []
                self._parser.CharacterDataHandler = self._text.append
        elif tag == "DataObject":
            kind = attributes.get("ObjectType", "")
            self._objects.append((kind, self._image(kind)))

    def _image(self, kind: str) -> Image | None:
        """The image that an object of that kind begins, or the one around it."""
        image = self._objects[-1][1]
        if kind == "DPScannedImage":
            image = Image()
            self._document.images.append(image)
        elif kind == _LEVEL and image:
            image.levels.append(None)
        return image

    def _end(self, tag: str) -> None:
        if tag == "DataObject":
            self._objects.pop()
        elif tag == "Attribute" and self._name:
            self._parser.CharacterDataHandler = None
            self._take(self._name, "".join(self._text))
            self._name = ""

    def _take(self, name: str, text: str) -> None:
        """An attribute of the innermost DataObject."""
        kind, image = self._objects[-1]
        if name == _BARCODE and not self._document.barcode and 0 < len(text) <= MAX_BARCODE:
            self._document.barcode = barcode_text(text)
        elif kind == _LEVEL and image and name == _SPACING:
            image.levels[-1] = spacing(text)
        elif kind == "DPScannedImage" and image:
            image.say(name, text)


def _refuse(*_: object) -> NoReturn:
    raise NotPhilips("its description has a DOCTYPE, which Philips never writes")
