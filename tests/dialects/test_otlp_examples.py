"""A request of a stock OpenTelemetry exporter, as it went over the wire: both encodings say the same, and all of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

import wire as examples
from spanloom import records
from spanloom.dialects import otlp
from spanloom.wire import Request


def read(media: str, body: bytes) -> list[Any]:
    """The records of a request."""
    request = Request("POST", otlp.TRACES_PATH, {"content-type": media}, body)
    return [received.record for received in otlp.read_request(request)]


def in_json() -> list[Any]:
    return read(otlp.JSON, examples.text("otlp_01_traces").encode())


def test_protobuf_and_json_of_one_request_are_the_same_records() -> None:
    """Ids, times, attributes, events and states, in every field."""
    body = bytes.fromhex("".join(examples.load("otlp_02_traces_protobuf")))
    in_protobuf = read(otlp.PROTOBUF, body)
    assert len(in_protobuf) >= 6
    assert [msgspec.json.encode(record) for record in in_protobuf] == [
        msgspec.json.encode(record) for record in in_json()
    ]


def test_what_the_exporter_sent_is_what_is_recorded() -> None:
    """An agent with a model call and a tool that fails: tree, model, tokens, messages, error, thread, the unknown."""
    found = in_json()
    starts = {record.type: record for record in found if isinstance(record, records.RunStart)}
    ends = {record.type: record for record in found if isinstance(record, records.RunEnd)}
    agent, llm, tool = (starts[name] for name in ("agent", "llm", "tool"))
    assert [run.name for run in (agent, llm, tool)] == ["weather", "gpt-4o-mini", "thermometer"]
    assert agent.parent_run_id is None and {llm.parent_run_id, tool.parent_run_id} == {agent.run_id}
    assert (agent.thread_id, agent.service, llm.timestamp) == ("t9", "weather", "2023-11-14T22:13:20.001000Z")
    assert json.loads(bytes(agent.metadata))["app.region"] == "eu"
    assert json.loads(bytes(llm.params))["temperature"] == 0.5
    assert b"Oslo?" in bytes(llm.input) and b"3 degrees" in bytes(ends["llm"].output)
    assert (ends["llm"].tokens_usage.prompt, ends["llm"].tokens_usage.completion) == (12, 3)
    assert [ends[name].status for name in ("agent", "llm", "tool")] == ["ok", "ok", "error"]
    assert (ends["tool"].error.type, ends["tool"].error.message) == ("OSError", "no reading")
