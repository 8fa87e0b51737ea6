"""The Lumen dialect: both ends of ``/v1/events``, ``/v1/events/batch`` and the query ``GET /v1/events``.

Facts, from Lumen's page "Events API" (D), its newer reference pages (N) and its Python SDK (S):

- Base ``https://api.getlumen.dev``; ``Authorization: Bearer``. (N, S; D says "the same scheme")
- Fields: eventName, one of customerId and extCustomerId, eventValue, eventString, properties, eventTimestamp (ISO
  8601, default now), idempotencyKey (24 h, duplicates answered 202 and ignored). (D) Exactly one of value and string.
  (N) [our reading: a value always, 1 by default, as S does]
- A batch is ``{"events": [...]}`` of up to 1000 (D) or 100 (N); 202 ``{"message": "Batch received. Processed 2 new
  events."}`` (D), ``{"accepted", "rejected", "errors": [{"index", "error"}]}`` (N).
- One event: 202 ``{"message": "Event accepted"}``. (D) 400, 401, 500; 500 is retried with the same key. (D)
- Query: eventName, customerId, startDate and endDate (inclusive), limit (1000); ``{"data": [...]}``. (D)
- Back-fill is for administrators. (D) [our reading: 403]

What we add: ``eventTimestamp``; ``labels`` and ``spanloom_kind`` ("outcome") in the properties where they apply. Not
carried: run ids, users, ``metered``, the record's own event id.
"""

from __future__ import annotations

from .lumen_reading import DEDUPE_SECONDS, Query, read_query, read_request, write_error, write_reply, write_rows
from .lumen_writing import MAX_EVENTS, Options, read_reply, refusal, write_query, write_request
from .usage import bearer as credential

__all__ = [
    "DEDUPE_SECONDS", "MAX_EVENTS", "Options", "Query", "credential", "read_query", "read_reply", "read_request",
    "refusal", "write_error", "write_query", "write_reply", "write_request", "write_rows",
]  # fmt: skip
