"""What pages ask of a store: sums of traces, threads, feedback, figures over time; always of one project."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanloom.clock import iso
from spanloom.records import Chat, Feedback, Outcome, RunEnd, RunStart, TokenUsage
from spanloom.store import Incoming, Reader, Store, figures, sql, views

SECOND = 1_000_000
BASE_US = 1_760_000_000 * SECOND


def run(name: str, begin_us: int, took_us: int, *, tokens: int | None = None, **more: Any) -> list[Any]:
    """A finished run's two records."""
    shared = {"run_id": name, "type": more.pop("type", "llm"), "name": name, "root_run_id": more.pop("root", name),
              "parent_run_id": more.pop("parent", None), "user_id": more.pop("user", None)}  # fmt: skip
    usage = None if tokens is None else TokenUsage(prompt=tokens, completion=0)
    return [
        RunStart(event_id=f"{name}.s", timestamp=iso(begin_us * 1000), **shared),
        RunEnd(event_id=f"{name}.e", timestamp=iso((begin_us + took_us) * 1000), started_at=iso(begin_us * 1000),
               tokens_usage=usage, **shared, **more),
    ]  # fmt: skip


_opened: list[Reader] = []


@pytest.fixture(autouse=True)
def _readers_are_closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def stored(path: Path, records: list[Any], project: str = "default") -> Reader:
    """A reader of a store with these records, closed when the test ends."""
    with Store(path) as store:
        store.write([Incoming(record, project=project) for record in records])
    _opened.append(Reader(path))
    return _opened[-1]


def test_a_trace_adds_up_its_runs_and_counts_tokens_once(tmp_path: Path) -> None:
    """A run whose children report tokens adds none of its own."""
    records = [
        *run("top", BASE_US, SECOND, type="agent", tokens=30, cost=9.0),
        *run("a", BASE_US, SECOND, parent="top", root="top", tokens=10, cost=0.5),
        *run("b", BASE_US, SECOND, parent="top", root="top", tokens=20, cost=0.25, status="error"),
    ]
    found = views.trace_sums(stored(tmp_path / "s.db", records), ["top", "absent"])
    assert found == {"top": views.TraceSum(runs=3, errors=1, tokens=30, cost=0.75)}


def test_threads_come_by_their_newest_run_and_page_without_gaps(tmp_path: Path) -> None:
    """The cursor leads through all of them, each once."""
    records = [
        Chat(event_id=f"{number}-{turn}", timestamp=iso(BASE_US * 1000 + turn), run_id=f"r{number}-{turn}",
             parent_run_id=f"thread-{number}", type="chat")
        for turn in range(2) for number in range(7)
    ]  # fmt: skip
    reader = stored(tmp_path / "s.db", records)
    names: list[str] = []
    before = None
    while page := views.threads(reader, before=before, limit=3):
        names += [thread.id for thread in page]
        before = page[-1].newest
    assert names == [f"thread-{number}" for number in range(6, -1, -1)]


def test_feedback_comes_with_its_run_by_id_or_key(tmp_path: Path) -> None:
    """And alone, when the run has not arrived."""
    from msgspec import Raw

    records = [
        *run("one", BASE_US, 1),
        Feedback(event_id="f1", timestamp=iso(BASE_US * 1000), run_id="one", feedback=Raw(b'{"thumb":"up"}')),
        Feedback(event_id="f2", timestamp=iso(BASE_US * 1000), key="nobody", feedback=Raw(b'{"score":1}')),
    ]
    newest, oldest = views.newest_feedback(stored(tmp_path / "s.db", records))
    assert (newest.entry.key, newest.run) == ("nobody", None)
    assert oldest.run is not None
    assert (oldest.run.id, oldest.entry.feedback) == ("one", {"thumb": "up"})


def test_what_changed_is_told_by_trace_and_only_once(tmp_path: Path) -> None:
    """Asking again from the moment that was returned brings nothing."""
    path = tmp_path / "s.db"
    reader = stored(path, [*run("top", BASE_US, 1), *run("inner", BASE_US, 1, parent="top", root="top")])
    since, traces = views.touched_since(reader, 0)
    assert traces == ["top"]
    assert views.touched_since(reader, since) == (since, [])
    assert views.last_touch(reader) == since
    time.sleep(0.002)
    with Store(path) as store:
        store.write([Incoming(record) for record in run("late", BASE_US, 1)])
    assert views.touched_since(reader, since)[1] == ["late"]


def test_another_projects_runs_are_never_seen(tmp_path: Path) -> None:
    """Each question is of one project (S38)."""
    path = tmp_path / "s.db"
    stored(path, run("mine", BASE_US, SECOND, user="ada"), project="one")
    reader = stored(path, [
        *run("theirs", BASE_US, SECOND, user="eve"),
        Chat(event_id="c", timestamp=iso(BASE_US * 1000), run_id="c", parent_run_id="their-thread", type="chat"),
        Feedback(event_id="f", timestamp=iso(BASE_US * 1000), run_id="theirs"),
        Outcome(event_id="o", timestamp=iso(BASE_US * 1000), name="won", idempotency_key="o"),
    ], project="two")  # fmt: skip
    span = {"since_us": BASE_US - SECOND, "until_us": BASE_US + 60 * SECOND}
    assert views.trace_sums(reader, ["theirs"], project="one") == {}
    assert views.threads(reader, project="one") == []
    assert views.newest_feedback(reader, project="one") == []
    assert views.usage_series(reader, **span, width_us=SECOND, project="one") == []
    assert [row.value for row in figures.groups(reader, "user", **span, project="one")] == ["ada"]
    assert sum(row.runs for row in figures.series(reader, **span, width_us=SECOND, project="one")) == 1
    assert views.touched_since(reader, 0, project="one")[1] == ["mine"]
    assert views.threads(reader, project="no such project") == []


def test_only_known_columns_can_be_grouped_by(tmp_path: Path) -> None:
    """Whatever else is asked for is an error before any query (S13)."""
    reader = stored(tmp_path / "s.db", run("one", BASE_US, 1))
    with pytest.raises(KeyError):
        figures.groups(reader, "name; drop table runs", since_us=0, until_us=1)


def same_digits(shown: int | None, exact: int) -> bool:
    """Whether they are as long and begin with the same two digits, which is what is promised of percentiles."""
    return (len(str(shown)), str(shown)[:2]) == (len(str(exact)), str(exact)[:2])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9_999), st.integers(1, 10**6), st.booleans()), min_size=1, max_size=40))
@example([(0, took_us, took_us % 3 == 0) for took_us in range(1, 41)])  # where 95 percent is not the longest
def test_figures_are_those_of_counting_by_hand(
    tmp_path_factory: pytest.TempPathFactory, given_runs: list[tuple[int, int, bool]]
) -> None:
    """Slots, failures, tokens and percentiles (the smallest duration that at least this share stays within)."""
    records: list[Any] = []
    slots: dict[int, list[tuple[int, bool]]] = {}
    for number, (offset_ms, took_us, failed) in enumerate(given_runs):
        records += run(f"r{number}", BASE_US + offset_ms * 1000, took_us, tokens=3, status="error" if failed else "ok")
        slots.setdefault(offset_ms // 2000, []).append((took_us, failed))
    reader = stored(tmp_path_factory.mktemp("figures") / "s.db", records)
    span = {"since_us": BASE_US, "until_us": BASE_US + 10 * SECOND}
    found = figures.series(reader, **span, width_us=2 * SECOND)
    assert [row.slot for row in found] == sorted(slots)
    for row in found:
        took = sorted(duration for duration, _ in slots[row.slot or 0])
        assert row.runs == len(took)
        assert row.errors == sum(failed for _, failed in slots[row.slot or 0])
        assert row.prompt == 3 * len(took)
        assert same_digits(row.p50_us, took[math.ceil(len(took) * 0.5) - 1])
        assert same_digits(row.p95_us, took[math.ceil(len(took) * 0.95) - 1])
    (whole,) = figures.groups(reader, "type", **span)
    everything = sorted(took_us for _, took_us, _ in given_runs)
    assert (whole.value, whole.runs) == ("llm", len(given_runs))
    assert same_digits(whole.p50_us, everything[math.ceil(len(everything) * 0.5) - 1])
    assert same_digits(whole.p95_us, everything[math.ceil(len(everything) * 0.95) - 1])
    reader.close()


@pytest.mark.parametrize(
    ("name", "index"),
    [("trace_sums", "runs_by_root"), ("threads", "runs_by_thread"), ("touched_since", "runs_by_touch"),
     ("last_touch", "runs_by_touch"), ("newest_feedback", "INTEGER PRIMARY KEY"),
     ("run_by_key", "runs_by_key"), ("usage_series", "usage_by_time")],
)  # fmt: skip
def test_no_question_reads_the_whole_table(tmp_path: Path, name: str, index: str) -> None:
    """Each is answered through the index that was made for it (S29)."""
    reader = stored(tmp_path / "s.db", run("one", BASE_US, 1))
    values = {
        "project": 1,
        "roots": "[]",
        "before": 9,
        "most": 9,
        "since_us": 0,
        "until_us": 9,
        "width_us": 1,
        "type": None,
    }
    query = sql.queries("viewing.sql")[name]
    connection = sqlite3.connect(reader.path)
    given = values if ":project" in query else (1, "key") if "?" in query else ()
    plan = [row[3] for row in connection.execute(f"explain query plan {query}", given)]
    connection.close()
    assert any(index in step for step in plan), plan
    assert not any(
        step.startswith(("SCAN runs", "SCAN feedback", "SCAN usage_events")) and "INDEX" not in step for step in plan
    )
