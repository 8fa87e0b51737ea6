"""What an append to the journal costs the emitting thread, alone and beside CPU-bound threads.

    python benchmarks/journal_bench.py [--events 20000] [--bytes 2000] [--per-second 2000]

Prints, for each number of busy threads, the median, p99, p99.9 and worst time of ``Journal.append`` in microseconds,
at a steady rate (each append is timed by itself; the clock's own cost, about 0.1 us, is included).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time

from spanloom.shipping.journal import Journal


def _busy(stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        for _ in range(1000):
            number += 1


def _measure(home: str, events: int, size_bytes: int, per_second: float) -> list[float]:
    journal = Journal(home)
    payload = b'{"event":"point","data":"' + b"x" * (size_bytes - 27) + b'"}'
    taken: list[float] = []
    clock = time.perf_counter
    try:
        for _ in range(events):
            before = clock()
            journal.append(payload)
            taken.append(clock() - before)
            if per_second:
                time.sleep(1 / per_second)
    finally:
        journal.close()
    return sorted(taken)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--per-second", type=float, default=2000)
    parser.add_argument("--busy", type=int, nargs="*", default=[0, 1, 4])
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {options.events} records of {options.bytes} bytes")
    for count in options.busy:
        stop = threading.Event()
        threads = [threading.Thread(target=_busy, args=(stop,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        with tempfile.TemporaryDirectory() as home:
            taken = [1e6 * one for one in _measure(home, options.events, options.bytes, options.per_second)]
        stop.set()
        for thread in threads:
            thread.join()
        cut = [taken[min(len(taken) - 1, int(len(taken) * part))] for part in (0.5, 0.99, 0.999, 1)]
        print(f"{count} busy threads: median {cut[0]:.2f}  p99 {cut[1]:.1f}  p99.9 {cut[2]:.1f}  worst {cut[3]:.0f} us")


if __name__ == "__main__":
    main()
