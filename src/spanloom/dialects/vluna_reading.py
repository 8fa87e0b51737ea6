"""The collector's end of the Vluna dialect: requests to usage events, results to answers. Facts are in `vluna`.

Promise: single events and batches of every published generation are read; what is wrong is named by its field.
Must never: check a signature (see `vluna_signing.verify`), or let one bad event spoil a batch.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from ..clock import iso
from ..errors import WireError
from ..records import Action, Outcome
from ..wire import Request, Response
from . import Received, Result, usage
from .usage import EVENT_ID, Fields, Intake, UsageRecord
from .vluna_writing import LABEL_KEY, MAX_EVENTS

DEDUPE_SECONDS: float | None = None
"""An event is known as long as it is stored; the replay of a request's answer ends after a day."""
REPLAY_SECONDS = usage.DAY_SECONDS
_NAMESPACE = uuid.UUID("6d1cf3a2-6a57-5d0e-9c4b-2f0f9b0f5a11")


def read_request(request: Request, *, received_at_ns: int | None = None) -> Intake:
    """The events of a ``POST …/events`` or ``…/events/batch``. Raises WireError: 400 (realm or key missing, no JSON),
    401 (no principal), 404, 422 (more than 1000)."""
    where = usage.route(request)
    batch = where.endswith("/events/batch")
    if request.method != "POST" or not (batch or where.endswith("/events")):
        raise WireError("send POST …/events or …/events/batch", path="path", status_hint=404)
    _need(request, "x-realm-id", 400, "name the realm")
    key = _need(request, "idempotency-key", 400, "missing_idempotency_key: send a key of this write's own")
    customer = request.headers.get("x-principal-id") or request.headers.get("x-billing-account-id", "")
    if not customer:
        raise WireError("X-Principal-Id is missing: name the payer", path="headers.x-principal-id", status_hint=401)
    raw = usage.parsed(request.body)

    def read(item: Raw, path: str) -> UsageRecord:
        return _event(Fields(item, path), customer, request.headers.get("x-user-id"), "" if batch else key)

    raws, place = [raw], "$"
    if batch:
        outer = Fields(raw)
        if not isinstance(outer.values.get("events"), list):
            raise outer.wrong("events", "send a list of 0 to 1000 events")
        raws, place = usage.items_of(usage.members(raw)["events"]), "$.events[%d]"
        if len(raws) > MAX_EVENTS:
            raise WireError(f"events has {len(raws)} items: send at most 1000", path="$.events", status_hint=422)
    at = iso(time.time_ns() if received_at_ns is None else received_at_ns)
    items = usage.read_each(raws, place, read)
    return Intake("batch" if batch else "single", items, not batch, key, usage.fingerprint(request), at)


def _need(request: Request, name: str, status: int, cure: str) -> str:
    value = request.headers.get(name, "").strip()
    if not value:
        raise WireError(f"{name} is missing: {cure}", path=f"headers.{name}", status_hint=status)
    return value


def _event(fields: Fields, customer: str, user: str | None, request_key: str) -> UsageRecord:
    kind = fields.needed_text("semantic_kind").strip().lower()
    if kind not in ("activity", "outcome"):
        raise fields.wrong("semantic_kind", 'send "activity" or "outcome"')
    name = fields.needed_text("event_type", 128).strip()
    at = fields.moment("occurred_at")
    if at is None:
        raise fields.wrong("occurred_at", "send when it happened, such as 2026-01-31T12:00:00Z")
    payload = fields.object("payload") if isinstance(fields.values.get("payload", {}), dict) else {}
    content_hash = usage.hashed(customer, user, kind, name, at, fields.values.get("subject_ref"), payload)
    event_key = fields.text("event_key", 255)
    fields.text("subject_ref", 256)
    event_id = usage.lifted(payload, EVENT_ID, str)
    value = usage.lifted(payload, "value", (int, float))
    return (Outcome if kind == "outcome" else Action)(
        event_id=event_id or f"vluna.{content_hash[:32]}",
        timestamp=at,
        name=name,
        idempotency_key=event_key or request_key or event_id or f"vluna.{content_hash}",
        customer=customer,
        user_id=user if user and user != customer else None,
        value=1 if value is None else value,
        properties=usage.content(payload),
        labels=usage.content(_labels(fields)),
    )


def _labels(fields: Fields) -> dict[str, Raw]:
    """Keys in lower case; null and nested values are dropped, as the published server does."""
    found = {name.lower(): raw for name, raw in fields.object("labels").items()}
    for name in found:
        if not LABEL_KEY.fullmatch(name):
            raise WireError(
                f"labels.{name[:70]}: keys are a letter and then 1 to 63 of a-z, 0-9 and _",
                path=f"{fields.path}.labels.{name[:70]}",
            )
    return {name: raw for name, raw in found.items() if bytes(raw)[:1] not in (b"{", b"[", b"n")}


# -- answers -------------------------------------------------------------------------------------------------------


def write_reply(intake: Intake, results: Sequence[Result]) -> Response:
    """201 or 200 with the stored event for a single one; 207 with an item for each of a batch, always."""
    if intake.one:
        return _single(intake.items[0], results[0], intake.received_at)
    items = [_item(intake.items[result.index], result) for result in sorted(results, key=lambda item: item.index)]
    statuses = [item["status"] for item in items]
    failed = statuses.count("invalid") + statuses.count("failed")
    data = {"results": items, "accepted_count": statuses.count("accepted"), "failed_count": failed}
    return usage.answer(207, {"ok": True, "code": "OK", "data": data})


def _single(item: Received, result: Result, at: str) -> Response:
    if result.malformed:
        return write_error(422, f"{result.path}: {result.reason}", code="WRITE.INVALID_PAYLOAD")
    if result.failed or not isinstance(item.record, Action | Outcome):
        return write_error(503, result.reason or "the event could not be stored: send it again", code="SERVER.UPSTREAM")
    if result.conflict:
        return write_error(409, CONFLICT)
    record = item.record
    sent = Fields(item.raw)
    data: dict[str, Any] = {
        "event_id": _uuid(record),
        "semantic_kind": "outcome" if isinstance(record, Outcome) else "activity",
        "occurred_at": usage.stamp(record.timestamp),
        "event_type": record.name,
        "payload": sent.object("payload") if isinstance(sent.values.get("payload"), dict) else {},
        "request_hash": usage.hashed(record.customer, record.name, record.timestamp, item.raw),
        "created_at": usage.stamp(at),
    }
    data.update({name: sent.values[name] for name in ("subject_ref", "labels", "event_key") if name in sent.values})
    return usage.answer(200 if result.duplicate else 201, {"ok": True, "code": "OK", "data": data})


def _item(item: Received, result: Result) -> dict[str, Any]:
    if result.malformed:
        error = {"code": "WRITE.INVALID_PAYLOAD", "message": result.reason, "details": {"path": result.path}}
        return {"index": result.index, "status": "invalid", "event_id": None, "error": error}
    if result.failed or not isinstance(item.record, Action | Outcome):
        error = {"code": "SERVER.UNEXPECTED", "message": result.reason or "the event could not be stored"}
        return {"index": result.index, "status": "failed", "event_id": None, "error": error}
    status = "duplicate" if result.duplicate or result.conflict else "accepted"
    return {"index": result.index, "status": status, "event_id": _uuid(item.record)}


def _uuid(record: UsageRecord) -> str:
    """The server's id of an event: the same for a replay."""
    return str(uuid.uuid5(_NAMESPACE, f"{record.customer}\n{record.idempotency_key}"))


CONFLICT = "idempotency_conflict: this Idempotency-Key was used with another body; use a new key for a new write"
_CODES = {
    400: "REQUEST.INVALID", 401: "AUTH.INVALID_SERVICE_SIGNATURE", 403: "AUTH.FORBIDDEN", 404: "ROUTE.NOT_FOUND",
    409: "WRITE.INVALID_PAYLOAD", 413: "REQUEST.TOO_LARGE", 422: "WRITE.INVALID_PAYLOAD", 429: "RATE.LIMITED",
    503: "SERVER.UPSTREAM",
}  # fmt: skip


def write_error(status: int, message: str, *, code: str = "", retry_after_seconds: int | None = None) -> Response:
    """An error as the published server sends it."""
    code = code or _CODES.get(status, "SERVER.UNEXPECTED")
    body = {"ok": False, "code": code, "message": message, "meta": {"status": status}, "traceId": uuid.uuid4().hex}
    more = {} if retry_after_seconds is None else {"retry_after": str(retry_after_seconds)}
    return usage.answer(status, body, **more)
