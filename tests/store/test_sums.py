"""What a trace adds up to, wherever it is shown: lists, the tree, the terminal; runs below a host's spans included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanloom.clock import iso
from spanloom.dialects.otlp_ids import foreign_run_id, trace_run_id
from spanloom.dialects.otlp_reading import records_of
from spanloom.dialects.otlp_values import Span
from spanloom.records import RunEnd, TokenUsage
from spanloom.store import Incoming, Reader, Store, views
from spanloom.store.sums import sums, whole
from spanloom.viewer import answers

AT_NS = 1_800_000_000 * 10**9
HOST_TRACE = "0af7651916cd43dd8448eb211c80319c"


def end(run_id: str, **more: Any) -> RunEnd:
    at = iso(AT_NS)
    usage = more.pop("tokens", None)
    return RunEnd(
        event_id=f"{run_id}.e", timestamp=at, run_id=run_id, started_at=at, type=more.pop("type", "llm"),
        tokens_usage=None if usage is None else TokenUsage(total=usage), **more,
    )  # fmt: skip


def span(number: int, parent: int = 0) -> list[Any]:
    """A host's span, as its own exporter sends it."""
    above = f"{parent:016x}" if parent else ""
    return list(records_of(Span(HOST_TRACE, f"{number:016x}", f"span {number}", AT_NS, AT_NS, parent_span_id=above)))


def ours(run_id: str, below: int, tokens: int) -> list[RunEnd]:
    """An agent with a model call, begun inside that span of the host's."""
    joined = {"root_run_id": run_id, "trace_id": HOST_TRACE}
    return [
        end(run_id, type="agent", parent_span_id=f"{below:016x}", **joined),
        end(f"{run_id}.call", parent_run_id=run_id, tokens=tokens, cost=0.5, **joined),
    ]


def stored(path: Path, records: list[Any]) -> Reader:
    with Store(path) as store:
        store.write([Incoming(record) for record in records])
    return Reader(path)


def agree(reader: Reader, run_id: str) -> views.TraceSum:
    """The sums of the list's row, which are those of the tree that opens from it."""
    (row,) = [row for row in answers.runs(reader, {"top": "1"}, "default")["runs"] if row["run"].id == run_id]
    tree = reader.tree(run_id)
    total = whole(tree.roots, sums(tree.roots))
    found: views.TraceSum = row["trace"]
    assert (found.runs, found.tokens, found.cost) == (tree.size, total.tokens, total.cost)
    return found


@pytest.mark.parametrize("missing", [False, True])
def test_runs_below_a_hosts_spans_are_in_its_sums(missing: bool, tmp_path: Path) -> None:
    """Two agents of ours below two spans of a host's that came by its own exporter: the list's row of the host's
    request has all of them, also where the request itself hangs below a span that never came."""
    records = [*span(1, parent=9 if missing else 0), *span(2, parent=1), *ours("a", 1, 10), *ours("b", 2, 20)]
    with stored(tmp_path / "s.db", records) as reader:
        top = foreign_run_id(HOST_TRACE, f"{1:016x}")
        found = agree(reader, top)
        assert (found.runs, found.tokens, found.cost) == (6, 30, 1.0)
        assert [run.id for run in reader.runs(answers.asking.run_filter({"top": "1"})).runs] == [top]
        by_tokens = answers.runs(reader, {"top": "1", "sort": "tokens"}, "default")["runs"]
        assert by_tokens[0]["trace"].tokens == 30


def test_a_run_below_a_span_that_never_came_has_its_own_sums(tmp_path: Path) -> None:
    """Where the host sends its spans elsewhere."""
    with stored(tmp_path / "s.db", [*ours("a", 1, 10), *ours("b", 2, 20)]) as reader:
        assert (agree(reader, "a").tokens, agree(reader, "b").tokens) == (10, 20)


def test_a_total_is_not_added_to_what_grandchildren_report(tmp_path: Path) -> None:
    """An agent that repeats its calls' totals, a step that says nothing, a call: the call counts. A cost that only the
    agent knows counts, although the tokens are the call's."""
    at = {"root_run_id": "top"}
    records = [
        end("top", type="agent", tokens=99, cost=0.25, **at),
        end("step", type="chain", parent_run_id="top", **at),
        end("call", parent_run_id="step", tokens=7, **at),
    ]
    with stored(tmp_path / "s.db", records) as reader:
        found = agree(reader, "top")
        assert (found.runs, found.tokens, found.cost) == (3, 7, 0.25)


_amounts = st.none() | st.integers(0, 5)
_runs = st.lists(
    st.tuples(st.integers(0, 12), _amounts, _amounts, st.sampled_from([None, "r1", "r2"]), st.booleans()),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_runs)
def test_lists_and_trees_agree(drawn: list[tuple[int, int | None, int | None, str | None, bool]]) -> None:
    """Any tree, any run reporting tokens, cost and response ids, and any of them the root of a trace of its own."""
    records: list[RunEnd] = []
    roots = {}
    for number, (place, tokens, cost, response_id, own_root) in enumerate(drawn):
        above = f"n{place % number:02}" if number else None
        roots[number] = f"n{number:02}" if own_root or above is None else roots[place % number]
        records.append(end(
            f"n{number:02}", parent_run_id=above, root_run_id=roots[number], tokens=tokens,
            cost=None if cost is None else cost / 4, response_id=response_id,
        ))  # fmt: skip
    with tempfile.TemporaryDirectory() as home, stored(Path(home) / "s.db", records) as reader:
        agree_on = views.trace_sums(reader, ["n00"])["n00"]
        tree = reader.tree("n00")
        total = whole(tree.roots, sums(tree.roots))
        assert (agree_on.runs, agree_on.tokens or None, agree_on.cost) == (tree.size, total.tokens or None, total.cost)


def test_the_root_of_a_hosts_trace_is_what_its_runs_have_in_common() -> None:
    """What the list asks the sums of a host's request by."""
    assert {record.root_run_id for record in span(1)} == {trace_run_id(HOST_TRACE)}
