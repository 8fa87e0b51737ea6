"""Every name of the front door with every kind of wrong value, in every form of a call: nothing is ever raised,
and what the decorated code computes is its own."""

from __future__ import annotations

import asyncio
import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import spanloom
from spanloom.testing import CapturedRuns, capture


class Hostile:
    """Whatever is asked of it raises."""

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("hostile")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __getattr__ = __call__ = _raise  # type: ignore[assignment]


class Model(enum.Enum):
    LARGE = "gpt-large"
    SIZE = 3


WRONG: list[Any] = [
    None, 1, "x", b"\xff", "\ud800", float("nan"), [], {}, set(), object(), Hostile(), Hostile, lambda: 1, 10**400,
    {"a": Hostile()}, {1: 2}, (1,), [Hostile()], Model.LARGE, Model.SIZE, -1, True, range(3),
]  # fmt: skip
OPTIONS = (
    "name", "input", "tags", "metadata", "params", "template_version_id", "capture_input", "capture_output",
    "process_input", "process_output", "reduce", "ignore", "parent",
)  # fmt: skip
KINDS = [spanloom.agent, spanloom.tool, spanloom.llm, spanloom.chain, spanloom.embed, spanloom.retriever]


@pytest.fixture
def runs() -> Iterator[CapturedRuns]:
    with capture() as captured:
        yield captured


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option_changes_nothing_for_what_is_decorated(runs: CapturedRuns, kind: Any, option: str) -> None:
    """Functions, coroutines, generators and methods give what they gave, and each call is a run."""
    for count, value in enumerate(WRONG, 1):

        @kind(**{option: value})
        def plain(x: int, y: int = 1) -> int:
            return x + y

        @kind(**{option: value})
        async def coroutine(x: int) -> int:
            return x

        @kind(**{option: value})
        def generator(x: int) -> Iterator[int]:
            yield x

        class Thing:
            @kind(**{option: value})
            def method(self, x: int) -> int:
                return x

        assert (plain(3), plain(3, y=2), asyncio.run(coroutine(4)), list(generator(5)), Thing().method(6)) == (
            4, 5, 4, [5], 6,
        )  # fmt: skip
        assert len(runs.all()) == count * 5


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_block_opens_a_run_whatever_it_is_given(runs: CapturedRuns, kind: Any) -> None:
    """`with llm(x)` is a run for any x that is no function; a name in an enumeration is its value."""

    async def opened(made: Any) -> str:
        async with made as run:
            return str(run.id)

    count = 0
    for value in WRONG:
        blocks = [lambda o=option, v=value: kind("n", **{o: v}) for option in OPTIONS[1:]]
        if not callable(value):
            blocks.append(lambda v=value: kind(v))
        for block in blocks:
            with block() as run:
                assert run.id
            assert asyncio.run(opened(block()))
            count += 2
    assert len(runs.all()) == count
    with kind(Model.LARGE) as run:
        assert run.name == "gpt-large"


def calls(value: Any) -> Iterator[Callable[[], Any]]:
    """Every direct call of the front door with this value in one of its places."""
    of = spanloom
    yield lambda: of.start(value).end(output=value)
    yield lambda: of.start("llm", name=value, input=value, parent=value).fail(value)
    yield lambda: of.start("tool").event(value, attempt=value)
    yield lambda: of.start("tool").event("x", label=value, name=value, data=value)
    for field in ("output", "usage", "model", "params", "metadata", "tags", "cost", "extra", "response_id"):
        yield lambda f=field: of.start("llm").set(**{f: value})
    for field in ("input", "output", "total", "cached_input", "reasoning"):
        yield lambda f=field: of.start("llm").set(usage={f: value})
    for field in ("thumb", "comment", "score", "label", "overwrite"):
        yield lambda f=field: of.start("tool").feedback(**{f: value})
        yield lambda f=field: of.feedback("some-run", **{f: value})
    yield lambda: of.feedback(value, thumb="up")
    yield lambda: of.feedback(key=value, thumb="up")
    yield lambda: of.carry(value)
    yield lambda: of.inject(value)
    for call in (of.action, of.outcome):
        yield lambda c=call: c(value)
        for field in ("customer", "value", "properties", "labels", "at", "idempotency_key", "run"):
            yield lambda c=call, f=field: c("done", **{f: value})
    yield lambda: of.instrument(value)
    for field in ("user", "user_props", "thread", "tags", "metadata", "customer", "key"):
        yield lambda f=field: inside(of.context(**{f: value}))
    yield lambda: inside(of.extract(value))
    yield lambda: conversation(value)


def inside(block: Any) -> None:
    with block, spanloom.tool("inside"):
        pass


def conversation(value: Any) -> None:
    thread = spanloom.thread(value)
    with thread.chat(value) as chat:
        chat.reply(value)
    assert isinstance(chat.id, str)
    chat.feedback(thumb="up")


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_no_direct_call_raises(runs: CapturedRuns, value: Any) -> None:
    """Runs by hand, updates, feedback, usage events, ambient values, headers, conversations (C01)."""
    for call in calls(value):
        try:
            call()
        except BaseException as error:
            pytest.fail(f"{inspect.getsource(call).strip()} raised {type(error).__name__}: {error}")
    with spanloom.tool("still works") as run:
        pass
    assert runs.one("tool", "still works").id == run.id
