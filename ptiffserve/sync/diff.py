"""Found against known: what was added, changed, moved or is gone. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ptiffserve.slide import Fingerprint, Icc, Slide


class Diff(NamedTuple):
    """`changed`: other bytes, or read under another setting for colours. `moved`: the old record and its new path. `back`:
    missing ones whose file is there again, unchanged."""

    added: list[str]
    changed: list[Slide]
    moved: list[tuple[Slide, str]]
    gone: list[Slide]
    back: list[Slide]


def diff(found: Mapping[str, Fingerprint], known: Iterable[Slide], icc: Icc = "embed") -> Diff:
    by_path = {slide.path: slide for slide in known}
    lost = [slide for path, slide in by_path.items() if path not in found]
    new = [path for path in found if path not in by_path]
    moved = _moved(found, new, lost)
    moved_paths, moved_ids = {path for _, path in moved}, {slide.id for slide, _ in moved}
    kept = [slide for path, slide in by_path.items() if path in found]
    return Diff(
        added=[path for path in new if path not in moved_paths],
        changed=[s for s in kept if s.fingerprint != found[s.path] or s.icc != icc],
        moved=moved,
        gone=[slide for slide in lost if slide.id not in moved_ids and slide.state != "missing"],
        back=[s for s in kept if s.state == "missing" and s.fingerprint == found[s.path] and s.icc == icc],
    )


def _moved(found: Mapping[str, Fingerprint], new: list[str], lost: list[Slide]) -> list[tuple[Slide, str]]:
    """A lost record and a new path with the same whole fingerprint are one file that was renamed."""
    homeless = {slide.fingerprint: slide for slide in lost}
    return [(homeless.pop(found[path]), path) for path in new if found[path] in homeless]
