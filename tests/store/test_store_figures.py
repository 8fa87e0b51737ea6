"""Figures over time: from the sums of hours or from the runs, the same answer at any moment."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_events import put

from spanloom.clock import iso
from spanloom.records import RunEnd, RunStart, TokenUsage
from spanloom.store import Incoming, Reader, Retention, Store, figures, sql
from spanloom.store.connection import open_writer
from spanloom.store.hours import HOUR_US, SUMS

BASE_US = 1_750_000_000_000_000 // HOUR_US * HOUR_US
SPAN = {"since_us": BASE_US, "until_us": BASE_US + 12 * HOUR_US}


def run(number: int, *, project: str = "default", **more: Any) -> list[Incoming]:
    """A run of a kind that its number decides, somewhere in the twelve hours."""
    chance = random.Random(number)
    began_us = more.pop("began_us", BASE_US + chance.randrange(12 * HOUR_US))
    shared = {"run_id": f"r{number}", "type": chance.choice(("llm", "tool", None)), "user_id": f"u{number % 3}"}
    end = RunEnd(
        event_id=f"e{number}", timestamp=iso((began_us + chance.randrange(10**7)) * 1000),
        started_at=iso(began_us * 1000), status=chance.choice(("ok", "error")), model=chance.choice(("m", "n", None)),
        tokens_usage=chance.choice((None, TokenUsage(prompt=number, completion=1))), cost=chance.choice((None, 0.25)),
        **{**shared, **more},
    )  # fmt: skip
    start = RunStart(event_id=f"s{number}", timestamp=iso(began_us * 1000), **shared)
    return [Incoming(start, project=project), Incoming(end, project=project)]


def answers(path: Path, project: str = "default") -> list[Any]:
    """All questions at once, for whole hours and for odd spans."""
    found: list[Any] = []
    with Reader(path) as reader:
        for since_us, until_us in ((BASE_US, BASE_US + 12 * HOUR_US), (BASE_US + 1, BASE_US + 5 * HOUR_US + 7)):
            for kind in (None, "llm"):
                span: dict[str, Any] = {"since_us": since_us, "until_us": until_us, "type": kind, "project": project}
                found += [figures.groups(reader, by, **span) for by in figures.GROUPS]
                found += [figures.series(reader, **span, width_us=width) for width in (HOUR_US, 3 * HOUR_US, 10**9)]
    return found


def fresh(path: Path) -> int:
    """How many hours are summed."""
    with sqlite3.connect(path) as connection:
        count = int(connection.execute("select count(*) from hours where stale = 0").fetchone()[0])
    connection.close()
    return count


def left_alone(path: Path) -> None:
    """Let a minute pass for every hour."""
    connection = open_writer(path, busy_seconds=5)
    connection.execute("update hours set touched_us = touched_us - 61000000 where stale = 1")
    connection.close()


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_sums_change_no_answer(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever was summed before or after what was written, again, late or in another project."""
    folder = tmp_path_factory.mktemp("figures")
    numbers = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=40))
    projects = ("default", "other")
    with Store(folder / "summed.db") as summed, Store(folder / "plain.db") as plain:
        for number in numbers:
            batch = run(number, project=projects[number % 2])
            part = data.draw(st.sampled_from((batch, batch[:1], batch[1:])))
            for store in (summed, plain):
                store.write(part)
            if data.draw(st.integers(0, 5)) == 0:
                left_alone(summed.path)
                summed.sum_pending()
        left_alone(summed.path)
        summed.sum_pending()
        assert fresh(summed.path) > 0 and fresh(plain.path) == 0
    for project in projects:
        assert answers(folder / "summed.db", project) == answers(folder / "plain.db", project)


def test_what_is_pruned_is_in_no_sum(tmp_path: Path) -> None:
    """An hour whose runs went is summed anew, and forgotten when it is empty."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.write([item for number in range(60) for item in run(number)])
        left_alone(path)
        store.sum_pending()
        connection = open_writer(path, busy_seconds=5)
        connection.execute("update runs set touched_us = 1 where seq % 2")
        connection.close()
        assert store.prune(Retention(max_bytes=None, max_age_seconds=3600)).runs == 30
        with Reader(path) as reader:
            assert sum(row.runs for row in figures.series(reader, **SPAN, width_us=HOUR_US)) == 30
        left_alone(path)
        store.sum_pending()
        assert fresh(path) > 0
        with Reader(path) as reader:
            assert sum(row.runs for row in figures.series(reader, **SPAN, width_us=HOUR_US)) == 30
        store.prune(Retention(max_bytes=1, max_age_seconds=None))
        left_alone(path)
        store.sum_pending()
    with sqlite3.connect(path) as connection:
        assert connection.execute("select (select count(*) from hours), (select count(*) from figures)").fetchone() == (
            0,
            0,
        )
    connection.close()


def test_an_hour_that_changes_while_it_is_written_stays_stale(tmp_path: Path) -> None:
    """The steps notice what came between them, and no half of an hour is ever shown."""
    from spanloom.store import hours

    path = tmp_path / "s.db"
    with Store(path) as store:
        many = [item for number in range(1500) for item in run(number, began_us=BASE_US + number, user_id=f"u{number}")]
        store.write(many)
        left_alone(path)
        connection = open_writer(path, busy_seconds=5)
        sums = hours.sum_hour(connection, store._now_us())
        assert sums is not None and len(sums.rows) > 1000
        step: Callable[..., int | None] = hours.keep
        assert step(connection, sums, 0) == 1000
        store.write(run(1501, began_us=BASE_US + 5))
        assert step(connection, sums, 1000) is None
        connection.close()
        assert fresh(path) == 0
        with Reader(path) as reader:
            assert sum(row.runs for row in figures.groups(reader, "user", **SPAN, limit=9999)) == 1501
        left_alone(path)
        store.sum_pending()
        assert fresh(path) == 1
    with Reader(path) as reader:
        assert sum(row.runs for row in figures.groups(reader, "user", **SPAN, limit=9999)) == 1501


def test_an_hour_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    """Nothing is summed while runs still come for it."""
    with Store(tmp_path / "s.db") as store:
        store.write(run(1))
        store.sum_pending()
        assert fresh(store.path) == 0


def test_a_collector_sums_behind_its_commits(tmp_path: Path) -> None:
    """The thread does it, from the moment of opening on, for what an earlier process left."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.write([item for number in range(30) for item in run(number)])
    left_alone(path)
    with Store(path, background=True) as store:
        store.open()
        done = threading.Event()
        for _ in range(400):
            if fresh(path) == len({(BASE_US + random.Random(n).randrange(12 * HOUR_US)) // HOUR_US for n in range(30)}):
                break
            done.wait(0.05)
        else:
            pytest.fail("the hours were not summed")


def test_a_store_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """Before, it can be read all the same; after, its runs are all in the figures, and are found by type and status."""
    path = tmp_path / "s.db"
    connection = open_writer(path, busy_seconds=5, scripts=[sql.text("schema.sql")])
    connection.execute("insert into projects (name) values ('default')")
    for number in range(50):
        began_us = (BASE_US if number else -5_000_000_000) + number * HOUR_US // 7
        connection.execute(
            "insert into runs (project, run_id, type, status, started_us, duration_us, origins, received_us, "
            "touched_us) values (1, ?, 'llm', 'ok', ?, ?, '|', 1, 1)", (f"r{number}", began_us, 1000 + number),
        )  # fmt: skip
    connection.close()
    before = answers(path)
    assert sum(row.runs for row in before[0]) == 49
    with Store(path) as store:
        store.open()
        assert answers(path) == before
        store.sum_pending()
        assert fresh(path) == 9  # eight of the span, and one before 1970
        assert answers(path) == before
        put(store, run(1)[1].record)
    with Reader(path) as reader:
        assert reader.stats().schema_version == 2
        assert [(row.type, row.status, row.count) for row in reader.counts()][-1] == ("llm", "ok", 50)


def test_figures_are_counted_through_the_index_of_starts(tmp_path: Path) -> None:
    """And not by reading the whole table (S29)."""
    with Store(tmp_path / "s.db") as store:
        store.write(run(1))
    connection = sqlite3.connect(tmp_path / "s.db")
    values = {"project": 1, "since_us": 0, "until_us": 9}
    plan = connection.execute(f"explain query plan select model, {SUMS} group by 1", values).fetchall()
    assert "USING INDEX runs_by_start" in plan[0][3]
    connection.close()
