"""Found against known: what is new, what must be read again, what was moved or is gone. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ptiffserve.slide import Alias, Fingerprint, Icc, Mark

# Of a record that was taken over from elsewhere, and whose file nobody has ever seen: it is never removed.
NEVER = Fingerprint(0, 0, 0, 0)


class Move(NamedTuple):
    """A record whose file is now at `path`, and the other names that it has there."""

    mark: Mark
    path: str
    fingerprint: Fingerprint
    also: tuple[Alias, ...]


class Diff(NamedTuple):
    """What there is to do; a record that is in none of these is as it should be.

    `new`: paths without a record, in order. `suspect`: the file is another or was touched, or was missing and differs.
    `again`: the same file, read under another setting or by an older reader. `faulty`: as they should be, but damaged.
    `gone`: the file has just vanished. `lost`: records without a file, those among them: a new file of that content is theirs.
    `back`: missing ones whose file is there again, unchanged. `also`: records whose other names have become fewer, and those
    left. `expired`: missing for long. `contents`: the record that has a content, by its name.
    """

    new: list[str]
    suspect: list[Mark]
    again: list[Mark]
    faulty: list[Mark]
    moved: list[Move]
    gone: list[Mark]
    lost: list[Mark]
    back: list[Mark]
    also: list[tuple[Mark, tuple[Alias, ...]]]
    expired: list[Mark]
    contents: dict[str, str]


class Rules(NamedTuple):
    """What a record must have been read under, and before which time (Unix seconds) it must have gone missing to go."""

    icc: Icc
    reading: int
    expiry: float


def diff(found: Mapping[str, Fingerprint], known: Iterable[Mark], unseen: Iterable[str], rules: Rules) -> Diff:
    """`unseen`: paths of which nothing is known, with all below those that end with "/"."""
    left = dict(found)
    changes = Diff([], [], [], [], [], [], [], [], [], [], {})
    hidden = tuple(unseen)
    whole = frozenset(hidden)
    adrift: list[tuple[Mark, tuple[Alias, ...]]] = []

    def out_of_sight(path: str) -> bool:
        return bool(hidden) and (path in whole or any(path.startswith(p) for p in hidden if p.endswith("/")))

    for mark in known:
        now = left.pop(mark.path, None)
        if now == mark.fingerprint and _as_it_should_be(mark, rules):
            changes.contents[mark.digest] = mark.id
            continue
        also = mark.also
        if also:
            also = tuple(a for a in also if left.get(a.path) == a.fingerprint or out_of_sight(a.path))
            for alias in also:
                left.pop(alias.path, None)
        if now is not None:
            _kept(mark, now, also, rules, changes)
        elif not out_of_sight(mark.path):
            adrift.append((mark, also))
    _settle(adrift, left, rules, changes)
    return changes._replace(new=sorted(left))


def _as_it_should_be(mark: Mark, rules: Rules) -> bool:
    """Nearly all are, if their file is as it was."""
    return (
        mark.state == "ready"
        and mark.reading >= rules.reading
        and mark.icc == rules.icc
        and not mark.reason
        and not mark.also
        and mark.digest != ""
    )


def _kept(mark: Mark, now: Fingerprint, also: tuple[Alias, ...], rules: Rules, changes: Diff) -> None:
    """A record whose path is there."""
    if now != mark.fingerprint:
        changes.suspect.append(mark)
    elif mark.icc != rules.icc or mark.reading < rules.reading:
        changes.again.append(mark)
    elif mark.state == "missing":
        changes.back.append(mark)
    elif mark.reason:
        changes.faulty.append(mark)
    if mark.digest and now == mark.fingerprint and mark.state != "unreadable":
        changes.contents[mark.digest] = mark.id
    if also != mark.also:
        changes.also.append((mark, also))


def _settle(
    adrift: list[tuple[Mark, tuple[Alias, ...]]], left: dict[str, Fingerprint], rules: Rules, changes: Diff
) -> None:
    """Records whose path is not there: the same file under a new name, then another name of the same bytes, else gone."""
    names = {fingerprint: path for path, fingerprint in left.items()} if adrift else {}
    for mark, also in adrift:
        path = names.pop(mark.fingerprint, None)
        if path is not None:
            changes.moved.append(Move(mark, path, left.pop(path), also))
        elif also:
            changes.moved.append(Move(mark, also[0].path, also[0].fingerprint, also[1:]))
        elif mark.state != "missing":
            changes.gone.append(mark)
            changes.lost.append(mark)
        elif mark.changed < rules.expiry and mark.fingerprint != NEVER:
            changes.expired.append(mark)
        else:
            changes.lost.append(mark)
