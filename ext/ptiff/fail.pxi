# Codes of nogil functions, and the one place that turns a code into an exception.

cdef enum Code:
    OK = 0
    COLD          # not in the page cache: ask again from a thread that may block
    OUTSIDE       # a read past the end of a span
    TRUNCATED     # the file ends before the tile does
    CHANGED       # the file is no longer the one that was pinned
    UNREAD        # the system refused the read
    NOT_JPEG      # no SOI, a marker out of place, a segment that runs past the tile
    NO_TABLES     # no quantisation or Huffman table anywhere
    WRONG_FRAME   # SOF says another size, depth, coding or number of components than the level
    UNFINISHED    # no EOI
    TOO_MANY      # more scans than any decoder should be made to run
    TOO_LARGE     # over the cap for one tile

cdef dict REASONS = {
    TRUNCATED: "its bytes reach past the end of the file",
    UNREAD: "the system could not read it",
    NOT_JPEG: "its bytes are not a JPEG stream",
    NO_TABLES: "it has no quantisation or Huffman tables",
    WRONG_FRAME: "its JPEG frame is not the level's tile",
    UNFINISHED: "its JPEG stream has no end",
    TOO_MANY: "it has too many scans",
    TOO_LARGE: "its byte count is over the limit",
}


cdef object fault(int code, str slide, str what):
    """The exception for a code other than OK and COLD."""
    if code == CHANGED:
        return SlideChanged(slide, "the file was changed while it was open")
    if code == TRUNCATED:
        return TileTruncated(slide, f"{what}: {REASONS[code]}")
    return TileCorrupt(slide, f"{what}: {REASONS.get(code, 'unknown fault')}")
