"""Generators, async generators and returned streams: the protocol kept, the run scoped, one end."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanloom.recording.ambient import OUTSIDE, current_var
from spanloom.recording.decorators import agent, llm, tool
from spanloom.recording.run import current_run


@tool
def leaf() -> str:
    return current_run().id


def test_items_join_and_first_item_is_timed(recorded: Any) -> None:
    """Text items are joined into the output; the number of items and the time of the first one are recorded."""

    @llm
    def words(prompt: str) -> Iterator[str]:
        yield "It is "
        yield "sunny."

    assert "".join(words("w?")) == "It is sunny."
    end = recorded.end("words")
    assert recorded.output("words") == "It is sunny." and end.items == 2 and end.status == "ok"
    assert recorded.start("words").timestamp <= end.first_item_at <= end.timestamp


def test_mixed_items_are_snapshots(recorded: Any) -> None:
    """Other items become a list, each as it was when it was yielded."""

    @llm
    def parts() -> Iterator[Any]:
        item = {"n": 1}
        yield "text"
        yield item
        item["n"] = 2
        yield item

    list(parts())
    assert recorded.output("parts") == ["text", {"n": 1}, {"n": 2}]


def test_a_secret_cut_by_the_stream_is_redacted(recorded: Any) -> None:
    """C90: a secret split across chunks of text does not get through."""

    @llm
    def leaking() -> Iterator[str]:
        yield "the key is sk-abcdefghijklm"
        yield "nopqrstuvwxyz0123456789ABCDEF ok"

    list(leaking())
    assert b"nopqrstuvwxyz" not in b"".join(recorded.payloads) and b"abcdefghijklm" not in b"".join(recorded.payloads)


def test_send_throw_close_and_return(recorded: Any) -> None:
    """`send`, `throw`, `close` and the return value pass through unchanged."""
    seen = []

    @agent
    def echo() -> Any:
        got = yield "first"
        while True:
            try:
                seen.append(got)
                got = yield got
            except ValueError as error:
                got = yield f"caught {error}"
            if got == "stop":
                return "returned"

    def outer() -> Any:
        result = yield from echo()
        seen.append(result)

    stream = outer()
    assert next(stream) == "first" and stream.send("a") == "a"
    assert stream.throw(ValueError("v")) == "caught v"
    with pytest.raises(StopIteration):
        stream.send("stop")
    assert seen == ["a", "returned"] and recorded.end("echo").status == "ok"


def test_async_send_throw_and_close(recorded: Any) -> None:
    """`asend`, `athrow` and `aclose` pass through unchanged."""

    @agent
    async def echo() -> Any:
        got = yield "first"
        while True:
            try:
                got = yield got
            except ValueError as error:
                got = yield f"caught {error}"

    async def main() -> None:
        stream = echo()
        assert await stream.__anext__() == "first" and await stream.asend("a") == "a"
        assert await stream.athrow(ValueError("v")) == "caught v"
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()

    asyncio.run(main())
    assert recorded.end("echo").status == "abandoned"


_STEPS = st.lists(st.sampled_from(["next", "send", "throw", "throw_unknown", "close"]), max_size=6)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(_STEPS)
def test_any_sequence_of_steps_is_as_undecorated(recorded: Any, steps: list[str]) -> None:
    """Whatever is done to a decorated generator gives what the undecorated one gives."""

    def body() -> Any:
        for n in range(4):
            try:
                got = yield n
                yield ("got", got)
            except ValueError:
                yield "caught"
            except GeneratorExit:
                if n == 2:
                    raise KeyError("in cleanup") from None
                return "left"
        return "end"

    def trace(stream: Any) -> list[Any]:
        outcomes: list[Any] = []
        for step in steps:
            try:
                if step == "next":
                    outcomes.append(next(stream))
                elif step == "send":
                    outcomes.append(stream.send("s"))
                elif step == "close":
                    outcomes.append(stream.close())
                else:
                    outcomes.append(stream.throw(ValueError("v") if step == "throw" else LookupError("l")))
            except BaseException as error:
                outcomes.append((type(error), str(error), getattr(error, "value", None)))
        try:
            stream.close()
        except KeyError:
            outcomes.append("raised in cleanup")
        return outcomes

    assert trace(agent(body)()) == trace(body())
    assert len(recorded.starts) == len(recorded.ends)


def test_never_current_in_the_consumer(recorded: Any) -> None:
    """C45, C46: between items the consumer's run is current, also with interleaved and recursive generators."""

    @agent
    def count(depth: int) -> Iterator[str]:
        for _ in range(2):
            assert current_run().name == "count"
            yield leaf()
            if depth:
                yield from count(depth - 1)

    @agent
    def consumer() -> None:
        ours = current_run()
        one, two = count(1), count(0)
        for item in one:
            assert current_run() is ours and item
            next(two, None)
            assert current_run() is ours
        leaf()

    consumer()
    assert current_var.get() is OUTSIDE
    parents = {start.run_id: start.name for start in recorded.starts}
    leaves = [start for start in recorded.starts if start.name == "leaf"]
    assert [parents[start.parent_run_id] for start in leaves] == ["count"] * (len(leaves) - 1) + ["consumer"]
    assert all(end.status == "ok" for end in recorded.ends)


def test_never_current_in_the_async_consumer(recorded: Any) -> None:
    """C45: early break, and the outer run is still the one that is current; the stream ends once, abandoned."""

    @agent
    async def stream() -> AsyncIterator[str]:
        try:
            for _ in range(5):
                await asyncio.sleep(0)
                yield leaf()
        finally:
            await asyncio.sleep(0)

    @agent
    async def consumer() -> None:
        ours = current_run()
        async for _ in stream():
            assert current_run() is ours
            break
        assert current_run() is ours
        gc.collect()
        await asyncio.sleep(0.01)
        assert current_run() is ours

    asyncio.run(consumer())
    assert recorded.end("stream").status == "abandoned" and recorded.end("consumer").status == "ok"
    assert recorded.parent_of("leaf") == "stream"


def test_the_loop_closes_an_async_stream_in_silence(recorded: Any, caplog: Any) -> None:
    """C45: a stream that is still open when the event loop ends is closed once, without a complaint from asyncio."""
    kept = []

    @agent
    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        made = stream()
        kept.append(made)
        await made.__anext__()

    asyncio.run(main())
    assert recorded.end("stream").status == "abandoned" and not caplog.records


def test_closed_from_another_task(recorded: Any) -> None:
    """C45: a stream closed from another task ends once, and neither task's current run is disturbed."""

    @agent
    async def stream() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> None:
        made = stream()
        async with agent("consumer") as run:
            await made.__anext__()
            await asyncio.create_task(made.aclose())
            assert current_run() is run

    asyncio.run(main())
    assert recorded.end("stream").status == "abandoned"


def test_dropped_and_unstarted_generators(recorded: Any) -> None:
    """A dropped generator ends abandoned, once; one that was never started is no run."""

    @agent
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    stream()
    partly = stream()
    next(partly)
    del partly
    gc.collect()
    assert [end.status for end in recorded.ends] == ["abandoned"] and len(recorded.starts) == 1
    assert recorded.ends[0].items == 1 and recorded.value(recorded.ends[0].output) == [1]


def test_reduce_makes_one_output_with_usage(recorded: Any) -> None:
    """`reduce` turns the items into one output; the run is current meanwhile, so it can say the usage."""

    def whole(chunks: list[Any]) -> Any:
        current_run().set(usage={"input": chunks[-1]["in"], "output": 2})
        return "".join(chunk["text"] for chunk in chunks)

    @llm(reduce=whole)
    def stream() -> Iterator[Any]:
        yield {"text": "a", "in": None}
        yield {"text": "b", "in": 7}

    assert len(list(stream())) == 2
    assert recorded.output("stream") == "ab" and recorded.end("stream").tokens_usage.prompt == 7


def test_a_failing_reduce_fails_closed(recorded: Any) -> None:
    """C16: a reduce that raises is counted; the raw items are not sent in its place."""

    @llm(reduce=lambda items: 1 / 0)
    def stream() -> Iterator[str]:
        yield "raw"

    assert list(stream()) == ["raw"]
    assert recorded.output("stream") == "[reduce failed]" and recorded.rejected == ["reduce_failed"]


def test_a_long_stream_is_bounded(recorded: Any) -> None:
    """Of a long stream at most 10,000 items are kept, all are counted, and that is said; reduce sees the last one."""

    @tool
    def numbers() -> Iterator[int]:
        yield from range(20_001)

    @tool(reduce=lambda items: [len(items), items[-1]])
    def reduced() -> Iterator[int]:
        yield from range(20_001)

    assert sum(numbers()) == sum(reduced()) == 200_010_000
    output = recorded.output("numbers")
    assert len(output) <= 10_001 and "more items" in output[-1] and recorded.end("numbers").items == 20_001
    assert recorded.output("reduced") == [10_001, 20_000]


class ProviderStream:
    """As a provider's client returns it: an iterator, a context manager, with a close of its own."""

    def __init__(self) -> None:
        self.items = iter([{"t": "a"}, {"t": "b"}])
        self.closed = False
        self.response = "the response"

    def __iter__(self) -> Iterator[Any]:
        yield from self.items

    def __next__(self) -> Any:
        return next(self.items)

    def __enter__(self) -> ProviderStream:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


def join(chunks: list[Any]) -> str:
    return "".join(chunk["t"] for chunk in chunks)


def test_a_returned_stream_is_not_touched(recorded: Any) -> None:
    """C11: without reduce the very object is returned, unconsumed, and its output is a summary."""
    made = ProviderStream()
    generator = (n for n in [1, 2])

    @llm
    def call(which: Any) -> Any:
        return which

    assert call(made) is made and call(generator) is generator and list(generator) == [1, 2]
    assert len(list(made)) == 2
    coroutine = asyncio.sleep(0, "slept")
    assert call(coroutine) is coroutine and asyncio.run(coroutine) == "slept"
    assert recorded.rejected == []


def test_a_returned_stream_with_reduce(recorded: Any) -> None:
    """A returned stream is watched when `reduce` is given; it stays an instance of its class and passes all on."""

    @llm(reduce=join)
    def call() -> Any:
        return ProviderStream()

    stream = call()
    assert isinstance(stream, ProviderStream) and stream.response == "the response" and not recorded.ends
    with stream as entered:
        assert [chunk["t"] for chunk in entered] == ["a", "b"]
    assert stream.closed and recorded.output("call") == "ab" and recorded.end("call").status == "ok"


@pytest.mark.parametrize("leave", ["close", "exit", "drop", "raise"])
def test_a_returned_stream_left_early(recorded: Any, leave: str) -> None:
    """However a returned stream is left before its end, the run ends once and says so."""

    @llm(reduce=join)
    def call() -> Any:
        return ProviderStream()

    stream = call()
    next(stream)
    if leave == "close":
        stream.close()
    elif leave == "exit":
        with stream:
            pass
    elif leave == "raise":
        with pytest.raises(KeyError), stream:
            raise KeyError("x")
    del stream
    gc.collect()
    assert recorded.end("call").status == ("error" if leave == "raise" else "abandoned")
    assert recorded.output("call") == "a"


def test_a_returned_async_stream_with_reduce(recorded: Any) -> None:
    """The same for what `await client.create(stream=True)` returns."""

    class AsyncProviderStream:
        def __init__(self) -> None:
            self.left = [{"t": "a"}, {"t": "b"}]

        async def __aiter__(self) -> AsyncIterator[Any]:
            while self.left:
                yield self.left.pop(0)

        async def __anext__(self) -> Any:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    @llm(reduce=join)
    async def call() -> Any:
        return AsyncProviderStream()

    async def main() -> None:
        stream = await call()
        assert isinstance(stream, AsyncProviderStream)
        assert [chunk["t"] async for chunk in stream] == ["a", "b"]
        other = await call()
        assert (await other.__anext__())["t"] == "a"

    asyncio.run(main())
    gc.collect()
    assert [(end.status, recorded.value(end.output)) for end in recorded.ends] == [("ok", "ab"), ("abandoned", "a")]


def test_plain_generators_returned_with_reduce(recorded: Any) -> None:
    """A plain function that returns a generator object is watched too: send and close keep working."""

    @llm(reduce=lambda items: items)
    def call() -> Any:
        return (n for n in range(3))

    made = call()
    assert inspect.isgenerator(made) and next(made) == 0 and made.send(None) == 1
    made.close()
    assert recorded.output("call") == [0, 1] and recorded.end("call").status == "abandoned"


def test_the_host_exception_keeps_no_frames(recorded: Any) -> None:
    """C15: after an exception has gone through us, nothing of ours keeps the user's objects alive."""
    import weakref

    class Big:
        pass

    refs = []

    def fail(kind: str) -> Any:
        big = Big()
        refs.append(weakref.ref(big))
        raise ValueError(kind)

    @tool
    def plain() -> None:
        fail("plain")

    @tool
    async def later() -> None:
        fail("later")

    @tool
    def stream() -> Iterator[int]:
        fail("stream")
        yield 1

    gc.collect()
    gc.disable()
    try:
        for act in (plain, lambda: later().send(None), lambda: list(stream())):
            try:
                act()
            except ValueError:
                pass
        assert sys.exc_info() == (None, None, None)
        assert [ref() for ref in refs] == [None] * 3
    finally:
        gc.enable()
