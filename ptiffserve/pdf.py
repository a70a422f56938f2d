"""A PDF of one page that is one picture (ISO 32000-1). Wraps bytes that are encoded already; decodes nothing."""

from ptiffserve.geometry import Size

# The longest side of a page, in its units of 1/72 inch (annex C, table C.1). A pixel is one unit where that is enough.
MAX_SIDE = 14400


def of_jpeg(data: bytes, size: Size, bands: int, profile: bytes = b"") -> bytes:
    """A JPEG of 1 or 3 components, its bytes as they are. `profile`: an ICC profile of so many components, or none."""
    device = "/DeviceGray" if bands == 1 else "/DeviceRGB"
    colours = f"[/ICCBased {_PROFILE} 0 R]" if profile else device
    more = [_stream(f"/N {bands} /Alternate {device}", profile)] if profile else []
    return _document(size, f"/ColorSpace {colours} /BitsPerComponent 8 /Filter /DCTDecode", data, more)


def of_png(data: bytes, size: Size) -> bytes:
    """A PNG of one gray bit a pixel, not interlaced: PDF has PNG's predictors, so its compressed data goes in as it is."""
    row = f"/DecodeParms << /Predictor 15 /Colors 1 /BitsPerComponent 1 /Columns {size.width} >>"
    return _document(size, f"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /FlateDecode {row}", _idat(data), [])


def _idat(png: bytes) -> bytes:
    parts, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            parts.append(png[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts)


# The objects' numbers, in the order of _document.
_CATALOG, _PAGES, _PAGE, _CONTENTS, _IMAGE, _PROFILE = range(1, 7)


def _document(size: Size, coding: str, data: bytes, more: list[bytes]) -> bytes:
    unit = min(1.0, MAX_SIDE / max(size.width, size.height))
    width, height = (f"{side * unit:.4f}".rstrip("0").rstrip(".") for side in (size.width, size.height))
    used = f"<< /ProcSet [/PDF /ImageB /ImageC] /XObject << /P {_IMAGE} 0 R >> >>"
    picture = f"/Type /XObject /Subtype /Image /Width {size.width} /Height {size.height} {coding}"
    return _file(
        [
            f"<< /Type /Catalog /Pages {_PAGES} 0 R >>".encode(),
            f"<< /Type /Pages /Kids [{_PAGE} 0 R] /Count 1 >>".encode(),
            f"<< /Type /Page /Parent {_PAGES} 0 R /MediaBox [0 0 {width} {height}] /Resources {used} "
            f"/Contents {_CONTENTS} 0 R >>".encode(),
            _stream("", f"q {width} 0 0 {height} 0 0 cm /P Do Q".encode()),
            _stream(picture, data),
            *more,
        ]
    )


def _stream(said: str, data: bytes) -> bytes:
    return f"<< {said} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _file(objects: list[bytes]) -> bytes:
    """Header, objects numbered from 1, the table of where each begins (entries of exactly 20 bytes), trailer."""
    # The four bytes above 127 tell transfer programs that this is no text (7.5.2).
    parts, starts = [b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"], []
    for number, said in enumerate(objects, 1):
        starts.append(sum(map(len, parts)))
        parts.append(b"%d 0 obj\n%b\nendobj\n" % (number, said))
    table = sum(map(len, parts))
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    parts += [b"%010d 00000 n \n" % start for start in starts]
    parts.append(b"trailer\n<< /Size %d /Root %d 0 R >>\n" % (len(objects) + 1, _CATALOG))
    parts.append(b"startxref\n%d\n%%%%EOF\n" % table)
    return b"".join(parts)
