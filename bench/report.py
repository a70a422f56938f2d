"""What the load comparison prints and writes. Measures nothing."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table
from wrk import Run

Round = tuple[Run, Mapping[str, float]]


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians over the rounds of one contestant. `spread`: slowest and fastest round, requests/s."""
    rates = [run.requests / run.seconds for run, _ in rounds]
    busy = [sum(cpu.values()) for _, cpu in rounds]
    return {
        "requests_per_second": median(rates),
        "spread": [min(rates), max(rates)],
        "requests_per_cpu_second": median(
            run.requests / max(s, 1e-9) for (run, _), s in zip(rounds, busy, strict=True)
        ),
        "cpu_us_per_request": {
            name: median(cpu[name] / max(run.requests, 1) * 1e6 for run, cpu in rounds) for name in rounds[0][1]
        },
        "core_busy": median(s / run.seconds for (run, _), s in zip(rounds, busy, strict=True)),
        "p50_us": median(run.p50 for run, _ in rounds),
        "p99_us": median(run.p99 for run, _ in rounds),
        "mb_per_second": median(run.nbytes / run.seconds / 1e6 for run, _ in rounds),
        "errors": sum(run.errors for run, _ in rounds),
    }


def ratios(
    found: Mapping[str, Mapping[str, Any]], rounds: Mapping[str, Sequence[Round]]
) -> dict[str, dict[str, float]]:
    """ptiffserve over each other contestant. Of medians; `paired` is the median of the rounds' own ratios."""
    ours = found["ptiffserve"]
    return {
        name: {
            "requests_per_cpu_second": ours["requests_per_cpu_second"] / theirs["requests_per_cpu_second"],
            "requests_per_second": ours["requests_per_second"] / theirs["requests_per_second"],
            "paired_per_cpu_second": median(map(_ratio, rounds["ptiffserve"], rounds[name])),
        }
        for name, theirs in found.items()
        if name != "ptiffserve"
    }


def _ratio(ours: Round, theirs: Round) -> float:
    (a, a_cpu), (b, b_cpu) = ours, theirs
    return (a.requests / sum(a_cpu.values())) / (b.requests / sum(b_cpu.values()))


def table(title: str, found: Mapping[str, Mapping[str, Any]], against: Mapping[str, Mapping[str, float]]) -> Table:
    shown = Table(title=title, title_justify="left")
    shown.add_column("server")
    for name in ("requests/s", "least … most", "CPU µs/request", "core", "p50 ms", "p99 ms", "MB/s", "errors"):
        shown.add_column(name, justify="right")
    shown.add_column("ptiffserve / it, per CPU s", justify="right")
    shown.add_column("per s", justify="right")
    for name, each in found.items():
        shown.add_row(name, *_cells(each), *_against(against.get(name)))
    return shown


def _cells(each: Mapping[str, Any]) -> list[str]:
    parts = each["cpu_us_per_request"]
    split = "" if len(parts) == 1 else " = " + " + ".join(f"{name} {used:.0f}" for name, used in parts.items())
    low, high = each["spread"]
    return [
        f"{each['requests_per_second']:,.0f}",
        f"{low:,.0f} … {high:,.0f}",
        f"{sum(parts.values()):,.1f}{split}",
        f"{each['core_busy']:.0%}",
        f"{each['p50_us'] / 1000:.2f}",
        f"{each['p99_us'] / 1000:.2f}",
        f"{each['mb_per_second']:,.0f}",
        str(each["errors"]),
    ]


def _against(ratio: Mapping[str, float] | None) -> list[str]:
    if ratio is None:
        return ["", ""]
    return [
        f"{ratio['requests_per_cpu_second']:.2f} ({ratio['paired_per_cpu_second']:.2f} by rounds)",
        f"{ratio['requests_per_second']:.2f}",
    ]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }
