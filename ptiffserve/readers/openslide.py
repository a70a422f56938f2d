"""Every other slide format, through OpenSlide: DICOM, MIRAX, Hamamatsu, Leica, Ventana and the rest. All of it is rendered."""

from ptiffserve.readers.base import Probe, Reader
from ptiffserve.readers.foreign import ForeignReader, safe
from ptiffserve.readers.foreign_pool import Failed, Pool
from ptiffserve.sources.file import FileSource

# The only TIFFs it is given: all others our own readers know better, and its generic TIFF trusts any tile size.
TIFF_VENDORS = {"hamamatsu", "leica", "trestle", "ventana"}

pool = Pool("openslide")


def detect(probe: Probe) -> str:
    if not isinstance(probe.source, FileSource):
        return "OpenSlide reads files only"
    if not probe.directories and probe.source.read(0, 2) in (b"II", b"MM"):
        return probe.fault  # a TIFF that our own walk refuses is not given to libtiff
    try:
        said, _ = pool.ask({"what": "detect", "path": str(probe.source.path)})
    except Failed as error:
        return safe(error, probe.source)
    if said["vendor"] and probe.directories and said["vendor"] not in TIFF_VENDORS:
        return f"not given TIFFs of the kind {said['vendor']}"
    return "" if said["vendor"] else "not a format that OpenSlide knows"


def open(probe: Probe) -> Reader:
    assert isinstance(probe.source, FileSource)
    return ForeignReader(probe.source, probe.name, "openslide", pool)
