"""A model call that two layers see is one run, and counts once; what is not sure to be one call stays two runs."""

# ruff: noqa: SIM117 - which span is inside which is what these tests are about
from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Status, StatusCode
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import spanloom
from spanloom import testing
from spanloom.demo.model_server import Fault, ModelServer
from spanloom.otel.instrumenting import uninstrument
from spanloom.otel.layers import REPEATED
from spanloom.otel.spans import RunSpans
from spanloom.records import RunStart, RunUpdate

QUESTION = "What's the weather in Boston?"


@pytest.fixture
def runs() -> Iterator[testing.CapturedRuns]:
    with testing.capture() as captured:
        yield captured
    uninstrument()


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(RunSpans())
    yield made
    made.shutdown()


class Layer:
    """An instrumentor that reports calls as OpenInference's do."""

    def __init__(self, provider: TracerProvider, scope: str) -> None:
        self._tracer = provider.get_tracer(scope)

    def call(
        self, *, usage: tuple[int, int] | None = None, response_id: str = "", model: str = "m", **more: Any
    ) -> Any:
        attributes = {"openinference.span.kind": "LLM", "llm.model_name": model, **more}
        if usage is not None:
            attributes |= {"llm.token_count.prompt": usage[0], "llm.token_count.completion": usage[1]}
        if response_id:
            attributes["gen_ai.response.id"] = response_id
        return self._tracer.start_as_current_span("call", attributes=attributes)


@pytest.fixture
def outer(provider: TracerProvider) -> Layer:
    return Layer(provider, "framework")


@pytest.fixture
def inner(provider: TracerProvider) -> Layer:
    return Layer(provider, "client")


def tokens(runs: testing.CapturedRuns) -> int:
    """All that was counted."""
    return sum(run.usage.get("input", 0) + run.usage.get("output", 0) for run in runs)


def calls(runs: testing.CapturedRuns) -> list[testing.CapturedRun]:
    return [run for run in runs if run.type == "llm"]


# -- real packages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("around", [True, False])
def test_langchain_and_openai_both_on(kind: str, around: bool, server: ModelServer, runs: Any) -> None:
    """LangChain's span and the client's, which do not hang together in OpenTelemetry, are one run where LangChain's
    was, with the metadata of both and the tokens once; inside an agent of ours and outside any."""
    assert spanloom.instrument("openai", "langchain") == ("openai", "langchain")
    model = ChatOpenAI(model="gpt-4o", base_url=server.base_url, api_key="x", max_retries=0, stream_usage=True)  # type: ignore

    async def call_async() -> None:
        if kind == "ainvoke":
            await model.ainvoke(QUESTION)
        else:
            async for _ in model.astream(QUESTION):
                pass

    def call() -> None:
        if kind == "invoke":
            model.invoke(QUESTION)
        elif kind == "stream":
            list(model.stream(QUESTION))
        else:
            asyncio.run(call_async())

    if around:
        with spanloom.agent("a") as agent:
            call()
    else:
        call()
    (served,) = server.served
    (made,) = calls(runs)
    assert made.status == "ok" and made.parent_id == (agent.id if around else None)
    assert made.output["content"] == served.message["content"]  # type: ignore[index]
    assert tokens(runs) == served.usage["total_tokens"]  # type: ignore[index]
    assert made.metadata["ls_provider"] == "openai"
    assert made.metadata["otel.outer"]["otel.scope.name"] == "openinference.instrumentation.langchain"
    assert made.metadata["otel.scope.name"] == "openinference.instrumentation.openai"


def test_many_langchain_calls_at_once(server: ModelServer, runs: Any) -> None:
    """Calls in threads side by side, with equal questions: as many runs as calls, and each answer's tokens once."""
    spanloom.instrument("openai", "langchain")
    model = ChatOpenAI(model="gpt-4o", base_url=server.base_url, api_key="x", max_retries=0)  # type: ignore
    with spanloom.agent("a"):
        model.batch([QUESTION] * 6)
    assert len(calls(runs)) == len(server.served) == 6
    assert tokens(runs) == sum(served.usage["total_tokens"] for served in server.served if served.usage)
    assert len({call.response_id for call in calls(runs)}) == 6


def test_a_call_that_fails_in_both_layers_is_one_failed_run(server: ModelServer, runs: Any) -> None:
    """The client's error and LangChain's are one run, with the error of the inner one."""
    spanloom.instrument("openai", "langchain")
    server.fail_next(Fault(status=500))
    model = ChatOpenAI(model="gpt-4o", base_url=server.base_url, api_key="x", max_retries=0)  # type: ignore
    with pytest.raises(Exception, match="scripted failure"), spanloom.agent("a"):
        model.invoke(QUESTION)
    (call,) = calls(runs)
    assert call.status == "error" and "InternalServerError" in call.error["type"]


def test_pydantic_ai_and_openai_both_on(server: ModelServer, runs: Any) -> None:
    """The framework's model calls and the client's are one run each; agent, call, tool, call; the agent's totals
    count nothing."""
    assert spanloom.instrument("openai", "pydantic-ai") == ("openai", "pydantic-ai")

    async def converse() -> str:
        async with AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
            agent: Any = Agent(OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client)), name="weather")

            @agent.tool_plain
            def get_weather_forecast(city: str) -> dict[str, Any]:
                return {"temperature": 72, "weather": "sunny"}

            return str((await agent.run(QUESTION)).output)

    assert "sunny" in asyncio.run(converse())
    root = runs.one("agent", "weather")
    assert [child.type for child in root.children] == ["llm", "tool", "llm"]
    assert tokens(runs) == sum(served.usage["total_tokens"] for served in server.served if served.usage)
    assert [call.metadata["otel.outer"]["otel.scope.name"] for call in calls(runs)] == ["pydantic-ai", "pydantic-ai"]


# -- which are one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [("r1", "r1"), ("", "r1"), ("r1", ""), ("", "")])
def test_one_call_inside_another_is_one_run(ids: tuple[str, str], outer: Layer, inner: Layer, runs: Any) -> None:
    """Same tokens and model, or same response id: one run, where the outer one was; what only one said is kept."""
    with spanloom.agent("a"):
        with outer.call(usage=(3, 4), response_id=ids[0], model="m", **{"only.outer": 1}) as span:
            span.add_event("seen by the outer one")
            with inner.call(usage=(3, 4), response_id=ids[1], model="m-2026-01-01", **{"only.inner": 2}):
                pass
    (call,) = runs.one("agent", "a").children
    assert (call.metadata["only.outer"], call.metadata["only.inner"]) == (1, 2)
    assert tokens(runs) == 7 and call.response_id == (ids[1] or ids[0] or None)
    assert [event[0] for event in call.events] == ["seen by the outer one"]


@pytest.mark.parametrize("kind_is_late", [False, True])
def test_three_layers_of_one_call_are_one_run(kind_is_late: bool, provider: Any, inner: Layer, runs: Any) -> None:
    """A framework over a router over a client: one run where the outermost was, with what each of them knew. The router
    names the provider before the model, and tells the kind of its span at its end, as OpenInference's tracer does."""
    framework, router = Layer(provider, "framework"), provider.get_tracer("router")
    about = {"llm.model_name": "openai/m", "llm.token_count.prompt": 3, "llm.token_count.completion": 4, "router": 1}
    kind = {"openinference.span.kind": "LLM"}
    with spanloom.agent("a"):
        with framework.call(usage=(3, 4), framework=2):
            attributes = about if kind_is_late else about | kind
            with router.start_as_current_span("completion", attributes=attributes) as span:
                with inner.call(usage=(3, 4), response_id="r1"):
                    pass
                span.add_event("routed")
                span.set_attributes(kind)
    (call,) = runs.one("agent", "a").children
    assert (call.type, call.metadata["router"], call.metadata["framework"]) == ("llm", 1, 2)
    assert tokens(runs) == 7 and [event[0] for event in call.events] == ["routed"]
    around = call.metadata["otel.outer"]
    assert (around["otel.scope.name"], around["otel.outer"]["otel.scope.name"]) == ("router", "framework")


def test_a_router_that_tries_twice_below_a_framework(provider: Any, inner: Layer, runs: Any) -> None:
    """Two calls inside the middle layer: each is a run, the two layers are chains, and everything counts once."""
    framework, router = Layer(provider, "framework"), Layer(provider, "router")
    with framework.call(usage=(10, 10)), router.call(usage=(10, 10)):
        with inner.call(usage=(4, 4), response_id="r1"):
            pass
        with inner.call(usage=(6, 6), response_id="r2"):
            pass
    assert [call.usage["input"] for call in calls(runs)] == [4, 6] and tokens(runs) == 20
    assert len(runs.all("chain")) == 2 and all(run.status == "ok" for run in runs)


def test_what_the_inner_layer_did_not_know_is_the_outer_ones(outer: Layer, inner: Layer, runs: Any) -> None:
    """Tokens, answer and response id that only the framework saw are the run's."""
    with outer.call(usage=(3, 4), response_id="r1", **{"output.value": "hello"}), inner.call():
        pass
    (call,) = runs
    assert (call.usage["input"], call.response_id) == (3, "r1") and "hello" in str(call.output)


def test_two_calls_inside_are_two_runs_in_a_chain(outer: Layer, inner: Layer, runs: Any) -> None:
    """A layer that calls twice (a retry, a router): each call is a run, the layer is a chain, and its totals are in its
    metadata only."""
    with outer.call(usage=(10, 10)):
        with inner.call(usage=(4, 4)):
            pass
        with inner.call(usage=(6, 6)):
            pass
    assert [call.usage["input"] for call in calls(runs)] == [4, 6]
    (layer,) = [run for run in runs if run.type == "chain"]
    assert layer.metadata[REPEATED] == {"prompt": 10, "completion": 10} and tokens(runs) == 20


@pytest.mark.parametrize("difference", [{"response_id": "r2", "usage": (3, 4)}, {"usage": (5, 6)}, {"model": "other"}])
def test_what_may_be_another_call_stays_a_run(difference: Any, outer: Layer, inner: Layer, runs: Any) -> None:
    """Another response id, other tokens or another model: two runs. Only the first is sure to be two calls, and counts
    as two."""
    with outer.call(**{"usage": (3, 4), "response_id": "r1", **difference}):
        with inner.call(usage=(3, 4), response_id="r1" if difference.get("response_id") else ""):
            pass
    assert len(list(runs)) == 2
    assert tokens(runs) == (14 if difference.get("response_id") else 7)


def test_a_layer_with_more_inside_stays_a_run(provider: TracerProvider, outer: Layer, inner: Layer, runs: Any) -> None:
    """Where a third span hangs below the outer layer, that layer stays, so that the third has its parent."""
    with outer.call(usage=(3, 4)):
        with provider.get_tracer("other").start_as_current_span("parse"):
            pass
        with inner.call(usage=(3, 4)):
            pass
    parse = runs.one("chain", "parse")
    assert parse.parent_id in {run.id for run in runs} and tokens(runs) == 7


def test_a_run_inside_the_outer_layer_has_its_parent(outer: Layer, inner: Layer, runs: Any) -> None:
    """A run of ours that began inside the outer layer hangs below it: that layer stays, its tokens uncounted."""
    with outer.call(usage=(3, 4)):
        with spanloom.tool("guard"):
            pass
        with inner.call(usage=(3, 4)):
            pass
    guard, (call,) = runs.one("tool", "guard"), calls(runs)
    layer = runs.one("chain", "m")
    assert guard.parent_id == layer.id and call.parent_id == layer.parent_id is None
    assert tokens(runs) == 7 and layer.metadata[REPEATED] == {"prompt": 3, "completion": 4}


def test_a_run_by_hand_between_two_layers_counts_alone(outer: Layer, inner: Layer, runs: Any) -> None:
    """Where a run of ours has taken the inner layer's tokens, the outer layer's are not counted again."""
    with outer.call(usage=(3, 4)), spanloom.llm("m"), inner.call(usage=(3, 4)):
        pass
    (call,) = calls(runs)
    assert call.usage["input"] == 3 and tokens(runs) == 7
    assert call.parent_id == runs.one("chain", "m").id


def test_what_hangs_below_the_inner_layer_keeps_its_parent(
    provider: Any, outer: Layer, inner: Layer, runs: Any
) -> None:
    """The one run is the inner span's, so that the HTTP request below it is still below it."""
    with outer.call(usage=(3, 4)), inner.call(usage=(3, 4)):
        with provider.get_tracer("http").start_as_current_span("POST"):
            pass
    (call,) = calls(runs)
    assert runs.one("chain", "POST").parent_id == call.id and len(list(runs)) == 2


def test_one_failed_and_one_well_are_two(outer: Layer, inner: Layer, runs: Any) -> None:
    """A failure that the outer layer made good by other means stays to be seen."""
    with outer.call(usage=(3, 4)), inner.call() as span:
        span.set_status(Status(StatusCode.ERROR, "refused"))
    assert sorted(run.status for run in runs) == ["error", "ok"] and tokens(runs) == 7


def test_nothing_waits_but_the_end(outer: Layer, inner: Layer, runs: testing.CapturedRuns) -> None:
    """When the inner layer has ended, its start and its tokens are recorded, for a process that is killed now; its end
    follows when the provider is flushed, or the outer layer ends."""
    with outer.call(usage=(3, 4)), inner.call(usage=(3, 4), response_id="r1"):
        pass
    (start, update, end) = runs.records
    assert isinstance(start, RunStart) and isinstance(update, RunUpdate)
    assert update.tokens_usage is not None and update.tokens_usage.prompt == 3 and update.response_id == "r1"
    assert start.run_id == update.run_id == end.run_id  # type: ignore[union-attr]


def test_an_end_is_not_held_for_a_layer_that_never_ends(provider: TracerProvider, outer: Layer, inner: Layer) -> None:
    """A flush of the provider records what waits; the outer layer that ends after all is not counted again."""
    with testing.capture() as runs:
        with outer.call(usage=(3, 4)):
            with inner.call(usage=(3, 4)):
                pass
            assert not [run for run in runs if run.status == "ok"]
            provider.force_flush()
            assert [run.status for run in runs if run.type == "llm"] == ["ok"]
        assert tokens(runs) == 7


@pytest.mark.parametrize("sample", [0.0, 1.0])
def test_unsampled_calls_count_once_too(sample: float, outer: Layer, inner: Layer) -> None:
    """Without content, one end record with the tokens."""
    with testing.capture(sample=sample) as runs:
        with outer.call(usage=(3, 4), response_id="r1"), inner.call(usage=(3, 4), response_id="r1"):
            pass
    (call,) = runs
    assert call.sampled is bool(sample) and tokens(runs) == 7


def test_layers_in_many_threads(outer: Layer, inner: Layer, runs: Any) -> None:
    """Two layers in each of eight threads: as many runs as calls."""

    def work(number: int) -> None:
        for turn in range(20):
            with outer.call(usage=(3, 4), response_id=f"{number}.{turn}"), inner.call(usage=(3, 4)):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(runs)) == 160 and tokens(runs) == 160 * 7
    assert trace.get_current_span().get_span_context().is_valid is False
