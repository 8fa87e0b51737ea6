"""`python -m benchmarks.import_cost`: what importing Spanloom costs over importing what its hot path is made of.

Each import in a fresh process, interleaved; medians of 15. Also says which modules that must not be there were loaded.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

REPEATS = 15
STATEMENTS = {
    "dependencies": "import wrapt, msgspec, contextvars_extras",
    "spanloom": "import spanloom",
    "spanloom with its names": "from spanloom import agent",
}
UNWANTED = ("httpx", "opentelemetry", "sqlite3", "rich", "starlette")


def milliseconds(statement: str) -> float:
    """One import, timed inside a process of its own."""
    program = (
        "import sys, time; before = time.perf_counter()\n"
        f"{statement}\n"
        f"found = [name for name in {UNWANTED} if name in sys.modules]\n"
        "print((time.perf_counter() - before) * 1e3, *found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    figure, *found = done.stdout.split()
    if found and statement == STATEMENTS["spanloom"]:
        raise SystemExit(f"{statement} loads {', '.join(found)}")
    return float(figure)


def main() -> None:
    samples: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(REPEATS):
        for name, statement in STATEMENTS.items():
            samples[name].append(milliseconds(statement))
    floor = statistics.median(samples["dependencies"])
    for name, values in samples.items():
        print(f"{name:28}{statistics.median(values):8.1f} ms{statistics.median(values) / floor:8.2f} x")


if __name__ == "__main__":
    main()
