"""What the collector answers to OTLP that is right, wrong, or half wrong: in the request's own encoding, never 5xx."""

from __future__ import annotations

import gzip
import json
import random
import uuid
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from spanloom.dialects import otlp_json, otlp_proto
from spanloom.dialects.otlp_ids import foreign_run_id
from spanloom.dialects.otlp_values import LogEvent, Span

PROTOBUF = {"content-type": "application/x-protobuf"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NS = 1_700_000_000_000_000_000


def span(number: int, **more: Any) -> Span:
    """A span of a stranger's."""
    return Span(TRACE, f"{number:016x}", f"step {number}", NS, NS + 5, **more)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"resourceSpans":3,"resourceLogs":3}', {}, 400),
        (b'{"resourceSpans":[1],"resourceLogs":[1]}', {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff\xfe", {}, 400),
        (b"\xff\xff\xff\xff", PROTOBUF, 400),
        (b"\x0a\x7f", PROTOBUF, 400),
        (b"not gzip", {"content-encoding": "gzip"}, 400),
        (b"", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-encoding": "zstd"}, 415),
    ],
)
def test_a_malformed_request_is_the_senders_fault(
    path: str, body: bytes, headers: dict[str, str], status: int, standing_client: httpx.Client
) -> None:
    """400 or 415, and a google.rpc.Status in the request's encoding (S01)."""
    headers = {"content-type": "application/json", **headers}
    answer = standing_client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    if headers["content-type"] == "application/x-protobuf":
        assert Status.FromString(answer.content).message
    else:
        assert answer.json()["message"]


def test_nothing_is_fine(standing_client: httpx.Client) -> None:
    """An empty export succeeds, as the specification wants."""
    assert standing_client.post("/v1/traces", content=b"", headers=PROTOBUF).status_code == 200
    assert standing_client.post("/v1/traces", json={}).json() == {}
    assert standing_client.get("/v1/traces").status_code == 405


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_one_bad_span_spoils_no_neighbour(encoding: str, client: httpx.Client) -> None:
    """200 with partial_success: how many were refused, and why; the others are stored."""
    spans = [span(1), Span("0" * 32, "1" * 16, "no trace", NS, NS), span(2), Span(TRACE, "0" * 16, "no id", NS, NS)]
    if encoding == "protobuf":
        answer = client.post("/v1/traces", content=gzip.compress(otlp_proto.encode_traces(spans)),
                             headers={**PROTOBUF, "content-encoding": "gzip"})  # fmt: skip
        said = ExportTraceServiceResponse.FromString(answer.content).partial_success
        rejected, words = said.rejected_spans, said.error_message
    else:
        answer = client.post("/v1/traces", content=otlp_json.encode_traces(spans),
                             headers={"content-type": "application/json; charset=utf-8"})  # fmt: skip
        partial = answer.json()["partialSuccess"]
        rejected, words = int(partial["rejectedSpans"]), partial["errorMessage"]
    assert (answer.status_code, rejected) == (200, 2)
    assert answer.headers["content-type"] == (
        "application/x-protobuf" if encoding == "protobuf" else "application/json"
    )
    assert "traceId must be 16 bytes" in words and "spans[1]" in words
    assert {run["name"] for run in client.get("/v1/runs").json()["data"]} == {"step 1", "step 2"}


def test_children_may_come_first(client: httpx.Client) -> None:
    """Spans end, and are exported, before the spans that they are in; the tree is right when the root has come."""
    for number in (3, 2, 1):
        parent = f"{number - 1:016x}" if number > 1 else ""
        body = otlp_proto.encode_traces([span(number, parent_span_id=parent)])
        assert client.post("/v1/traces", content=body, headers=PROTOBUF).status_code == 200
    tree = client.get(f"/v1/runs/{foreign_run_id(TRACE, f'{1:016x}')}/related").json()
    assert [(run["name"], run["parentRunId"]) for run in tree] == [
        ("step 1", None),
        ("step 2", foreign_run_id(TRACE, f"{1:016x}")),
        ("step 3", foreign_run_id(TRACE, f"{2:016x}")),
    ]


def test_evaluations_become_feedback_and_other_logs_are_refused(client: httpx.Client) -> None:
    """An evaluation event of a stranger's names its span; plain log lines are counted as rejected."""
    client.post("/v1/traces", content=otlp_proto.encode_traces([span(7)]), headers=PROTOBUF)
    attributes = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.75,
                  "gen_ai.evaluation.score.label": "pass", "gen_ai.evaluation.explanation": "on topic"}  # fmt: skip
    events = [LogEvent("gen_ai.evaluation.result", NS, attributes, trace_id=TRACE, span_id=f"{7:016x}"),
              LogEvent("", NS, {}, body="a line")]  # fmt: skip
    for _ in range(2):
        answer = client.post("/v1/logs", content=otlp_proto.encode_logs(events), headers=PROTOBUF)
        said = ExportLogsServiceResponse.FromString(answer.content).partial_success
        assert (answer.status_code, said.rejected_log_records) == (200, 1)
    run_id = foreign_run_id(TRACE, f"{7:016x}")
    assert client.get(f"/v1/runs/{run_id}/feedback").json() == {
        "score": 0.75, "label": "pass", "comment": "relevance: on topic",
    }  # fmt: skip


def test_whatever_attributes_hold_is_kept(client: httpx.Client) -> None:
    """Every kind of value, hostile ones included: huge integers, NUL, bytes, nesting, wrong types under known names."""
    attributes = {
        "openinference.span.kind": "LLM", "llm.input_messages.0.message.role": 7, "llm.input_messages.x": "odd",
        "gen_ai.usage.input_tokens": "many", "llm.token_count.prompt": -5, "input.value": "{not json",
        "input.mime_type": "application/json", "metadata": "[1,2]", "tag.tags": "red", "a\0b": "c\0d",
        "big": 2**63 - 1, "raw": b"\xff\x00", "deep": {"a": [{"b": [1.5, None, True]}]}, "nan": float("nan"),
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"image","uri":"x"},3]}]', "spanloom.run_id": "mine",
        "spanloom.status": "sideways", "gen_ai.response.time_to_first_chunk": 1e308, "llm.invocation_parameters": "3",
    }  # fmt: skip
    body = otlp_proto.encode_traces([span(9, attributes=attributes, status=2)])
    answer = client.post("/v1/traces", content=body, headers=PROTOBUF)
    assert (answer.status_code, answer.content) == (200, b"")
    run = client.get(f"/v1/runs/{foreign_run_id(TRACE, f'{9:016x}')}").json()
    assert (run["type"], run["status"]) == ("llm", "error")
    assert run["metadata"]["deep"] == {"a": [{"b": [1.5, None, True]}]}
    assert run["metadata"]["gen_ai.usage.input_tokens"] == "many"
    assert run["tokens"]["prompt"] is None


def test_damaged_requests_never_fail_the_server(standing_client: httpx.Client) -> None:
    """A real request with bytes flipped, cut and repeated: 200 or 400, nothing else (S01)."""
    chance = random.Random(6)
    whole = otlp_proto.encode_traces([span(n, attributes={"a": [1, "x"], "input.value": "{}"}) for n in range(1, 4)])
    text = otlp_json.encode_traces([span(n, attributes={"a": [1, "x"], "b": 2**40}) for n in range(1, 4)])
    seen = set()
    for _ in range(150):
        for body, media in ((whole, "application/x-protobuf"), (text, "application/json")):
            damaged = bytearray(body)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            del damaged[chance.randrange(len(damaged)) :: chance.choice((1, 7, 10**9))]
            seen.add(
                standing_client.post("/v1/traces", content=bytes(damaged), headers={"content-type": media}).status_code
            )
    assert seen <= {200, 400} and len(seen) == 2


def test_json_of_other_exporters_is_read(client: httpx.Client) -> None:
    """Integers as numbers or text, ids in upper case, unknown fields: as the specification allows."""
    trace = uuid.uuid4().hex
    told = {"traceId": trace.upper(), "spanId": "AB" * 8, "name": "n", "kind": 1, "startTimeUnixNano": NS,
            "endTimeUnixNano": str(NS + 1000), "somethingNew": {"x": 1}, "droppedAttributesCount": 0,
            "status": {}, "attributes": [{"key": "n", "value": {"intValue": 7}},
                                         {"key": "d", "value": {"doubleValue": 1}}]}  # fmt: skip
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [told]}], "schemaUrl": "s"}]}
    assert (
        client.post("/v1/traces", content=json.dumps(body), headers={"content-type": "application/json"}).json() == {}
    )
    run = client.get(f"/v1/runs/{foreign_run_id(trace, 'ab' * 8)}").json()
    assert (run["metadata"]["n"], run["metadata"]["d"]) == (7, 1)


def test_a_request_made_by_hand_is_one(standing_client: httpx.Client) -> None:
    """Our own encoder's bytes are what the official messages parse to and print again."""
    body = otlp_proto.encode_traces([span(1, attributes={"k": [1, {"x": "y"}]}, trace_state="a=b")])
    parsed = ExportTraceServiceRequest.FromString(body)
    made = parsed.resource_spans[0].scope_spans[0].spans[0]
    assert (made.trace_id.hex(), made.span_id.hex(), made.trace_state) == (TRACE, f"{1:016x}", "a=b")
    assert made.attributes[0].value.array_value.values[1].kvlist_value.values[0].value.string_value == "y"
