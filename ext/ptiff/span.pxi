# Bounds-checked, byte-order-aware reads. Every byte of a file's header goes through here.

cdef struct Span:
    const uint8_t *data
    uint64_t size
    bint big          # big-endian ("MM")


cdef inline int span_uint(const Span *span, uint64_t at, int width, uint64_t *out) noexcept nogil:
    """Unsigned integer of 1, 2, 4 or 8 bytes at offset `at`."""
    cdef uint64_t value = 0
    cdef int i
    if at > span.size or span.size - at < <uint64_t>width:
        return OUTSIDE
    for i in range(width):
        value = (value << 8) | span.data[at + (i if span.big else width - 1 - i)]
    out[0] = value
    return OK


cdef inline Span span_of(bytes data, bint big) noexcept:
    """A span over `data`; the caller keeps `data` alive."""
    cdef Span span
    span.data = <const uint8_t *>PyBytes_AS_STRING(data)
    span.size = <uint64_t>PyBytes_GET_SIZE(data)
    span.big = big
    return span
