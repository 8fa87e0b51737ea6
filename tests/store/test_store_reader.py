"""Reading: the right runs, of one project only, in pages that stay put, within a deadline."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_events import T0_US, at, chat, end, feedback, put, raw, start

from spanloom.errors import StoreError
from spanloom.records import ErrorInfo, LossReport, Outcome, RunPoint, TokenUsage
from spanloom.store import Reader, RunFilter, Store
from spanloom.store.connection import open_reader
from spanloom.store.filters import runs_query


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    with Reader(path) as opened:
        yield opened


def ids(reader: Reader, wanted: RunFilter | None = None, **more: object) -> list[str]:
    return [run.id for run in reader.runs(wanted, **more).runs]  # type: ignore[arg-type]


def test_newest_first_in_pages_that_stay_put(store: Store, reader: Reader) -> None:
    """Walking the pages while runs come in shows each older run once (S29)."""
    put(store, *(start(f"r{number}") for number in range(25)))
    seen, after = [], None
    for _ in range(3):
        page = reader.runs(limit=10, after=after)
        seen += [run.id for run in page.runs]
        after = page.next
        put(store, start(f"late{len(seen)}"))
    assert after is None
    assert seen == [f"r{number}" for number in reversed(range(25))]


def test_every_filter_finds_what_it_should(store: Store, reader: Reader) -> None:
    """One run for each condition, and one that fulfils none."""
    put(
        store,
        start("plain"),
        start("typed", type="llm"),
        end("failed", status="error", error=ErrorInfo(message="no")),
        start("named", name="n"),
        start("user", user_id="u"),
        start("thread", thread_id="t"),
        start("customer", customer="c"),
        end("model", type="agent", model="m"),
        start("child", parent_run_id="plain"),
        start("keyed", key="k"),
        start("tagged", tags=['odd "tag"', "b"]),
        start("late", 500),
        feedback(1, {"thumb": "down"}, run_id="plain"),
    )
    expected = {
        "typed": RunFilter(type="llm"), "failed": RunFilter(status="error"), "named": RunFilter(name="n"),
        "user": RunFilter(user_id="u"), "thread": RunFilter(thread_id="t"), "customer": RunFilter(customer="c"),
        "model": RunFilter(model="m"), "child": RunFilter(parent_id="plain"), "keyed": RunFilter(key="k"),
        "tagged": RunFilter(tag='odd "tag"'), "late": RunFilter(since_us=T0_US + 400_000_000),
        "plain": RunFilter(thumb="down"),
    }  # fmt: skip
    for run_id, wanted in expected.items():
        assert ids(reader, wanted) == [run_id], wanted
    assert ids(reader, RunFilter(types=("llm", "tool"))) == ["typed"]
    assert "late" not in ids(reader, RunFilter(until_us=T0_US + 400_000_000))
    assert "child" not in ids(reader, RunFilter(top=True)) and "plain" in ids(reader, RunFilter(top=True))


def test_what_begins_a_trace_is_no_thread_and_hangs_below_no_run(store: Store, reader: Reader) -> None:
    """A chat below its thread and an orphan count; threads and inner runs do not."""
    put(store, chat("c", "t", 1, "user", "hi"), start("a", parent_run_id="c"), start("orphan", parent_run_id="gone"))
    assert set(ids(reader, RunFilter(top=True))) == {"c", "orphan"}
    assert reader.latest() == "orphan"


def test_orders_other_than_arrival(store: Store, reader: Reader) -> None:
    """By start, duration, tokens and cost, both ways; anything else is refused before SQL sees it (S13)."""
    for number, run_id in enumerate(["b", "a", "c"]):
        usage = TokenUsage(prompt=number, completion=number)
        started = {"b": 5, "a": 1, "c": 3}[run_id]
        put(store, end(run_id, started + 1 + number, started_at=at(started), tokens_usage=usage, cost=float(number)))
    assert ids(reader, order="started", descending=False) == ["a", "c", "b"]
    for order in ("duration", "tokens", "cost"):
        assert ids(reader, order=order) == ["c", "a", "b"]
    assert ids(reader, order="started", limit=1, offset=1) == ["c"]
    with pytest.raises(KeyError):
        reader.runs(order="runs.seq; drop table runs")  # type: ignore[arg-type]


NASTY = [
    "' or 1=1 --", '"; drop table runs; --', "%", "_", "\\", "*", "\0", "NEAR(", "a AND", "name:x", '"', "-", "(", "{}",
    "x' union select payload from events --", "^", "col : *", "\ud800", "é" * 500,
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_text_is_only_ever_a_value(store: Store, reader: Reader, text: str) -> None:
    """No condition, search or id is syntax, for SQL or for the index (S13)."""
    put(store, start("r", name="x", input="y"))
    store.index_pending()
    for name in ("type", "status", "name", "user_id", "thread_id", "customer", "model", "key", "tag", "thumb"):
        assert ids(reader, RunFilter(**{name: text})) == []
    reader.runs(RunFilter(text=text))
    assert reader.find(text) == [] and reader.run(text) is None and reader.tree(text).roots == []
    assert reader.related(text) == [] and reader.feedback(text) == [] and reader.runs(project=text).runs == []
    assert ids(reader) == ["r"]


_maybe = st.none() | st.sampled_from(["x", "y"])
_filters = st.builds(
    RunFilter, type=st.none() | st.sampled_from(["agent", "llm"]), name=_maybe, user_id=_maybe, customer=_maybe,
    parent_id=st.none() | st.sampled_from(["r0", "r1"]), key=_maybe, tag=_maybe, text=_maybe,
    thumb=st.none() | st.just("up"), top=st.booleans(), since_us=st.none() | st.just(0),
)  # fmt: skip


def test_no_question_shows_another_projects_runs() -> None:
    """Two projects with equal ids, keys, threads and feedback; random filters and every other question (S38)."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        with Store(path) as store, Reader(path) as reader:
            for project in ("mine", "theirs"):
                for number in range(6):
                    word = "xy"[number % 2]
                    shared = {"name": word, "user_id": word, "customer": word, "key": word, "tags": [word]}
                    above = f"r{number - 1}" if number else None
                    said = {"thumb": "up", "comment": project}
                    put(store, start(f"r{number}", parent_run_id=above, root_run_id="r0", input=word, **shared),
                        end(f"r{number}", output=project), feedback(number, said, key=word),
                        Outcome(event_id=f"o{number}", timestamp=at(0), name=project, idempotency_key=f"{number}"),
                        LossReport(event_id=f"l{number}", timestamp=at(0), destination=project, lost={"full": 1}),
                        project=project)  # fmt: skip
            put(store, start("only theirs"), project="theirs")
            store.index_pending()

            @settings(max_examples=150, deadline=None)
            @given(_filters)
            def check(wanted: RunFilter) -> None:
                found = reader.runs(wanted, project="mine").runs
                assert all(run.project == "mine" and run.feedback.get("comment") in (None, "mine") for run in found)
                assert all(bytes(detail.content.output or b"") == b'"mine"' for detail in reader.details(found))

            check()
            assert reader.run("only theirs", project="mine") is None
            assert reader.find("theirs", project="mine") == []
            tree = reader.tree("r5", project="mine")
            assert tree.size == 6 and bytes(tree.roots[0].content.output) == b'"mine"'  # type: ignore[union-attr, arg-type]
            assert {entry.feedback["comment"] for entry in reader.feedback("r0", project="mine")} == {"mine"}
            assert {row.name for row in reader.usage_events(project="mine")} == {"mine"}
            assert {row.name for row in reader.usage_sums(project="mine")} == {"mine"}
            assert {loss.destination for loss in reader.losses(project="mine")} == {"mine"}
            assert sum(count.count for count in reader.counts(project="mine")) == 6
            assert len(reader.related("r0", project="mine")) == 6
            assert reader.runs(project="nobody's").runs == [] and reader.tree("r0", project="nobody's").roots == []


def test_ids_are_found_by_beginning_and_by_end(store: Store, reader: Reader) -> None:
    """Whole, prefix, suffix, in any case; what means several gives them all."""
    one, two = "0199c82c-c000-7000-878b-fae2414c343c", "0199c82c-c000-7000-878b-fae2414c9999"
    put(store, start(one), start(two), start("My-Run"))
    assert reader.find(one) == [one]
    assert reader.find("414c343c") == [one] == reader.find("414C343C")
    assert set(reader.find("0199c82c")) == {one, two}
    assert reader.find("My-") == ["My-Run"] == reader.find("-Run")
    assert reader.find("nothing") == [] == reader.find("")


def test_search_finds_words_in_all_that_was_said(store: Store, reader: Reader) -> None:
    """Names, inputs, outputs, messages and errors; every word must be there; a star goes on; accents do not matter."""
    put(
        store,
        start("asked", input=[{"role": "system", "content": "long"}, {"role": "user", "content": "Wetter in Zürich"}]),
        end("answered", output={"deep": ["it is sunny", 42]}),
        chat("talk", "t", 1, "user", "umbrella please"),
        end("broke", status="error", error=ErrorInfo(message="quota exceeded", type="RateLimit")),
    )
    assert reader.stats().search_lag == 5 and ids(reader, RunFilter(text="sunny")) == []
    assert store.index_pending() == 0 and reader.stats().search_lag == 0
    for text, run_id in (("zurich wetter", "asked"), ("SUNNY", "answered"), ("42", "answered"), ("umbr*", "talk"),
                         ("quota", "broke"), ("ratelimit", "broke")):  # fmt: skip
        assert ids(reader, RunFilter(text=text)) == [run_id], text
    assert ids(reader, RunFilter(text="umbr")) == [] == ids(reader, RunFilter(text="sunny umbrella"))
    put(store, end("asked", output="and now fog"))
    assert reader.stats().search_lag == 1
    store.index_pending()
    assert ids(reader, RunFilter(text="fog wetter")) == ["asked"]


def test_a_long_text_is_indexed_to_its_cap(store: Store, reader: Reader) -> None:
    """The latest of a long input is found; the index does not grow with it (decision 37)."""
    put(store, start("long", input="first " + "filler " * 50_000 + "last"))
    store.index_pending()
    assert ids(reader, RunFilter(text="last")) == ["long"] and ids(reader, RunFilter(text="first")) == []


def test_text_is_found_without_an_index(store: Store, path: Path) -> None:
    """Where SQLite has no FTS5: names, errors and payloads are looked through."""
    put(store, start("a", input="the needle"), start("b", name="needles"), start("c", input="hay 100%"))
    connection = open_reader(path)
    try:
        for text, expected in (("needle", {"a", "b"}), ("100%", {"c"}), ("1_0", set())):
            query, values = runs_query(RunFilter(text=text), 1, order="received", descending=True, after=None, limit=9,
                                       offset=0, searchable=False)  # fmt: skip
            assert {row["run_id"] for row in connection.execute(query, values)} == expected
    finally:
        connection.close()


@pytest.mark.parametrize(
    "wanted",
    [RunFilter(), RunFilter(type="llm"), RunFilter(status="error"), RunFilter(user_id="u"), RunFilter(thread_id="t"),
     RunFilter(customer="c"), RunFilter(model="m"), RunFilter(parent_id="p"), RunFilter(key="k"), RunFilter(name="n"),
     RunFilter(type="llm", user_id="u"), RunFilter(text="word")],
    ids=str,
)  # fmt: skip
def test_no_list_reads_the_whole_table(store: Store, path: Path, wanted: RunFilter) -> None:
    """Each condition has its index, and a list in order of arrival sorts nothing (S29)."""
    store.open()
    connection = sqlite3.connect(path)
    query, values = runs_query(wanted, 1, order="received", descending=True, after=None, limit=50, offset=0,
                               searchable=True)  # fmt: skip
    plan = " ".join(row[3] for row in connection.execute(f"explain query plan {query}", values))
    connection.close()
    assert "SCAN runs" not in plan and "TEMP B-TREE" not in plan, plan


def test_a_question_that_takes_too_long_is_ended(store: Store, path: Path) -> None:
    """The deadline ends it with "timeout", and the reader and the writer go on (S14)."""
    put(store, *(start(f"r{number}", input="x" * 2000) for number in range(3000)))
    with Reader(path, deadline_seconds=0.0) as hurried:
        with pytest.raises(StoreError, match="narrow the query") as caught:
            hurried.runs(RunFilter(text="!%!"), limit=10_000)
        assert caught.value.reason == "timeout"
    with Reader(path) as patient:
        assert len(patient.runs().runs) == 50
    put(store, start("after"))


def test_readers_cannot_write(store: Store, path: Path) -> None:
    """Not by SQL, not by ATTACH, not by PRAGMA (S13)."""
    put(store, start("r"))
    connection = open_reader(path)
    for statement in ("delete from runs", "attach ':memory:' as x", "pragma query_only = off",
                      "pragma journal_mode = delete",
                      "create table t (x)", "update runs set name = 'x'", "vacuum into '/tmp/x'"):  # fmt: skip
        with pytest.raises(sqlite3.DatabaseError):
            connection.execute(statement)
    connection.close()


def test_a_store_that_was_closed_cleanly_can_be_read(path: Path) -> None:
    """The write-ahead log is gone with its last writer; reading needs nobody to write."""
    with Store(path) as store:
        put(store, start("r"))
    assert not path.with_name("store.db-wal").exists()
    with Reader(path) as reader:
        assert ids(reader) == ["r"] and reader.stats().runs == 1


def test_a_missing_store_is_said(path: Path) -> None:
    """Reading makes no file."""
    with pytest.raises(StoreError, match="nothing has been recorded") as caught:
        Reader(path).runs()
    assert caught.value.reason == "missing" and not path.exists()


def test_a_long_reader_does_not_stop_a_writer(store: Store, path: Path) -> None:
    """While one snapshot is held, commits go on, and the snapshot stays what it was (S18)."""
    put(store, start("r0"))
    connection = open_reader(path)
    connection.execute("begin")
    assert connection.execute("select count(*) from runs").fetchone()[0] == 1
    for number in range(1, 20):
        put(store, start(f"r{number}"))
    assert connection.execute("select count(*) from runs").fetchone()[0] == 1
    connection.execute("commit")
    connection.close()
    with Reader(path) as reader:
        assert len(ids(reader)) == 20


def test_content_of_a_run_with_moments_and_an_error(store: Store, reader: Reader) -> None:
    """Input, output, moments in their order, and the whole error."""
    message = "long " * 1000
    put(
        store,
        RunPoint(event_id="p2", timestamp=at(2), run_id="r", label="retry", data=raw({"attempt": 2})),
        start("r", input={"a": 1}, params=raw({"temperature": 0})),
        RunPoint(event_id="p1", timestamp=at(1), run_id="r", label="retry", data=raw({"attempt": 1})),
        end(
            "r", 3, output=None, status="error", error=ErrorInfo(message=message, stack="Traceback", type="ValueError")
        ),
    )
    found = reader.run("r")
    assert found is not None
    assert [bytes(point.data or b"") for point in found.content.points] == [b'{"attempt": 1}', b'{"attempt": 2}']
    assert bytes(found.content.input or b"") == b'{"a": 1}' and bytes(found.content.output or b"") == b"null"
    assert found.content.error_text == message and found.content.error_stack == "Traceback"
    assert found.run.error_message == message[:2000]


def test_sums_and_losses(store: Store, reader: Reader) -> None:
    """Outcomes by customer and day, tokens by model, losses by reason, counts by type and status."""
    put(
        store,
        *(Outcome(event_id=f"o{n}", timestamp=at(0), name="done", idempotency_key=f"k{n}", customer="c", value=n)
          for n in (1, 2)),
        *(end(f"l{n}", type="llm", model="m", tokens_usage=TokenUsage(prompt=10, completion=n), cost=0.5)
          for n in (1, 2)),
        LossReport(event_id="x1", timestamp=at(0), destination="lunary", lost={"full": 2, "expired": 1}, process="p"),
        LossReport(event_id="x2", timestamp=at(9), destination="lunary", lost={"full": 3}, process="p"),
    )  # fmt: skip
    (done,) = reader.usage_sums()
    assert (done.name, done.customer, done.count, done.value, done.day) == ("done", "c", 2, 3.0, at(0)[:10])
    (model,) = reader.model_sums()
    assert (model.model, model.count, model.prompt, model.completion, model.cost) == ("m", 2, 20, 3, 1.0)
    assert [(loss.reason, loss.count) for loss in reader.losses()] == [("expired", 1), ("full", 5)]
    assert [(count.type, count.status, count.count) for count in reader.counts()] == [("llm", "ok", 2)]
    assert reader.projects() == ["default"]
    stats = reader.stats()
    assert (stats.runs, stats.events, stats.usage_events, stats.search) == (2, 6, 2, "fts5")


def test_threads_share_a_reader(store: Store, reader: Reader) -> None:
    """Questions from many threads at once, each on a connection of its own."""
    from concurrent.futures import ThreadPoolExecutor

    put(store, *(start(f"r{number}") for number in range(100)))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: len(ids(reader, limit=100)), range(80)))
    assert answers == [100] * 80
