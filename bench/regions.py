"""Regions over HTTP: ptiffserve beside Debian's iipsrv, each alone on one core, wrk on another; both encode at one quality.

IIIF requests for regions of tissue that lie on no grid, no region twice in a round of the list.
"""

import random
import signal
import sys
import tempfile
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path

import load
import report
from arena import NAME, STORE, Arena, Different
from processes import NotStarted
from servers import Contestant, MissingTool
from slides import TILES_512, opened, slide, tissue

from ptiffserve import encode

# Side of the region at level 0, width of the answer, ptiffserve's requests per CPU second over iipsrv's.
CASES = ((512, 512, 2.0), (1024, 300, 2.0))


def paths(side: int, to: int) -> list[str]:
    """`region/size/rotation/quality.format` of regions in tissue."""
    reader, rng = opened(slide(TILES_512)), random.Random(side)
    size = reader.pyramid.size
    found = []
    for col, row in tissue(reader):
        x, y = col * 512 + rng.randrange(1, 512, 2), row * 512 + rng.randrange(1, 512, 2)
        if x + side <= size.width and y + side <= size.height:
            found.append(f"{x},{y},{side},{side}/{to},/0/default.jpg")
    rng.shuffle(found)
    return found


def main(arguments: list[str]) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="length of each run (5)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of both servers (5)")
    said = parser.parse_args(arguments)
    # Two connections: iipsrv answers one request at a time, and neither is to gain by a queue.
    said = load.options(["--seconds", str(said.seconds), "--rounds", str(said.rounds), "--connections", "2"])
    try:
        load.check(said)
        for side, to, goal in CASES:
            _compare(side, to, goal, said)
    except (MissingTool, NotStarted, Different) as error:
        load.err.print(f"regions: {error}", markup=False)
        return 1
    return 0


def _compare(side: int, to: int, goal: float, said: load.Namespace) -> None:
    asked = paths(side, to)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptiffserve-regions-")))
        arena = Arena(TILES_512, folder, said.server_core, stack, encode.JPEG_QUALITY)
        ours, _, iipsrv = arena.contestants
        arena.contestants = [
            Contestant(ours.name, ours.processes, [f"/iiif/2/{STORE}%2F{NAME}/{path}" for path in asked]),
            Contestant(iipsrv.name, iipsrv.processes, [f"/fcgi-bin/iipsrv.fcgi?IIIF={NAME}/{path}" for path in asked]),
        ]
        rounds = load.rounds_of(arena.contestants, arena.lists(), said)
    found = {name: report.figures(each) for name, each in rounds.items()}
    against = report.ratios(found, rounds)
    load.out.print(report.table(f"{side} px to {to} px: {len(asked):,} regions", found, against))
    ratio = against["iipsrv"]["requests_per_cpu_second"]
    verdict = "met" if ratio >= goal else f"missed by {1 - ratio / goal:.0%}"
    load.out.print(
        f"requests per CPU second, ptiffserve / iipsrv: {ratio:.2f}; goal ≥ {goal}: {verdict}\n", highlight=False
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
