"""Which run is current, where: tasks, threads, executors, generators, nesting and reuse."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from spanloom.recording import recorder as recording
from spanloom.recording.ambient import OUTSIDE, current_var
from spanloom.recording.blocks import context, disabled
from spanloom.recording.carrying import carry
from spanloom.recording.decorators import agent, chain, start, tool
from spanloom.recording.run import current_run


@tool
def leaf(x: int = 0) -> str:
    return current_run().id


@pytest.mark.parametrize("aided", ["carry", "propagate_threads"])
@pytest.mark.parametrize("where", ["executor", "map", "thread", "run_in_executor", "to_thread"])
def test_threads_have_the_parent(install: Any, aided: str, where: str) -> None:
    """The parent is kept in executors and threads: with `carry`, and unaided with propagate_threads=True."""
    recorded = install(propagate_threads=aided == "propagate_threads")
    bound = carry if aided == "carry" else lambda function: function

    @agent
    def outer() -> None:
        if where == "thread":
            thread = threading.Thread(target=bound(leaf))
            thread.start()
            thread.join()
        else:
            with ThreadPoolExecutor(2) as pool:
                if where == "executor":
                    pool.submit(bound(leaf), 1).result()
                else:
                    list(pool.map(bound(leaf), range(4)))

    @agent(name="outer")
    async def outer_later() -> None:
        if where == "to_thread":
            await asyncio.to_thread(leaf)
            return
        await asyncio.get_running_loop().run_in_executor(None, bound(leaf))

    if where in ("run_in_executor", "to_thread"):
        asyncio.run(outer_later())
    else:
        outer()
    leaves = [start for start in recorded.starts if start.name == "leaf"]
    assert leaves and {start.parent_run_id for start in leaves} == {recorded.start("outer").run_id}
    assert {start.root_run_id for start in leaves} == {recorded.start("outer").run_id}


@pytest.mark.parametrize("patched", [False, True])
def test_pool_threads_leak_nothing(install: Any, patched: bool) -> None:
    """C47: a reused pool thread never shows one request's run to the next request."""
    recorded = install(propagate_threads=patched)
    with ThreadPoolExecutor(1) as pool:

        @agent
        def request(name: str) -> Any:
            return pool.submit(carry(leaf) if not patched else leaf).result()

        request("a")
        assert pool.submit(lambda: current_var.get()).result() is OUTSIDE
        request("b")
        pool.submit(leaf).result()
    requests = [start.run_id for start in recorded.starts if start.name == "request"]
    assert [start.parent_run_id for start in recorded.starts if start.name == "leaf"] == [*requests, None]


def test_patches_go_away(install: Any) -> None:
    """The thread patches are there only while they are asked for, and the originals come back."""
    submit, thread_start = ThreadPoolExecutor.submit, threading.Thread.start
    before = recording.current()
    install(propagate_threads=True)
    assert ThreadPoolExecutor.submit is not submit and threading.Thread.start is not thread_start
    recording.install(before)
    assert ThreadPoolExecutor.submit is submit and threading.Thread.start is thread_start


def test_a_propagated_thread_keeps_its_own_shape(install: Any) -> None:
    """A thread subclass with its own run(), and an exception in a thread, work as before under propagate_threads."""
    recorded = install(propagate_threads=True)
    seen = []

    class Mine(threading.Thread):
        def run(self) -> None:
            seen.append(leaf())

    @agent
    def outer() -> None:
        thread = Mine()
        thread.start()
        thread.join()
        assert "run" not in thread.__dict__

    outer()
    assert seen and recorded.parent_of("leaf") == "outer"


def test_gathered_tasks_are_isolated(recorded: Any) -> None:
    """C44: each of many concurrent tasks has its own parent, at every depth."""

    @tool
    async def inner(n: int) -> int:
        await asyncio.sleep(0)
        return n

    @agent
    async def outer(n: int) -> list[int]:
        await asyncio.sleep(0)
        return list(await asyncio.gather(inner(n), inner(n)))

    async def main() -> None:
        await asyncio.gather(*(outer(n) for n in range(200)))
        assert current_var.get() is OUTSIDE

    asyncio.run(main())
    outers = {start.run_id: recorded.value(start.input) for start in recorded.starts if start.name == "outer"}
    inners = [start for start in recorded.starts if start.name == "inner"]
    assert len(outers) == 200 and len(inners) == 400
    assert all(outers[start.parent_run_id] == recorded.value(start.input)["n"] for start in inners)


def test_cancelled_at_every_step(recorded: Any) -> None:
    """C44: a task cancelled at any of its awaits ends once, as cancelled, and the cancellation passes on."""

    @agent
    async def work() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def cancel_after(steps: int) -> None:
        task = asyncio.ensure_future(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for steps in range(1, 6):
        asyncio.run(cancel_after(steps))
    assert [end.status for end in recorded.ends] == ["cancelled"] * 5 and len(recorded.starts) == 5


def test_restored_by_value_in_another_context(recorded: Any) -> None:
    """A block left in another context than it was entered in raises nothing and disturbs nothing."""
    opener = agent("moved")
    contextvars.copy_context().run(opener.__enter__)
    opener.__exit__(None, None, None)
    run = start("tool", "by hand")
    contextvars.copy_context().run(run.__enter__)
    run.__exit__(None, None, None)
    assert current_var.get() is OUTSIDE and run.status == "ok"
    assert recorded.rejected == []


def test_one_opener_entered_many_times(recorded: Any) -> None:
    """Decision 17: one `agent("x")` object may be entered nested, in threads, and in tasks."""
    opener = agent("x")
    with opener as first, opener as second:
        assert second.parent_id == first.id and current_run() is second

    async def enter(n: int) -> None:
        async with opener as run:
            await asyncio.sleep(0)
            assert current_run() is run and run.parent_id is None

    async def main() -> None:
        await asyncio.gather(*(enter(n) for n in range(20)))

    asyncio.run(main())
    assert len(recorded.starts) == len({start.run_id for start in recorded.starts}) == 22
    assert [end.status for end in recorded.ends] == ["ok"] * 22


def test_start_does_not_make_current(recorded: Any) -> None:
    """Decision 17: `start` leaves the current run alone; `with run:` makes it current and ends it."""
    run = start("agent", name="by hand", input="q")
    assert run and not current_run() and run.status == "running"
    with run:
        assert current_run() is run
        leaf()
    assert recorded.parent_of("leaf") == "by hand" and run.status == "ok"
    assert current_run().id == "" and not current_run()


def test_disabled_records_nothing(recorded: Any) -> None:
    """Inside `disabled()` nothing is recorded, the inert run is current, and everything works."""
    with agent("outer") as outer:
        with disabled():
            assert leaf() == "" and not current_run()
            with chain("inner") as run:
                run.set(output=1, usage={"input": 1})
                run.event("x")
                run.feedback(thumb="up")
            assert not run and run.id == "" and run.url is None and run.traceparent == ""
        assert current_run() is outer
    assert [start.name for start in recorded.starts] == ["outer"]


def test_off_costs_and_records_nothing(install: Any) -> None:
    """A recorder that is off records nothing; the next one records again."""
    off = install(enabled=False)
    assert leaf() == "" and off.payloads == []
    on = install()
    assert leaf() and len(on.payloads) == 2


def test_context_nests_and_restores(recorded: Any) -> None:
    """Tags and metadata add up, the rest overrides, and all is as before after the block."""
    with context(
        user="u1", user_props={"plan": "pro"}, tags=["a"], metadata={"k": 1, "l": 2}, customer="c", thread="t"
    ):
        with context(user="u2", tags=["b", "a"], metadata={"k": 3}):
            leaf()
        chain(name="after")(leaf)()
    leaf()
    inner, after, _, outside = recorded.starts
    assert (inner.user_id, inner.customer, inner.thread_id, inner.tags) == ("u2", "c", "t", ["a", "b"])
    assert recorded.value(inner.metadata) == {"k": 3, "l": 2}
    assert (after.user_id, after.tags) == ("u1", ["a"]) and recorded.value(after.user_props) == {"plan": "pro"}
    assert outside.user_id is None and outside.tags is None
    assert (recorded.ends[0].user_id, recorded.ends[0].customer, recorded.ends[0].thread_id) == ("u2", "c", "t")


def test_key_names_the_outermost_run(recorded: Any) -> None:
    """Decision 15: the key goes to the outermost run opened in the block, wherever the block stands."""

    @agent
    def outer() -> None:
        leaf()
        with context(key="inner-key"):
            chain(name="middle")(leaf)()

    with context(key="order-42"), context(tags=["x"]):
        outer()
    keys = [(start.name, start.key) for start in recorded.starts]
    assert keys == [("outer", "order-42"), ("leaf", None), ("middle", "inner-key"), ("leaf", None)]


def test_carry_is_concurrent_and_keeps_the_function(recorded: Any) -> None:
    """A carried function can run in many threads at once and keeps its name; carried coroutines work too."""

    @agent
    def outer() -> Any:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(carry(leaf), range(50)))
        return carry(later)

    @tool
    async def later() -> str:
        return leaf()

    carried = outer()
    assert carried.__name__ == "later"
    asyncio.run(carried())
    assert recorded.parent_of("later") == "outer"
    assert len([start for start in recorded.starts if start.name == "leaf"]) == 51


def test_a_missed_end_of_a_collection_is_no_harm(recorded: Any) -> None:
    """Before Python 3.12 runs of finalisers are not made current; a missed notice must not stretch that to others."""
    from spanloom.recording import ambient

    ambient._phases.pop("start", None)
    ambient._phases["start"] = {}  # as when the notice of the end was missed
    try:
        with agent("a") as run:
            assert current_run() is run
    finally:
        ambient._phases.clear()


def test_blocks_in_finalisers_end_their_own_runs(recorded: Any) -> None:
    """Blocks that a collection's finaliser enters end, nested and with one opener for several, and so does the block
    around them: on Python before 3.12 they are not current, so they are not found there (C40)."""
    shared = tool("shared")

    class Dying:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            with agent("in a finaliser") as outer, shared, shared as inner:
                seen.extend((outer, inner))

    seen: list[Any] = []
    with shared as around:
        Dying()
        gc.collect()
        assert current_run() is around
        assert [run.status for run in seen] == ["ok", "ok"]
        assert around.status == "running"
    assert around.status == "ok"
    assert sorted(end.run_id for end in recorded.ends) == sorted(start.run_id for start in recorded.starts)
    assert len(recorded.ends) == 4
    assert current_run().id == ""
