"""JPEG work in memory: pixels out of and into JPEGs, and JPEGs out of JPEGs. The GIL is released; the C files own libjpeg. Knows no
TIFF and no HTTP."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint8_t
from libc.stdlib cimport free


cdef extern from "turbo.h" nogil:
    enum:
        TURBO_OK
        TURBO_NO_MEMORY
        TURBO_NOT_LOSSLESS
        TURBO_MESSAGE

    ctypedef struct turbo_bytes:
        const uint8_t *data
        size_t size

    ctypedef struct turbo_size:
        unsigned int width, height

    ctypedef struct turbo_box:
        unsigned int x, y, width, height

    ctypedef struct turbo_answer:
        uint8_t *data
        size_t size
        char *message

    ctypedef struct turbo_decoding:
        turbo_bytes jpeg
        turbo_size tile
        turbo_box window
        unsigned int shrink
        uint8_t *out
        size_t stride

    ctypedef struct turbo_encoding:
        const uint8_t *pixels
        size_t stride
        turbo_size size
        int bands, gray, quality, across, down, optimize
        turbo_bytes icc

    ctypedef struct turbo_view:
        const turbo_bytes *tiles
        unsigned int across, down
        turbo_size tile
        turbo_box box
        int turn, mirror, gray, optimize
        turbo_size sampling
        unsigned int col, row

    int turbo_mcu(turbo_bytes jpeg, turbo_size *mcu, char *message) noexcept
    int turbo_decode(const turbo_decoding *asked, char *message) noexcept
    int turbo_encode(const turbo_encoding *asked, turbo_answer *answer) noexcept
    int turbo_transcode(const turbo_view *asked, turbo_answer *answer) noexcept


cdef enum:
    SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION
    MOSAIC = 0x7FFFFFFF  # px along a side: the C files count in 32 bits
    ICC = 255 * 65519  # so many chunks, so many bytes in each

SAMPLINGS = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}


class JpegError(ValueError):
    """The JPEG is corrupt, incomplete, over a limit, or not of the kind or size that was promised."""


class NotLossless(ValueError):
    """The JPEGs are sound, but what is asked cannot be made of their coefficients."""


cdef int check(int code, const char *message) except -1:
    if code == TURBO_OK:
        return 0
    said = message.decode("ascii", "replace")
    if code == TURBO_NO_MEMORY:
        raise MemoryError(said)
    raise (NotLossless if code == TURBO_NOT_LOSSLESS else JpegError)(said)


cdef bytes taken(int code, turbo_answer *answer):
    check(code, answer.message)
    try:
        return PyBytes_FromStringAndSize(<char *>answer.data, <Py_ssize_t>answer.size)
    finally:
        free(answer.data)


cdef turbo_size size_of(size) except *:
    cdef Py_ssize_t width, height
    width, height = size
    if not (1 <= width <= SIDE and 1 <= height <= SIDE):
        raise ValueError(f"{width}x{height} px is no size of a JPEG")
    return turbo_size(<unsigned int>width, <unsigned int>height)


cdef turbo_box box_in(box, Py_ssize_t width, Py_ssize_t height) except *:
    """The box, not empty and inside width x height."""
    cdef Py_ssize_t x, y, w, h
    x, y, w, h = box
    if width > MOSAIC or height > MOSAIC:
        raise ValueError(f"{width}x{height} px are too many")
    if not (0 <= x < width and 0 <= y < height and 1 <= w <= width - x and 1 <= h <= height - y):
        raise ValueError(f"{w}x{h} px at {x},{y} do not lie in {width}x{height} px")
    return turbo_box(<unsigned int>x, <unsigned int>y, <unsigned int>w, <unsigned int>h)


cdef int rows_fit(const Py_buffer *view, Py_ssize_t at, Py_ssize_t stride, Py_ssize_t length, Py_ssize_t rows) except -1:
    """Rows of `length` bytes, `stride` apart from `at` on, lie in the buffer and apart from each other."""
    if at < 0 or stride < length or length > view.len - at or (rows > 1 and stride > (view.len - at - length) // (rows - 1)):
        raise ValueError(f"{rows} rows of {length} bytes, {stride} apart from {at} on, do not fit {view.len} bytes")
    return 0


def mcu(data):
    cdef turbo_size size
    cdef char[TURBO_MESSAGE] message
    cdef Py_buffer view
    cdef int code
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        code = turbo_mcu(turbo_bytes(<const uint8_t *>view.buf, <size_t>view.len), &size, message)
    PyBuffer_Release(&view)
    check(code, message)
    return size.width, size.height


def decode(data, tile, window, out, *, Py_ssize_t at=0, Py_ssize_t stride, Py_ssize_t shrink=1):
    if shrink not in (1, 2, 4, 8):
        raise ValueError(f"a JPEG is shrunk by 1, 2, 4 or 8, not by {shrink}")
    cdef turbo_decoding asked
    cdef char[TURBO_MESSAGE] message
    cdef Py_buffer source, target
    cdef int code
    asked.tile = size_of(tile)
    asked.window = box_in(window, (asked.tile.width + shrink - 1) // shrink, (asked.tile.height + shrink - 1) // shrink)
    asked.shrink = <unsigned int>shrink
    asked.stride = <size_t>stride
    PyObject_GetBuffer(out, &target, PyBUF_WRITABLE)
    try:
        rows_fit(&target, at, stride, 3 * <Py_ssize_t>asked.window.width, asked.window.height)
        asked.out = <uint8_t *>target.buf + at
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        asked.jpeg = turbo_bytes(<const uint8_t *>source.buf, <size_t>source.len)
        with nogil:
            code = turbo_decode(&asked, message)
        PyBuffer_Release(&source)
    finally:
        PyBuffer_Release(&target)
    check(code, message)


def encode(pixels, Py_ssize_t width, Py_ssize_t height, *, int bands=3, Py_ssize_t stride=0, int quality=85,
           str subsampling="420", bint gray=False, bint optimize=False, bytes icc=b""):
    if bands not in (1, 3) or not 1 <= quality <= 100 or subsampling not in SAMPLINGS or len(icc) > ICC:
        raise ValueError(f"cannot encode {bands} bands, quality {quality}, sampling {subsampling}, {len(icc)} bytes of ICC profile")
    cdef turbo_encoding asked
    cdef turbo_answer answer
    cdef Py_buffer view
    cdef int code
    asked.size = size_of((width, height))
    asked.stride = <size_t>(stride or width * bands)
    asked.bands, asked.gray, asked.quality, asked.optimize = bands, gray, quality, optimize
    asked.across, asked.down = SAMPLINGS[subsampling]
    asked.icc = turbo_bytes(<const uint8_t *>PyBytes_AS_STRING(icc), <size_t>PyBytes_GET_SIZE(icc))
    PyObject_GetBuffer(pixels, &view, PyBUF_SIMPLE)
    try:
        rows_fit(&view, 0, <Py_ssize_t>asked.stride, width * bands, height)
        asked.pixels = <const uint8_t *>view.buf
        with nogil:
            code = turbo_encode(&asked, &answer)
    finally:
        PyBuffer_Release(&view)
    return taken(code, &answer)


def transcode(tiles, Py_ssize_t across, tile, box, *, int turn=0, bint mirror=False, bint gray=False, bint optimize=False,
              sampling=None):
    if turn not in (0, 90, 180, 270):
        raise ValueError(f"coefficients are turned by quarters, not by {turn}")
    if across < 1 or len(tiles) % across:
        raise ValueError(f"{len(tiles)} tiles do not fill rows of {across}")
    cdef turbo_view asked
    asked.tile = size_of(tile)
    asked.box = box_in(box, across * asked.tile.width, len(tiles) // across * asked.tile.height)
    size_of((asked.box.width, asked.box.height))
    asked.turn, asked.mirror, asked.gray, asked.optimize = turn, mirror, gray, optimize
    asked.sampling = turbo_size(0, 0) if sampling is None else size_of(sampling)
    touch(&asked)
    return transcoded([tiles[row * across + col] for row in range(asked.row, asked.row + asked.down)
                       for col in range(asked.col, asked.col + asked.across)], &asked)


cdef void touch(turbo_view *asked) noexcept:
    """Counts the tiles that the box touches, and moves the box to the first of them."""
    asked.col = asked.box.x // asked.tile.width
    asked.row = asked.box.y // asked.tile.height
    asked.across = (asked.box.x + asked.box.width - 1) // asked.tile.width - asked.col + 1
    asked.down = (asked.box.y + asked.box.height - 1) // asked.tile.height - asked.row + 1
    asked.box.x %= asked.tile.width
    asked.box.y %= asked.tile.height


cdef bytes transcoded(list touched, turbo_view *asked):
    """`touched` holds a reference to each tile while it is read."""
    cdef turbo_answer answer
    cdef int code
    cdef bytes data
    cdef turbo_bytes *parts = <turbo_bytes *>PyMem_Calloc(len(touched), sizeof(turbo_bytes))
    if parts == NULL:
        raise MemoryError
    try:
        for i, data in enumerate(touched):
            if data is not None:
                parts[i] = turbo_bytes(<const uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))
        asked.tiles = parts
        with nogil:
            code = turbo_transcode(asked, &answer)
    finally:
        PyMem_Free(parts)
    return taken(code, &answer)
