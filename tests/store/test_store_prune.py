"""Pruning: by age and by size, oldest first, by the time of arrival, giving the disk back (S30)."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_events import at, chat, end, feedback, put, start

from spanloom.records import LossReport, Outcome
from spanloom.store import Reader, Retention, Store, sql
from spanloom.store.connection import open_writer, retry_busy
from spanloom.store.prune import live_bytes

DAY_SECONDS = 86400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def age(path: Path, days: float, *run_ids: str) -> None:
    """Let these runs (and events without a run, when none is named) have come that much earlier."""
    connection = open_writer(path, busy_seconds=5)
    shift_us = int(days * DAY_SECONDS * 1_000_000)
    for run_id in run_ids:
        retry_busy(lambda run_id=run_id: connection.execute(
            "update runs set touched_us = touched_us - ?, received_us = received_us - ? where run_id = ?",
            (shift_us, shift_us, run_id)), 5)  # fmt: skip
    if not run_ids:
        connection.execute("update events set received_us = received_us - ? where run is null", (shift_us,))
    connection.close()


def left(path: Path) -> set[str]:
    with Reader(path) as reader:
        return {run.id for run in reader.runs(limit=10_000).runs}


def test_old_runs_go_with_all_that_is_theirs(path: Path) -> None:
    """Events, feedback and indexed text go with a run; what is newer stays whole."""
    with Store(path) as store:
        put(store, start("old", input="needle"), end("old"), feedback(1, {"thumb": "up"}, run_id="old"), start("new"))
        store.index_pending()
        age(path, 40, "old")
        pruned = store.prune(Retention(max_bytes=None, max_age_seconds=30 * DAY_SECONDS))
        assert (pruned.runs, pruned.events) == (1, 3)
        assert put(store, start("old")) != []
    assert left(path) == {"new", "old"}
    with Reader(path) as reader:
        again = reader.run("old")
        assert again is not None and again.run.feedback == {} and again.run.status == "running"
        assert reader.stats().feedback == 0


def test_nothing_younger_than_the_limit_goes_by_age(path: Path) -> None:
    """Client clocks have no say: a run of 1970 that arrived today stays (S28)."""
    with Store(path) as store:
        from msgspec import structs

        ancient = structs.replace(start("ancient"), timestamp="1970-01-01T00:00:00Z")
        put(store, ancient, start("now"))
        assert store.prune(Retention(max_bytes=None, max_age_seconds=DAY_SECONDS)).runs == 0
    assert left(path) == {"ancient", "now"}


def test_a_thread_lives_as_long_as_its_exchanges(path: Path) -> None:
    """A chat of today keeps the thread of last month."""
    with Store(path) as store:
        put(store, chat("c1", "t", 1, "user", "long ago"))
        age(path, 40, "c1", "t")
        put(store, chat("c2", "t", 2, "user", "today"))
        store.prune(Retention(max_bytes=None, max_age_seconds=30 * DAY_SECONDS))
    assert left(path) == {"c2", "t"}


def test_a_full_store_loses_its_oldest_and_shrinks(path: Path) -> None:
    """Over the size the oldest go, the newest stay, and the file gives its pages back (S30)."""
    with Store(path) as store:
        for number in range(40):
            put(store, *(start(f"r{number}-{n}", input="x" * 4000) for n in range(25)))
        store.index_pending()
        limit = 1_000_000
        pruned = store.prune(Retention(max_bytes=limit, max_age_seconds=None))
        assert pruned.runs > 500 and pruned.size_bytes <= limit
        connection = open_writer(path, busy_seconds=5)
        assert live_bytes(connection) <= limit
        connection.close()
    remaining = left(path)
    assert "r39-24" in remaining and "r0-0" not in remaining
    assert path.stat().st_size <= 1.2 * limit


def test_a_run_with_very_many_events_goes_in_steps(path: Path) -> None:
    """No step removes more than its share, and in the end all is gone."""
    from spanloom.records import RunPoint

    with Store(path) as store:
        points = [RunPoint(event_id=f"p{n}", timestamp=at(n), run_id="big", label="x") for n in range(4500)]
        put(store, start("big"), *points)
        age(path, 40, "big")
        pruned = store.prune(Retention(max_bytes=None, max_age_seconds=30 * DAY_SECONDS))
        assert (pruned.runs, pruned.events) == (1, 4501)
    with Reader(path) as reader:
        assert reader.stats().events == 0


def test_events_without_a_run_go_by_age_too(path: Path) -> None:
    """Feedback whose run never came, usage events and loss reports."""
    with Store(path) as store:
        put(
            store,
            feedback(1, {"thumb": "up"}, run_id="never came"),
            Outcome(event_id="o", timestamp=at(0), name="done", idempotency_key="k"),
            LossReport(event_id="l", timestamp=at(0), destination="d", lost={"full": 1}),
        )
        age(path, 40)
        assert store.prune(Retention(max_bytes=None, max_age_seconds=30 * DAY_SECONDS)).events == 3
    with Reader(path) as reader:
        stats = reader.stats()
        assert (stats.events, stats.feedback, stats.usage_events, reader.losses()) == (0, 0, 0, [])


def test_writing_goes_on_while_pruning(path: Path) -> None:
    """One thread prunes, another writes: nothing new is lost (S18, S30)."""
    import threading

    with Store(path) as store:
        for number in range(10):
            put(store, *(start(f"old{number}-{n}", input="x" * 500) for n in range(50)))
        age(path, 40, *(f"old{number}-{n}" for number in range(10) for n in range(50)))
        pruning = threading.Thread(target=store.prune, args=(Retention(max_age_seconds=30 * DAY_SECONDS),))
        pruning.start()
        for number in range(40):
            put(store, start(f"new{number}"))
        pruning.join(60)
        assert not pruning.is_alive()
    assert left(path) == {f"new{number}" for number in range(40)}


@pytest.mark.parametrize(
    ("name", "index"),
    [("runs_older", "runs_by_touch"), ("runs_oldest", "runs_by_touch"), ("oldest_touch", "runs_by_touch"),
     ("loose_older", "events_loose"), ("forget_events", "events_by_run"), ("feedback_of_run", "feedback_by_run")],
)  # fmt: skip
def test_no_step_looks_through_a_table(path: Path, name: str, index: str) -> None:
    """A step among millions of runs costs what it removes, and not what stays (S30)."""
    with Store(path) as store:
        put(store, start("r"))
    connection = open_writer(path, busy_seconds=5)
    query = sql.queries("pruning.sql")[name]
    plan = [row["detail"] for row in connection.execute(f"explain query plan {query}", (1,) * query.count("?"))]
    assert index in " ".join(plan)
    assert not [line for line in plan if line.startswith("SCAN") and "INDEX" not in line]
    connection.close()
