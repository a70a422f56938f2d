# cython: language_level=3
"""Tile bytes out of TIFF files: header walk, tile tables, JPEG splice, pinned reads. libc only; decodes no pixel."""

# One translation unit: the parts below see each other's cdef functions as direct C calls. The order is the order of use.
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove

from ptiffserve.errors import SlideChanged, TileCorrupt, TileTruncated

cdef extern from "<malloc.h>" nogil:
    int mallopt(int parameter, int value)
    int M_MMAP_THRESHOLD
    int M_TRIM_THRESHOLD

# Tiles and tile tables are allocated and freed by the hundred kilobytes. By default glibc gives such pages back to the
# kernel each time, and faulting them in again took ten times as long as filling them (measured: 200 against 20 us).
mallopt(M_MMAP_THRESHOLD, 4 << 20)
mallopt(M_TRIM_THRESHOLD, 64 << 20)

include "fail.pxi"
include "span.pxi"
include "header.pxi"
include "splice.pxi"
include "read.pxi"
include "grid.pxi"
include "lane.pxi"
