"""The usage destinations' own requests on a real socket, beside the documents' examples; and what they refuse."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from raw_server import Received, answering, raw_server, reply

import wire as examples
from spanloom.clock import iso, parse_iso_us
from spanloom.errors import DeliveryError, SettingsError, UsageError
from spanloom.records import Action, Outcome, RunEnd, TokenUsage, encode
from spanloom.shipping.http_destination import HttpDestination
from spanloom.shipping.usage_destinations import Atlas, Lumen, Valmi, Vluna
from spanloom.wire import Verdict

AT = "2026-01-10T00:00:00.000000Z"
SECRET = "c3VwZXItc2VjcmV0"  # base64


def raw(value: Any) -> Any:
    import msgspec

    return msgspec.Raw(json.dumps(value).encode())


def deliver(destination: HttpDestination, *records: Any) -> list[Verdict]:
    """Hand records over, as the shipper does."""
    return destination.deliver([encode(record) for record in records], time.monotonic() + 10)


def sent(made: Any, replies: Sequence[bytes], *records: Any) -> tuple[list[Received], list[Verdict]]:
    """What arrives on the socket, and the verdicts. ``made`` takes the server's URL."""
    with raw_server(answering(*replies)) as server:
        destination = made(server.url).build()
        try:
            return server.requests, deliver(destination, *records)
        finally:
            destination.close()


def path_of(request: Received) -> str:
    return request.head.split(" ")[1]


def test_vluna_event() -> None:
    """The document's event, signed; ours is the event id in the payload alone."""
    event = Outcome(
        event_id="ik_event_0001", timestamp=AT, name="outcome.job_succeeded", idempotency_key="ik_event_0001",
        customer="customer_123", properties=raw({"run_id": "run_456"}), labels=raw({"project": "alpha"}),
    )  # fmt: skip
    (request,), (verdict,) = sent(
        lambda url: Vluna("realm1", "k1", SECRET, url=f"{url}/mgt/v1"), [reply(status="201 Created")], event
    )
    assert verdict.kind == "delivered" and path_of(request) == "/mgt/v1/events"
    body = json.loads(request.body)
    assert body["payload"].pop("spanloom_event_id") == "ik_event_0001"
    assert body == examples.load("vluna_01_event")
    headers = request.headers
    assert headers["x-realm-id"] == "realm1" and headers["x-principal-id"] == "customer_123"
    assert headers["idempotency-key"] == "ik_event_0001"
    assert headers["authorization"].startswith("SVC-AUTH keyId=k1,sig=")
    assert headers["content-digest"].startswith("sha-256=:")


def test_valmi_action_and_outcome() -> None:
    """The document's action and outcome; ours is ``metadata.idempotency_key``, and the action's time."""
    action = Action(
        event_id="e1", timestamp=AT, name="llm_call", idempotency_key="k1",
        properties=raw({"model": "gpt-4", "input_tokens": 1000, "output_tokens": 500}),
    )  # fmt: skip
    outcome = Outcome(
        event_id="e2", timestamp=AT, name="successful_hire", idempotency_key="k2", value=1,
        properties=raw({"candidate_id": "cand_123"}),
    )  # fmt: skip
    requests, verdicts = sent(
        lambda url: Valmi("sk_api_abc123xyz", "agent_abc123xyz", url=f"{url}/v1"), [reply(), reply()], action, outcome
    )
    assert [verdict.kind for verdict in verdicts] == ["delivered", "delivered"]
    assert [path_of(request) for request in requests] == ["/v1/actions", "/v1/outcomes"]
    first, second = (json.loads(request.body) for request in requests)
    assert first.pop("timestamp") == "2026-01-10T00:00:00Z"
    assert first["metadata"].pop("idempotency_key") == "k1" and second["metadata"].pop("idempotency_key") == "k2"
    assert first == examples.load("valmi_01_action") and second == examples.load("valmi_03_outcome")
    assert requests[0].headers["authorization"] == "Bearer sk_api_abc123xyz"


def test_atlas_event() -> None:
    """The document's object; ours is the event id in the payload alone."""
    wanted = examples.load("atlas_01_fields")
    event = Action(
        event_id="e1", timestamp=iso(parse_iso_us(wanted["timestamp"]) * 1000), name=wanted["eventName"],
        idempotency_key=wanted["idempotencyKey"], customer=wanted["customerId"], properties=raw(wanted["payload"]),
    )  # fmt: skip
    (request,), (verdict,) = sent(lambda url: Atlas("your-api-key-here", url=url), [reply()], event)
    assert verdict.kind == "delivered" and path_of(request) == "/"
    body = json.loads(request.body)
    assert body["payload"].pop("spanloom_event_id") == "e1"
    assert body == wanted and request.headers["x-api-key"] == "your-api-key-here"


def test_lumen_single_and_batch() -> None:
    """The document's single event and batch; ours is ``eventTimestamp``."""

    def event(body: dict[str, Any]) -> Action:
        return Action(
            event_id=body["idempotencyKey"], timestamp=AT, name=body["eventName"], customer=body["customerId"],
            idempotency_key=body["idempotencyKey"], value=body["eventValue"],
        )  # fmt: skip

    single, batch = examples.load("lumen_01_single"), examples.load("lumen_03_batch")
    for wanted, events, path in (
        (single, [single], "/v1/events"),
        (batch, batch["events"], "/v1/events/batch"),
    ):
        (request,), verdicts = sent(
            lambda url: Lumen("lumen_sk_1", url=url), [reply(status="202 Accepted")], *map(event, events)
        )
        assert [verdict.kind for verdict in verdicts] == ["delivered"] * len(events)
        body = json.loads(request.body)
        for one in body.get("events", [body]):
            assert one.pop("eventTimestamp") == "2026-01-10T00:00:00Z"
        assert (path_of(request), body) == (path, wanted)


def test_lumen_query() -> None:
    """The document's query, parameter for parameter, and its rows as they come."""
    answer = examples.text("lumen_05_query_reply").encode()
    with raw_server(answering(reply(answer))) as server:
        rows = Lumen("lumen_sk_1", url=server.url).query(
            event_name="image-generation", customer="cust_123", limit=100, start="2024-01-01", end="2024-01-31"
        )
        query = path_of(server.requests[0]).partition("?")[2].split("&")
    documented = "eventName=image-generation&customerId=cust_123&limit=100&startDate=2024-01-01&endDate=2024-01-31"
    assert sorted(query) == sorted(documented.split("&"))
    assert rows == json.loads(answer)["data"]


def test_lumen_query_takes_dates_and_customers_of_yours() -> None:
    """Dates and datetimes become ISO text (UTC without a zone); with ``customers="external"`` the id is the user's."""
    with raw_server(answering(reply(b'{"events":[]}'))) as server:
        lumen = Lumen("lumen_sk_1", url=server.url, customers="external")
        assert lumen.query(customer="mine", start=date(2024, 1, 1), end=datetime(2024, 1, 2, 3), limit=1000) == []
        lumen.query(customer="mine", end=date(2024, 1, 31))
        query = parse_qs(path_of(server.requests[0]).partition("?")[2])
    assert query == {
        "extCustomerId": ["mine"], "startTime": ["2024-01-01"], "endTime": ["2024-01-02T03:00:00.000001+00:00"],
        "limit": ["200"],
    }  # fmt: skip
    assert parse_qs(path_of(server.requests[1]).partition("?")[2])["endTime"] == ["2024-02-01"]


def test_lumen_query_says_what_is_wrong() -> None:
    """A limit out of range and a refusal are the caller's to know: this call is their own."""
    with pytest.raises(UsageError, match="limit=0"):
        Lumen("lumen_sk_1", url="http://127.0.0.1:9").query(limit=0)
    refused = answering(reply(b'{"error":"Unauthorized"}', "401 Unauthorized"))
    with raw_server(refused) as server, pytest.raises(UsageError, match="401: Unauthorized"):
        Lumen("lumen_sk_1", url=server.url).query()
    with pytest.raises(DeliveryError):
        Lumen("lumen_sk_1", url="http://127.0.0.1:9").query()


def end(run_id: str, run_type: str = "llm", response: str | None = "resp-1", prompt: int = 1000) -> RunEnd:
    return RunEnd(
        event_id=f"{run_id}.e", timestamp=AT, run_id=run_id, type=run_type, name="gpt-4o", customer="acme",
        started_at="2026-01-09T23:59:59.000000Z", tokens_usage=TokenUsage(prompt=prompt, completion=200),
        response_id=response,
    )  # fmt: skip


def test_a_metered_run_is_one_action_with_its_figures() -> None:
    """Model, tokens, duration and status of a finished run; the provider's response id is the key (decision 36)."""
    (request,), (verdict,) = sent(lambda url: Lumen("k", url=url, meter={"llm"}), [reply()], end("r1"))
    body = json.loads(request.body)
    assert verdict.kind == "delivered"
    assert (body["eventName"], body["customerId"], body["idempotencyKey"]) == ("llm_call", "acme", "resp-1")
    assert body["properties"]["input_tokens"] == 1000 and body["properties"]["output_tokens"] == 200
    assert body["properties"]["duration_ms"] == 1000 and body["properties"]["model"] == "gpt-4o"


def test_two_layers_that_report_one_response_count_once(caplog: pytest.LogCaptureFixture) -> None:
    """The second is a duplicate, within a batch and after it; a mismatch of their figures is said, not summed."""
    with raw_server(answering(*[reply()] * 3)) as server, caplog.at_level(logging.WARNING, "spanloom"):
        destination = Lumen("k", url=server.url, meter={"llm", "agent"}).build()
        first = deliver(destination, end("r1"), end("r2", prompt=900))
        second = deliver(destination, end("r3"))
        again = deliver(destination, end("r1"))  # the same record, sent again: it may not have arrived
        wrapper = deliver(destination, end("r4", "agent"))
        destination.close()
        bodies = [json.loads(request.body) for request in server.requests]
    assert [verdict.duplicate for verdict in first] == [False, True]
    assert [verdict.duplicate for verdict in (*second, *again, *wrapper)] == [True, False, False]
    assert [body["idempotencyKey"] for body in bodies] == ["resp-1", "resp-1", "r4"]
    assert "input_tokens" not in bodies[2]["properties"]
    (line,) = [record.message for record in caplog.records]
    assert "r2" in line and "900" in line and "different usage" in line


def test_a_record_that_the_rules_refuse_spoils_no_neighbour() -> None:
    """No customer: rejected with the field and the cure, and the others go."""
    good = Action(event_id="e1", timestamp=AT, name="n", idempotency_key="k1", customer="acme")
    bad = Action(event_id="e2", timestamp=AT, name="n", idempotency_key="k2")
    requests, verdicts = sent(lambda url: Lumen("k", url=url), [reply()], bad, good)
    assert [verdict.kind for verdict in verdicts] == ["rejected", "delivered"] and len(requests) == 1
    assert verdicts[0].reason.startswith("invalid: customer: is missing")


def test_a_retry_is_signed_anew_over_the_same_body_and_key() -> None:
    """Fresh time and nonce, the same Idempotency-Key and body."""
    event = Action(event_id="e1", timestamp=AT, name="n", idempotency_key="k1", customer="acme")
    with raw_server(answering(reply(status="503 Busy"), reply(status="201 Created"))) as server:
        destination = Vluna("realm1", "k1", SECRET, url=server.url).build()
        with pytest.raises(DeliveryError):
            deliver(destination, event)
        (verdict,) = deliver(destination, event)
        destination.close()
        first, second = server.requests
    assert verdict.kind == "delivered" and first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.headers["authorization"] != second.headers["authorization"]


def test_a_key_used_with_another_body_is_final() -> None:
    """409 is no duplicate here: the event was never counted, and is kept as a dead letter."""
    event = Action(event_id="e1", timestamp=AT, name="n", idempotency_key="k1", customer="acme")
    conflict = reply(b'{"ok":false,"code":"WRITE.INVALID_PAYLOAD","message":"other body"}', "409 Conflict")
    _, (verdict,) = sent(lambda url: Vluna("realm1", "k1", SECRET, url=url), [conflict], event)
    assert verdict.kind == "rejected" and verdict.reason.startswith("idempotency_conflict")


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (Lumen(""), "api_key"),
        (Lumen("k", url="ftp://x"), "url"),
        (Lumen("k", url="http://example.org"), "unencrypted"),
        (Lumen("k", meter={"llms"}), "llms"),
        (Lumen("k", max_batch=0), "max_batch"),
        (Lumen("k", on_ambiguous="hope"), "on_ambiguous"),  # type: ignore[arg-type]
        (Atlas("k", profile="atlas-9"), "profile"),
        (Vluna("r", "k", "not base64!"), "secret"),
        (Vluna("r", "k", SECRET, signature_layout="v3"), "signature_layout"),  # type: ignore[arg-type]
        (Valmi("k", ""), "agent_key"),
    ],
)
def test_wrong_settings_name_the_value_and_the_cure(made: Any, names: str) -> None:
    """Making one never fails; building it says which argument."""
    with pytest.raises(SettingsError, match=names):
        made.build()


def test_no_key_in_a_repr() -> None:
    """Logs show destinations; keys are for headers."""
    for made in (Lumen("hush-hush"), Atlas("hush-hush"), Valmi("hush-hush", "hush-hush"), Vluna("r", "k", "hush-hush")):
        assert "hush" not in repr(made)
        assert "hush" not in repr(made.build() if not isinstance(made, Vluna) else made)
