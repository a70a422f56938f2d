"""The OME-XML that OME-TIFF keeps in its first ImageDescription: sizes, spacing, names. Parses; decides nothing."""

from typing import NamedTuple, NoReturn
from xml.parsers import expat

from ptiffserve.geometry import Size
from ptiffserve.readers.tiff import positive

MAX_DOCUMENT = 4 << 20
MAX_IMAGES = 4096
# PhysicalSizeXUnit -> microns. "pixel" and "reference frame" are no lengths.
_MICRONS = {"pm": 1e-6, "nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25400.0}


class NotOme(ValueError):
    """The text is not an OME-XML document; the message says what it is instead."""


class Image(NamedTuple):
    """An Image and its Pixels. `ifd`: the TIFF directory of its first plane; `channels` counts samples of all planes."""

    name: str
    size: Size
    channels: int
    mpp: tuple[float, float] | None
    ifd: int


def parse(text: str) -> list[Image]:
    """The images in order. NotOme for anything else, and for any DOCTYPE."""
    return _Walk().run(text)


class _Walk:
    def __init__(self) -> None:
        self._images: list[Image] = []
        self._name = ""
        self._planes = 0

    def run(self, text: str) -> list[Image]:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.StartDoctypeDeclHandler = _refuse
        try:
            parser.Parse(text.encode(), True)
        except expat.ExpatError as error:
            raise NotOme(f"its OME-XML is malformed: {error}") from error
        if not self._images:
            raise NotOme("its OME-XML describes no image")
        return self._images

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "Image":
            self._name = attributes.get("Name", "")
        elif tag == "Pixels":
            if len(self._images) == MAX_IMAGES:
                raise NotOme(f"its OME-XML describes more than {MAX_IMAGES} images")
            self._images.append(_image(self._name, attributes, len(self._images)))
            self._planes = 0
        elif tag == "TiffData" and self._images:
            self._planes += 1
            if self._planes == 1:
                self._images[-1] = self._images[-1]._replace(ifd=_count(attributes.get("IFD", "0")))


def _image(name: str, attributes: dict[str, str], order: int) -> Image:
    size = Size(_count(attributes.get("SizeX", "")), _count(attributes.get("SizeY", "")))
    x, y = (_microns(attributes, axis) for axis in "XY")
    return Image(name, size, _count(attributes.get("SizeC", "1")), (x, y) if x and y else None, order)


def _microns(attributes: dict[str, str], axis: str) -> float | None:
    value = positive(attributes.get(f"PhysicalSize{axis}", ""))
    unit = _MICRONS.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"))
    return value * unit if value and unit else None


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _refuse(*_: object) -> NoReturn:
    raise NotOme("its OME-XML has a DOCTYPE, which OME never writes")
