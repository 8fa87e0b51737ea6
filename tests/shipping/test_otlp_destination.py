"""The OTLP destination, from `configure` to a real endpoint: what is joined, what is counted, what is refused."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from msgspec import Raw

from spanloom.clock import iso
from spanloom.dialects import otlp, otlp_json
from spanloom.dialects.otlp_values import Span
from spanloom.errors import SettingsError
from spanloom.records import AnyRecord, Feedback, RunEnd, RunStart, encode
from spanloom.shipping.otlp_destination import Otlp
from spanloom.shipping.otlp_format import Joined, OtlpFormat
from spanloom.wire import Call, Response

DEADLINE = 10.0**12


@contextmanager
def endpoint(answers: dict[str, tuple[int, bytes]]) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """An endpoint that answers each path as told, and keeps what it got."""
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            status, body = answers[self.path]
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        serving.join(5)


def run(number: int = 1) -> tuple[RunStart, RunEnd]:
    """A finished tool run."""
    run_id = str(uuid.UUID(int=(7 << 76) | (2 << 62) | number))
    who: dict[str, Any] = {"run_id": run_id, "root_run_id": run_id, "type": "tool", "name": "search"}
    start = RunStart(event_id=f"{run_id}.s", timestamp=iso(10**18), input=Raw(b'{"q":"x"}'), **who)
    return start, RunEnd(event_id=f"{run_id}.e", timestamp=iso(10**18), started_at=iso(10**18), **who)


def payloads(*records: AnyRecord) -> list[bytes]:
    return [encode(record) for record in records]


def spans_of(call: Call) -> list[Span]:
    found = otlp_json.decode_traces(call.request.body)
    assert all(isinstance(span, Span) for span in found)
    return found  # type: ignore[return-value]


def test_a_start_waits_for_its_end_until_that_is_acknowledged() -> None:
    """The start of one batch and the end of the next are one span; a failed delivery forgets nothing, a success all."""
    form = OtlpFormat(otlp.Options())
    start, end = run()
    assert [verdict.reason for verdict in form.write(payloads(start)).settled.values()] == ["joined"]
    (call,) = form.write(payloads(end)).calls
    assert spans_of(call)[0].attributes["input.value"] == '{"q":"x"}'
    form.read(call, Response(503))
    (again,) = form.write(payloads(end)).calls
    assert spans_of(again)[0].attributes["input.value"] == '{"q":"x"}'
    form.read(again, Response(200, {"content-type": "application/json"}, b"{}"))
    assert form.joined.size_bytes == 0


def test_an_end_whose_start_is_lost_says_so() -> None:
    """After a restart the end goes alone: everything but the input, the loss said on the span and counted."""
    form = OtlpFormat(otlp.Options())
    (call,) = form.write(payloads(run()[1])).calls
    (span,) = spans_of(call)
    assert span.attributes["spanloom.input_unknown"] is True
    assert (span.name, form.joined.without_start) == ("execute_tool search", 1)


def test_the_memory_is_bounded() -> None:
    """Beyond its bytes the oldest start is let go, and counted."""
    joined = Joined(most_bytes=1000)
    starts = [run(number)[0] for number in range(1, 6)]
    for start in starts:
        joined.add(start, 400)
    assert (joined.size_bytes, joined.let_go) == (800, 3)
    assert joined.of(starts[0].run_id).start is None and joined.of(starts[4].run_id).start is not None


def test_what_the_endpoint_rejected_is_counted() -> None:
    """partial_success: as many as it says are rejected, with its words; a warning rejects nothing (OTLP forbids sending
    any of them again)."""
    body = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}'
    with endpoint({"/v1/traces": (200, body)}) as (url, got):
        destination = Otlp(url, encoding="json").build()
        verdicts = destination.deliver(payloads(*(run(number)[1] for number in range(1, 6))), DEADLINE)
        destination.close()
    assert [verdict.kind for verdict in verdicts] == ["delivered"] * 3 + ["rejected"] * 2
    assert verdicts[-1].reason == "partial_success: too old"
    assert len(got) == 1


def test_an_endpoint_without_logs_keeps_taking_spans() -> None:
    """Feedback it has no place for is rejected, with the reason; the spans are delivered and nothing is paused."""
    start, end = run()
    word = Feedback(event_id="f", timestamp=iso(10**18), run_id=end.run_id, feedback=Raw(b'{"thumb":"up"}'))
    nobody = Feedback(event_id="g", timestamp=iso(10**18), key="order-1", feedback=Raw(b'{"thumb":"up"}'))
    with endpoint({"/v1/traces": (200, b"{}"), "/v1/logs": (405, b"no")}) as (url, got):
        destination = Otlp(url, encoding="json").build()
        verdicts = destination.deliver(payloads(start, end, word, nobody), DEADLINE)
        destination.close()
    assert [(verdict.kind, verdict.reason) for verdict in verdicts] == [
        ("delivered", "joined"), ("delivered", ""), ("rejected", "feedback_not_taken"), ("rejected", "key_unsupported"),
    ]  # fmt: skip
    assert [path for path, _ in got] == ["/v1/traces", "/v1/logs"]


def test_a_web_page_is_no_acknowledgement() -> None:
    """A login page with status 200 delivers nothing."""
    call = Call(otlp.write_spans([(0, Span("a" * 32, "b" * 16, "n", 1, 2))], otlp.Options())[0].request, (0,))
    (verdict,) = otlp.read_reply(call, Response(200, {"content-type": "text/html"}, b"<html>"))
    assert verdict.kind == "retry"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"url": "ftp://x"}, "begins with http"),
        ({"url": "http://collector.example", "headers": {"authorization": "s3cret"}}, "use https://"),
        ({"headers": "novalue"}, "key=value"),
        ({"headers": {"a b": "c"}}, "no name of a header"),
        ({"headers": {"authorization": "s3cret\n"}, "encoding": "xml"}, "'protobuf' or 'json'"),
        ({"headers": {"authorization": "s3\ncret"}}, "characters that no header has"),
    ],
)
def test_bad_settings_are_named_with_their_cure(arguments: dict[str, Any], words: str) -> None:
    """What is wrong and what would be right; a header's value is never shown."""
    with pytest.raises(SettingsError, match=words) as caught:
        Otlp(**arguments).build()
    assert "s3" not in str(caught.value) and "s3" not in repr(Otlp(**arguments))


def test_headers_may_come_as_the_environment_writes_them() -> None:
    """OTEL_EXPORTER_OTLP_HEADERS: comma-separated, percent-encoded; a URL with /v1/traces is the same place."""
    with endpoint({"/v1/traces": (200, b"")}) as (url, got):
        destination = Otlp(f"{url}/v1/traces", headers="api-key=a%20b,x=1", encoding="json").build()
        assert destination.dest_id == Otlp(url).build().dest_id
        assert destination.deliver(payloads(run()[1]), DEADLINE)[0].kind == "delivered"
        destination.close()
    assert len(got) == 1
