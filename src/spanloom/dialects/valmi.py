"""The Valmi dialect: both ends of ``POST /actions`` and ``/outcomes``, one event a request.

Facts, from Valmi's page "Metering Events" (D) and its other public pages (P):

- Base ``https://api.valmi.io/v1``; ``Authorization: Bearer``. (D) A newer page has the header ``api-key``. (P)
- An action: agent_key, action_type, metadata?, timestamp? (ISO 8601). An outcome: agent_key, outcome_type, value (a
  number), metadata?. (D) ``timestamp`` on outcomes stands on the SDK's page alone (P), so it is an option here.
- The answer: ``{"id", "status": "processed", "created_at"}``, its status unsaid. (D) [our reading: 200]
- 401 ``{"error": {"code": "unauthorized", "message": "Invalid API key"}}``. (P) [our reading: other errors alike]
- At least once, deduplicated for 24 h by an event id whose place on the wire is unpublished. (P) [our reading: header
  Idempotency-Key and ``metadata.idempotency_key``]
- 1,000 requests a minute for API keys, 10,000 for SDK keys. (P) No batch route is published.

What we add: ``metadata.idempotency_key``; ``metadata.customer`` and ``metadata.labels`` where there are any, and
``metadata.value`` on an action whose value is not 1. Not carried: run ids, users, ``metered``; an outcome's time
unless asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from ..clock import iso
from ..errors import WireError
from ..records import Action, AnyRecord, Outcome
from ..wire import DELIVERED, Call, Request, Response, Verdict
from . import Result, usage
from .usage import Fields, Intake, UsageRecord

DEDUPE_SECONDS: float | None = usage.DAY_SECONDS
_ROUTES = {"actions": "action_type", "outcomes": "outcome_type"}


@dataclass(frozen=True, slots=True)
class Options:
    """``agent_key`` names the agent instance where an event names none. ``metadata_key``: the name under which the
    idempotency key stands in metadata, "" for not at all. ``send_outcome_timestamp`` adds a field that the document
    does not list."""

    api_key: str = field(default="", repr=False)
    agent_key: str = field(default="", repr=False)
    metadata_key: str = "idempotency_key"
    send_outcome_timestamp: bool = False


def refusal(record: AnyRecord) -> str | None:
    """Why `write_request` carries no such record: the field and the cure. None when it does."""
    event = usage.usage_record(record)
    if event is None:
        return "event: Valmi takes actions and outcomes alone"
    return usage.common_refusal(event) or usage.clash(event.properties, _extras(event))


def _extras(event: UsageRecord) -> dict[str, Any]:
    value = event.value if isinstance(event, Action) and event.value != 1 else None
    return {"customer": event.customer, "value": value, "labels": event.labels}


def write_request(records: Sequence[AnyRecord], options: Options | None = None) -> list[Call]:
    """A request for each of the records that `refusal` lets through, in order."""
    options = options or Options()
    calls = []
    for index, record in enumerate(records):
        event = usage.usage_record(record)
        if event is not None and refusal(event) is None:
            calls.append(Call(_request(event, options), (index,)))
    return calls


def _request(event: UsageRecord, options: Options) -> Request:
    extras = _extras(event)
    if options.metadata_key:
        extras[options.metadata_key] = event.idempotency_key
    metadata = usage.with_ours(event.properties, extras)
    outcome = isinstance(event, Outcome)
    agent_key = event.agent_key or options.agent_key
    body: dict[str, Any] = {"agent_key": agent_key, "outcome_type" if outcome else "action_type": event.name}
    if outcome:
        body["value"] = event.value
    if metadata:
        body["metadata"] = metadata
    if not outcome or options.send_outcome_timestamp:
        body["timestamp"] = usage.stamp(event.timestamp)
    headers = {"content-type": "application/json", "authorization": f"Bearer {options.api_key}"}
    if event.idempotency_key.isascii() and event.idempotency_key.isprintable():
        headers["idempotency-key"] = event.idempotency_key.strip()
    return Request("POST", "/outcomes" if outcome else "/actions", headers, usage.json(body))


def read_reply(call: Call, response: Response) -> list[Verdict]:
    """Any 2xx means stored: the document does not say which."""
    if usage.is_page(response):
        return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
    if 200 <= response.status < 300:
        return [DELIVERED] * len(call.indexes)
    error = usage.object_of(response).get("error")
    words = error.get("message", "") if isinstance(error, dict) else ""
    return usage.not_taken(call, response, str(words))


# -- the collector's end -------------------------------------------------------------------------------------------


def credential(request: Request) -> str:
    """The key that was presented, "" for none."""
    return usage.bearer(request) or request.headers.get("api-key", "").strip()


def read_request(request: Request, *, received_at_ns: int | None = None) -> Intake:
    """The event of a ``POST …/actions`` or ``…/outcomes``; raises WireError (400, 404)."""
    route = usage.route(request).rpartition("/")[2]
    if request.method != "POST" or route not in _ROUTES:
        raise WireError("send POST …/actions or …/outcomes", path="path", status_hint=404)
    at = iso(time.time_ns() if received_at_ns is None else received_at_ns)
    key = request.headers.get("idempotency-key", "").strip()

    def read(raw: Raw, path: str) -> UsageRecord:
        return _event(Fields(raw, path), route, key, at)

    items = usage.read_each([usage.parsed(request.body)], "$", read)
    return Intake(route, items, True, key, usage.fingerprint(request), at)


def _event(fields: Fields, route: str, header_key: str, at: str) -> UsageRecord:
    fields.needed_text("agent_key")
    name = fields.needed_text(_ROUTES[route])
    metadata = fields.object("metadata")
    key = usage.lifted(metadata, "idempotency_key", str) or header_key or usage.fresh_id(at)
    if not 0 < len(key) <= usage.MAX_KEY_CHARACTERS:
        raise WireError(
            f"metadata.idempotency_key: send 1 to {usage.MAX_KEY_CHARACTERS} characters",
            path=f"{fields.path}.metadata.idempotency_key",
        )
    value = fields.number("value") if route == "outcomes" else usage.lifted(metadata, "value", (int, float))
    if route == "outcomes" and value is None:
        raise fields.wrong("value", "send a number, a count or an amount")
    customer = usage.lifted(metadata, "customer", str)
    labels = usage.lifted(metadata, "labels", dict)
    return (Outcome if route == "outcomes" else Action)(
        event_id=f"valmi.{key}",
        timestamp=fields.moment("timestamp") or at,
        name=name,
        idempotency_key=key,
        customer=customer,
        value=1 if value is None else value,
        properties=usage.content(metadata),
        labels=usage.content(labels or {}),
    )


def write_reply(intake: Intake, results: Sequence[Result]) -> Response:
    """200 with the document's body, for a duplicate too; an error in the published envelope."""
    result = results[0]
    if result.malformed:
        return write_error(400, f"{result.path}: {result.reason}")
    if result.failed:
        return write_error(500, result.reason or "the event could not be stored: send it again")
    if result.conflict:
        return write_error(409, "idempotency_key was used with another body: use a new key for a new event")
    record = intake.items[0].record
    assert isinstance(record, Action | Outcome)  # what was not malformed has a record
    prefix = "outcome" if isinstance(record, Outcome) else "action"
    name = f"{prefix}_{usage.hashed(record.idempotency_key)[:20]}"
    body = {"id": name, "status": "processed", "created_at": usage.stamp(intake.received_at[:19] + ".000000Z")}
    return usage.answer(200, body)


_CODES = {
    400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict",
    413: "invalid_request", 422: "invalid_request", 429: "rate_limited",
}  # fmt: skip


def write_error(status: int, message: str = "", *, retry_after_seconds: int | None = None) -> Response:
    """An error in the published envelope; for 401 the published words."""
    if status == 401:
        message = "Invalid API key"
    more = {} if retry_after_seconds is None else {"retry_after": str(retry_after_seconds)}
    return usage.answer(status, {"error": {"code": _CODES.get(status, "internal_error"), "message": message}}, **more)
