# The short cut from a request's bytes to its answer's, for DeepZoom and z/x/y tiles of slides that are open.
# It refuses (None) whatever is not plain, and never answers what the long road would answer differently.

cdef extern from "<time.h>" nogil:
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *out)

cdef extern from "<stdio.h>" nogil:
    int snprintf(char *out, size_t size, const char *form, ...)

cdef enum:
    MAX_REQUEST = 8192
    MAX_TARGET = 2048
    MAX_HOST = 255
    MAX_HEAD = 2048


cdef struct Target:
    # Where a tile's address stands in the request: the prefix names slide and level, the two numbers the tile.
    uint64_t prefix
    uint64_t prefix_end
    uint64_t col
    uint64_t row


cdef inline bint is_token(uint8_t c) noexcept nogil:
    """A character of a header's name (RFC 9110 5.6.2), without the rare ones."""
    return c == 45 or c == 95 or 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122


cdef inline bint is_named(const uint8_t *name, uint64_t size, const char *wanted, uint64_t length) noexcept nogil:
    """Whether the header's name is `wanted` (lower case), in any case."""
    cdef uint64_t i
    if size != length:
        return False
    for i in range(size):
        if (name[i] | 0x20) != <uint8_t>wanted[i] and name[i] != <uint8_t>wanted[i]:
            return False
    return True


cdef bint is_host(const uint8_t *value, uint64_t size) noexcept nogil:
    cdef uint64_t i
    for i in range(size):
        if not (is_token(value[i]) or value[i] in (46, 58, 91, 93)):
            return False
    return 0 < size <= MAX_HOST


cdef int header_plain(const uint8_t *line, uint64_t size, int *hosts) noexcept nogil:
    """COLD for a header line that takes the long road: conditions, bodies, upgrades, a closing connection, bad syntax."""
    cdef uint64_t name = 0, start, end = size, i
    while name < size and is_token(line[name]):
        name += 1
    if name == 0 or name == size or line[name] != 58:
        return COLD
    start = name + 1
    while start < end and line[start] == 32:
        start += 1
    while end > start and line[end - 1] == 32:
        end -= 1
    for i in range(start, end):
        if line[i] < 32 or line[i] == 127:
            return COLD
    if is_named(line, name, "host", 4):
        hosts[0] += 1
        return OK if is_host(line + start, end - start) else COLD
    if is_named(line, name, "connection", 10):
        return OK if is_named(line + start, end - start, "keep-alive", 10) else COLD
    if is_named(line, name, "content-length", 14) or is_named(line, name, "transfer-encoding", 17):
        return COLD
    if is_named(line, name, "if-none-match", 13) or is_named(line, name, "if-modified-since", 17):
        return COLD
    if is_named(line, name, "expect", 6) or is_named(line, name, "upgrade", 7) or is_named(line, name, "te", 2):
        return COLD
    return OK


cdef int headers_plain(const uint8_t *data, uint64_t at, uint64_t size) noexcept nogil:
    """OK if exactly one request ends with `data`, none of its headers needs the long road, and it has one Host."""
    cdef int hosts = 0
    cdef const uint8_t *newline
    cdef uint64_t end
    while True:
        newline = <const uint8_t *>memchr(data + at, 10, size - at)
        if newline == NULL or newline == data + at:
            return COLD
        end = newline - data
        if data[end - 1] != 13:
            return COLD
        if end - 1 == at:
            return OK if end + 1 == size and hosts == 1 else COLD
        if header_plain(data + at, end - 1 - at, &hosts) != OK:
            return COLD
        at = end + 1


cdef int digits(const uint8_t *data, uint64_t *at, uint64_t end, uint64_t *out) noexcept nogil:
    """A number of at most nine digits without leading zeros; `at` moves behind it."""
    cdef uint64_t value = 0, start = at[0]
    while at[0] < end and 48 <= data[at[0]] <= 57:
        value = value * 10 + data[at[0]] - 48
        at[0] += 1
        if at[0] - start > 9:
            return COLD
    if at[0] == start or (data[start] == 48 and at[0] - start > 1):
        return COLD
    out[0] = value
    return OK


cdef int tail_numbers(const uint8_t *data, uint64_t start, uint64_t end, uint8_t between, Target *out) noexcept nogil:
    """`COL<between>ROW.jpg` from `start` to `end`."""
    if digits(data, &start, end, &out.col) != OK or start >= end or data[start] != between:
        return COLD
    start += 1
    if digits(data, &start, end, &out.row) != OK or end - start != 4 or memcmp(data + start, b".jpg", 4) != 0:
        return COLD
    return OK


cdef int target_of(const uint8_t *data, uint64_t end, Target *out) noexcept nogil:
    """Splits the path data[4:end] into the prefix of a level and the address of a tile."""
    cdef uint64_t last = end, before
    while last > 4 and data[last - 1] != 47:
        last -= 1
    out.prefix = 4
    if end - 4 > 10 and memcmp(data + 4, b"/deepzoom/", 10) == 0:
        out.prefix_end = last
        return tail_numbers(data, last, end, 95, out)
    if end - 4 > 7 and memcmp(data + 4, b"/tiles/", 7) == 0:
        before = last - 1
        while before > 4 and data[before - 1] != 47:
            before -= 1
        out.prefix_end = before
        return tail_numbers(data, before, end, 47, out)
    return COLD


cdef int query_idle(const uint8_t *query, uint64_t size) noexcept nogil:
    """OK if a query asks for nothing: it is empty, or names a version alone, as our viewer does. Others choose edges and
    colours."""
    if size == 0:
        return OK
    if size < 2 or memcmp(query, b"v=", 2) != 0 or memchr(query, 38, size) != NULL:
        return COLD
    return OK


cdef int parse_request(const uint8_t *data, uint64_t size, Target *out) noexcept nogil:
    """A plain `GET <tile> HTTP/1.1` with plain headers and nothing behind it, or COLD."""
    cdef uint64_t at = 4, path_end = 0
    if size < 32 or size > MAX_REQUEST or memcmp(data, b"GET /", 5) != 0:
        return COLD
    while at < size and 32 < data[at] < 127 and data[at] != 35:
        if data[at] == 63 and path_end == 0:
            path_end = at
        at += 1
    if size - at < 11 or at - 4 > MAX_TARGET or memcmp(data + at, b" HTTP/1.1\r\n", 11) != 0:
        return COLD
    if path_end and query_idle(data + path_end + 1, at - path_end - 1) != OK:
        return COLD
    if headers_plain(data, at + 11, size) != OK:
        return COLD
    return target_of(data, path_end if path_end else at, out)


@cython.final
cdef class Row:
    """One level of an open slide under one URL prefix. Tiles up to `cols`, `rows` are sent as they are stored.

    `head`: the response's head after the date, in four pieces; between them stand the length in bytes, the column and
    the row, the lane and its milliseconds. `blank`: the whole answer body for a sparse tile.
    """
    cdef Grid grid
    cdef File file
    cdef tuple head
    cdef bytes blank
    cdef uint64_t cols
    cdef uint64_t rows
    cdef readonly object slide
    cdef public uint64_t hits

    def __cinit__(self, Grid grid not None, File file not None, tuple head not None, bytes blank not None, *, cols, rows, slide):
        self.grid, self.file, self.head, self.blank = grid, file, head, blank
        self.cols, self.rows, self.slide = cols, rows, slide
        self.hits = 0


@cython.final
cdef class Lane:
    """Rows by URL prefix, as the clients wrote it."""
    cdef dict rows

    def __cinit__(self):
        self.rows = {}

    def __len__(self) -> int:
        return len(self.rows)

    def learn(self, bytes prefix not None, Row row not None) -> None:
        self.rows[prefix] = row

    def forget(self, slide=None) -> None:
        """Drops the rows of a slide, or all."""
        self.rows = {} if slide is None else {k: row for k, row in self.rows.items() if row.slide != slide}

    def busy(self) -> list:
        """The slides that were asked for since the last call."""
        found = []
        for row in self.rows.values():
            if (<Row>row).hits:
                (<Row>row).hits = 0
                found.append((<Row>row).slide)
        return found

    def answer(self, bytes data not None, bytes start not None):
        """The whole answer to the request `data` behind `start` (status line and date), or None: take the long road."""
        cdef Target target
        cdef timespec began
        cdef Row row
        if parse_request(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &target) != OK:
            return None
        row = self.rows.get(data[target.prefix:target.prefix_end])
        if row is None or target.col >= row.cols or target.row >= row.rows:
            return None
        clock_gettime(CLOCK_MONOTONIC, &began)
        row.hits += 1
        return row_answer(row, start, target.col, target.row, &began)


cdef bytes row_answer(Row row, bytes start, uint64_t col, uint64_t line, const timespec *began):
    """Head, prefix and tile in one allocation. None where tile or table is cold, or the tile is not what the level promises."""
    cdef uint64_t offset = 0, count = 0
    cdef uint64_t cell = line * row.grid.cols + col
    if row.grid.tables is None:
        return None
    if col < row.grid.cols and line < row.grid.rows and cell < row.grid.cells:
        row.grid.look(cell, &offset, &count)
    if count == 0:
        return row_head(row, start, b"blank", col, line, len(row.blank)) + row.blank
    if count > MAX_NOW_BYTES or offset > row.file.pin.size or count > row.file.pin.size - offset:
        return None
    cdef uint64_t lead = <uint64_t>PyBytes_GET_SIZE(row.grid.head) - 2
    cdef uint64_t stored = count
    cdef bytes head = row_head(row, start, b"stored", col, line, lead + count)
    cdef uint64_t behind = <uint64_t>PyBytes_GET_SIZE(head)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(behind + lead + count))
    cdef char *text = PyBytes_AS_STRING(out)
    cdef uint8_t *body = <uint8_t *>text + behind
    # A tile that private segments are taken out of is shorter than the head says: the long road has it right.
    if take(&row.file.pin, &row.grid.frame, body + lead, offset, &count, True) != OK or count != stored:
        return None
    memcpy(body, PyBytes_AS_STRING(row.grid.head), lead + 2)
    memcpy(text, PyBytes_AS_STRING(head), behind)
    put_duration(text + behind - len(row.head[3]) - 5, began)
    return out


cdef bytes row_head(Row row, bytes start, bytes lane, uint64_t col, uint64_t line, uint64_t length):
    """The response's head, its duration still 0.000."""
    cdef char[MAX_HEAD] text
    cdef int size = snprintf(
        text, MAX_HEAD, "%s%s%llu%s%llu-%llu%s%s;dur=0.000%s",
        PyBytes_AS_STRING(start), PyBytes_AS_STRING(row.head[0]), <unsigned long long>length,
        PyBytes_AS_STRING(row.head[1]), <unsigned long long>col, <unsigned long long>line,
        PyBytes_AS_STRING(row.head[2]), PyBytes_AS_STRING(lane), PyBytes_AS_STRING(row.head[3]),
    )
    if size < 0 or size >= MAX_HEAD:
        raise ValueError("the response head is too long for the short cut")
    return text[:size]


cdef void put_duration(char *digits_, const timespec *began) noexcept nogil:
    """Writes the milliseconds since `began` over `0.000`, at most 9.999: a read in place does not take longer."""
    cdef timespec now
    cdef int64_t us
    clock_gettime(CLOCK_MONOTONIC, &now)
    us = (now.tv_sec - began.tv_sec) * 1000000 + (now.tv_nsec - began.tv_nsec) // 1000
    us = min(us, <int64_t>9999)
    digits_[0] = <char>(48 + us // 1000)
    digits_[2] = <char>(48 + us // 100 % 10)
    digits_[3] = <char>(48 + us // 10 % 10)
    digits_[4] = <char>(48 + us % 10)
