"""`python -m benchmarks.exit_delay [--turns 20] [--only refused,blackhole]`: what leaving the program costs.

For each state of the endpoint, journal on and off: the seconds from the program's last statement to the end of its
process, with 500 records pending; median and worst, and whether the next process delivered what was left behind.
The same program without Spanloom comes first: that much is the interpreter's own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.children import Child
from support.endpoints import LEAVING_PROGRAM, STATES, State
from support.oracle import Oracle
from support.successor import succeed
from support.toxic import Toxic

BARE = "from support.program import leaving\nimport httpx\nleaving()"
HEALTHY = State(0.0, lambda oracle, toxic: None)


def delays(source: str, home: Path, turns: int, url: str, journal: str, marks: set[str]) -> Iterator[float]:
    """The exit delay of each turn, in seconds; ``marks`` gathers what the programs saw accepted."""
    for turn in range(turns):
        with Child(source, url, f"turn{turn}", journal, home=home) as running:
            done = running.finish()
        if done.returncode or done.exit_delay_seconds is None:
            raise SystemExit(f"the program failed:\n{done.stderr}")
        marks.update(done.accepted)
        yield done.exit_delay_seconds


def row(name: str, state: State, journal: str, turns: int) -> str:
    """Measure one state, and let the next process deliver what is left."""
    marks: set[str] = set()
    with tempfile.TemporaryDirectory() as directory, Oracle(keeps="ids") as oracle, Toxic(oracle.port) as toxic:
        state.enter(oracle, toxic)
        seconds = list(delays(LEAVING_PROGRAM, Path(directory), turns, toxic.url, journal, marks))
        state.leave(oracle, toxic)
        left = ""
        if journal == "on":
            succeed(Path(directory), toxic.url, oracle.log, marks)
            oracle.log.assert_clean()
            left = f"all {len(marks)} runs delivered"
    bound = f"{state.bound_seconds:.1f} s" if state.bound_seconds else ""
    return f"{name:22} {journal:8} {statistics.median(seconds):8.3f} {max(seconds):8.3f}  {bound:6} {left}"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exit_delay", description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--only", default="", help="states, separated by commas")
    options = parser.parse_args(arguments)
    states = {"healthy": HEALTHY, **STATES}
    chosen = [name for name in options.only.split(",") if name] or list(states)
    print(f"{'endpoint':22} {'journal':8} {'median':>8} {'worst':>8}  {'bound':6} ({options.turns} turns)")
    with tempfile.TemporaryDirectory() as directory:
        bare = list(delays(BARE, Path(directory), options.turns, "", "", set()))
    print(f"{'(without Spanloom)':22} {'':8} {statistics.median(bare):8.3f} {max(bare):8.3f}")
    for name in chosen:
        for journal in ("on", "off"):
            print(row(name, states[name], journal, options.turns), flush=True)


if __name__ == "__main__":
    main()
