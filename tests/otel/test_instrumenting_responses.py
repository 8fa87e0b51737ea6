"""`instrument("openai")` and the Responses API; and the ways to call chat completions that stream tools or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, OpenAI

import spanloom
from spanloom import testing
from spanloom.demo.model_server import Fault, ModelServer
from spanloom.otel.instrumenting import uninstrument

QUESTION: Any = {"role": "user", "content": "What's the weather in Boston?"}
FUNCTION: Any = {
    "name": "get_weather_forecast",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS: Any = [{"type": "function", **FUNCTION}]
KINDS = ["sync", "sync stream", "async", "async stream"]


@pytest.fixture
def runs() -> Iterator[testing.CapturedRuns]:
    with testing.capture() as captured:
        assert spanloom.instrument("openai") == ("openai",)
        yield captured
    uninstrument()


def called(kind: str, server: ModelServer, method: str, **params: Any) -> None:
    """Call ``method`` ("responses" or "chat.completions") in one of four ways, to the end of its stream."""
    params = {"model": "gpt-4o", **params, **({"stream": True} if "stream" in kind else {})}
    options: Any = {"base_url": server.base_url, "api_key": "x", "max_retries": 0, "timeout": 10}

    def of(client: Any) -> Any:
        for name in method.split("."):
            client = getattr(client, name)
        return client

    async def call_async() -> None:
        async with AsyncOpenAI(**options) as client:
            reply = await of(client).create(**params)
            if "stream" in kind:
                async for _ in reply:
                    pass

    if kind.startswith("async"):
        asyncio.run(call_async())
        return
    with OpenAI(**options) as client:
        reply = of(client).create(**params)
        for _ in reply if "stream" in kind else ():
            pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_is_recorded(kind: str, server: ModelServer, runs: testing.CapturedRuns) -> None:
    """One `llm` run below the agent: messages, parameters, text and tool call, and the tokens that were said, once."""
    with spanloom.agent("a"):
        called(kind, server, "responses", input=[QUESTION], tools=TOOLS, instructions="Be kind")
    (call,), (served,) = runs.one("agent", "a").children, server.served
    assert served.message is not None and served.usage is not None
    assert (call.type, call.name, call.status) == ("llm", "gpt-4o", "ok")
    assert QUESTION in call.input and call.params["tools"][0]["name"] == FUNCTION["name"]
    text, wish = call.output
    assert text["content"] == served.message["content"]
    assert wish["tool_calls"] == served.message["tool_calls"]
    assert str(call.response_id).startswith("resp_")
    assert (call.usage["input"], call.usage["output"]) == (served.usage["input_tokens"], served.usage["output_tokens"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["responses", "chat.completions"])
def test_an_error_is_the_runs_and_the_hosts(kind: str, method: str, server: ModelServer, runs: Any) -> None:
    """Refused in any way of calling: the host has its exception, the run its name and words, and no tokens."""
    server.fail_next(Fault(status=429))
    asked = {"input": [QUESTION]} if method == "responses" else {"messages": [QUESTION]}
    with pytest.raises(APIStatusError), spanloom.agent("a"):
        called(kind, server, method, **asked)
    (call,) = runs.one("agent", "a").children
    assert call.status == "error" and "RateLimitError" in call.error["type"] and not call.usage
    assert "scripted failure" in call.error["message"]


@pytest.mark.parametrize("kind", ["sync stream", "async", "async stream"])
def test_tool_calls_of_chat_completions_in_every_way(kind: str, server: ModelServer, runs: Any) -> None:
    """Text and tool call are put together again from the pieces of a stream; tokens where the stream has them."""
    usage = {"stream_options": {"include_usage": True}} if "stream" in kind else {}
    with spanloom.agent("a"):
        tools = [{"type": "function", "function": FUNCTION}]
        called(kind, server, "chat.completions", messages=[QUESTION], tools=tools, **usage)
    (call,), (served,) = runs.one("agent", "a").children, server.served
    assert call.output == served.message and served.usage is not None
    said = (served.usage["prompt_tokens"], served.usage["completion_tokens"])
    assert (call.usage["input"], call.usage["output"]) == said
