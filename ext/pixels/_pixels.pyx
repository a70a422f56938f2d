"""Pictures in memory: copied and resampled without the GIL. libc only; knows no file and no encoding."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from libc.math cimport isfinite
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef extern from "resample.h" nogil:
    ctypedef struct picture:
        const uint8_t *pixels
        size_t width
        size_t height

    ctypedef struct window:
        double x
        double y
        double width
        double height

    int c_resample "resample"(const picture *source, const window *part, uint8_t *out, size_t width, size_t height) noexcept


cdef enum:
    BANDS = 3

# Sides are under 2^31: no product of two of them and a sample's bytes overflows.
cdef Py_ssize_t MAX_SIDE = 0x7FFFFFFF


cdef int check_sides(tuple size) except -1:
    width, height = size
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(f"a picture of {width}x{height} pixels")
    return 0


def resample(pixels, tuple size not None, tuple part not None, tuple to not None) -> bytearray:
    cdef picture source
    cdef window wanted
    cdef Py_buffer view
    cdef Py_ssize_t width, height
    cdef uint8_t *data
    cdef int code
    check_sides(size)
    check_sides(to)
    source.width, source.height = size
    wanted.x, wanted.y, wanted.width, wanted.height = part
    if not (isfinite(wanted.x) and isfinite(wanted.y) and 0 < wanted.width <= MAX_SIDE and 0 < wanted.height <= MAX_SIDE):
        raise ValueError(f"a part of {part} pixels")
    width, height = to
    cdef bytearray out = PyByteArray_FromStringAndSize(NULL, BANDS * width * height)
    data = <uint8_t *>PyByteArray_AS_STRING(out)
    PyObject_GetBuffer(pixels, &view, PyBUF_SIMPLE)
    try:
        if <uint64_t>view.len != BANDS * <uint64_t>source.width * source.height:
            raise ValueError(f"{view.len} bytes are no picture of {source.width}x{source.height} pixels")
        source.pixels = <const uint8_t *>view.buf
        with nogil:
            code = c_resample(&source, &wanted, data, width, height)
    finally:
        PyBuffer_Release(&view)
    if code != 0:
        raise MemoryError
    return out


def paste(pixels, Py_ssize_t source_width, tuple box not None, out, Py_ssize_t width, Py_ssize_t x, Py_ssize_t y) -> None:
    cdef Py_buffer source, target
    cdef Py_ssize_t left, top, across, down, row
    left, top, across, down = box
    PyObject_GetBuffer(pixels, &source, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(out, &target, PyBUF_WRITABLE)
        try:
            if not (inside(source.len, source_width, left, top, across, down) and inside(target.len, width, x, y, across, down)):
                raise ValueError(f"{box} does not fit")
            with nogil:
                for row in range(down):
                    memcpy(<uint8_t *>target.buf + BANDS * ((y + row) * width + x),
                           <const uint8_t *>source.buf + BANDS * ((top + row) * source_width + left), BANDS * across)
        finally:
            PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)


cdef bint inside(Py_ssize_t size, Py_ssize_t width, Py_ssize_t x, Py_ssize_t y, Py_ssize_t across, Py_ssize_t down) noexcept:
    """Whether a box lies in a picture of `size` bytes whose rows have `width` pixels."""
    if not (0 < width <= MAX_SIDE and 0 <= x <= width and 0 < across <= width - x):
        return False
    return 0 <= y <= MAX_SIDE and 0 < down <= MAX_SIDE and (y + down) * width * BANDS <= size
