"""The client's end of the Lumen dialect: usage events to requests, answers to verdicts, and the query. Facts: `lumen`.

Promise: every event carries its idempotency key, its time, one customer id and one value.
Must never: steer by the words of a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ..records import AnyRecord, Outcome
from ..wire import DELIVERED, Call, Request, Response, Verdict
from . import usage
from .usage import UsageRecord

MAX_EVENTS = 1000
KIND = "spanloom_kind"
"""Says "outcome" in the properties of one: the wire knows events alone."""


@dataclass(frozen=True, slots=True)
class Options:
    """``max_events`` in a batch: 100 is what every generation takes, 1000 the document's. ``customers``: whether our
    customer is Lumen's own id ("internal": customerId) or yours ("external": extCustomerId)."""

    api_key: str = field(default="", repr=False)
    max_events: int = 100
    customers: str = "internal"


def refusal(record: AnyRecord) -> str | None:
    """Why `write_request` carries no such record: the field and the cure. None when it does."""
    event = usage.usage_record(record)
    if event is None:
        return "event: Lumen takes actions and outcomes alone"
    wrong = usage.common_refusal(event)
    if wrong:
        return wrong
    if not event.customer:
        return "customer: is missing: Lumen wants a customerId; give customer=, here or in spanloom.context()"
    return usage.clash(event.properties, {"labels": event.labels})


def headers(options: Options) -> dict[str, str]:
    """Key and content type."""
    return {"content-type": "application/json", "authorization": f"Bearer {options.api_key}"}


def write_request(records: Sequence[AnyRecord], options: Options | None = None) -> list[Call]:
    """Requests for those of the records that `refusal` lets through: one event alone, or batches."""
    options = options or Options()
    size = max(1, min(options.max_events, MAX_EVENTS))
    events = [(index, event) for index, event in enumerate(map(usage.usage_record, records))
              if event is not None and refusal(event) is None]  # fmt: skip
    calls = []
    for start in range(0, len(events), size):
        part = events[start : start + size]
        bodies = [_body(event, options) for _, event in part]
        if len(bodies) == 1:
            request = Request("POST", "/v1/events", headers(options), usage.json(bodies[0]))
        else:
            request = Request("POST", "/v1/events/batch", headers(options), usage.json({"events": bodies}))
        calls.append(Call(request, tuple(index for index, _ in part)))
    return calls


def _body(event: UsageRecord, options: Options) -> dict[str, Any]:
    ours = {"labels": event.labels, KIND: "outcome" if isinstance(event, Outcome) else None}
    properties = usage.with_ours(event.properties, ours)
    body: dict[str, Any] = {
        "eventName": event.name,
        "extCustomerId" if options.customers == "external" else "customerId": event.customer,
        "eventValue": event.value,
        "idempotencyKey": event.idempotency_key,
        "eventTimestamp": usage.stamp(event.timestamp),
    }
    if properties:
        body["properties"] = properties
    return body


def read_reply(call: Call, response: Response) -> list[Verdict]:
    """Any 2xx means taken, duplicates included, but for the items that a newer server names in
    ``errors``."""
    if usage.is_page(response):
        return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
    found = usage.object_of(response)
    if not 200 <= response.status < 300:
        words = " ".join(str(found[name]) for name in ("error", "details", "message") if found.get(name))
        return usage.not_taken(call, response, words)
    verdicts = [DELIVERED] * len(call.indexes)
    errors = found.get("errors")
    for error in errors if isinstance(errors, list) else ():
        place = error.get("index") if isinstance(error, dict) else None
        if isinstance(place, int) and 0 <= place < len(verdicts):
            verdicts[place] = Verdict("rejected", f"invalid: {error.get('error') or 'without a reason'}"[:300])
    return verdicts


def write_query(options: Options, filters: Mapping[str, str | int | None]) -> Request:
    """``GET /v1/events`` with the document's parameters: eventName, customerId, startDate, endDate, limit."""
    given = {name: value for name, value in filters.items() if value is not None}
    query = f"?{urlencode(given)}" if given else ""
    return Request("GET", f"/v1/events{query}", {"authorization": f"Bearer {options.api_key}"})
