"""IIIF Image API 2.1 and 3.0: info.json, and region/size/rotation/quality.format."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from ptiffserve.address import Asked, Document, Redirect, Tile, View, plan, pyramid_of
from ptiffserve.errors import Malformed
from ptiffserve.geometry import Box, Pyramid, Size, clip, fit, log2_ceil, scaled, tiles_across
from ptiffserve.protocols.base import (
    Candidate,
    Offer,
    above,
    decimal,
    join,
    nothing_to_describe,
    rounded,
    stem_and_format,
)
from ptiffserve.protocols.grid import background_of
from ptiffserve.slide import Slide

VERSIONS = ("2", "3")
QUALITIES = {"default": "color", "color": "color", "gray": "gray", "bitonal": "bitonal"}
PHYSDIM = "http://iiif.io/api/annex/services/physdim"
# Features that are headers of our answers, as info.json names them.
HEADERS = ("canonicalLinkHeader", "profileLinkHeader")
_INTEGER = re.compile(r"[0-9]{1,10}")


def parse(segments: Sequence[str], query: bytes) -> list[Candidate]:
    """An image, then the base URI: a key may look like image parameters, and only the catalogue knows which it is."""
    version, *path = segments[1:] or [""]
    if path and not path[-1]:
        path.pop()  # the base URI with a slash behind it
    if version not in VERSIONS or not path:
        return []
    if path[-1] == "info.json" and len(path) > 1:
        return [Candidate(join(path[:-1]), (version, "info"))]
    found = [Candidate(join(path[:-4]), (version, *path[-4:], background_of(query)))] if len(path) > 4 else []
    return [*found, Candidate(join(path), (version, "base"))]


def resolve(asked: tuple[str, ...], slide: Slide, offer: Offer) -> Asked:
    version, *parameters = asked
    if parameters == ["info"]:
        return Document(slide, f"info{version}")
    if parameters == ["base"]:
        return Redirect(slide, "/info.json")
    region, size, rotation, last, background = parameters
    quality, form = stem_and_format(last)
    if quality not in QUALITIES:
        raise Malformed(f"no such quality: {quality[:40]!r}")
    box = region_box(region, pyramid_of(slide).size)
    wanted = offer.check(output_size(size, box, version, offer))
    mirror, turn = rotation_of(rotation)
    if form != "pdf":
        form = offer.format(form, {})
    return plan(View(slide, box, wanted, form, QUALITIES[quality], turn, mirror, background=background))


def region_box(text: str, size: Size) -> Box:
    """`full`, `square`, `x,y,w,h` or `pct:x,y,w,h` as the part of it inside the slide."""
    if text == "full":
        return Box(0, 0, size.width, size.height)
    if text == "square":
        side = min(size.width, size.height)
        return Box((size.width - side) // 2, (size.height - side) // 2, side, side)
    wanted = _percent_box(text[4:], size) if text.startswith("pct:") else Box(*_integers(text, 4))
    box = clip(wanted, size)
    if box.width <= 0 or box.height <= 0 or wanted.width == 0 or wanted.height == 0:
        raise Malformed(f"the region {text[:80]!r} has no part inside the slide")
    return box


def _percent_box(text: str, size: Size) -> Box:
    x, y, width, height = (decimal(part) for part in _parts(text, 4))
    if width > 100 or height > 100 or width == 0 or height == 0:
        raise Malformed(f"a region of {text[:80]!r} percent")
    return Box(
        rounded(x * size.width / 100),
        rounded(y * size.height / 100),
        max(1, rounded(width * size.width / 100)),
        max(1, rounded(height * size.height / 100)),
    )


def output_size(text: str, box: Box, version: str, offer: Offer) -> Size:
    """The size of a region's picture. In version 3 only `^` sizes may exceed the region; in 2 all may."""
    upscale = version == "2"
    if version == "3" and text.startswith("^"):
        upscale, text = True, text[1:]
    size = _said_size(text, box, version, offer)
    larger = size.width > box.width or size.height > box.height
    if not upscale and (larger or (text.startswith("pct:") and decimal(text[4:]) > 100)):
        raise Malformed(f"the size {text[:80]!r} is larger than the region")
    return size


def _said_size(text: str, box: Box, version: str, offer: Offer) -> Size:
    if text == "max":
        return largest(box, offer)
    if text == "full" and version == "2":
        return Size(box.width, box.height)
    if text.startswith("pct:"):
        return _percent_size(text[4:], box)
    if text.startswith("!"):
        return fit(box, Size(*_over_zero(_integers(text[1:], 2))))
    sides = [_over_zero(_integers(part, 1))[0] if part else 0 for part in _parts(text, 2)]
    if not any(sides):
        raise Malformed(f"not a size: {text[:80]!r}")
    width, height = sides
    return Size(width or scaled(box.width, height, box.height), height or scaled(box.height, width, box.width))


def _percent_size(text: str, box: Box) -> Size:
    factor = decimal(text) / 100
    if factor == 0:
        raise Malformed("a size of 0 percent")
    return Size(max(1, rounded(box.width * factor)), max(1, rounded(box.height * factor)))


def largest(box: Box, offer: Offer) -> Size:
    """The region's own size, or the largest of its shape that the offer allows."""
    size = fit(box, Size(min(box.width, offer.max_width), min(box.height, offer.max_height)))
    if size.width * size.height <= offer.max_area:
        return size
    factor = (offer.max_area / (size.width * size.height)) ** 0.5
    return Size(max(1, int(size.width * factor)), max(1, int(size.height * factor)))


def rotation_of(text: str) -> tuple[bool, float]:
    """`!90` -> (True, 90.0); 360 is 0."""
    mirror, digits = text.startswith("!"), text.removeprefix("!")
    turn = float(decimal(digits))
    if turn > 360:
        raise Malformed(f"a rotation of {digits[:40]} degrees")
    return mirror, turn % 360


def _parts(text: str, count: int) -> list[str]:
    parts = text.split(",")
    if len(parts) != count:
        raise Malformed(f"{count} numbers were expected in {text[:80]!r}")
    return parts


def _integers(text: str, count: int) -> list[int]:
    parts = _parts(text, count)
    if not all(_INTEGER.fullmatch(part) for part in parts):
        raise Malformed(f"not whole numbers: {text[:80]!r}")
    return [int(part) for part in parts]


def _over_zero(numbers: list[int]) -> list[int]:
    if 0 in numbers:
        raise Malformed("a size of 0 pixels")
    return numbers


def steps(reading: tuple[str, ...]) -> int:
    """How many segments stand behind the image's own address."""
    return {"info": 1, "base": 0}.get(reading[1], 4)


def home(url: str, reading: tuple[str, ...]) -> str:
    return above(url, steps(reading))


def links(asked: Asked, reading: tuple[str, ...], home: str) -> str:
    """The compliance level, and for a picture its canonical URI: one of the many that mean it."""
    version = reading[0]
    said = f'<http://iiif.io/api/image/{version}/level2.json>;rel="profile"'
    if not isinstance(asked, Tile | View):
        return said
    return f'<{home}/{canonical(asked, version)}>;rel="canonical",{said}'


def canonical(asked: Tile | View, version: str) -> str:
    """`region/size/rotation/quality.format` in the canonical form of the version's specification, section 4.7."""
    view = asked if isinstance(asked, View) else _view_of(asked)
    whole, box, size = pyramid_of(view.slide).size, view.box, view.size
    full = box == Box(0, 0, whole.width, whole.height)
    region = "full" if full else f"{box.x},{box.y},{box.width},{box.height}"
    quality = "default" if view.quality == "color" else view.quality
    turn = f"{view.turn:.10f}".rstrip("0").rstrip(".") if view.turn else "0"
    mirror = "!" if view.mirror else ""
    return f"{region}/{_canonical_size(box, size, version)}/{mirror}{turn}/{quality}.{view.format}"


def _canonical_size(box: Box, size: Size, version: str) -> str:
    if size == Size(box.width, box.height):
        return "full" if version == "2" else "max"
    if version == "2" and size.height == scaled(box.height, size.width, box.width):
        return f"{size.width},"
    larger = version == "3" and (size.width > box.width or size.height > box.height)
    return f"{'^' if larger else ''}{size.width},{size.height}"


def _view_of(tile: Tile) -> View:
    """The view that plan() made this tile of."""
    pyramid = pyramid_of(tile.slide)
    level = pyramid.levels[tile.level]
    width, height = level.tile.width * level.scale, level.tile.height * level.scale
    box = clip(Box(tile.col * width, tile.row * height, width, height), pyramid.size)
    return View(tile.slide, box, level.tile, level.stored)


def describe(document: Document, home: str, offer: Offer) -> tuple[bytes, str]:
    pyramid = pyramid_of(document.slide)
    if document.kind == "info3":
        said, version = _info3(home, pyramid, offer), "3"
    elif document.kind == "info2":
        said, version = _info2(home, pyramid, offer), "2"
    else:
        raise nothing_to_describe(document)
    media_type = f'application/ld+json;profile="http://iiif.io/api/image/{version}/context.json"'
    return msgspec.json.encode(said), media_type


def _shared(pyramid: Pyramid, offer: Offer) -> dict[str, object]:
    """What both versions say alike. Scale factors go on until one tile holds the slide: clients ask each power of two."""
    grid = tiles_across(pyramid.size, pyramid.tile)
    factors = [1 << k for k in range(log2_ceil(max(grid.width, grid.height)) + 1)]
    sizes = [level.size for level in reversed(pyramid.levels) if _allowed(level.size, offer)]
    return {
        "protocol": "http://iiif.io/api/image",
        "width": pyramid.size.width,
        "height": pyramid.size.height,
        "sizes": [{"width": size.width, "height": size.height} for size in sizes],
        "tiles": [{"width": pyramid.tile.width, "height": pyramid.tile.height, "scaleFactors": factors}],
    }


def _allowed(size: Size, offer: Offer) -> bool:
    return size == largest(Box(0, 0, size.width, size.height), offer)


def _limits(offer: Offer) -> dict[str, object]:
    return {"maxWidth": offer.max_width, "maxHeight": offer.max_height, "maxArea": offer.max_area}


def _scale(pyramid: Pyramid, names: Mapping[str, str]) -> dict[str, object]:
    """The size of a pixel, as the service that IIIF's annex has for it. `names`: what the version calls it by."""
    if pyramid.mpp is None:
        return {}
    service = {
        "@context": f"{PHYSDIM}/1/context.json",
        **names,
        "profile": PHYSDIM,
        "physicalScale": pyramid.mpp[0] / 1000,
        "physicalUnits": "mm",
    }
    return {"service": [service]}


def _info3(base: str, pyramid: Pyramid, offer: Offer) -> dict[str, object]:
    return {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": base,
        "type": "ImageService3",
        "profile": "level2",
        **_shared(pyramid, offer),
        **_limits(offer),
        # Stored tiles are JPEGs: any other format is rendered.
        "preferredFormats": ["jpg"],
        "extraFormats": [form for form in (*offer.formats, "pdf") if form not in ("jpg", "png")],
        "extraQualities": ["color", "gray", "bitonal"],
        "extraFeatures": [*HEADERS, "mirroring", "rotationArbitrary", "sizeUpscaling"],
        # Version 3 wants a name and a type of every service, and the annex is older than that.
        **_scale(pyramid, {"id": f"{base}#physdim", "type": "PhysicalDimensions"}),
    }


def _info2(base: str, pyramid: Pyramid, offer: Offer) -> dict[str, object]:
    more = {
        "formats": [*offer.formats, "pdf"],
        "qualities": list(QUALITIES),
        "supports": [*HEADERS, "mirroring", "regionSquare", "rotationArbitrary", "sizeAboveFull", "sizeByDistortedWh"],
        **_limits(offer),
    }
    return {
        "@context": "http://iiif.io/api/image/2/context.json",
        "@id": base,
        **_shared(pyramid, offer),
        "profile": ["http://iiif.io/api/image/2/level2.json", more],
        **_scale(pyramid, {}),
    }
