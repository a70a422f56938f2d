"""Whether a file came or went in a store since its folders were noted: by the folders' mtimes, without a look at the files.

A file that was written over in place leaves no trace in them.
"""

import os
from collections.abc import Iterator


class Folders:
    """The mtimes of a root and all folders below it, as `note` found them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._times: dict[str, int] = {}

    def note(self) -> None:
        self._times = {path: _mtime(path) for path in _below(self._root)}

    def stirred(self) -> bool:
        return any(_mtime(path) != time for path, time in self._times.items())


def _mtime(path: str) -> int:
    """In ns, 0 where it cannot be told."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - of each folder each second
    except OSError:
        return 0


def _below(root: str) -> Iterator[str]:
    pending = [root]
    while pending:
        folder = pending.pop()
        yield folder
        try:
            with os.scandir(folder) as entries:
                pending += [e.path for e in entries if e.name[0] != "." and e.is_dir(follow_symlinks=False)]
        except OSError:
            continue
