"""What became of each event that was sent.

Promises: nothing is acknowledged before the store has committed it; one malformed event spoils none of its neighbours;
an event that is sent again is answered as a duplicate. Must never: run on the event loop (`Intake.take` blocks on the
disk).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw

from ..dialects import Received, Result, lunary, strict_json
from ..errors import StoreError, WireError
from ..store import Incoming, Store
from ..wire import Request, Response
from .body import Limits, Refused, inflate

_SLICE_BYTES = 4 << 20
"""About as much is committed at once: a large body then neither holds the file for long nor is in memory thrice."""


class _Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """What may be said of a run; null takes it back."""

    thumb: Literal["up", "down"] | None = None
    comment: str | None = None
    score: float | None = None
    label: str | None = None


_feedback = msgspec.json.Decoder(_Feedback)


class Intake:
    """From a request in the Lunary dialect to an acknowledged commit."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.store = store
        self.limits = limits

    def take(self, request: Request, encoding: str, project: str, *, bare: bool = False) -> Response:
        """The answer to one ingest request, after its events were committed (``bare``: `lunary.write_reply`).

        Raises Refused, for a body that cannot be read or a store that cannot write. Blocks.
        """
        body = inflate(request.body, encoding, self.limits)
        try:
            received = lunary.read_request(Request(request.method, request.path, request.headers, body))
        except WireError as error:
            raise Refused(error.status_hint, error.message, path=error.path) from None
        each = max(1, len(received) * _SLICE_BYTES // max(_SLICE_BYTES, len(body)))
        slices = (received[start : start + each] for start in range(0, len(received), each))
        results = [result for part in slices for result in self.store_each(part, project)]
        return lunary.write_reply(results, bare=bare)

    def read_feedback(self, body: bytes, encoding: str) -> Raw:
        """The feedback object in the body of a PATCH. Raises Refused (400) naming the field that is wrong."""
        try:
            clean = strict_json.clean(inflate(body, encoding, self.limits))
            strict_json.checked(clean, "$")
            strict_json.decoded(clean, _feedback)
        except WireError as error:
            raise Refused(error.status_hint, error.message, path=error.path) from None
        return Raw(clean)

    def store_each(self, received: list[Received], project: str) -> list[Result]:
        """Commit what could be read, and say of each item what became of it. Raises Refused. Blocks."""
        incoming = [Incoming(item.record, item.raw, project) for item in received if item.record is not None]
        try:
            stored = iter(self.store.write(incoming))
        except StoreError as error:
            raise refusal_of(error) from error
        results = []
        for item in received:
            if item.record is None:
                results.append(Result(item.index, item.id, True, item.reason, item.path, event_id=item.event_id))
                continue
            outcome = next(stored)
            conflict = outcome.conflict and item.event_id != ""  # an id that was made here says nothing by itself
            results.append(
                Result(item.index, item.id, duplicate=not outcome.new, conflict=conflict, event_id=item.event_id)
            )
        return results


def refusal_of(error: StoreError) -> Refused:
    """What a client is told when the store did not do it: 507 for a full disk, else 503; both mean later."""
    refused = Refused(507 if error.reason == "disk_full" else 503, f"the store did not do it ({error.reason}): {error}")
    refused.retry_after_seconds = 30 if error.reason in ("disk_full", "newer_schema", "foreign") else 1
    return refused
