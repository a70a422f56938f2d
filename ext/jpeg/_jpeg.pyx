"""JPEG work without generation loss: bytes in, bytes out, the GIL released. Knows no TIFF and no HTTP; turbo.c owns libjpeg."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free


cdef extern from "turbo.h" nogil:
    enum:
        TURBO_OK
        TURBO_NO_MEMORY

    ctypedef struct turbo_limits:
        pass

    ctypedef struct turbo_answer:
        uint8_t *data
        size_t size
        char *message

    turbo_limits turbo_limits_for(unsigned int width, unsigned int height) noexcept
    int turbo_crop(const uint8_t *data, size_t size, unsigned int width, unsigned int height, bint optimize,
                   const turbo_limits *limits, turbo_answer *answer) noexcept


cdef enum:
    JPEG_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION


class JpegError(ValueError):
    """The JPEG is corrupt, incomplete, over a limit, or not of the kind or size that was promised."""


cdef int check(int code, const char *message) except -1:
    if code == TURBO_OK:
        return 0
    raise (MemoryError if code == TURBO_NO_MEMORY else JpegError)(message.decode("ascii", "replace"))


cdef bytes taken(turbo_answer *answer):
    try:
        return PyBytes_FromStringAndSize(<char *>answer.data, <Py_ssize_t>answer.size)
    finally:
        free(answer.data)


def crop(data, Py_ssize_t width, Py_ssize_t height, Py_ssize_t expect_width, Py_ssize_t expect_height, *, bint optimize=True):
    if not (1 <= width <= expect_width <= JPEG_SIDE and 1 <= height <= expect_height <= JPEG_SIDE):
        raise ValueError(f"cannot crop {expect_width}x{expect_height} px to {width}x{height}")
    cdef turbo_limits limits = turbo_limits_for(<unsigned int>expect_width, <unsigned int>expect_height)
    cdef turbo_answer answer
    cdef Py_buffer view
    cdef int code
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        code = turbo_crop(<const uint8_t *>view.buf, <size_t>view.len, <unsigned int>width, <unsigned int>height, optimize,
                          &limits, &answer)
    PyBuffer_Release(&view)
    check(code, answer.message)
    return taken(&answer)
