"""What strangers cost the collector: ``python -m benchmarks.attacks``.

Starts `spanloom serve`, does everything in the tests' table of attacks (`tests/support/attacks.py`), and prints for
each how long it took to be answered, how long a good batch took after (for crowds: during) it, and the most memory the
server's process had.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import attacks
from support.serving import Serving


def timed_good_batch(serving: Serving) -> float:
    """Milliseconds until a good batch is acknowledged."""
    began = time.perf_counter()
    serving.good_batch()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Attack and print."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as directory, Serving(Path(directory) / "runs.db") as serving:
        print(f"{'attack':44} {'answered in':>12} {'good batch':>12} {'peak memory':>12}")
        for name, attack in {**attacks.BODIES, **attacks.FRAMING}.items():
            serving.forget_peak()
            began = time.perf_counter()
            attack(serving)
            answered = (time.perf_counter() - began) * 1000
            show(name, answered, timed_good_batch(serving), serving)
        for name, (first, count) in attacks.CROWDS.items():
            serving.forget_peak()
            began = time.perf_counter()
            with attacks.held(serving, first, count):
                opened = (time.perf_counter() - began) * 1000
                show(name, opened, max(timed_good_batch(serving) for _ in range(20)), serving)


def show(name: str, answered: float, good: float, serving: Serving) -> None:
    print(f"{name:44} {answered:9.0f} ms {good:9.0f} ms {serving.peak_mib():8.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
