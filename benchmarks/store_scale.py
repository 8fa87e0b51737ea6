"""How the store does with a million runs: ``python -m benchmarks.store_scale [RUNS] [DIRECTORY]``.

Writes RUNS runs (1,000,000 unless said otherwise; start and end, with a prompt and an answer) in batches of 500, fills
the search index, and prints the median and the worst of 20 for each question of the goals, in milliseconds; then the
same while `spanloom serve` takes 2,000 events a second into that store from a third process. About 2 KB of disk for
each run.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Raw

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from spanloom.clock import Ids, iso
from spanloom.records import RunEnd, RunStart, TokenUsage
from spanloom.store import Incoming, Reader, RunFilter, Store
from support.serving import Serving

WORDS = [f"word{number}" for number in range(20_000)]


def runs(count: int, seed: int = 1) -> Iterator[list[Incoming]]:
    """Traces of 10 runs, an agent and what it calls; every thousandth trace has 1,000 runs."""
    chance, ids, at_ns, made = random.Random(seed), Ids(seed), 1_760_000_000_000_000_000, 0
    while made < count:
        size = 1000 if made % 10_000 == 0 else 10
        batch: list[Incoming] = []
        root = ids.new(at_ns)
        for number in range(size):
            at_ns += 1_000_000
            run_id = root if number == 0 else ids.new(at_ns)
            kind, name = (
                ("agent", "researcher") if number == 0 else chance.choice((("llm", "gpt-4o"), ("tool", "search")))
            )
            shared = {
                "run_id": run_id,
                "type": kind,
                "name": name,
                "root_run_id": root,
                "user_id": f"u{made % 997}",
                "parent_run_id": None if number == 0 else root,
            }
            text = " ".join(chance.choices(WORDS, k=40))
            batch.append(
                Incoming(
                    RunStart(
                        event_id=f"{run_id}.s",
                        timestamp=iso(at_ns),
                        input=Raw(b'[{"role":"user","content":"%s"}]' % text.encode()),
                        **shared,
                    )
                )
            )
            batch.append(
                Incoming(
                    RunEnd(
                        event_id=f"{run_id}.e",
                        timestamp=iso(at_ns + 900_000),
                        started_at=iso(at_ns),
                        status="error" if made % 200 == 0 else "ok",
                        model=name,
                        output=Raw(b'"%s"' % text[:200].encode()),
                        tokens_usage=TokenUsage(prompt=50, completion=20),
                        **shared,
                    )
                )
            )
            made += 1
        yield batch


def timed(label: str, ask: Callable[[], object], times: int = 20) -> None:
    """Print the median and the worst of some askings."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    print(f"{label:34} {statistics.median(took):8.1f} ms   worst {max(took):8.1f} ms", flush=True)


def main() -> None:
    """Fill and ask."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as directory:
        path = Path(directory) / "scale.db"
        with Store(path) as store:
            began, written, pending = time.perf_counter(), 0, []
            for trace in runs(count):
                pending += trace
                if len(pending) >= 500:
                    written += len(store.write(pending))
                    pending = []
            written += len(store.write(pending))
            print(f"{written / (time.perf_counter() - began):,.0f} events/s written, {written:,} in all", flush=True)
            began = time.perf_counter()
            while store.index_pending(60):
                pass
            print(f"{time.perf_counter() - began:,.0f} s for the search index", flush=True)
            ask(path)
        ask_under_load(path)


def ask_under_load(path: Path) -> None:
    """The same questions while events come in."""
    with Serving(path) as serving:
        feeding = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http_ingest", "feed", str(serving.port), "40", "2000"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert feeding.stdout is not None and feeding.stdout.readline() == "ready\n"
            print("while 2,000 events/s come in:", flush=True)
            ask(path)
            print(feeding.communicate(timeout=300)[0], flush=True)
        finally:
            feeding.kill()
            feeding.wait()


def ask(path: Path) -> None:
    """Every question of the goals."""
    reader = Reader(path, deadline_seconds=30)
    newest = reader.runs(RunFilter(type="agent"), limit=200).runs
    big = next(
        run for run in reader.runs(RunFilter(type="agent"), limit=10_000).runs if len(reader.related(run.id)) >= 1000
    )
    timed("newest 50", lambda: reader.runs(limit=50))
    timed("newest 50 that begin a trace", lambda: reader.runs(RunFilter(top=True), limit=50))
    timed("filter: status error", lambda: reader.runs(RunFilter(status="error"), limit=50))
    timed("filter: user", lambda: reader.runs(RunFilter(user_id="u5"), limit=50))
    timed("filter: type and name", lambda: reader.runs(RunFilter(type="tool", name="search"), limit=50))
    timed("filter: user and status", lambda: reader.runs(RunFilter(user_id="u5", status="error"), limit=50))
    timed("filter: since", lambda: reader.runs(RunFilter(since_us=newest[-1].started_us), limit=50, order="started"))
    timed("tree of 1,000 runs, content", lambda: reader.tree(big.id))
    timed("tree of 10 runs, content", lambda: reader.tree(newest[0].id))
    timed("search: a common word", lambda: reader.runs(RunFilter(text="word7"), limit=50))
    timed("search: a beginning", lambda: reader.runs(RunFilter(text="word77*"), limit=50))
    timed("search: two words", lambda: reader.runs(RunFilter(text="word7 word9"), limit=50))
    timed("search: a word in every run", lambda: reader.runs(RunFilter(text="gpt"), limit=50))
    timed("an id by its ending", lambda: reader.find(newest[7].id[-8:]), times=5)
    timed("counts by type", reader.counts, times=5)
    timed("stats", reader.stats, times=5)


if __name__ == "__main__":
    main()
