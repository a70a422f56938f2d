"""The program that OpenSlide runs in: requests on stdin, answers on stdout, one after the other. Imports nothing of ours.

A line of JSON each way; behind an answer with `size`, so many bytes. It ends with its stdin.
"""

import json
import os
import resource
import signal
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

HANDLES = 16
# Decoded tiles that OpenSlide may keep, for all slides together; its own choice is 32 MB for each.
CACHE_BYTES = 64 << 20
# OpenSlide aborts where it cannot have memory: a hostile slide gets no further than this.
MEMORY = 4 << 30

Answer = tuple[dict[str, Any], bytes]


class Handles:
    """Open slides, least recently used first. One that has failed stays in error for good, so it is dropped."""

    def __init__(self) -> None:
        import openslide

        self.library = openslide
        self._cache = openslide.OpenSlideCache(CACHE_BYTES)
        self._open: OrderedDict[str, Any] = OrderedDict()

    def get(self, path: str, version: str) -> Any:
        """`version` tells the files apart that a path has named over time."""
        key = f"{version}:{path}"
        if key not in self._open:
            handle = self.library.OpenSlide(path)
            handle.set_cache(self._cache)
            self._open[key] = handle
            if len(self._open) > HANDLES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        return self._open[key]

    def drop(self, path: str, version: str) -> None:
        handle = self._open.pop(f"{version}:{path}", None)
        if handle is not None:
            handle.close()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        handles = Handles()
    except (ImportError, OSError) as error:
        send(out, {"error": f"OpenSlide is not installed ({error})"}, b"")
        return
    send(out, {"ready": handles.library.__library_version__}, b"")
    for line in sys.stdin.buffer:
        send(out, *answer(handles, json.loads(line)))


def answer(handles: Handles, asked: dict[str, Any]) -> Answer:
    """What was asked, or {"error": reason}."""
    try:
        if asked["what"] == "detect":
            return {"vendor": handles.library.OpenSlide.detect_format(asked["path"])}, b""
        return OPERATIONS[asked["what"]](handles.get(asked["path"], asked["version"]), asked)
    # The ValueError is openslide-python's for a handle in error whose ICC profile has a size of -1.
    except (handles.library.OpenSlideError, ValueError, MemoryError, OSError) as error:
        handles.drop(asked["path"], asked.get("version", ""))
        return {"error": str(error) or type(error).__name__}, b""


def describe(handle: Any, asked: dict[str, Any]) -> Answer:
    said = {
        "sizes": handle.level_dimensions,
        "downsamples": handle.level_downsamples,
        "properties": dict(handle.properties),
        "associated": list(handle.associated_images.keys()),
    }
    return said, profile(handle)


def profile(handle: Any) -> bytes:
    """The slide's ICC profile, b"" where it has none. `color_profile` would have lcms write it anew."""
    return bytes(getattr(handle, "_profile", None) or b"")


def region(handle: Any, asked: dict[str, Any]) -> Answer:
    return rgba(handle.read_region((asked["x"], asked["y"]), asked["level"], (asked["width"], asked["height"])))


def picture(handle: Any, asked: dict[str, Any]) -> Answer:
    return rgba(handle.associated_images[asked["name"]])


def rgba(image: "Image") -> Answer:
    return {"width": image.width, "height": image.height}, image.convert("RGBA").tobytes()


OPERATIONS = {"describe": describe, "region": region, "picture": picture}


def send(out: BinaryIO, said: dict[str, Any], data: bytes) -> None:
    out.write(json.dumps(said | {"size": len(data)}).encode() + b"\n")
    out.write(data)
    out.flush()


if __name__ == "__main__":
    main()
