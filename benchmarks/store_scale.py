"""How the store does with a million runs: ``python -m benchmarks.store_scale [RUNS] [DIRECTORY]``.

Writes RUNS runs (1,000,000 unless said otherwise; `scale_runs`) in batches of 500 records, fills the search index, and
prints the median and the worst for each question of the goals and for each page of the viewer, in milliseconds; then
the same while `spanloom serve` takes 2,000 events a second into that store from a third process. About 3 KB of disk
for each run. In a DIRECTORY the store is kept, and used again by the next call.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from benchmarks.scale_runs import traces
from spanloom.store import Reader, RunFilter, Store
from support.serving import Serving

DAY_US = 86_400_000_000


def main() -> None:
    """Fill and ask."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        ask_all(Path(sys.argv[2]), count)
        return
    with tempfile.TemporaryDirectory() as directory:
        ask_all(Path(directory), count)


def ask_all(directory: Path, count: int) -> None:
    """Both ways, quiet and under load."""
    path = directory / "scale.db"
    if not path.exists():
        directory.mkdir(exist_ok=True)
        fill(path, count)
    began = time.perf_counter()
    with Store(path) as store:
        store.open()
    print(f"opened in {time.perf_counter() - began:.1f} s, schema brought up to date", flush=True)
    ask(path)
    with Serving(path) as serving:
        ask_pages(serving)
        print("while 2,000 events/s come in:", flush=True)
        under_load(serving, lambda: ask(path))
        under_load(serving, lambda: ask_pages(serving))


def fill(path: Path, count: int) -> None:
    """Make the store."""
    with Store(path) as store:
        began, written, pending = time.perf_counter(), 0, []
        for trace in traces(count):
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


def under_load(serving: Serving, asking: Callable[[], None]) -> None:
    """Ask while events come in, as many as a second has place for, until all is asked."""
    feeding = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.http_ingest", "feed", str(serving.port), "90", "2000"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert feeding.stdout is not None and feeding.stdout.readline() == "ready\n"
        asking()
        print(feeding.communicate(timeout=300)[0], flush=True)
    finally:
        feeding.kill()
        feeding.wait()


def timed(label: str, ask: Callable[[], object], times: int = 10) -> None:
    """Print the median and the worst of some askings."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
        if sum(took) > 10_000:
            break
    print(f"{label:40} {statistics.median(took):8.1f} ms   worst {max(took):8.1f} ms", flush=True)


def ask(path: Path) -> None:
    """Every question of the goals."""
    reader = Reader(path, deadline_seconds=30)
    newest = reader.runs(RunFilter(type="agent"), limit=200).runs
    found = reader.runs(RunFilter(type="agent"), limit=10_000).runs
    big = next(run for run in found if len(reader.related(run.id)) >= 1000)
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
    timed("search: a word in every run", lambda: reader.runs(RunFilter(text="chat"), limit=50))
    timed("an id by its ending", lambda: reader.find(newest[7].id[-8:]), times=5)
    timed("counts by type", reader.counts, times=5)
    timed("stats", reader.stats, times=5)
    reader.close()


def ask_pages(serving: Serving) -> None:
    """What the pages of the viewer ask for, over HTTP."""
    now_us = time.time_ns() // 1000
    newest = serving.client.get("/view/runs", params={"user": "u5"}).json()["runs"][0]["run"]["id"]
    pages: list[tuple[str, dict[str, object]]] = [
        ("runs", {}),
        *(("runs", {"view": view, name: value})
          for view in ("traces", "runs")
          for name, value in (("type", "agent"), ("type", "llm"), ("status", "error"), ("status", "killed"),
                              ("tag", "beta"), ("tag", "seldom"), ("tag", "never"), ("user", "u5"), ("customer", "c7"),
                              ("model", "gpt-4o"), ("thumb", "down"), ("name", "search"), ("min_ms", 60_000),
                              ("min_cost", "0.02"), ("since_us", now_us - DAY_US), ("q", "word7"),
                              ("sort", "started"), ("sort", "duration"), ("sort", "tokens"), ("sort", "cost"))),
        ("runs", {"q": "word7", "type": "tool", "user": "u5"}),
        ("runs", {"sort": "tokens", "model": "gpt-4o", "view": "runs"}),
        ("runs", {"sort": "tokens", "user": "u5", "view": "traces"}),
        ("runs", {"sort": "cost", "status": "error", "view": "runs"}),
        ("runs", {"tag": "seldom", "status": "error", "view": "traces"}),
        ("trace", {"id": newest}), ("run", {"id": newest}), ("events", {"id": newest}),
        ("threads", {}), ("thread", {"id": "t5"}), ("feedback", {}),
        *(("usage", {"since_us": now_us - days * DAY_US, "by": by})
          for days, by in ((1, "model"), (7, "model"), (30, "model"), (30, "user"), (30, "customer"))),
        ("usage", {"since_us": now_us - 30 * DAY_US, "type": "llm"}),
        ("delivery", {}), ("health", {}),
    ]  # fmt: skip
    for page, query in pages:
        timed(f"/view/{page}?{urlencode(query)}"[:60], lambda page=page, query=query: _get(serving, page, query), 3)


def _get(serving: Serving, page: str, query: dict[str, object]) -> None:
    answer = serving.client.get(f"/view/{page}", params=query)
    if answer.status_code != 200:
        print(f"   {answer.status_code}: {answer.text[:100]}", flush=True)


if __name__ == "__main__":
    main()
