"""Philips iSyntax, through libisyntax where the extra `isyntax` (pyisyntax) is installed. All of it is rendered."""

from ptiffserve.errors import SlideUnreadable
from ptiffserve.readers.base import Probe, Reader
from ptiffserve.readers.foreign import ForeignReader
from ptiffserve.readers.foreign_pool import Pool
from ptiffserve.sources.file import FileSource

# The file begins with XML, whose root says what it is; the wavelet coefficients lie behind it.
HEAD = 512
ROOT = b'<DataObject ObjectType="DPUfsImport"'

pool = Pool("isyntax")


def detect(probe: Probe) -> str:
    head = probe.source.read(0, HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    return "" if head.startswith(b"<") and ROOT in head else "not a Philips iSyntax"


def open(probe: Probe) -> Reader:
    if not isinstance(probe.source, FileSource):
        raise SlideUnreadable(probe.name, "isyntax: it is read from files only")
    return ForeignReader(probe.source, probe.name, "isyntax", pool)
