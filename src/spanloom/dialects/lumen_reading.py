"""The collector's end of the Lumen dialect: requests to usage events, results to answers. Facts are in `lumen`.

Promise: both generations' clients find in an answer what they look for.
Must never: let one bad event spoil a batch, or run a back-fill.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from msgspec import UNSET, Raw

from ..clock import iso, parse_iso_us
from ..errors import WireError
from ..records import Action, Outcome
from ..wire import Request, Response
from . import Result, usage
from .lumen_writing import KIND, MAX_EVENTS
from .usage import Fields, Intake, UsageRecord

DEDUPE_SECONDS: float | None = usage.DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Query:
    """A ``GET …/events``. ``start`` is inclusive and ``end`` exclusive (ISO 8601, UTC), None for no bound. ``listed``:
    the newer generation asked, which wants ``events`` and ``pagination`` in place of ``data``."""

    event_name: str | None = None
    customer: str | None = None
    idempotency_key: str | None = None
    start: str | None = None
    end: str | None = None
    limit: int = 1000
    offset: int = 0
    listed: bool = False


def read_request(request: Request, *, received_at_ns: int | None = None) -> Intake:
    """The events of a ``POST …/events`` or ``…/events/batch``; raises WireError (400, 403 for a back-fill, 404)."""
    where = usage.route(request)
    if where.endswith("/events/backfill"):
        raise WireError("back-fill is for administrators and not offered here", path="path", status_hint=403)
    batch = where.endswith("/events/batch")
    if request.method != "POST" or not (batch or where.endswith("/events")):
        raise WireError("send POST …/events or …/events/batch, or GET …/events", path="path", status_hint=404)
    at = iso(time.time_ns() if received_at_ns is None else received_at_ns)
    raw = usage.parsed(request.body)
    raws = _batch_items(raw) if batch else [raw]

    def read(item: Raw, path: str) -> UsageRecord:
        return _event(Fields(item, path), at)

    items = usage.read_each(raws, "$.events[%d]" if batch else "$", read)
    return Intake("batch" if batch else "single", items, not batch, "", usage.fingerprint(request), at)


def _batch_items(raw: Raw) -> list[Raw]:
    outer = Fields(raw)
    events = outer.values.get("events")
    if not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
        raise WireError(f"Send between 1 and {MAX_EVENTS} events", path="$.events")
    return usage.items_of(usage.members(raw)["events"])


def _event(fields: Fields, at: str) -> UsageRecord:
    name = fields.needed_text("eventName")
    customer = fields.text("customerId") or fields.text("extCustomerId")
    if customer is None:
        raise fields.wrong("customerId", "send one of customerId and extCustomerId")
    value, text = fields.number("eventValue"), fields.values.get("eventString")
    if text is not None and not isinstance(text, str):
        raise fields.wrong("eventString", "send a string")
    if value is not None and text is not None:
        raise fields.wrong("eventString", "send one of eventValue and eventString, not both")
    properties: dict[str, Any] = dict(fields.object("properties"))
    labels = usage.lifted(properties, "labels", dict)
    outcome = usage.lifted(properties, KIND, str) == "outcome"
    if text is not None:
        properties.setdefault("eventString", text)
    key = fields.text("idempotencyKey", usage.MAX_KEY_CHARACTERS) or usage.fresh_id(at)
    return (Outcome if outcome else Action)(
        event_id=f"lumen.{key}",
        timestamp=fields.moment("eventTimestamp") or at,
        name=name,
        idempotency_key=key,
        customer=customer,
        value=1 if value is None else value,
        properties=usage.content(properties),
        labels=usage.content(labels or {}),
    )


def write_reply(intake: Intake, results: Sequence[Result]) -> Response:
    """202. The document's ``message`` and the newer generation's fields stand side by side, so both find theirs."""
    if intake.one:
        return _single(results[0])
    failed = [result for result in results if result.failed]
    if failed:  # the whole is sent again with the same keys, and what was stored is then a duplicate
        return write_error(500, "Failed to ingest event(s)")
    errors = [{"index": result.index, "error": f"{result.path}: {result.reason}"}
              for result in results if result.malformed]  # fmt: skip
    new = sum(not (result.malformed or result.duplicate or result.conflict) for result in results)
    message = f"Batch received. Processed {new} new events."
    accepted = len(results) - len(errors)
    return usage.answer(202, {"message": message, "accepted": accepted, "rejected": len(errors), "errors": errors})


def _single(result: Result) -> Response:
    if result.malformed:
        return write_error(400, f"{result.path}: {result.reason}")
    if result.failed:
        return write_error(500, "Failed to ingest event(s)")
    return usage.answer(202, {"message": "Event accepted", "deduplicated": result.duplicate or result.conflict})


_ERRORS = {400: "Invalid event payload", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 429: "Rate limited"}


def write_error(status: int, message: str = "", *, retry_after_seconds: int | None = None) -> Response:
    """An error as the newer generation sends it; the document shows no body."""
    error = _ERRORS.get(status, "Failed to ingest event(s)")
    if status == 400 and "events" in message:
        error = "Invalid batch payload"
    more = {} if retry_after_seconds is None else {"retry_after": str(retry_after_seconds)}
    return usage.answer(status, {"error": error, "details": message}, **more)


_FIRST_US = parse_iso_us("1000-01-01T00:00:00Z")  # what has four digits of year in its own zone may not have in UTC
_LAST_US = parse_iso_us("9999-12-31T23:59:59.999999Z")


# -- the query -----------------------------------------------------------------------------------------------------


def read_query(request: Request) -> Query:
    """The filters of a ``GET …/events``, of either generation; raises WireError (400) naming the parameter."""
    given = dict(parse_qsl(request.path.partition("?")[2]))
    listed = bool(given.keys() & {"startTime", "endTime", "offset", "idempotencyKey", "extCustomerId"})
    end = _bound(given, "endDate", whole_day=True, inclusive=True) or _bound(given, "endTime")
    return Query(
        event_name=given.get("eventName"),
        customer=given.get("customerId") or given.get("extCustomerId"),
        idempotency_key=given.get("idempotencyKey"),
        start=_bound(given, "startDate") or _bound(given, "startTime"),
        end=end,
        limit=_count(given, "limit", 50 if listed else 1000, 200 if listed else 100_000),
        offset=_count(given, "offset", 0, 10**9),
        listed=listed,
    )


def _bound(given: dict[str, str], name: str, *, whole_day: bool = False, inclusive: bool = False) -> str | None:
    """A moment; a bare date means its first moment, or all of that day for an inclusive end."""
    text = given.get(name)
    if text is None:
        return None
    try:
        moment_us = parse_iso_us(text.replace(" ", "+"))
    except (ValueError, OverflowError):
        raise WireError(f"{name}: {text[:60]!r} is no ISO date: send one such as 2024-01-31", path=name) from None
    if inclusive:
        moment_us += 86_400_000_000 if whole_day and len(text) == 10 else 1
    return iso(min(max(moment_us, _FIRST_US), _LAST_US) * 1000)


def _count(given: dict[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or int(text[:12]) > most:
        raise WireError(f"{name}: {text[:20]!r} is no number from 0 to {most}", path=name)
    return int(text)


def write_rows(query: Query, records: Sequence[UsageRecord], total: int | None = None) -> Response:
    """The answer to a query: ``data``, or for the newer generation ``events`` and ``pagination``."""
    rows = [_row(record) for record in records]
    if not query.listed:
        return usage.answer(200, {"data": rows})
    total = len(rows) if total is None else total
    more = query.offset + len(rows) < total
    page = {"total": total, "limit": query.limit, "offset": query.offset, "hasMore": more}
    return usage.answer(200, {"events": rows, "pagination": page})


def _row(record: UsageRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "eventName": record.name,
        "idempotencyKey": record.idempotency_key,
        "customerId": record.customer,
        "eventValue": record.value,
        "eventTimestamp": usage.stamp(record.timestamp),
    }
    if record.properties is not UNSET:
        row["properties"] = record.properties
    return row
