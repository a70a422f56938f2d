"""The program that a foreign library runs in: requests on stdin, answers on stdout, one after the other. Imports nothing
of ours. Its argument names the library.

A line of JSON each way; behind an answer with `size`, so many bytes. It ends with its stdin.
"""

import io
import json
import os
import resource
import signal
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image

# Decoded tiles that OpenSlide may keep, for all slides together; its own choice is 32 MB for each.
CACHE_BYTES = 64 << 20
# Libraries abort where they cannot have memory: a hostile slide gets no further than this.
MEMORY = 4 << 30

FAULTS: tuple[type[Exception], ...] = (MemoryError, OSError)

Answer = tuple[dict[str, Any], bytes]
Asked = dict[str, Any]


class Library(Protocol):
    """What is asked of a library. `handles`: slides that it may have open; `faults`: what it raises where it cannot.

    Slides are described in OpenSlide's words, whichever library it is, with the ICC profile behind. Regions are counted in
    the level's own pixels.
    """

    title: str
    version: str
    handles: int
    faults: tuple[type[Exception], ...]

    def detect(self, path: str) -> str | None: ...
    def open(self, path: str) -> Any: ...
    def describe(self, handle: Any, asked: Asked) -> Answer: ...
    def region(self, handle: Any, asked: Asked) -> Answer: ...
    def picture(self, handle: Any, asked: Asked) -> Answer: ...


class OpenSlide:
    title = "OpenSlide"

    def __init__(self) -> None:
        import openslide

        self._library = openslide
        self._cache = openslide.OpenSlideCache(CACHE_BYTES)
        self.version = openslide.__library_version__
        self.handles = 16
        # The ValueError is openslide-python's for a handle in error whose ICC profile has a size of -1.
        self.faults: tuple[type[Exception], ...] = (openslide.OpenSlideError, ValueError)

    def detect(self, path: str) -> str | None:
        vendor: str | None = self._library.OpenSlide.detect_format(path)
        return vendor

    def open(self, path: str) -> Any:
        handle = self._library.OpenSlide(path)
        handle.set_cache(self._cache)
        return handle

    def describe(self, handle: Any, asked: Asked) -> Answer:
        said = {
            "sizes": handle.level_dimensions,
            "properties": dict(handle.properties),
            "associated": list(handle.associated_images.keys()),
        }
        # As it lies in the slide: `color_profile` would have lcms write it anew.
        return said, bytes(getattr(handle, "_profile", None) or b"")

    def region(self, handle: Any, asked: Asked) -> Answer:
        # Positions are whole pixels of level 0, so that a level of an odd scale is placed to half of one of those.
        d = handle.level_downsamples[asked["level"]]
        at = round(asked["x"] * d), round(asked["y"] * d)
        return rgba(handle.read_region(at, asked["level"], (asked["width"], asked["height"])))

    def picture(self, handle: Any, asked: Asked) -> Answer:
        return rgba(handle.associated_images[asked["name"]])


class ISyntax:
    title = "pyisyntax, the extra `isyntax`,"

    def __init__(self) -> None:
        import isyntax
        from isyntax.lowlevel import libisyntax

        self._library = isyntax
        self.version = "libisyntax"
        # Each takes memory in blocks of 256 MB.
        self.handles = 4
        self.faults: tuple[type[Exception], ...] = (
            libisyntax.LibISyntaxError,
            libisyntax.NullPointerError,
            RuntimeError,
            ValueError,
        )

    def detect(self, path: str) -> str | None:
        return None

    def open(self, path: str) -> Any:
        return self._library.ISyntax.open(path)

    def describe(self, handle: Any, asked: Asked) -> Answer:
        sides = {"width": handle.tile_width, "height": handle.tile_height}
        said = {f"openslide.level[{n}].tile-{s}": str(sides[s]) for n in range(handle.level_count) for s in sides}
        said |= {"openslide.mpp-x": str(handle.mpp_x), "openslide.mpp-y": str(handle.mpp_y)}
        pictures = {name: jpeg for name in ("label", "macro") if (jpeg := self._jpeg(handle, name))}
        for name, jpeg in pictures.items():
            said |= measured(name, jpeg)
        said["openslide.barcode"] = self._barcode(handle)
        return {"sizes": handle.level_dimensions, "properties": said, "associated": list(pictures)}, b""

    def _barcode(self, handle: Any) -> str:
        try:
            return str(handle.barcode)
        except self.faults:
            return ""

    @staticmethod
    def _jpeg(handle: Any, name: str) -> bytes:
        read = {"label": handle.read_label_image_jpeg, "macro": handle.read_macro_image_jpeg}
        return bytes(read[name]() or b"")

    def region(self, handle: Any, asked: Asked) -> Answer:
        box = (asked[key] for key in ("x", "y", "width", "height"))
        pixels = handle.read_region(*box, level=asked["level"])
        return {"width": asked["width"], "height": asked["height"]}, pixels.tobytes()

    def picture(self, handle: Any, asked: Asked) -> Answer:
        from PIL import Image

        return rgba(Image.open(io.BytesIO(self._jpeg(handle, asked["name"])), formats=["JPEG"]))


LIBRARIES: dict[str, type[Library]] = {"openslide": OpenSlide, "isyntax": ISyntax}


def measured(name: str, jpeg: bytes) -> dict[str, str]:
    """The picture's size as properties; none where it is no JPEG."""
    from PIL import Image

    try:
        width, height = Image.open(io.BytesIO(jpeg), formats=["JPEG"]).size
    except (OSError, Image.DecompressionBombError):
        return {}
    return {f"openslide.associated.{name}.width": str(width), f"openslide.associated.{name}.height": str(height)}


def rgba(image: "Image") -> Answer:
    return {"width": image.width, "height": image.height}, image.convert("RGBA").tobytes()


class Handles:
    """Open slides, least recently used first. One that has failed may stay in error for good, so it is dropped."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._open: OrderedDict[str, Any] = OrderedDict()

    def get(self, path: str, version: str) -> Any:
        """`version` tells the files apart that a path has named over time."""
        key = f"{version}:{path}"
        if key not in self._open:
            if len(self._open) >= self._library.handles:
                self._open.popitem(last=False)[1].close()
            self._open[key] = self._library.open(path)
        self._open.move_to_end(key)
        return self._open[key]

    def drop(self, path: str, version: str) -> None:
        handle = self._open.pop(f"{version}:{path}", None)
        if handle is not None:
            handle.close()


def main(name: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        library = LIBRARIES[name]()
    except (ImportError, OSError) as error:
        send(out, {"error": f"{LIBRARIES[name].title} is not installed ({error})"}, b"")
        return
    send(out, {"ready": library.version}, b"")
    handles = Handles(library)
    for line in sys.stdin.buffer:
        send(out, *answer(library, handles, json.loads(line)))


def answer(library: Library, handles: Handles, asked: Asked) -> Answer:
    """What was asked, or {"error": reason}."""
    try:
        if asked["what"] == "detect":
            return {"vendor": library.detect(asked["path"])}, b""
        operations = {"describe": library.describe, "region": library.region, "picture": library.picture}
        return operations[asked["what"]](handles.get(asked["path"], asked["version"]), asked)
    except FAULTS + library.faults as error:
        handles.drop(asked["path"], asked.get("version", ""))
        return {"error": str(error) or type(error).__name__}, b""


def send(out: BinaryIO, said: dict[str, Any], data: bytes) -> None:
    out.write(json.dumps(said | {"size": len(data)}).encode() + b"\n")
    out.write(data)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
