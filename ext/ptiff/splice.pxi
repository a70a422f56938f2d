# A stored tile made whole: tables and colour marker in front, private segments out, the frame compared with the level.

cdef enum Marker:
    SOF0 = 0xC0
    SOF2 = 0xC2
    DHT = 0xC4
    SOF15 = 0xCF
    SOI = 0xD8
    EOI = 0xD9
    SOS = 0xDA
    DQT = 0xDB
    DRI = 0xDD
    APP0 = 0xE0
    APP15 = 0xEF
    COM = 0xFE

# "Adobe", version 100, flags 0, then the transform: 0 = RGB, 1 = YCbCr. Viewers follow it; Aperio writes RGB without it.
cdef bytes APP14 = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


cdef struct Frame:
    # What a level promises of each of its tiles, and which tables its prefix brings.
    uint32_t width
    uint32_t height
    uint32_t components
    bint quantised
    bint huffman


cdef int segment_at(const uint8_t *data, uint64_t size, uint64_t *at, int *marker, uint64_t *end) noexcept nogil:
    """The marker segment at `at` (fill bytes skipped): its marker and where it ends. SOI and EOI have no length."""
    cdef uint64_t i = at[0]
    cdef uint64_t length
    if i >= size or data[i] != 0xFF:
        return NOT_JPEG
    while i < size and data[i] == 0xFF:
        i += 1
    if i >= size:
        return NOT_JPEG
    at[0] = i - 1
    marker[0] = data[i]
    end[0] = i + 1
    if data[i] == SOI or data[i] == EOI:
        return OK
    if data[i] == 0 or 0xD0 <= data[i] <= 0xD7 or data[i] == 0x01 or size - i < 3:
        return NOT_JPEG
    length = (<uint64_t>data[i + 1] << 8) | data[i + 2]
    if length < 2 or length > size - i - 1:
        return NOT_JPEG
    end[0] = i + 1 + length
    return OK


cdef int frame_fits(const uint8_t *sof, uint64_t size, int marker, const Frame *want) noexcept nogil:
    """Baseline, extended or progressive Huffman, 8 bits, the level's size and components, sampling factors 1 to 4."""
    cdef uint32_t i
    if marker > SOF2 or size < 10 or sof[4] != 8:
        return WRONG_FRAME
    if ((<uint32_t>sof[5] << 8) | sof[6]) != want.height or ((<uint32_t>sof[7] << 8) | sof[8]) != want.width:
        return WRONG_FRAME
    if sof[9] != want.components or size < 10 + 3 * want.components:
        return WRONG_FRAME
    for i in range(want.components):
        if not 1 <= (sof[11 + 3 * i] >> 4) <= 4 or not 1 <= (sof[11 + 3 * i] & 15) <= 4:
            return WRONG_FRAME
    return OK


cdef int find_end(const uint8_t *data, uint64_t start, uint64_t size) noexcept nogil:
    """Whether EOI follows `start`. Looked for from the end: in scan data FF is always followed by 00 or RST."""
    cdef uint64_t i = size
    while i >= start + 2:
        if data[i - 1] == EOI and data[i - 2] == 0xFF:
            return OK
        i -= 1
    return UNFINISHED


cdef int make_whole(uint8_t *data, uint64_t *size, const Frame *want) noexcept nogil:
    """Checks a tile that begins at its SOI and takes private segments (APPn, COM) out in place; `size` may shrink.

    Colour is said by the prefix alone, after the TIFF's photometric tag, so a tile's own APP0 and APP14 go too.
    """
    cdef uint64_t at = 2, end = 0
    cdef int marker = 0, code
    cdef bint framed = False, quantised = want.quantised, huffman = want.huffman
    if size[0] < 4 or data[0] != 0xFF or data[1] != SOI:
        return NOT_JPEG
    while True:
        code = segment_at(data, size[0], &at, &marker, &end)
        if code != OK:
            return code
        if APP0 <= marker <= APP15 or marker == COM:
            memmove(data + at, data + end, size[0] - end)
            size[0] -= end - at
            continue
        if marker == DQT:
            quantised = True
        elif marker == DHT:
            huffman = True
        elif SOF0 <= marker <= SOF15:
            code = WRONG_FRAME if framed else frame_fits(data + at, end - at, marker, want)
            if code != OK:
                return code
            framed = True
        elif marker == SOS:
            break
        elif marker != DRI:
            return NOT_JPEG
        at = end
    if not framed:
        return WRONG_FRAME
    if not (quantised and huffman):
        return NO_TABLES
    return find_end(data, end, size[0])


cdef bytes read_tables(bytes tables):
    """The DQT, DHT and DRI segments of a JPEGTables value. ValueError where it is not SOI, tables, EOI."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(tables)
    cdef uint64_t size = len(tables), at = 2, end = 0
    cdef int marker = 0
    kept = []
    if size < 4 or data[0] != 0xFF or data[1] != SOI:
        raise ValueError("JPEGTables does not begin with SOI")
    while segment_at(data, size, &at, &marker, &end) == OK:
        if marker == EOI:
            return b"".join(kept)
        if marker in (DQT, DHT, DRI):
            kept.append(tables[at:end])
        elif not (APP0 <= marker <= APP15 or marker == COM):
            raise ValueError(f"JPEGTables holds a segment that is no table: {marker:#x}")
        at = end
    raise ValueError("JPEGTables is cut off")


def prefix(tables, transform=None) -> bytes:
    """What goes before a tile's bytes in place of its SOI: SOI, APP14 if a colour transform must be said, tables.

    `tables`: the value of tag 347, or None where tiles bring their own. `transform`: 0 for RGB, 1 for YCbCr, None to
    say nothing. ValueError for tables that are cut off or hold anything but tables.
    """
    adobe = b"" if transform is None else APP14 + bytes([transform])
    return b"\xff\xd8" + adobe + (read_tables(tables) if tables is not None else b"")


def sniff(bytes tile) -> tuple:
    """(components, component ids, sampling bytes) of the first frame header in a tile, or None where there is none."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(tile)
    cdef uint64_t size = len(tile), at = 2, end = 0
    cdef int marker = 0
    if tile[:2] != b"\xff\xd8":
        return None
    while segment_at(data, size, &at, &marker, &end) == OK and marker != SOS and marker != EOI:
        if SOF0 <= marker <= SOF15 and marker != DHT and end - at >= 10 + 3 * <uint64_t>data[at + 9]:
            count = data[at + 9]
            ids = bytes([data[at + 10 + 3 * i] for i in range(count)])
            return count, ids, bytes([data[at + 11 + 3 * i] for i in range(count)])
        at = end
    return None
