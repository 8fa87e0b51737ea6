"""A LangGraph graph of two nodes with a tool call, with both instrumentors on: the tree of the graph, tokens once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import spanloom
from spanloom import testing
from spanloom.demo.model_server import ModelServer
from spanloom.otel.instrumenting import uninstrument

QUESTION: Any = {"messages": [("user", "What's the weather in Boston?")]}


@tool
def get_weather_forecast(city: str) -> dict[str, Any]:
    """What the weather will be."""
    return {"temperature": 72, "weather": "sunny"}


@pytest.fixture
def runs() -> Iterator[testing.CapturedRuns]:
    with testing.capture() as captured:
        yield captured
    uninstrument()


def graph(server: ModelServer, kind: str) -> Any:
    """Asks the model, runs the tool that it wants, asks it again."""
    base: Any = ChatOpenAI(model="gpt-4o", base_url=server.base_url, api_key="x", max_retries=0, stream_usage=True)  # type: ignore
    model = base.bind_tools([get_weather_forecast])

    async def ask_async(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def ask(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    made: Any = StateGraph(MessagesState)
    made.add_node("model", ask_async if kind.startswith("a") else ask)
    made.add_node("tools", ToolNode([get_weather_forecast]))
    made.add_edge(START, "model")
    made.add_conditional_edges("model", tools_condition)
    made.add_edge("tools", "model")
    return made.compile()


def drawn(run: testing.CapturedRun) -> Any:
    """A run and its children, as (type, name, children)."""
    return run.type, run.name, [drawn(child) for child in run.children]


@pytest.mark.parametrize("kind", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("around", [True, False])
def test_a_graph_with_a_tool_call(kind: str, around: bool, server: ModelServer, runs: Any) -> None:
    """Each node with what it called, each model call one run with the tokens of both layers once, nothing elsewhere;
    whole and streamed, sync and async, inside an agent of ours and outside any."""
    assert spanloom.instrument("openai", "langchain") == ("openai", "langchain")
    app = graph(server, kind)

    async def call_async() -> None:
        if kind == "ainvoke":
            await app.ainvoke(QUESTION)
        else:
            async for _ in app.astream(QUESTION, stream_mode="messages"):
                pass

    def call() -> None:
        if kind == "invoke":
            app.invoke(QUESTION)
        elif kind == "stream":
            list(app.stream(QUESTION, stream_mode="messages"))
        else:
            asyncio.run(call_async())

    if around:
        with spanloom.agent("a"):
            call()
    else:
        call()
    top = runs.one("chain", "LangGraph")
    asked: list[Any] = [("llm", "gpt-4o", []), ("chain", "tools_condition", [])]
    used = ("chain", "tools", [("tool", "get_weather_forecast", [])])
    assert drawn(top) == ("chain", "LangGraph", [("chain", "model", asked), used, ("chain", "model", asked)])
    assert [run.id for run in runs if run.parent is None] == [runs.one("agent", "a").id if around else top.id]
    assert [call.usage["total"] for call in runs.all("llm")] == [each.usage["total_tokens"] for each in server.served]
    assert all(not run.usage for run in runs if run.type != "llm")
