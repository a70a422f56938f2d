"""Pictures of the slide as an object: the paper label, and the macro photograph of the whole glass."""

import pyvips

from ptiffserve.sample.noise import Image

MACRO_PIXEL = 0.0315  # mm
_GLASS_WIDTH, _GLASS_HEIGHT = 1748, 804
_LABEL_SIZE = 672
_ROOM = (800, 60, 880, 684)  # left, top, width, height of what the scanner may scan, in the macro
_INK = (38, 38, 52)


def label(barcode: str, seed: int) -> Image:
    """A label of white paper with the barcode's text."""
    paper = _plain(_LABEL_SIZE, _LABEL_SIZE, (246, 245, 238))
    paper = paper.draw_rect(list(_INK), 18, 18, _LABEL_SIZE - 36, _LABEL_SIZE - 36)
    lines = (("ptiffserve sample", 60, 80), (barcode, 96, 250), ("H&amp;E", 60, 430), (f"seed {seed}", 48, 540))
    for line, height, top in lines:
        paper = _write(paper, line, height, top)
    return paper.copy_memory()


def macro(overview: Image, paper: Image | None) -> Image:
    """The glass slide seen whole: its label at the left end (where there is one), the tissue to the right."""
    glass = _plain(_GLASS_WIDTH, _GLASS_HEIGHT, (232, 233, 234)).draw_rect(
        [180, 186, 188], 0, 0, _GLASS_WIDTH, _GLASS_HEIGHT
    )
    left, top, width, height = _ROOM
    scale = min(width / overview.width, height / overview.height)
    tissue = overview.resize(scale).linear(232 / 250, 0, uchar=True)
    x, y = left + (width - tissue.width) // 2, top + (height - tissue.height) // 2
    glass = glass.insert(tissue, x, y)
    if paper is not None:
        glass = glass.insert(paper.rot90(), 44, (_GLASS_HEIGHT - _LABEL_SIZE) // 2)
    return glass.copy_memory()


def macro_description(width: int, height: int) -> str:
    """What Philips says about its macro; the region is in pixels of level 0."""
    return f"Macro -offset=(0,0)-pixelsize=({MACRO_PIXEL},{MACRO_PIXEL})-rois=((0,0,{width},{height}))"


def _plain(width: int, height: int, colour: tuple[int, int, int]) -> Image:
    flat = pyvips.Image.black(width, height, bands=3) + list(colour)
    return flat.cast("uchar").copy(interpretation="srgb")


def _write(paper: Image, line: str, height: int, top: int) -> Image:
    """A line of ink across the paper, `height` pixels high unless that is too wide."""
    ink = _lettering(line)
    ink = ink.resize(min(height / ink.height, (_LABEL_SIZE - 100) / ink.width))
    mask = ink.embed((_LABEL_SIZE - ink.width) // 2, top, _LABEL_SIZE, _LABEL_SIZE)
    return mask.ifthenelse(list(_INK), paper, blend=True)


def _lettering(line: str) -> Image:
    """A mask of the line; where the machine has no fonts, bars that differ from text to text."""
    try:
        return pyvips.Image.text(line, font="sans bold", dpi=300)
    except pyvips.Error:
        bits = "".join(f"1{byte:08b}0" for byte in line.encode())
        bars = pyvips.Image.new_from_memory(bytes(255 * int(bit) for bit in bits), len(bits), 1, 1, "uchar")
        return bars.zoom(6, 60)
