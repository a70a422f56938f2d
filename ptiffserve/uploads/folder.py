"""Uploads into a folder: in a hidden folder of the same file system, linked into place when they are whole."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ptiffserve.config import Store
from ptiffserve.errors import Conflict, DiskFull, NotFound, Unavailable
from ptiffserve.slide import ID
from ptiffserve.sources.base import Source
from ptiffserve.sources.file import FileSource, inside
from ptiffserve.sync.content import same
from ptiffserve.uploads.base import Upload, Writer, advanced

# Scans pass hidden folders over.
AREA = ".uploads"
# What a file system keeps for itself and for others' uploads.
RESERVE = 1 << 20
_NOTE = "upload.json"


class FolderWriter:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = self.offset = os.fstat(descriptor).st_size

    def write(self, data: bytes) -> None:
        with room():
            view = memoryview(data)
            while view:
                written = os.pwrite(self._descriptor, view, self.offset)
                self.offset += written
                view = view[written:]

    def cut(self) -> None:
        os.ftruncate(self._descriptor, self._start)
        self.offset = self._start


class Folder:
    """Each upload has a folder with its bytes, under the name they will have, and a note of what it is."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._root = Path(store.root)
        self._area = self._root / AREA

    def begin(self, upload: Upload) -> None:
        with room():
            self._area.mkdir(mode=0o700, exist_ok=True)
            free = shutil.disk_usage(self._area).free
            if upload.length + RESERVE > free:
                raise DiskFull(f"there is room for {free} bytes, not for {upload.length}")
            self._folder(upload.id).mkdir(mode=0o700)
            try:
                self._bytes(upload).touch(0o644)
                self._note(upload)
            except OSError:
                self.drop(upload.id)
                raise

    def load(self, identity: str) -> Upload:
        try:
            upload = msgspec.json.decode((self._folder(identity) / _NOTE).read_bytes(), type=Upload)
            if upload.slide:
                return msgspec.structs.replace(upload, offset=upload.length)
            found = self._bytes(upload).stat()
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            raise NotFound("no such upload") from None
        return msgspec.structs.replace(upload, offset=found.st_size, touched=found.st_mtime)

    @contextmanager
    def writer(self, upload: Upload) -> Iterator[Writer]:
        try:
            descriptor = os.open(self._bytes(upload), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound("no such upload") from None
        try:
            _lock(descriptor, self._bytes(upload))
            yield FolderWriter(descriptor)
            with room():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def staged(self, upload: Upload) -> Source:
        return FileSource(self._bytes(upload), upload.path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        with room():
            self._area.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._area / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def digest(self, upload: Upload) -> str:
        return ""

    def reveal(self, upload: Upload, digest: str) -> Source:
        target = self._target(upload.path)
        staged = self._bytes(upload)
        with room():
            target.parent.mkdir(parents=True, exist_ok=True)
            # A fresh file is left alone by scans for a second: until then its record is there.
            os.utime(staged)
            try:
                _link(staged, target)
            except FileExistsError:
                self._check_same(staged, target, upload.path)
            _sync_folder(target.parent)
        return FileSource(target, f"{self.store.label}/{upload.path}")

    def _check_same(self, staged: Path, target: Path, name: str) -> None:
        if not target.is_file() or not same(FileSource(staged, name), FileSource(target, name)):
            raise Conflict(f"there is another file with the name {name}")

    def _target(self, path: str) -> Path:
        """A link among the folders must not lead out of the store."""
        folder, _, name = path.rpartition("/")
        parent = inside(self._root, folder) if folder else self._root
        return parent / name

    def settle(self, upload: Upload, slide: str) -> None:
        with room():
            self._note(msgspec.structs.replace(upload, slide=slide, touched=time.time()))
            self._bytes(upload).unlink(missing_ok=True)

    def drop(self, identity: str) -> None:
        if self._folder(identity).is_dir():
            shutil.rmtree(self._folder(identity), ignore_errors=True)

    def sweep(self, older_than: float) -> int:
        if not self._area.is_dir():
            return 0
        swept = 0
        for folder in self._area.iterdir():
            if ID.fullmatch(folder.name) and time.time() - self._touched(folder) > older_than:
                self.drop(folder.name)
                swept += 1
        return swept

    def _touched(self, folder: Path) -> float:
        try:
            return self.load(folder.name).touched
        except NotFound:
            return folder.stat().st_mtime

    def _folder(self, identity: str) -> Path:
        if not ID.fullmatch(identity):
            raise NotFound("no such upload")
        return self._area / identity

    def _bytes(self, upload: Upload) -> Path:
        """Readers of vendors' formats go by the ending, so it has its name already."""
        return self._folder(upload.id) / f"~{upload.path.rpartition('/')[2]}"

    def _note(self, upload: Upload) -> None:
        note = self._folder(upload.id) / _NOTE
        draft = note.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(advanced(upload, upload.offset)))
        draft.replace(note)


def _lock(descriptor: int, path: Path) -> None:
    """The file may have become a slide since it was opened: then it is not written to any more."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict("another request is writing to this upload") from None
    try:
        here = path.stat()
    except FileNotFoundError:
        raise NotFound("no such upload") from None
    if not os.path.samestat(here, os.fstat(descriptor)):
        raise NotFound("no such upload")


def _link(staged: Path, target: Path) -> None:
    """Never over another file. FileExistsError."""
    try:
        os.link(staged, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        # A file system without links: an empty file keeps the name for the moment.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        staged.replace(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def room() -> Iterator[None]:
    """What a disk refuses, as errors of ours: DiskFull, else Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull("the disk is full") from error
        raise Unavailable(f"the store's folder cannot be written: {os.strerror(error.errno or 0)}") from error
