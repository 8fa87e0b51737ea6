"""The scripted model server over real sockets, asked by plain httpx and by the official client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from spanloom.demo.model_server import Fault, ModelServer
from spanloom.demo.weather import TOOLS

QUESTION: Any = {"role": "user", "content": "What's the weather in Boston?"}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def client(server: ModelServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0, timeout=10) as opened:
        yield opened


@pytest.fixture
def http(server: ModelServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, timeout=10, trust_env=False) as opened:
        yield opened


def test_a_chat_completion_has_the_official_shape(server: ModelServer, client: openai.OpenAI) -> None:
    """The official client reads message, tool call, finish reason and usage, and the log holds the same."""
    reply = client.chat.completions.create(model="gpt-4o", messages=[QUESTION], tools=TOOLS)  # type: ignore[arg-type]
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].to_dict()["function"]["name"] == "get_weather_forecast"  # type: ignore[index]
    (served,) = server.served
    assert served.path == "/v1/chat/completions"
    assert served.asked["messages"] == [QUESTION]
    assert served.message is not None and served.message["content"] == choice.message.content
    assert reply.usage is not None and reply.usage.to_dict() == served.usage


def test_two_replies_never_share_an_id(client: openai.OpenAI) -> None:
    """Response ids are unique, because a meter may count by them."""
    ids = {client.chat.completions.create(model="m", messages=[QUESTION]).id for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_stream_carries_the_reply_and_usage_when_asked(client: openai.OpenAI, with_usage: bool) -> None:
    """Chunks join to the reply; one last chunk without choices carries the usage only if asked for it."""
    options: Any = {"stream_options": {"include_usage": True}} if with_usage else {}
    chunks = list(client.chat.completions.create(model="m", messages=[QUESTION], stream=True, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You asked: What's the weather in Boston?"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert [chunk.usage is not None for chunk in chunks if not chunk.choices] == ([True] if with_usage else [])


def test_embeddings_come_as_floats_and_as_base64(client: openai.OpenAI, http: httpx.Client) -> None:
    """The official client asks for base64, others for floats; both get the same vector."""
    packed = client.embeddings.create(model="e", input=["a", "b"], dimensions=6)
    plain = http.post("embeddings", json={"model": "e", "input": ["a", "b"], "dimensions": 6}).json()
    assert [item.embedding for item in packed.data] == [item["embedding"] for item in plain["data"]]
    assert [len(item.embedding) for item in packed.data] == [6, 6]


def test_scripted_faults_are_met_once_each(server: ModelServer, client: openai.OpenAI) -> None:
    """429 with Retry-After, 500 and half a JSON object each hit one request; the next one is answered."""
    server.fail_next(Fault(429, retry_after_seconds=7), Fault(500), Fault(malformed=True))
    ask: Any = {"model": "m", "messages": [QUESTION]}
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(**ask)
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**ask)
    with pytest.raises(json.JSONDecodeError):
        client.chat.completions.create(**ask)
    assert client.chat.completions.create(**ask).choices[0].finish_reason == "stop"
    assert [served.status for served in server.served] == [429, 500, 200, 200]


def test_a_cut_stream_breaks_in_the_middle(server: ModelServer, http: httpx.Client) -> None:
    """A stream that is cut has begun, and ends with a protocol error rather than with [DONE]."""
    server.fail_next(Fault(cut=True))
    seen: list[str] = []
    body = {"model": "m", "messages": [QUESTION], "stream": True}
    with (
        pytest.raises(httpx.RemoteProtocolError),
        http.stream("POST", "chat/completions", json=body) as response,
    ):
        seen.extend(response.iter_lines())
    assert any(line.startswith("data: {") for line in seen)
    assert "data: [DONE]" not in seen


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("chat/completions", b"{", 400),
        ("chat/completions", b"[]", 400),
        ("chat/completions", b'{"messages": []}', 400),
        ("embeddings", b'{"input": 3}', 400),
        ("embeddings", b'{"input": "a", "dimensions": 0}', 400),
        ("images", b"{}", 404),
    ],
)
def test_bad_requests_get_an_error_object(http: httpx.Client, path: str, body: bytes, status: int) -> None:
    """What the server cannot answer gets a 4xx with a message, and the connection lives on."""
    refused = http.post(path, content=body)
    assert refused.status_code == status
    assert refused.json()["error"]["message"]
    assert http.post("chat/completions", json={"messages": [QUESTION]}).status_code == 200


def test_many_clients_are_served_at_once(server: ModelServer) -> None:
    """Twenty threads asking at once each get their own answer."""
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        message = {"role": "user", "content": f"number {number}"}
        with httpx.Client(base_url=server.base_url, timeout=10, trust_env=False) as http:
            reply = http.post("chat/completions", json={"messages": [message]}).json()
        answers[number] = reply["choices"][0]["message"]["content"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == {number: f"You asked: number {number}" for number in range(20)}


def test_close_does_not_wait_for_clients(http: httpx.Client, server: ModelServer) -> None:
    """A client that keeps its connection open does not hold the server, and the address is gone afterwards."""
    assert http.post("chat/completions", json={"messages": [QUESTION]}).status_code == 200
    server.close()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url
