"""What a sync says when it is done (contract section 7)."""

from msgspec import Struct


class Failure(Struct, frozen=True):
    """`path` is relative to the store's root; "." is the store itself, which then was not synced."""

    path: str
    reason: str


class Result(Struct, frozen=True, kw_only=True):
    """What changed since the sync before, in slides, and what is not as it should be, changed or not.

    `added`: records that are new, and missing ones whose file is back. `changed`: other content under the same name.
    `moved`: the same content under another name. `missing`: files that are gone. `removed`: records of those that had been
    gone for long. What was only touched, and what may still be growing, counts nowhere.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    missing: int = 0
    removed: int = 0
    failed: list[Failure] = []
    seconds: float = 0.0

    @property
    def broken(self) -> str:
        """Why the store as a whole was not synced, "" where it was."""
        return next((failure.reason for failure in self.failed if failure.path == "."), "")
