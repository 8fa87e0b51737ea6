"""The Atlas dialect: both ends of the event ingestion endpoint, one object a request in the documented form.

Facts, from Atlas' page "Event Ingestion Endpoint API" (D), its newer pages (N) and its npm package (S):

- ``POST https://dev.client-events.runonatlas.com``, header ``x-api-key``. (D) Newer: ``…/external/event``. (N, S)
- customerId and eventName are required; idempotencyKey, timestamp and payload (any) optional. (D)
- Newer: ``generatedAt`` for timestamp and ``data`` for payload, both required; the package sends a list of at most 20,
  ``data.quantity`` a number. (N, S)
- 200 processed; 400 fields; 401 key; 500. (D) Bodies are unsaid. [our reading: ``{"message"}``]
- A repeated idempotencyKey is processed once; the window is unpublished. (D) [our reading: without end] Without a key
  the newer pages take a hash of the payload. (N)

What we add: ``spanloom_event_id`` in the payload; ``quantity`` there when the value is not 1 (always in the external
form), ``labels`` and ``spanloom_kind`` ("outcome") where they apply. Not carried: run ids, users, ``metered``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Raw

from ..clock import iso
from ..errors import WireError
from ..records import Action, AnyRecord, Outcome
from ..wire import DELIVERED, Call, Request, Response, Verdict
from . import Result, usage
from .usage import EVENT_ID, Fields, Intake, UsageRecord

DEDUPE_SECONDS: float | None = None
Profile = Literal["atlas-2024-09", "atlas-external"]
PROFILES = ("atlas-2024-09", "atlas-external")
MAX_EXTERNAL_EVENTS = 20
MAX_RECEIVED_EVENTS = 1000
KIND = "spanloom_kind"
"""Says "outcome" in the payload of one: the wire knows events alone."""


@dataclass(frozen=True, slots=True)
class Options:
    """``profile``: "atlas-2024-09" is the document, "atlas-external" the newer form with lists."""

    api_key: str = field(default="", repr=False)
    profile: Profile = "atlas-2024-09"


def refusal(record: AnyRecord) -> str | None:
    """Why `write_request` carries no such record: the field and the cure. None when it does."""
    event = usage.usage_record(record)
    if event is None:
        return "event: Atlas takes actions and outcomes alone"
    wrong = usage.common_refusal(event)
    if wrong:
        return wrong
    if not event.customer:
        return "customer: is missing: Atlas wants a customerId; give customer=, here or in spanloom.context()"
    return usage.clash(event.properties, {**_extras(event), "quantity": event.value if event.value != 1 else None})


def _extras(event: UsageRecord) -> dict[str, Any]:
    return {
        "quantity": event.value if event.value != 1 else None,
        "labels": event.labels,
        EVENT_ID: event.event_id,
        KIND: "outcome" if isinstance(event, Outcome) else None,
    }


def write_request(records: Sequence[AnyRecord], options: Options | None = None) -> list[Call]:
    """Requests for those of the records that `refusal` lets through: one each, or lists of 20 in the external form."""
    options = options or Options()
    external = options.profile == "atlas-external"
    size = MAX_EXTERNAL_EVENTS if external else 1
    events = [(index, event) for index, event in enumerate(map(usage.usage_record, records))
              if event is not None and refusal(event) is None]  # fmt: skip
    calls = []
    for start in range(0, len(events), size):
        part = events[start : start + size]
        bodies = [_body(event, external) for _, event in part]
        headers = {"content-type": "application/json", "x-api-key": options.api_key}
        request = Request("POST", "", headers, usage.json(bodies if external else bodies[0]))
        calls.append(Call(request, tuple(index for index, _ in part)))
    return calls


def _body(event: UsageRecord, external: bool) -> dict[str, Any]:
    extras = _extras(event)
    if external:
        extras["quantity"] = event.value
    return {
        "customerId": event.customer,
        "eventName": event.name,
        "idempotencyKey": event.idempotency_key,
        "generatedAt" if external else "timestamp": usage.stamp(event.timestamp),
        "data" if external else "payload": usage.with_ours(event.properties, extras),
    }


def read_reply(call: Call, response: Response) -> list[Verdict]:
    """Any 2xx means that all were taken; the body says nothing that can be relied on."""
    if usage.is_page(response):
        return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
    if 200 <= response.status < 300:
        return [DELIVERED] * len(call.indexes)
    found = usage.object_of(response)
    return usage.not_taken(call, response, str(found.get("message") or found.get("error") or ""))


# -- the collector's end -------------------------------------------------------------------------------------------


def credential(request: Request) -> str:
    """The key that was presented, "" for none."""
    return request.headers.get("x-api-key", "").strip()


def read_request(request: Request, *, received_at_ns: int | None = None) -> Intake:
    """The events of a POST, in either form: an object, or a list of up to 1000; raises WireError (400, 413)."""
    if request.method != "POST":
        raise WireError("send POST", path="method", status_hint=400)
    at = iso(time.time_ns() if received_at_ns is None else received_at_ns)
    raw = usage.parsed(request.body)
    many = bytes(raw)[:1] == b"["
    raws = usage.items_of(raw) if many else [raw]
    if len(raws) > MAX_RECEIVED_EVENTS:
        raise WireError(f"the list has {len(raws)} events: send at most {MAX_RECEIVED_EVENTS}", status_hint=413)

    def read(item: Raw, path: str) -> UsageRecord:
        return _event(Fields(item, path), at)

    items = usage.read_each(raws, "$[%d]" if many else "$", read)
    return Intake("events", items, not many, "", usage.fingerprint(request), at)


def _event(fields: Fields, at: str) -> UsageRecord:
    customer = fields.needed_text("customerId")
    name = fields.needed_text("eventName")
    payload = fields.object("data" if "data" in fields.values else "payload")
    sent_at = fields.moment("generatedAt") or fields.moment("timestamp")
    key = fields.text("idempotencyKey", usage.MAX_KEY_CHARACTERS)
    key = key or f"atlas.{usage.hashed(customer, name, sent_at, payload)}"
    value = usage.lifted(payload, "quantity", (int, float))
    labels = usage.lifted(payload, "labels", dict)
    event_id = usage.lifted(payload, EVENT_ID, str)
    outcome = usage.lifted(payload, KIND, str) == "outcome"
    return (Outcome if outcome else Action)(
        event_id=event_id or f"atlas.{key}",
        timestamp=sent_at or at,
        name=name,
        idempotency_key=key,
        customer=customer,
        user_id=fields.text("userId"),
        value=1 if value is None else value,
        properties=usage.content(payload),
        labels=usage.content(labels or {}),
    )


def write_reply(intake: Intake, results: Sequence[Result]) -> Response:
    """200 when all were taken, duplicates included; 400 with the first that was not, its neighbours stored."""
    wrong = usage.first_problem(results)
    if wrong is not None:
        return write_error(400, f"{wrong.path}: {wrong.reason}")
    if any(result.failed for result in results):
        return write_error(500, "an event could not be stored: send it again with the same idempotencyKey")
    if any(result.conflict for result in results) and intake.one:
        return write_error(400, "idempotencyKey: was used for another event; use a new key for a new event")
    return usage.answer(200, {"message": "Event successfully processed"})


def write_error(status: int, message: str = "", *, retry_after_seconds: int | None = None) -> Response:
    """An error; the document shows no body, its SDK reads ``message``."""
    if status == 401:
        message = "Invalid or missing API key"
    more = {} if retry_after_seconds is None else {"retry_after": str(retry_after_seconds)}
    return usage.answer(status, {"message": message}, **more)
