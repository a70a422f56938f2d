"""Fixtures of the benchmarks, and the table of goals that ends a run. A missed goal is told, never failed: timings decide
no test."""

import gc
from collections.abc import Callable, Iterable
from statistics import median
from time import process_time_ns
from typing import NamedTuple

import openslide  # noqa: F401 - ahead of libvips, which loads the system's own with global symbols
import pytest
from rich.console import Console
from rich.table import Table

Call = Callable[[], object]
Versus = Callable[..., float]


class Goal(NamedTuple):
    """`ours` should be at most `limit`, both in `unit`."""

    name: str
    ours: float
    limit: float
    unit: str
    told: str

    @property
    def met(self) -> bool:
        return self.ours <= self.limit


GOALS = pytest.StashKey[list[Goal]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GOALS] = []


@pytest.fixture
def goal(pytestconfig: pytest.Config) -> Callable[[Goal], None]:
    """Puts a measured figure into the closing table."""
    return pytestconfig.stash[GOALS].append


@pytest.fixture
def versus(goal: Callable[[Goal], None]) -> Versus:
    """versus(name, ours, theirs, limit): the ratio of two calls' times, taken in turns so that noise meets both alike.

    Processor time, because other work on the machine would decide the other kind: for calls that wait for nothing.
    """

    def measure(name: str, ours: Call, theirs: Call, limit: float, *, calls: int, turns: int = 41) -> float:
        pairs = [(_seconds(ours, calls), _seconds(theirs, calls)) for _ in range(turns + 1)][1:]
        ratio = median(a / b for a, b in pairs)
        told = f"{_micro(a for a, _ in pairs)} against {_micro(b for _, b in pairs)}, CPU, medians of {turns} turns"
        goal(Goal(name, ratio, limit, "x", told))
        return ratio

    return measure


def _seconds(call: Call, calls: int) -> float:
    """Processor seconds a call, the collector held off: it would hit either side at random."""
    gc.disable()
    try:
        started = process_time_ns()
        for _ in range(calls):
            call()
        return (process_time_ns() - started) / calls / 1e9
    finally:
        gc.enable()


def _micro(seconds: Iterable[float]) -> str:
    return f"{median(seconds) * 1e6:,.2f} µs"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    goals = config.stash[GOALS]
    if not goals:
        return
    table = Table("figure", "measured", "goal", "", "how")
    for each in goals:
        verdict = "met" if each.met else "[red]missed"
        table.add_row(
            each.name, f"{each.ours:,.2f} {each.unit}", f"≤ {each.limit:,.2f} {each.unit}", verdict, each.told
        )
    terminalreporter.write_line("")
    Console(width=max(120, terminalreporter._tw.fullwidth)).print(table)
