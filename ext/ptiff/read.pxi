# A pinned regular file and positioned reads from it. Never mmap: a truncated file must not kill the process.

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t preadv2(int fd, const iovec *iov, int count, int64_t offset, int flags)
    int RWF_NOWAIT

cdef extern from "<unistd.h>" nogil:
    ssize_t c_pread "pread"(int fd, void *buffer, size_t size, int64_t offset)
    int c_close "close"(int fd)

cdef extern from "<sys/stat.h>" nogil:
    struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    struct stat_t "stat":
        uint64_t st_dev
        uint64_t st_ino
        int64_t st_size
        uint32_t st_mode
        timespec st_mtim
    int fstat(int fd, stat_t *out)
    bint S_ISREG(uint32_t mode)


cdef struct Pin:
    int fd
    uint64_t device
    uint64_t inode
    uint64_t size
    int64_t mtime_ns


cdef int pin_look(int fd, Pin *out) noexcept nogil:
    cdef stat_t found
    if fstat(fd, &found) != 0 or not S_ISREG(found.st_mode):
        return UNREAD
    out.fd = fd
    out.device = found.st_dev
    out.inode = found.st_ino
    out.size = <uint64_t>found.st_size
    out.mtime_ns = found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec
    return OK


cdef int pin_check(const Pin *pin) noexcept nogil:
    """CHANGED if the file was written since it was pinned. One look after a read is enough: a write sets mtime first.

    Kernels before 6.13 step mtime every few ms: a file pinned sooner than that after a write may change unseen. So
    nothing should be pinned for serving before it has held still.
    """
    cdef Pin now
    if pin_look(pin.fd, &now) != OK:
        return UNREAD
    if now.mtime_ns != pin.mtime_ns or now.size != pin.size:
        return CHANGED
    return OK


cdef int pin_read_now(const Pin *pin, uint8_t *out, uint64_t size, uint64_t offset) noexcept nogil:
    """All `size` bytes if the page cache holds them, else COLD. Anything unusual is COLD too: the blocking twin decides."""
    cdef iovec part
    part.iov_base = out
    part.iov_len = size
    if preadv2(pin.fd, &part, 1, <int64_t>offset, RWF_NOWAIT) != <ssize_t>size:
        return COLD
    return OK


cdef int pin_read(const Pin *pin, uint8_t *out, uint64_t size, uint64_t offset) noexcept nogil:
    """All `size` bytes, waiting for the disk."""
    cdef uint64_t done = 0
    cdef ssize_t got
    while done < size:
        got = c_pread(pin.fd, out + done, size - done, <int64_t>(offset + done))
        if got > 0:
            done += <uint64_t>got
        elif got == 0:
            return TRUNCATED
        elif errno != EINTR:
            return UNREAD
    return OK


@cython.final
cdef class File:
    """Owns a descriptor of a regular file, and what fstat said when it was pinned. Closed when nobody holds it."""
    cdef Pin pin

    def __cinit__(self, int fd):
        self.pin.fd = -1
        if pin_look(fd, &self.pin) != OK:
            c_close(fd)
            raise OSError("not a regular file")

    def __dealloc__(self):
        if self.pin.fd >= 0:
            c_close(self.pin.fd)

    def fileno(self) -> int:
        return self.pin.fd

    def fingerprint(self) -> tuple:
        """(device, inode, size in bytes, mtime in ns) as pinned."""
        return self.pin.device, self.pin.inode, self.pin.size, self.pin.mtime_ns

    def changed(self) -> bool:
        """Whether the file's size or mtime is no longer what was pinned."""
        return pin_check(&self.pin) != OK

    def read(self, uint64_t offset, uint64_t size) -> bytes:
        """At most `size` bytes at `offset`, fewer at the end of the file; waits for the disk. OSError on a failed read."""
        if offset >= self.pin.size:
            return b""
        size = min(size, self.pin.size - offset)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        cdef uint8_t *data = <uint8_t *>PyBytes_AS_STRING(out)
        cdef int code
        with nogil:
            code = pin_read(&self.pin, data, size, offset)
        if code != OK:
            raise OSError(f"{size} bytes at {offset} could not be read")
        return out

    def read_now(self, uint64_t offset, uint64_t size):
        """As `read`, but None where the bytes are not in memory already."""
        if offset >= self.pin.size:
            return b""
        size = min(size, self.pin.size - offset)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        return out if pin_read_now(&self.pin, <uint8_t *>PyBytes_AS_STRING(out), size, offset) == OK else None
