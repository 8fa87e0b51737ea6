"""Feedback by the user's own key carries the run's id too, where this process opened the run."""

from __future__ import annotations

from collections.abc import Callable

from conftest import Recorded
from spanloom import agent, context, feedback, tool
from spanloom.recording.keys import KeyedRuns
from spanloom.records import Feedback


def test_feedback_by_key_names_the_outermost_run_of_the_block(recorded: Recorded) -> None:
    """The key stands for the outermost run in the block, not for what it opens, and travels beside the id."""
    with context(key="order-42"), agent("outer"), tool("inner"):
        pass
    feedback(key="order-42", thumb="up")
    (given,) = recorded.of(Feedback)
    assert (given.run_id, given.key) == (recorded.start("outer").run_id, "order-42")


def test_a_key_that_was_not_used_here_travels_alone(recorded: Recorded) -> None:
    """Feedback that comes before its run, or from another process, has the key and guesses no id."""
    feedback(key="order-43", thumb="up")
    (given,) = recorded.of(Feedback)
    assert (given.run_id, given.key) == (None, "order-43")


def test_the_latest_run_with_a_key_counts(recorded: Recorded) -> None:
    """A key that is used again stands for the later run, also for one with letters that JSON escapes."""
    for name in ("first", "second"):
        with context(key='naïve "42"'), tool(name):
            pass
    feedback(key='naïve "42"', thumb="down")
    assert recorded.of(Feedback)[0].run_id == recorded.start("second").run_id


def test_recorders_share_the_keys_of_their_process(install: Callable[..., Recorded]) -> None:
    """A run named before `configure` is known after it."""
    keys = KeyedRuns()
    before = install(keyed_runs=keys)
    with context(key="k"), tool("t"):
        pass
    after = install(keyed_runs=keys)
    feedback(key="k", thumb="up")
    assert after.of(Feedback)[0].run_id == before.start("t").run_id


def test_the_memory_of_keys_is_bounded() -> None:
    """The latest 5,000 keys are always known, 10,000 at most."""
    keys = KeyedRuns()
    for number in range(30_000):
        keys.remember(f"k{number}", str(number))
    assert all(keys.find(f"k{number}") == str(number) for number in range(25_000, 30_000))
    assert len(keys._recent) + len(keys._older) <= 10_000
    assert keys.find("k1") is None
