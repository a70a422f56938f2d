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


# As libjpeg-turbo's fuzzers: nothing honest has more, and each may cost a decoder a whole picture's work.
cdef int MAX_SCANS = 100


cdef struct Tables:
    # Bit n is set where quantisation, DC or AC Huffman table n is known.
    uint8_t quant
    uint8_t dc
    uint8_t ac


cdef struct Frame:
    # What a level promises of each of its tiles, and which tables its prefix brings.
    uint32_t width
    uint32_t height
    uint32_t components
    Tables tables


cdef struct Parse:
    # How far a tile has been checked. `sof` is its frame header once there is one, `more` whether scans may follow.
    const Frame *want
    const uint8_t *sof
    Tables known
    int scans
    bint more


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


cdef inline bint is_private(int marker) noexcept nogil:
    return APP0 <= marker <= APP15 or marker == COM


cdef inline bint is_frame(int marker) noexcept nogil:
    """SOF0 to SOF15, and JPG and DAC, which lie among them and are refused like most of them."""
    return SOF0 <= marker <= SOF15 and marker != DHT


cdef int note_tables(const uint8_t *segment, uint64_t size, int marker, Tables *known) noexcept nogil:
    """Notes the tables that a DQT or DHT segment defines. NOT_JPEG where they do not fill it exactly (T.81 B.2.4)."""
    cdef uint64_t at = 4, used
    cdef int kind, number, i
    while at < size:
        kind, number, used = segment[at] >> 4, segment[at] & 15, 1
        if kind > 1 or number > 3:
            return NOT_JPEG
        if marker == DQT:
            known.quant |= 1 << number
            used += 64 << kind
        elif size - at < 17:
            return NOT_JPEG
        else:
            known.ac |= kind << number
            known.dc |= (1 - kind) << number
            for i in range(1, 17):
                used += 1 + segment[at + i]
        if used > size - at or used > 17 + 256:
            return NOT_JPEG
        at += used
    return OK


cdef int frame_fits(const uint8_t *sof, uint64_t size, int marker, const Frame *want) noexcept nogil:
    """Baseline, extended or progressive Huffman, 8 bits, the level's size and components, sampling factors 1 to 4."""
    cdef uint32_t i
    if marker > SOF2 or size != 10 + 3 * <uint64_t>want.components or sof[4] != 8 or sof[9] != want.components:
        return WRONG_FRAME
    if ((<uint32_t>sof[5] << 8) | sof[6]) != want.height or ((<uint32_t>sof[7] << 8) | sof[8]) != want.width:
        return WRONG_FRAME
    for i in range(want.components):
        if not 1 <= (sof[11 + 3 * i] >> 4) <= 4 or not 1 <= (sof[11 + 3 * i] & 15) <= 4:
            return WRONG_FRAME
    return OK


cdef inline const uint8_t *component_of(const uint8_t *sof, uint8_t name) noexcept nogil:
    """The id, sampling and quantiser bytes of a component in a frame header that fits, NULL where there is no such."""
    cdef uint32_t i
    for i in range(sof[9]):
        if sof[10 + 3 * i] == name:
            return &sof[10 + 3 * i]
    return NULL


cdef int scan_fits(const uint8_t *sos, uint64_t size, Parse *parse) noexcept nogil:
    """The scan is of the frame's components, and every table that decoding it takes is known."""
    cdef const uint8_t *component
    cdef const uint8_t *frame = parse.sof
    cdef bint progressive = frame != NULL and frame[1] == SOF2
    cdef uint32_t i, blocks = 0, count = sos[4] if size > 4 else 0
    if frame == NULL or not 1 <= count <= frame[9] or size != 8 + 2 * <uint64_t>count:
        return NOT_JPEG
    # A progressive scan is DC (Ss = 0; no table for a refinement, Ah > 0) or AC; a sequential one both.
    cdef bint ac = not progressive or sos[5 + 2 * count] > 0
    cdef bint dc = not progressive or (sos[5 + 2 * count] == 0 and sos[7 + 2 * count] < 16)
    for i in range(count):
        component = component_of(frame, sos[5 + 2 * i])
        if component == NULL:
            return NOT_JPEG
        blocks += (component[1] >> 4) * (component[1] & 15)
        if component[2] > 3 or not parse.known.quant >> component[2] & 1:
            return NO_TABLES
        if (dc and not parse.known.dc >> (sos[6 + 2 * i] >> 4) & 1) or (ac and not parse.known.ac >> (sos[6 + 2 * i] & 15) & 1):
            return NO_TABLES
    parse.scans += 1
    parse.more = progressive or count < frame[9]
    if parse.scans > MAX_SCANS:
        return TOO_MANY
    return WRONG_FRAME if count > 1 and blocks > 10 else OK


cdef int segment_fits(const uint8_t *segment, uint64_t size, int marker, Parse *parse) noexcept nogil:
    """Whether a segment may stand where it does; notes what it brings. Anything but tables, one frame and scans may not."""
    if marker == DQT or marker == DHT:
        return note_tables(segment, size, marker, &parse.known)
    if marker == SOS:
        return scan_fits(segment, size, parse)
    if marker == DRI:
        return OK if size == 6 else NOT_JPEG
    if is_frame(marker):
        return frame_fits(segment, size, marker, parse.want) if parse.sof == NULL else WRONG_FRAME
    return NOT_JPEG


cdef uint64_t behind_scan(const uint8_t *data, uint64_t start, uint64_t size) noexcept nogil:
    """Where the marker after a scan's data begins, `size` without one. In the data FF is followed by 00 or RST only."""
    cdef const uint8_t *found
    cdef uint64_t i = start
    while i < size:
        found = <const uint8_t *>memchr(data + i, 0xFF, size - i)
        if found == NULL:
            return size
        i = <uint64_t>(found - data)
        if i + 1 < size and data[i + 1] not in (0, 0xFF) and not 0xD0 <= data[i + 1] <= 0xD7:
            return i
        i += 1
    return size


cdef uint64_t behind_end(const uint8_t *data, uint64_t start, uint64_t size) noexcept nogil:
    """Where a tile with one scan ends: at its last byte if EOI is there, else behind the first EOI; 0 without one."""
    if size - start >= 2 and data[size - 2] == 0xFF and data[size - 1] == EOI:
        return size
    cdef uint64_t at = behind_scan(data, start, size)
    return at + 2 if size - at >= 2 and data[at + 1] == EOI else 0


cdef inline void keep(uint8_t *data, uint64_t *to, uint64_t at, uint64_t end) noexcept nogil:
    if to[0] != at:
        memmove(data + to[0], data + at, end - at)
    to[0] += end - at


cdef int make_whole(uint8_t *data, uint64_t *size, const Frame *want) noexcept nogil:
    """Checks a tile that begins at its SOI; takes out, in place, private segments (APPn, COM) and what follows its EOI.

    One pass, whatever the tile holds. Colour is said by the prefix alone, after the TIFF's photometric tag, so a tile's
    own APP0 and APP14 go too.
    """
    cdef Parse parse
    cdef uint64_t at = 2, to = 2, end = 0
    cdef int marker = 0, code
    parse.want, parse.sof, parse.known, parse.scans, parse.more = want, NULL, want.tables, 0, True
    if size[0] < 4 or data[0] != 0xFF or data[1] != SOI:
        return NOT_JPEG
    while parse.more:
        code = segment_at(data, size[0], &at, &marker, &end)
        if code != OK:
            return UNFINISHED if parse.scans and at >= size[0] else code
        if marker == EOI and parse.scans:
            break
        if not is_private(marker):
            code = segment_fits(data + at, end - at, marker, &parse)
            if code != OK:
                return code
            if is_frame(marker):
                parse.sof = data + to
            keep(data, &to, at, end)
        at = end
        if marker == SOS and parse.more:
            end = behind_scan(data, at, size[0])
            keep(data, &to, at, end)
            at = end
    if not parse.more:
        end = behind_end(data, at, size[0])
    if end == 0:
        return UNFINISHED
    keep(data, &to, at, end)
    size[0] = to
    return OK


cdef Tables tables_in(bytes head) except *:
    """Which tables a prefix brings. ValueError where one of them is malformed."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(head)
    cdef uint64_t size = len(head), at = 2, end = 0
    cdef int marker = 0
    cdef Tables known
    known.quant = known.dc = known.ac = 0
    if head[:2] != b"\xff\xd8":
        raise ValueError("not a prefix: it does not begin with SOI")
    while at < size:
        if segment_at(data, size, &at, &marker, &end) != OK:
            raise ValueError("not a prefix: a segment is cut off")
        if (marker == DQT or marker == DHT) and note_tables(data + at, end - at, marker, &known) != OK:
            raise ValueError("JPEGTables holds a malformed table")
        at = end
    return known


cdef bytes read_tables(bytes tables):
    """The DQT, DHT and DRI segments of a JPEGTables value. ValueError where it is not SOI, tables, EOI."""
    cdef uint64_t size = len(tables), at = 2, end = 0
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(tables)
    cdef int marker = 0
    kept = []
    if size < 4 or data[0] != 0xFF or data[1] != SOI:
        raise ValueError("JPEGTables does not begin with SOI")
    while segment_at(data, size, &at, &marker, &end) == OK:
        if marker == EOI:
            return b"".join(kept)
        if marker in (DQT, DHT) or (marker == DRI and end - at == 6):
            kept.append(tables[at:end])
        elif not is_private(marker):
            raise ValueError(f"JPEGTables holds a segment that is no table: {marker:#x}")
        at = end
    raise ValueError("JPEGTables is cut off")


def prefix(tables, transform=None) -> bytes:
    """What goes before a tile's bytes in place of its SOI: SOI, APP14 if a colour transform must be said, tables.

    `tables`: the value of tag 347, or None where tiles bring their own. `transform`: 0 for RGB, 1 for YCbCr, None to
    say nothing. ValueError for tables that are cut off, malformed, or hold anything but tables.
    """
    adobe = b"" if transform is None else APP14 + bytes([transform])
    head = b"\xff\xd8" + adobe + (read_tables(tables) if tables is not None else b"")
    tables_in(head)
    return head


def sniff(bytes tile not None) -> tuple:
    """(components, component ids, sampling bytes) of the first frame header in a tile, or None where there is none."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(tile)
    cdef uint64_t size = len(tile), at = 2, end = 0
    cdef int marker = 0
    if tile[:2] != b"\xff\xd8":
        return None
    while segment_at(data, size, &at, &marker, &end) == OK and marker != SOS and marker != EOI:
        if is_frame(marker):
            # The length first: the count of components lies behind the end of a header that is too short.
            if end - at < 10 or end - at < 10 + 3 * <uint64_t>data[at + 9]:
                return None
            parts = tile[at + 10:at + 10 + 3 * data[at + 9]]
            return data[at + 9], parts[::3], parts[1::3]
        at = end
    return None
