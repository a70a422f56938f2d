# The walk over image file directories (TIFF 6.0 section 2; BigTIFF), with limits before every allocation.

cdef int MAX_DIRECTORIES = 4096
# libtiff's cap for one directory; and a cap for all, because directories may overlap.
cdef uint64_t MAX_ENTRIES = 4096
cdef uint64_t MAX_ALL_ENTRIES = 1 << 17
# Values up to this many bytes are read from the file once: descriptions and JPEG tables are looked at several times.
cdef uint64_t MAX_KEPT = 1024
# What is read around a directory at once: most writers put its small values beside it.
cdef uint64_t BLOCK = 4096
# Of these the last ones are kept: a directory is looked at again when all have been found.
cdef enum:
    BLOCKS = 16
# Bytes per value of each field type, 0 for types that do not exist.
cdef uint8_t[19] TYPE_WIDTH = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8]
cdef enum:
    SHORT = 3
    LONG = 4
    RATIONAL = 5
    LONG8 = 16
    IFD = 13
    IFD8 = 18


class TiffError(ValueError):
    """The file is not a TIFF, or its directories break the format. The message says where."""


@cython.final
cdef class Layout:
    """What the first bytes of a TIFF decide: byte order and the width of its offsets."""
    cdef bint big
    cdef bint bigtiff
    cdef uint64_t first
    cdef uint64_t file_size
    cdef uint64_t entries_left         # of MAX_ALL_ENTRIES
    cdef object read
    cdef list blocks                   # read for small values that may have neighbours
    cdef uint64_t[BLOCKS] starts       # where each begins in the file
    cdef int oldest

    cdef uint64_t number(self, bytes data, uint64_t at, int width) except? 0xFFFFFFFFFFFFFFFF:
        cdef uint64_t value = 0
        cdef Span span = span_of(data, self.big)
        if span_uint(&span, at, width, &value) != OK:
            raise TiffError("the file ends inside its header")
        return value

    cdef bytes some(self, uint64_t offset, uint64_t size):
        """At most `size` bytes at `offset`, fewer at the end of the file."""
        cdef uint64_t start
        cdef bytes block
        cdef int i
        if size > BLOCK // 2:
            return self.read(offset, size)
        for i in range(len(self.blocks)):
            block, start = self.blocks[i], self.starts[i]
            if start <= offset and offset + size <= start + <uint64_t>PyBytes_GET_SIZE(block):
                return block[offset - start:offset - start + size]
        start = offset - min(offset, BLOCK // 4)
        block = self.read(start, BLOCK)
        self.keep(block, start)
        return block[offset - start:offset - start + size]

    cdef int keep(self, bytes block, uint64_t start) except -1:
        if len(self.blocks) < BLOCKS:
            self.blocks.append(block)
            self.starts[len(self.blocks) - 1] = start
        else:
            self.blocks[self.oldest] = block
            self.starts[self.oldest] = start
            self.oldest = (self.oldest + 1) % BLOCKS
        return 0

    cdef bytes exactly(self, uint64_t offset, uint64_t size):
        cdef bytes data = self.some(offset, size)
        if <uint64_t>PyBytes_GET_SIZE(data) != size:
            raise TiffError(f"the file ends inside the {size} bytes at {offset}")
        return data


cdef struct Entry:
    # One entry of a directory: its field type, its number of values, where its value field begins in the table.
    int kind
    uint64_t count
    uint64_t at


@cython.final
cdef class Directory:
    """One image file directory. Values are read when asked for, and only from inside the file."""
    cdef Layout layout
    cdef bytes table                   # the entries as stored
    cdef dict kept                     # tag -> values that lie elsewhere and were read once
    cdef readonly uint64_t offset
    cdef readonly int index

    def __init__(self):
        raise TypeError("a Directory comes from walk() or children()")

    def __contains__(self, int tag) -> bool:
        cdef Entry entry
        return self.find(tag, &entry)

    cdef bint find(self, int tag, Entry *out) noexcept:
        """The first entry of `tag` whose field type exists."""
        cdef Span span = span_of(self.table, self.layout.big)
        cdef int width = 8 if self.layout.bigtiff else 4
        cdef uint64_t at = 0, found = 0, kind = 0
        while span_uint(&span, at, 2, &found) == OK:
            if found == <uint64_t>tag and span_uint(&span, at + 2, 2, &kind) == OK and kind < 19 and TYPE_WIDTH[kind]:
                out.kind, out.at = <int>kind, at + 4 + width
                return span_uint(&span, at + 4, width, &out.count) == OK
            at += 4 + 2 * width
        return False

    def count(self, int tag) -> int:
        """Number of values of `tag`; 0 where the tag is absent."""
        cdef Entry entry
        return entry.count if self.find(tag, &entry) else 0

    cdef bytes raw(self, int tag, uint64_t limit):
        """At most `limit` values of `tag` as stored; b"" where absent."""
        cdef Entry entry
        if not self.find(tag, &entry):
            return b""
        cdef uint64_t size = min(entry.count, limit) * TYPE_WIDTH[entry.kind]
        cdef uint64_t start = self.place(tag, &entry)
        if entry.count * TYPE_WIDTH[entry.kind] <= <uint64_t>(8 if self.layout.bigtiff else 4):
            return self.table[entry.at:entry.at + size]
        if tag in self.kept:
            return (<bytes>self.kept[tag])[:size]
        cdef bytes data = self.layout.exactly(start, size)
        if entry.count <= limit and size <= MAX_KEPT:
            self.kept[tag] = data
        return data

    cdef uint64_t place(self, int tag, const Entry *entry) except? 0xFFFFFFFFFFFFFFFF:
        """Where in the file the values of the entry of `tag` begin. TiffError where they are not all inside it."""
        cdef uint64_t width = TYPE_WIDTH[entry.kind], start
        cdef int field = 8 if self.layout.bigtiff else 4
        if entry.count > self.layout.file_size // width:
            raise TiffError(f"tag {tag} of directory {self.index} claims {entry.count} values, more than the file holds")
        if entry.count * width <= <uint64_t>field:
            return self.offset + (8 if self.layout.bigtiff else 2) + entry.at
        start = self.layout.number(self.table, entry.at, field)
        if start > self.layout.file_size or entry.count * width > self.layout.file_size - start:
            raise TiffError(f"the values of tag {tag} of directory {self.index} lie outside the file")
        return start

    def ints(self, int tag, uint64_t limit=65536) -> tuple:
        """At most `limit` values of an integer tag, () where absent. TiffError where the tag has another type."""
        cdef Entry entry
        if not self.find(tag, &entry):
            return ()
        cdef int width = self.integer_width(tag, entry.kind)
        cdef bytes data = self.raw(tag, limit)
        return tuple([self.layout.number(data, i * width, width) for i in range(len(data) // width)])

    def first(self, int tag, default=None):
        """The first value of an integer tag, or `default`."""
        return self.value(tag, default)

    def firsts(self, tuple tags not None) -> list:
        """`first` of each tag, None where it is absent."""
        return [self.value(tag, None) for tag in tags]

    cdef object value(self, int tag, object default):
        cdef Entry entry
        if not self.find(tag, &entry) or entry.count == 0:
            return default
        return self.layout.number(self.raw(tag, 1), 0, self.integer_width(tag, entry.kind))

    cdef int integer_width(self, int tag, int kind) except -1:
        if kind not in (1, SHORT, LONG, LONG8, IFD, IFD8):
            raise TiffError(f"tag {tag} of directory {self.index} has type {kind}, not an integer type")
        return TYPE_WIDTH[kind]

    def rational(self, int tag):
        """The first value of a RATIONAL tag as (numerator, denominator), or None."""
        cdef Entry entry
        if not self.find(tag, &entry) or entry.kind != RATIONAL:
            return None
        cdef bytes data = self.raw(tag, 1)
        if len(data) < 8:
            return None
        return self.layout.number(data, 0, 4), self.layout.number(data, 4, 4)

    def blob(self, int tag, uint64_t limit) -> bytes:
        """At most `limit` values of `tag`, as stored."""
        return self.raw(tag, limit)

    def text(self, int tag, uint64_t limit) -> str:
        """The text of `tag` up to its first NUL or `limit` bytes; bytes that are not UTF-8 become U+FFFD."""
        return self.raw(tag, limit).split(b"\0", 1)[0].decode("utf-8", "replace")


cdef Layout read_layout(object read, uint64_t file_size):
    cdef Layout layout = Layout.__new__(Layout)
    layout.read, layout.file_size = read, file_size
    layout.blocks, layout.oldest = [], 0
    cdef bytes head = layout.some(0, 16)
    if len(head) < 8 or head[:2] not in (b"II", b"MM"):
        raise TiffError("not a TIFF: it does not begin with II or MM")
    layout.big = head[:2] == b"MM"
    layout.entries_left = MAX_ALL_ENTRIES
    magic = layout.number(head, 2, 2)
    if magic == 42:
        layout.bigtiff = False
        layout.first = layout.number(head, 4, 4)
    elif magic == 43 and len(head) == 16 and layout.number(head, 4, 2) == 8 and layout.number(head, 6, 2) == 0:
        layout.bigtiff = True
        layout.first = layout.number(head, 8, 8)
    else:
        raise TiffError(f"not a TIFF: version {magic}, or a BigTIFF whose offsets are not 8 bytes wide")
    return layout


cdef tuple read_directory(Layout layout, uint64_t offset, int index):
    """The directory at `offset` and the offset of the next one (0 at the end)."""
    cdef int head = 8 if layout.bigtiff else 2
    cdef int entry = 20 if layout.bigtiff else 12
    cdef int tail = 8 if layout.bigtiff else 4
    cdef uint64_t count, size
    if offset < 8 or offset > layout.file_size or layout.file_size - offset < <uint64_t>head:
        raise TiffError(f"directory {index} at {offset} lies outside the file")
    count = layout.number(layout.exactly(offset, head), 0, head)
    if count == 0 or count > min(MAX_ENTRIES, layout.entries_left) or count * entry > layout.file_size - offset - head:
        raise TiffError(f"directory {index} claims {count} entries")
    layout.entries_left -= count
    size = count * entry
    # The link to the next directory may be cut off in a truncated file: then this is the last one.
    cdef bytes data = layout.some(offset + head, size + tail)
    if <uint64_t>len(data) < size:
        raise TiffError(f"the file ends inside directory {index}")
    cdef Directory directory = Directory.__new__(Directory)
    directory.layout, directory.offset, directory.index = layout, offset, index
    directory.table, directory.kept = data[:size], {}
    return directory, layout.number(data, size, tail) if <uint64_t>len(data) >= size + tail else 0


def walk(read, uint64_t file_size) -> tuple:
    """All directories of the main chain, and "" or why the chain ends early. `read(offset, n)` gives up to n bytes.

    A chain that breaks after its first directory (a truncated file) still gives the directories before the break.
    TiffError where there is no first directory, or the chain loops.
    """
    cdef Layout layout = read_layout(read, file_size)
    cdef list found = []
    cdef set seen = set()
    cdef uint64_t offset = layout.first
    if offset == 0:
        raise TiffError("the TIFF has no directory")
    while offset:
        if offset in seen:
            raise TiffError(f"the chain of directories loops at {offset}")
        if len(found) >= MAX_DIRECTORIES:
            raise TiffError(f"more than {MAX_DIRECTORIES} directories")
        seen.add(offset)
        try:
            directory, offset = read_directory(layout, offset, len(found))
        except TiffError as broken:
            if not found:
                raise
            return found, str(broken)
        found.append(directory)
    return found, ""


def children(Directory parent not None, int limit=64) -> list:
    """The directories that tag 330 (SubIFDs) of `parent` points at, in order; their own chains and children are not followed."""
    offsets = parent.ints(330, limit)
    return [read_directory(parent.layout, offset, i)[0] for i, offset in enumerate(offsets)]
