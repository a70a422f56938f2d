"""From what a client calls its file to a path in a store. A client's name is data: it leads nowhere."""

import re
import unicodedata

from ptiffserve.config import Store
from ptiffserve.errors import Malformed
from ptiffserve.sync.scan import takes

# File systems take 255 bytes; a copy beside it may want some for an ending.
MAX_SEGMENT, MAX_PATH = 200, 800
# Names that Windows keeps for devices, with any ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\ufffd]')


def path_for(store: Store, name: str) -> str:
    """The path, relative to the store's root, under which a file of this name is put. Malformed where the name has nothing
    to make a path of, or the store lists no files with such names."""
    clean = unicodedata.normalize("NFC", name.encode("utf-8", "ignore").decode())
    segments = [_segment(part) for part in clean.replace("\\", "/").split("/")]
    path = "/".join(part for part in segments if part)
    last = path.rpartition("/")[2]
    if not last or len(path.encode()) > MAX_PATH:
        raise Malformed("the file needs a name that can be one")
    if not takes(store, path):
        raise Malformed(f"the store lists no files with names like {last}")
    return path


def _segment(part: str) -> str:
    """ "" for what is no name: empty, dots and blanks only."""
    part = _FORBIDDEN.sub("_", part).strip(" ").lstrip(". ").rstrip(". ")
    if _DEVICES.fullmatch(part):
        part = f"_{part}"
    stem, dot, ending = part.rpartition(".")
    if len(part.encode()) <= MAX_SEGMENT:
        return part
    stem, ending = (stem, dot + ending) if dot and len(ending) <= 16 else (part, "")
    return stem.encode()[: MAX_SEGMENT - len(ending.encode())].decode("utf-8", "ignore") + ending
