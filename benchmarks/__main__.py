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
from .peers import installed, interpreter
from .sink import Sink
from .workloads import WORKLOADS

Samples = dict[str, list[float]]
SLOW_SINK = {"burst": 0.05}
OURS = {"off": "disabled", "nowhere": "nowhere"}  # measured against the floor, where it is not "spanloom"


def measure(workload: str, subject: str, url: str, python: Path | str = sys.executable) -> dict[str, float]:
    """One run of one workload in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [python, "-m", "benchmarks.one", workload, subject, url],
            env={**os.environ, "SPANLOOM_HOME": home},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{workload} under {subject} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


class Comparison:
    """One workload under the floor, Spanloom and any peers, in turn; figures by subject."""

    def __init__(self, workload: str, peer_home: Path | None) -> None:
        self.workload = workload
        self.ours = OURS.get(workload, "spanloom")
        self.python: dict[str, Path | str] = {"floor": sys.executable, self.ours: sys.executable}
        if peer_home is not None and self.ours == "spanloom":
            self.python |= {f"peer:{name}": interpreter(peer_home, name) for name in installed(peer_home)}
        self.samples: dict[str, Samples] = {subject: {} for subject in self.python}

    def run(self, repeats: int) -> None:
        """Every subject once in each repeat, in the opposite order every other time."""
        with Sink(SLOW_SINK.get(self.workload, 0.0)) as sink:
            for repeat in range(repeats):
                subjects = list(self.python)
                for subject in subjects if repeat % 2 else reversed(subjects):
                    self._once(subject, conditions.closed_port() if self.workload == "endpoint_down" else sink.url)

    def _once(self, subject: str, url: str) -> None:
        try:
            figures = measure(self.workload, subject, url, self.python[subject])
        except RuntimeError as error:
            if not subject.startswith("peer:"):
                raise SystemExit(str(error)) from None
            print(f"{self.workload}: {subject} left out: {str(error).splitlines()[-1][:150]}", file=sys.stderr)
            return
        for figure, value in figures.items():
            self.samples[subject].setdefault(figure, []).append(value)

    def rows(self) -> list[dict[str, object]]:
        """Each figure of each subject but the floor: medians, and the median of the ratios to the floor."""
        found: list[dict[str, object]] = []
        for figure, floors in self.samples["floor"].items():
            for subject, samples in self.samples.items():
                if subject == "floor" or figure not in samples:
                    continue
                pairs = zip(samples[figure], floors, strict=False)
                ratios = [own / theirs if theirs else float("nan") for own, theirs in pairs]
                found.append(
                    {
                        "workload": self.workload,
                        "figure": figure,
                        "subject": subject,
                        "floor": statistics.median(floors),
                        "value": statistics.median(samples[figure]),
                        "ratio": statistics.median(ratios),
                        "repeats": len(floors),
                    }
                )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peers", type=Path, help="where `python -m benchmarks.peers install` put them")
    options = parser.parse_args()
    print(f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores")
    print(f"floor: {floor.STEPS}\n")
    print(f"{'workload':14}{'figure':30}{'subject':20}{'floor':>12}{'figure':>12}{'ratio':>8}")
    rows = []
    for workload in options.only.split(","):
        comparison = Comparison(workload, options.peers)
        comparison.run(options.repeats)
        for row in comparison.rows():
            rows.append(row)
            named = f"{row['workload']:14}{row['figure']:30}{row['subject']:20}"
            print(f"{named}{row['floor']:12.2f}{row['value']:12.2f}{row['ratio']:8.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
