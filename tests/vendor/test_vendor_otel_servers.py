"""Real Phoenix and MLflow servers take our OTLP and show the weather example, by their own REST answers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from vendor import environments, otel_servers

PROGRAM = Path(__file__).parent / "otel_program.py"
ANSWER = "The weather in Boston is sunny with a temperature of 72 degrees."
QUESTION = "What's the weather in Boston?"
SHAPE = {  # span name -> (type, name of the span around it)
    "invoke_workflow chat": ("CHAIN", None),
    "invoke_agent concierge": ("AGENT", "invoke_workflow chat"),
    "invoke_agent my-super-agent": ("AGENT", "invoke_agent concierge"),
    "chat gpt-4o": ("LLM", "invoke_agent my-super-agent"),
    "execute_tool get_weather_forecast": ("TOOL", "invoke_agent my-super-agent"),
    "execute_tool book_table": ("TOOL", "invoke_agent concierge"),
}
TOKENS = {"prompt": 15 + 96, "completion": 56 + 25}


def python_of(name: str) -> Path:
    """The environment's Python. SPANLOOM_VENDOR=1 makes that of the quicker server, SPANLOOM_VENDOR=all both."""
    found = environments.python_of(name)
    if found is not None:
        return found
    if os.environ.get("SPANLOOM_VENDOR") == "all" or (environments.wanted() and name == "mlflow"):
        return environments.make(name)
    pytest.skip(f"no environment with {name}: SPANLOOM_VENDOR=all makes one (tests/vendor/environments.py)")


def sent(url: str, home: Path, **more: str) -> dict[str, Any]:
    """Run the program; what it said."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("SPANLOOM", "OTEL", "OPENAI"))}  # fmt: skip
    environment |= {"SPANLOOM_HOME": str(home), "SPANLOOM_DESTINATIONS": "otlp", "SPANLOOM_OTLP_URL": url,
                    "SPANLOOM_SERVICE": "weather", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
    environment |= more
    done = subprocess.run([sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    said = dict(json.loads(done.stdout.splitlines()[-1]))
    assert said["flushed"] is True, said
    return said


def check_shape(spans: list[dict[str, Any]]) -> None:
    """Names, types and the tree. ``spans`` have id, name, type, parent."""
    names = {span["id"]: span["name"] for span in spans}
    assert sorted(names.values()) == sorted([*SHAPE, "chat gpt-4o"])  # the model is called twice
    for span in spans:
        assert (span["type"], names.get(span["parent"])) == SHAPE[span["name"]], span["name"]


def test_phoenix_shows_the_weather_example(tmp_path: Path) -> None:
    """Tree, types, messages, tokens, the error, the session, under the project that the service names."""
    with otel_servers.serving("phoenix", python_of("phoenix")) as url:
        said = sent(url, tmp_path)
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            spans = client.get("/v1/projects/weather/spans", params={"limit": 100}).json()["data"]
            (session,) = client.get("/v1/projects/weather/sessions").json()["data"]
    check_shape([{"id": span["context"]["span_id"], "name": span["name"], "type": span["span_kind"],
                  "parent": span["parent_id"]} for span in spans])  # fmt: skip
    assert {span["context"]["trace_id"] for span in spans} == {said["root"].replace("-", "")}
    calls = sorted((span for span in spans if span["span_kind"] == "LLM"), key=lambda span: span["start_time"])
    first, second = (call["attributes"] for call in calls)
    assert first["llm.input_messages.0.message.content"] == QUESTION
    asked = "llm.output_messages.0.message.tool_calls.0.tool_call.function"
    assert (first[f"{asked}.name"], first[f"{asked}.arguments"]) == ("get_weather_forecast", '{"city":"Boston"}')
    assert second["llm.output_messages.0.message.content"] == ANSWER
    for field, total in TOKENS.items():
        assert sum(call[f"llm.token_count.{field}"] for call in (first, second)) == total
    (failed,) = [span for span in spans if span["status_code"] == "ERROR"]
    assert (failed["name"], failed["status_message"]) == ("execute_tool book_table", "no table in Boston")
    assert failed["events"][0]["attributes"]["exception.type"] == "LookupError"
    assert (session["session_id"], session["token_count_prompt"]) == ("session-1", TOKENS["prompt"])


def test_mlflow_shows_the_weather_example(tmp_path: Path) -> None:
    """Tree, types, messages, tokens, the error, the session and the user."""
    with otel_servers.serving("mlflow", python_of("mlflow")) as url:
        said = sent(url, tmp_path, SPANLOOM_OTLP_HEADERS="x-mlflow-experiment-id=0")
        trace_id = f"tr-{said['root'].replace('-', '')}"
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            trace = client.get("/api/3.0/mlflow/traces/get", params={"trace_id": trace_id}).json()["trace"]
    about = trace["trace_info"]["trace_metadata"]
    assert (about["mlflow.trace.session"], about["mlflow.trace.user"]) == ("session-1", "u1")
    used = json.loads(about["mlflow.trace.tokenUsage"])
    assert (used["input_tokens"], used["output_tokens"]) == (TOKENS["prompt"], TOKENS["completion"])
    spans = [{**span, "attributes": {pair["key"]: plain(pair["value"]) for pair in span["attributes"]}}
             for span in trace["spans"]]  # fmt: skip
    check_shape([{"id": span["span_id"], "name": span["name"], "type": span["attributes"]["mlflow.spanType"],
                  "parent": span.get("parent_span_id")} for span in spans])  # fmt: skip
    assert {str(uuid.UUID(bytes=base64.b64decode(span["trace_id"]))) for span in spans} == {said["root"]}
    calls = sorted((span for span in spans if span["name"] == "chat gpt-4o"), key=lambda s: s["start_time_unix_nano"])
    assert calls[0]["attributes"]["mlflow.spanInputs"] == [{"role": "user", "content": QUESTION}]
    assert calls[1]["attributes"]["mlflow.spanOutputs"]["content"] == ANSWER
    (failed,) = [span for span in spans if span["status"]["code"] == "STATUS_CODE_ERROR"]
    assert (failed["name"], failed["status"]["message"]) == ("execute_tool book_table", "no table in Boston")


def plain(value: dict[str, Any]) -> Any:
    """An OTLP value, in the spelling of MLflow's answers."""
    ((kind, found),) = value.items()
    if kind == "array_value":
        return [plain(item) for item in found.get("values", [])]
    if kind == "kvlist_value":
        return {pair["key"]: plain(pair["value"]) for pair in found.get("values", [])}
    return found
