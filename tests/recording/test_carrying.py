"""Carried functions in real processes, by every way of starting them: one tree, for the same user."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import spanloom
from spanloom.testing import capture
from stored import run_program, tree

PROGRAM = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import spanloom

@spanloom.tool
def leaf(number):
    return number * 2

def work(number):
    return leaf(number)

def single(number):
    leaf(number)

def stale():
    with spanloom.tool("outside"):
        pass

def main(method):
    context = multiprocessing.get_context(method)
    with spanloom.context(user="ada", thread="t9", tags=["prod"], metadata={"plan": "pro"}, key="order-42"):
        with spanloom.agent("parent"):
            process = context.Process(target=spanloom.carry(single), args=(1,))
            process.start()
            process.join()
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                assert list(pool.map(spanloom.carry(work), [2, 3])) == [4, 6]
                assert pool.submit(spanloom.carry(leaf), 4).result() == 8
            with context.Pool(1) as pool:
                assert pool.map(spanloom.carry(work), [5]) == [10]
                pool.close()
                pool.join()

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_carried_work_in_other_processes_hangs_below_the_run(home: Path, tmp_path: Path, method: str) -> None:
    """Processes, executors and pools: five leaves below the parent, with user, thread, tags and metadata; the key is
    the parent's alone."""
    (tmp_path / "program.py").write_text(PROGRAM)
    run_program(home, tmp_path / "program.py", method)
    top = tree(home)
    assert top.shape() == ["agent parent", *["tool leaf"] * 5]
    for leaf in top.all("tool"):
        run = leaf.row.run
        assert (run.user_id, run.thread_id, list(run.tags)) == ("ada", "t9", ["prod"])
    assert [node.row.run.key for node in top] == ["order-42", *[None] * 5]


def double(number: int) -> int:
    """Something that can be pickled."""
    with spanloom.tool("double"):
        return number * 2


def elsewhere(carried: object) -> object:
    """What arrives in another process."""
    return pickle.loads(pickle.dumps(carried))


def test_a_pickled_carried_function_is_what_it_was() -> None:
    """Name, result and place are the same, also when pickled again; nothing is recorded where nothing was to be."""
    with capture() as runs:
        with spanloom.context(user="ada", key="k"), spanloom.agent("outer") as outer:
            carried = spanloom.carry(double)
        again = elsewhere(elsewhere(carried))
        assert again.__name__ == "double" and again(2) == carried(2) == 4  # type: ignore[attr-defined, operator]
        with spanloom.disabled():
            silent = elsewhere(spanloom.carry(double))
        assert silent(3) == 6  # type: ignore[operator]
        with spanloom.agent("other"):
            free = elsewhere(carried)
            assert free(4) == 8  # type: ignore[operator]
        with spanloom.context(key="k2"):
            keyed = elsewhere(spanloom.carry(double))
        assert keyed(5) == 10  # type: ignore[operator]
    doubles = runs.all("tool", "double")
    assert [run.parent_id for run in doubles] == [outer.id] * 3 + [None]
    assert [run.user for run in doubles] == ["ada"] * 3 + [None]


def test_carried_is_a_method_where_it_stands_in_a_class() -> None:
    """As a plain function would be."""

    class Thing:
        @spanloom.carry
        def name(self) -> str:
            """The class's name."""
            return type(self).__name__

    assert Thing().name() == "Thing" and Thing.name.__doc__ == "The class's name."
