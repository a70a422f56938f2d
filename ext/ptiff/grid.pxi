# The tile table of one level, and the road from a tile's address to its bytes.

cdef enum:
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325

cdef uint64_t MAX_TILE_BYTES = 64 << 20
# 16 million tiles of 256 px are a million pixels a side. A file with holes can claim any number at no cost of its own.
cdef uint64_t MAX_TILES = 1 << 24
# The search for a stored tile reads so many byte counts at once.
cdef uint64_t CELLS = 256
# A larger tile is not read in place on the event loop: copying it takes longer than handing it to a thread.
cdef uint64_t MAX_NOW_BYTES = 1 << 20


cdef struct Column:
    # One of the two arrays of a tile table: where it begins in the file, and its bytes once they have been read.
    uint64_t start
    int width
    Span span


cdef int column_of(Directory directory, int tag, Column *out) except -1:
    """TiffError where the tag is absent, of a wrong type or outside the file. Reads nothing."""
    cdef Entry entry
    if not directory.find(tag, &entry):
        raise TiffError(f"directory {directory.index} lacks tag {tag}")
    out.start = directory.place(tag, &entry)
    if entry.kind not in (SHORT, LONG, LONG8):
        raise TiffError(f"tag {tag} of directory {directory.index} has type {entry.kind}, not SHORT, LONG or LONG8")
    out.width = TYPE_WIDTH[entry.kind]
    return 0


@cython.final
cdef class Grid:
    """Where each tile of a level lies: its table as stored (at most 16 bytes a tile), and the prefix that makes any of its
    tiles a whole JPEG.

    The table is checked at opening and read when it is first needed: a viewer may never ask for the largest. Whatever needs
    it raises SlideChanged, TileTruncated or TileCorrupt where it cannot be read. A tile outside the table, or with a byte
    count of 0, is sparse: `tile` and `tile_now` give b"" for it.
    """
    cdef Layout layout
    cdef File file                    # None where the source is no local file
    cdef tuple tables                 # the bytes that the columns are spans of; None until they are read
    cdef Column offsets
    cdef Column counts
    cdef uint64_t cells               # entries in both columns; cols * rows may be more (missing rows are sparse)
    cdef Frame frame
    cdef bytes head
    cdef str slide
    cdef readonly int level
    cdef readonly uint64_t cols       # the stride of the table
    cdef readonly uint64_t rows

    def __cinit__(self, Directory directory not None, str slide not None, int level, *, cols, rows, File file=None):
        """By tags 324 and 325 of `directory`. TiffError where they are absent, of a wrong type or outside the file.

        `file`: the pinned file that the directory comes from, if it comes from one.
        """
        self.slide, self.level, self.cols, self.rows = slide, level, cols, rows
        self.layout, self.file = directory.layout, file
        self.head = b"\xff\xd8"
        cdef uint64_t wanted = directory.layout.file_size
        if self.rows == 0 or self.cols <= wanted // self.rows:
            wanted = self.cols * self.rows
        self.cells = min(directory.count(TILE_OFFSETS), directory.count(TILE_BYTE_COUNTS), wanted)
        if not 0 < self.cells <= MAX_TILES:
            raise TiffError(f"directory {directory.index} has {self.cells} tiles with offset and byte count")
        column_of(directory, TILE_OFFSETS, &self.offsets)
        column_of(directory, TILE_BYTE_COUNTS, &self.counts)

    cdef bytes part(self, const Column *column, uint64_t cell, uint64_t number):
        """The entries of `number` cells from `cell` on. OSError, or TiffError where the file has become shorter."""
        return self.layout.exactly(column.start + cell * column.width, number * column.width)

    cdef int load(self) except -1:
        """Reads the table if need be. Several threads may do so at once: one of them publishes it, whole."""
        if self.tables is not None:
            return 0
        cdef int code = OK
        cdef tuple tables = None
        try:
            tables = self.part(&self.offsets, 0, self.cells), self.part(&self.counts, 0, self.cells)
        except (TiffError, OSError) as error:
            code = TRUNCATED if isinstance(error, TiffError) else UNREAD
        if self.file is not None and pin_check(&self.file.pin) != OK:
            code = pin_check(&self.file.pin)
        if code != OK:
            raise fault(code, self.slide, f"the tile table of level {self.level}")
        if self.tables is None:
            self.offsets.span, self.counts.span = span_of(tables[0], self.layout.big), span_of(tables[1], self.layout.big)
            self.tables = tables
        return 0

    cdef void look(self, uint64_t cell, uint64_t *offset, uint64_t *count) noexcept nogil:
        """Both entries of a cell below `cells`; the table has been read."""
        span_uint(&self.offsets.span, cell * self.offsets.width, self.offsets.width, offset)
        span_uint(&self.counts.span, cell * self.counts.width, self.counts.width, count)

    def expect(self, bytes head not None, uint32_t width, uint32_t height, uint32_t components) -> None:
        """Says what each tile must be: `head` from `prefix()`, the frame's size in pixels and its number of components."""
        self.frame.tables = tables_in(head)
        self.frame.width, self.frame.height, self.frame.components = width, height, components
        self.head = head

    def nbytes(self) -> int:
        """Bytes of memory that the table takes."""
        return self.cells * (self.offsets.width + self.counts.width)

    def locate(self, uint64_t col, uint64_t row) -> tuple:
        """(offset, byte count) of a tile in the file; (0, 0) where it is sparse or outside the table."""
        if col >= self.cols or row >= self.rows or row * self.cols + col >= self.cells:
            return 0, 0
        cdef uint64_t offset = 0, count = 0
        self.load()
        self.look(row * self.cols + col, &offset, &count)
        return offset, count

    def census(self, uint64_t file_size) -> tuple:
        """(stored, sparse, truncated) tiles; truncated ones reach past `file_size`."""
        cdef uint64_t i, offset = 0, count = 0, stored = 0, cut = 0
        self.load()
        for i in range(self.cells):
            self.look(i, &offset, &count)
            if count == 0:
                continue
            if offset > file_size or count > file_size - offset:
                cut += 1
            else:
                stored += 1
        return stored, self.cols * self.rows - stored - cut, cut

    def some_stored(self):
        """(offset, byte count) of a tile that is not sparse, or None. Reads no more of the table than that takes.

        Looked for from the middle of the level on, for the margin of a slide is empty. For opening: OSError, or TiffError
        where the file has become shorter.
        """
        cdef uint64_t middle = min(self.rows // 2 * self.cols + self.cols // 2, self.cells)
        found = self.stored_between(middle, self.cells)
        return self.stored_between(0, middle) if found is None else found

    cdef object stored_between(self, uint64_t cell, uint64_t end):
        cdef uint64_t number, i, count = 0
        cdef bytes counts
        cdef Span span
        while cell < end:
            number = min(CELLS, end - cell)
            counts = self.part(&self.counts, cell, number)
            span = span_of(counts, self.layout.big)
            for i in range(number):
                span_uint(&span, i * self.counts.width, self.counts.width, &count)
                if count:
                    offset = self.part(&self.offsets, cell + i, 1)
                    return self.layout.number(offset, 0, self.offsets.width), count
            cell += number
        return None

    def tile_now(self, File file not None, uint64_t col, uint64_t row):
        """A whole JPEG; b"" where sparse; None where reading it or the table would block. Holds the GIL: it never waits."""
        return self.fetch(file, col, row, True)

    def tile(self, File file not None, uint64_t col, uint64_t row) -> bytes:
        """A whole JPEG; b"" where sparse. Waits for the disk without the GIL.

        SlideChanged where the file was written since it was pinned; TileTruncated, TileCorrupt where the tile is not one.
        """
        return self.fetch(file, col, row, False)

    def whole(self, bytes raw not None, uint64_t col, uint64_t row) -> bytes:
        """The whole JPEG from a tile's stored bytes, for sources that are not local files."""
        cdef uint64_t lead = len(self.head) - 2, count = len(raw)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(lead + count))
        cdef uint8_t *data = <uint8_t *>PyBytes_AS_STRING(out) + lead
        cdef int code
        memcpy(data, PyBytes_AS_STRING(raw), count)
        with nogil:
            code = make_whole(data, &count, &self.frame)
        return self.joined(out, code, lead + count, col, row)

    cdef fetch(self, File file, uint64_t col, uint64_t row, bint now):
        """One allocation: the tile is read so that its SOI falls on the last two bytes of the prefix."""
        cdef uint64_t offset = 0, count = 0, lead
        cdef int code
        if col >= self.cols or row >= self.rows or row * self.cols + col >= self.cells:
            return b""
        if now and self.tables is None:
            if pin_check(&file.pin) == CHANGED:
                raise self.changed()
            return None
        self.load()
        self.look(row * self.cols + col, &offset, &count)
        if count == 0:
            return b""
        if offset > file.pin.size or count > file.pin.size - offset or count > MAX_TILE_BYTES:
            code = TRUNCATED if offset > file.pin.size or count > file.pin.size - offset else TOO_LARGE
            raise self.fault(CHANGED if pin_check(&file.pin) == CHANGED else code, col, row)
        if now and count > MAX_NOW_BYTES:
            return None
        lead = <uint64_t>PyBytes_GET_SIZE(self.head) - 2
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(lead + count))
        cdef uint8_t *data = <uint8_t *>PyBytes_AS_STRING(out) + lead
        if now:
            code = take(&file.pin, &self.frame, data, offset, &count, True)
        else:
            with nogil:
                code = take(&file.pin, &self.frame, data, offset, &count, False)
        return None if code == COLD else self.joined(out, code, lead + count, col, row)

    cdef bytes joined(self, bytes out, int code, uint64_t size, uint64_t col, uint64_t row):
        """`out` with the prefix in front, cut to `size`; `out` must have no other owner."""
        if code != OK:
            raise self.fault(code, col, row)
        memcpy(PyBytes_AS_STRING(out), PyBytes_AS_STRING(self.head), PyBytes_GET_SIZE(self.head))
        return out if size == <uint64_t>PyBytes_GET_SIZE(out) else out[:size]

    def corrupt(self, uint64_t col, uint64_t row, str reason not None) -> Exception:
        """The error for a tile that no decoder takes."""
        return TileCorrupt(self.slide, f"tile {col},{row} of level {self.level}: {reason}")

    def changed(self) -> Exception:
        """The error for a file that was written while it was read."""
        return fault(CHANGED, self.slide, "")

    cdef object fault(self, int code, uint64_t col, uint64_t row):
        return fault(code, self.slide, f"tile {col},{row} of level {self.level}")


cdef int take(
    const Pin *pin, const Frame *want, uint8_t *out, uint64_t offset, uint64_t *count, bint now
) noexcept nogil:
    """Reads a tile and makes it whole; `count` becomes its length. Whether the file changed is asked after the read."""
    cdef int code = pin_read_now(pin, out, count[0], offset) if now else pin_read(pin, out, count[0], offset)
    cdef int look = OK if code == COLD else pin_check(pin)
    if look != OK or code != OK:
        return look if look != OK else code
    return make_whole(out, count, want)
