"""The client's end of the Vluna dialect: usage events to requests, answers to verdicts. Facts are in `vluna`.

Promise: the same events in the same order give the same body and the same Idempotency-Key, however often.
Must never: put two payers into one request, or sign: a signature belongs to an attempt (`vluna_signing.sign`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..records import AnyRecord, Outcome
from ..wire import DELIVERED, DUPLICATE, Call, Request, Response, Verdict
from . import usage
from .usage import EVENT_ID, UsageRecord

Profile = Literal["vluna-2026-01", "vluna-2026-07"]
PROFILES = ("vluna-2026-01", "vluna-2026-07")
MAX_EVENTS = 1000
CONTENT_TYPE = "application/json; charset=utf-8"
LABEL_KEY = re.compile(r"[a-z][a-z0-9_]{1,63}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_FINAL = {"accepted": DELIVERED, "duplicate": DUPLICATE}


@dataclass(frozen=True, slots=True)
class Options:
    """``realm_id`` is the tenant. ``profile``: "vluna-2026-07" sends ``event_key``, which later servers require.
    ``max_events`` in one batch, at most 1000."""

    realm_id: str = ""
    profile: Profile = "vluna-2026-01"
    max_events: int = MAX_EVENTS


def refusal(record: AnyRecord) -> str | None:
    """Why `write_request` carries no such record: the field and the cure. None when it does."""
    event = usage.usage_record(record)
    if event is None:
        return "event: Vluna takes actions and outcomes alone"
    wrong = usage.common_refusal(event)
    if wrong:
        return wrong
    if len(event.name.strip()) > 128:
        return f"name: has {len(event.name)} characters: Vluna takes 1 to 128"
    if not event.customer:
        return "customer: is missing: Vluna bills a principal; give customer=, here or in spanloom.context()"
    for name, value in (("customer", event.customer), ("user", event.user_id)):
        if value and not _HEADER_VALUE.fullmatch(value):
            return f"{name}: {value[:40]!r} travels in a header: use printable ASCII"
    return _label_problem(event) or usage.clash(event.properties, _payload_extras(event))


def _label_problem(event: UsageRecord) -> str | None:
    for name, raw in usage.members(event.labels).items():
        if not LABEL_KEY.fullmatch(name.lower()):
            return f"labels.{name}: Vluna wants a letter and then 1 to 63 of a-z, 0-9 and _"
        if bytes(raw)[:1] in (b"{", b"[", b"n"):
            return f"labels.{name}: Vluna takes text, numbers and booleans"
    return None


def _payload_extras(event: UsageRecord) -> dict[str, Any]:
    return {"value": event.value if event.value != 1 else None}


def write_request(records: Sequence[AnyRecord], options: Options | None = None) -> list[Call]:
    """Requests for those of the records that `refusal` lets through, one for each payer and user and 1000 events.

    An event whose key the user chose travels alone, because only a request's Idempotency-Key carries it there
    (``event_key`` does in the later profile); so does one that is the only one of its payer.
    """
    options = options or Options()
    keyed = options.profile != "vluna-2026-01"
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, record in enumerate(records):
        event = usage.usage_record(record)
        if event is None or refusal(event) is not None:
            continue
        alone = not keyed and event.metered is None and event.idempotency_key != event.event_id
        who: tuple[str, ...] = (event.customer or "", event.user_id or "", event.idempotency_key if alone else "")
        groups.setdefault(who, []).append(index)
    calls = []
    for who, indexes in groups.items():
        most = 1 if who[2] else max(1, min(options.max_events, MAX_EVENTS))
        for start in range(0, len(indexes), most):
            part = indexes[start : start + most]
            calls.append(_call([_usage(records[index]) for index in part], part, who, options))
    return sorted(calls, key=lambda call: call.indexes[0])


def _usage(record: AnyRecord) -> UsageRecord:
    event = usage.usage_record(record)
    assert event is not None  # write_request saw to it
    return event


def _call(events: list[UsageRecord], indexes: list[int], who: tuple[str, ...], options: Options) -> Call:
    bodies = [_body(event, options) for event in events]
    headers = {"content-type": CONTENT_TYPE, "x-realm-id": options.realm_id, "x-principal-id": who[0]}
    headers["x-user-id"] = who[1] or who[0]
    if len(bodies) == 1:
        path, body, key = "/events", usage.json(bodies[0]), events[0].idempotency_key
        if not _HEADER_VALUE.fullmatch(key):
            key = hashlib.sha256(key.encode()).hexdigest()
    else:
        path, body = "/events/batch", usage.json({"events": bodies})
        key = hashlib.sha256("\n".join(who).encode() + b"\n" + body).hexdigest()
    headers["idempotency-key"] = key
    return Call(Request("POST", path, headers, body), tuple(indexes))


def _body(event: UsageRecord, options: Options) -> dict[str, Any]:
    extras = {**_payload_extras(event), EVENT_ID: event.event_id}
    payload = usage.with_ours(event.properties, extras)
    if event.metered is not None:
        payload.pop("cost_usd", None)  # Vluna's rule: an event states facts, no prices
    body: dict[str, Any] = {
        "semantic_kind": "outcome" if isinstance(event, Outcome) else "activity",
        "event_type": event.name,
        "occurred_at": usage.stamp(event.timestamp),
        "payload": payload,
    }
    labels = {name.lower(): value for name, value in usage.members(event.labels).items()}
    if labels:
        body["labels"] = labels
    if options.profile != "vluna-2026-01":
        body["event_key"] = event.idempotency_key
    return body


def read_reply(call: Call, response: Response) -> list[Verdict]:
    """The verdict on each of ``call.indexes``: 201 stored, 200 stored before, 207 each by its own status. A failed
    item is to be sent again (in another request, with another key); an item without a result too."""
    if usage.is_page(response):
        return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
    found = usage.object_of(response)
    if not 200 <= response.status < 300:
        return usage.not_taken(call, response, error_words(found))
    if not call.request.path.endswith("/batch"):
        return [DUPLICATE if response.status == 200 else DELIVERED]
    data = found.get("data")
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
    by_place = {item.get("index"): item for item in results if isinstance(item, dict)}
    return [_verdict(by_place.get(place)) for place in range(len(call.indexes))]


def _verdict(item: dict[str, Any] | None) -> Verdict:
    status = item.get("status") if item else None
    if item is None or not isinstance(status, str):
        return Verdict("retry", "unanswered")
    if status in _FINAL:
        return _FINAL[status]
    words = error_words(item) or "without a reason"
    return Verdict("rejected", f"invalid: {words}"[:300]) if status == "invalid" else Verdict("retry", status[:40])


def error_words(found: dict[str, Any]) -> str:
    """Code and message of an error, in either of the published envelopes."""
    inner = found.get("error")
    source = inner if isinstance(inner, dict) else found
    return " ".join(str(source[name]) for name in ("code", "message") if source.get(name))[:300]
