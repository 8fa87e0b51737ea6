"""Trees: whole, bounded, whatever the parents say (S27)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_events import chat, end, put, start

from spanloom.dialects.otlp_ids import foreign_run_id
from spanloom.store import Reader, RunFilter, Store, Tree, TreeNode
from spanloom.store.trees import MOST_LEVELS, walk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def grown(path: Path, *records: object, asked: str, **options: object) -> Tree:
    with Store(path) as store:
        put(store, *records)  # type: ignore[arg-type]
    with Reader(path) as reader:
        return reader.tree(asked, **options)  # type: ignore[arg-type]


def shape(node: TreeNode) -> object:
    return (node.run.id, *map(shape, node.children)) if node.children else node.run.id


def shapes(tree: Tree) -> list[object]:
    return [shape(root) for root in tree.roots]


CONVERSATION = (
    chat("c1", "t", 0, "user", "weather?"),
    start("a", 1, parent_run_id="c1", root_run_id="c1"),
    start("l1", 2, type="llm", parent_run_id="a", root_run_id="c1"),
    start("tool", 3, type="tool", parent_run_id="a", root_run_id="c1"),
    start("l2", 4, type="llm", parent_run_id="a", root_run_id="c1"),
    end("l2", 5, parent_run_id="a", root_run_id="c1"),
    chat("c1", "t", 6, "assistant", "sunny"),
    chat("c2", "t", 7, "user", "and tomorrow?"),
)


@pytest.mark.parametrize("asked", ["t", "c1", "a", "l2"])
def test_the_whole_conversation_from_any_of_its_runs(path: Path, asked: str) -> None:
    """Thread, chats, agent, its calls in the order of their starts, whichever run is asked for."""
    tree = grown(path, *reversed(CONVERSATION), asked=asked)
    assert shapes(tree) == [("t", ("c1", ("a", "l1", "tool", "l2")), "c2")]
    assert tree.size == 7 and not tree.truncated


def test_of_a_long_thread_only_the_exchange_asked_for(path: Path) -> None:
    """The others are counted; asking for the thread shows all."""
    tree = grown(path, *CONVERSATION, asked="l2", whole_thread=False)
    assert shapes(tree) == [("t", ("c1", ("a", "l1", "tool", "l2")))]
    assert tree.roots[0].hidden_children == 1
    with Reader(path) as reader:
        assert shapes(reader.tree("t", whole_thread=False))[0][2] == "c2"  # type: ignore[index]


def test_runs_whose_parents_have_not_arrived_are_shown(path: Path) -> None:
    """They stand beside the root of their trace, marked, from wherever one looks."""
    records = (start("root", 0, root_run_id="root"), start("child", 1, parent_run_id="root", root_run_id="root"),
               start("stray", 2, parent_run_id="gone", root_run_id="root"),
               start("below", 3, parent_run_id="stray", root_run_id="root"))  # fmt: skip
    for asked in ("root", "child", "stray", "below"):
        tree = grown(path, *records, asked=asked)
        assert shapes(tree) == [("root", "child"), ("stray", "below")], asked
        assert [root.missing_parent for root in tree.roots] == [False, True]
    lone = grown(path, start("lone", 0, parent_run_id="nobody"), asked="lone")
    assert shapes(lone) == ["lone"] and lone.roots[0].missing_parent


def test_loops_are_cut(path: Path) -> None:
    """A run that is its own parent, and runs that are each other's."""
    own = grown(path, start("self", parent_run_id="self"), asked="self")
    assert shapes(own) == ["self"] and own.roots[0].loop
    circle = grown(path, start("x", 1, parent_run_id="z"), start("y", 2, parent_run_id="x"),
                   start("z", 3, parent_run_id="y"), asked="y")  # fmt: skip
    assert circle.size == 3 and len(circle.roots) == 1 and circle.roots[0].loop


TRACE, HOST_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("order", [1, -1], ids=["host first", "host last"])
def test_a_run_hangs_below_the_hosts_span_whichever_came_first(path: Path, order: int) -> None:
    """A run without a parent that began in a span of the host's, and that span, from another sender."""
    host = start(foreign_run_id(TRACE, HOST_SPAN), 0, trace_id=TRACE, name="GET /ask")
    below = start("agent", 1, root_run_id="agent", trace_id=TRACE, parent_span_id=HOST_SPAN)
    tool = start("tool", 2, parent_run_id="agent", root_run_id="agent")
    for asked in ("tool", host.run_id):
        tree = grown(path, *[host, below, tool][::order], asked=asked)
        assert shapes(tree) == [(host.run_id, ("agent", "tool"))]


def test_a_run_whose_hosts_span_went_elsewhere_is_a_root(path: Path) -> None:
    """Most hosts send their spans to another backend: nothing is missing, and the run is at the top of its trace."""
    tree = grown(path, start("agent", trace_id=TRACE, parent_span_id=HOST_SPAN), start("x", parent_run_id="agent"),
                 asked="x")  # fmt: skip
    assert shapes(tree) == [("agent", "x")] and not tree.roots[0].missing_parent
    with Reader(path) as reader:
        assert [run.id for run in reader.runs(RunFilter(top=True)).runs] == ["agent"]


_ids = [f"r{number}" for number in range(8)]
_parents = st.dictionaries(st.sampled_from(_ids), st.sampled_from([*_ids, "gone", None]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(_parents, st.sampled_from(_ids), st.booleans())
def test_any_parents_give_a_tree_that_shows_each_run_once(
    tmp_path_factory: pytest.TempPathFactory, parents: dict[str, str | None], asked: str, whole: bool
) -> None:
    """Random parents, loops and orphans among them, all of one trace: every run exactly once."""
    path = tmp_path_factory.mktemp("tree") / "store.db"
    records = [start(run_id, parent_run_id=parent, root_run_id="r0") for run_id, parent in parents.items()]
    tree = grown(path, *records, asked=asked, whole_thread=whole)
    shown = [node.run.id for node in walk(tree.roots)]
    assert sorted(shown) == (sorted(parents) if asked in parents else [])
    assert all(child.run.parent_id == node.run.id for node in walk(tree.roots) for child in node.children)


def test_a_deep_chain_is_cut_where_it_can_still_be_drawn(path: Path) -> None:
    """3,000 runs below one another, asked from the top and from the bottom (S27)."""
    chain = [start(f"r{number}", number, parent_run_id=f"r{number - 1}" if number else None) for number in range(3000)]
    tree = grown(path, *chain, asked="r0")
    assert tree.truncated and tree.size == MOST_LEVELS
    deepest = list(walk(tree.roots))[-1]
    assert deepest.hidden_children == 1
    with Reader(path) as reader:
        assert reader.tree("r2999").roots[0].run.id == "r0"


def test_a_wide_run_is_cut_and_counted(path: Path) -> None:
    """2,000 children of which 100 runs may be shown: the rest is counted exactly (S27)."""
    many = [start(f"c{number}", number, parent_run_id="root") for number in range(2000)]
    tree = grown(path, start("root"), *many, asked="root", max_runs=100)
    assert tree.truncated and tree.size == 100
    assert tree.roots[0].hidden_children == 2000 - 99


def test_no_such_run_has_no_roots(path: Path) -> None:
    """An unknown id is an empty answer, not an error."""
    assert grown(path, start("r"), asked="nobody").roots == []
