"""Other people's programs, as they are: the stock OpenTelemetry SDK and exporter (protobuf, gzip or not), OpenInference
and OpenLLMetry around the real client, sent to a collector on a real socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanloom.collector.server import Running
from spanloom.demo.model_server import ModelServer
from spanloom.store import views

PROGRAM = Path(__file__).parent / "otlp_program.py"


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    """The scripted model API."""
    with ModelServer() as serving:
        yield serving


def ran(family: str, collector: Running, model: ModelServer, **extra: str) -> dict[str, Any]:
    """What the program said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPANLOOM_"))}
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **extra}
    command = [sys.executable, str(PROGRAM), family, collector.url, model.base_url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Failed to export" not in done.stderr, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def tree(client: httpx.Client, trace_id: str) -> list[dict[str, Any]]:
    """The runs of a trace, as the public API shows them."""
    runs = client.get("/v1/runs", params={"limit": 100, "sortField": "createdAt", "sortDirection": "asc"}).json()[
        "data"
    ]
    return [run for run in runs if run["rootRunId"] == str(uuid.UUID(trace_id))]


def test_the_stock_exporter_is_understood(collector: Running, client: httpx.Client, model: ModelServer) -> None:
    """Types, tree, names, thread, user, events and every unknown attribute, by the GenAI conventions alone."""
    said = ran("plain", collector, model, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")
    runs = {run["name"]: run for run in tree(client, said["trace"])}
    web, agent, tool = runs["GET /checkout"], runs["shopper"], runs["get_weather_forecast"]
    assert [run["type"] for run in (web, agent, tool)] == ["chain", "agent", "tool"]
    assert (web["parentRunId"], agent["parentRunId"], tool["parentRunId"]) == (None, web["id"], agent["id"])
    assert (tool["input"], tool["output"]) == ({"city": "Boston"}, {"temperature": 72})
    assert (agent["threadId"], agent["user"]["id"]) == ("conv-7", "u1")
    assert web["metadata"]["http.route"] == "/c"
    assert web["metadata"]["otel.span.kind"] == "SERVER"
    assert web["metadata"]["otel.resource"]["deployment.environment"] == "test"
    # An agent's own figure is no model call's: kept, not counted.
    assert agent["tokens"]["total"] is None
    assert agent["metadata"]["gen_ai.usage.input_tokens"] == 999999


@pytest.mark.parametrize("family", ["openinference", "openllmetry"])
def test_instrumentors_are_understood(
    family: str, collector: Running, client: httpx.Client, model: ModelServer
) -> None:
    """Model calls with messages, tool calls, parameters, usage and the failure, below the agent that made them."""
    said = ran(family, collector, model)
    runs = tree(client, said["trace"])
    agent = next(run for run in runs if run["type"] == "agent")
    calls = [run for run in runs if run["type"] == "llm"]
    assert [run["parentRunId"] for run in calls] == [agent["id"]] * 3
    assert [run["status"] for run in calls] == ["success", "success", "error"]
    first, second, failed = calls
    assert first["input"] == [{"role": "user", "content": "What's the weather in Boston?"}]
    asked = first["output"]["tool_calls"][0]["function"]
    assert (asked["name"], json.loads(asked["arguments"])) == ("get_weather_forecast", {"city": "Boston"})
    assert [message["role"] for message in second["input"]] == ["user", "assistant", "tool"]
    result = second["input"][2]["content"]  # one family sends the text, the other what it says
    assert (json.loads(result) if isinstance(result, str) else result) == {"temperature": 72, "weather": "sunny"}
    assert second["output"]["role"] == "assistant" and "sunny" in second["output"]["content"]
    assert first["params"]["temperature"] == 0.5
    assert first["params"]["tools"]
    used = {name: sum(run["tokens"][name] for run in calls[:2]) for name in ("prompt", "completion")}
    assert used == {"prompt": said["prompt"], "completion": said["completion"]}
    assert failed["error"]["message"]


def test_two_layers_that_see_one_call_count_once(collector: Running, client: httpx.Client, model: ModelServer) -> None:
    """With both families on, each call is reported twice, one within the other; its tokens count once."""
    said = ran("both", collector, model)
    runs = tree(client, said["trace"])
    assert sum(run["type"] == "llm" for run in runs) == 6
    root = str(uuid.UUID(said["trace"]))
    total = views.trace_sums(collector.reader, [root])[root]
    by_model = collector.reader.model_sums()
    assert total.tokens == said["prompt"] + said["completion"]
    assert sum(row.prompt or 0 for row in by_model) == said["prompt"]


def test_sending_again_changes_nothing(collector: Running, client: httpx.Client) -> None:
    """The same spans twice are the same runs (an exporter that saw no answer sends again)."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    span = {"traceId": trace, "spanId": "b7ad6b7169203331", "name": "chat gpt-4o", "kind": 3,
            "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": 1700000001000000000,
            "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                           {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
                           {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "5"}}]}  # fmt: skip
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    before = None
    for _ in range(2):
        answer = client.post("/v1/traces", json=body)
        assert (answer.status_code, answer.json()) == (200, {})
        (run,) = tree(client, trace)
        assert before in (None, run)
        before = run
    assert before is not None
    assert (before["type"], before["name"], before["tokens"]["prompt"]) == ("llm", "gpt-4o", 5)
    assert before["duration"] == "00:00:01"
