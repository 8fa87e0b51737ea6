"""`python -m benchmarks [--repeats 7] [--only no_op,burst] [--json FILE]`: the table of what Spanloom costs.

Every workload runs in turn under the floor and under Spanloom, each time in a fresh process with an empty home, so
that a change of the machine's speed falls on both. Figures are medians; a ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from . import conditions, floor
from .sink import Sink
from .workloads import WORKLOADS

Samples = dict[str, list[float]]
SLOW_SINK = {"burst": 0.05}
OURS = {"off": "disabled", "nowhere": "nowhere"}  # measured against the floor, where it is not "spanloom"


def measure(workload: str, subject: str, url: str) -> dict[str, float]:
    """One run of one workload in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.one", workload, subject, url],
            env={**os.environ, "SPANLOOM_HOME": home},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{workload} under {subject} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def compare(workload: str, repeats: int) -> list[dict[str, object]]:
    """Rows of one workload: a figure, its medians under the floor and under Spanloom, and the ratio."""
    mine = OURS.get(workload, "spanloom")
    subjects = ("floor", mine)
    samples: dict[str, Samples] = {subject: {} for subject in subjects}
    with Sink(SLOW_SINK.get(workload, 0.0)) as sink:
        for repeat in range(repeats):
            for subject in subjects if repeat % 2 else reversed(subjects):
                url = conditions.closed_port() if workload == "endpoint_down" else sink.url
                for figure, value in measure(workload, subject, url).items():
                    samples[subject].setdefault(figure, []).append(value)
    rows: list[dict[str, object]] = []
    for figure, ours in samples[mine].items():
        floors = samples["floor"][figure]
        ratios = [own / theirs if theirs else float("nan") for own, theirs in zip(ours, floors, strict=True)]
        rows.append(
            {
                "workload": workload,
                "figure": figure,
                "floor": statistics.median(floors),
                "spanloom": statistics.median(ours),
                "ratio": statistics.median(ratios),
                "repeats": repeats,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")
    print(f"floor: {floor.STEPS}\n")
    print(f"{'workload':14}{'figure':30}{'floor':>12}{'spanloom':>12}{'ratio':>8}")
    rows = []
    for workload in options.only.split(","):
        for row in compare(workload, options.repeats):
            rows.append(row)
            print(
                f"{row['workload']:14}{row['figure']:30}{row['floor']:12.2f}{row['spanloom']:12.2f}{row['ratio']:8.2f}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
