"""What Lunary answers, written and read. Facts and their sources are in `lunary`.

Promise: no failure hides inside a 200: every event sent gets its verdict.
Must never: raise, whatever a proxy on the way has put in place of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..wire import DELIVERED, DUPLICATE, Call, Response, Verdict
from . import Result


class _Outcome(msgspec.Struct):
    """One of the reply's ``results``; an ``error`` is text, or whatever else the server put there."""

    id: Any = None
    success: bool = True
    error: Any = None
    duplicate: bool = False


class _Reply(msgspec.Struct):
    results: list[_Outcome] | None = None


class _Sent(msgspec.Struct, rename="camel"):
    run_id: str


class _SentBody(msgspec.Struct):
    events: list[_Sent]


_reply = msgspec.json.Decoder(_Reply | list[_Outcome])
_sent = msgspec.json.Decoder(_SentBody)


def read_reply(call: Call, response: Response) -> list[Verdict]:
    """The verdict on each of ``call.indexes``. A record that stands there twice (end and error) gets the same verdict
    at both places: rejected when either was, else delivered.

    "Already exists" is delivered (a start that was sent before). A 400 or 422 that says which events failed is taken
    at its word; without that, 400, 413 and 422 mean ``split``.
    """
    status = response.status
    outcomes = _outcomes(response)
    if 200 <= status < 300 or (status in (400, 422) and outcomes is not None and len(outcomes) == len(call.indexes)):
        if outcomes is None and _is_page(response):
            return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
        return _of_outcomes(call, outcomes or [])
    if status in (400, 413, 422):
        verdict = Verdict("split", f"http_{status}")
    elif status in (401, 402, 403, 404, 408, 409, 425, 429) or status >= 500 or status < 400:
        verdict = Verdict("retry", f"http_{status}")
    else:
        verdict = Verdict("rejected", f"http_{status}")
    return [verdict] * len(call.indexes)


def _outcomes(response: Response) -> list[_Outcome] | None:
    try:
        found = _reply.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found.results if isinstance(found, _Reply) else found


def _is_page(response: Response) -> bool:
    """A web page (a login, a proxy's apology) is no acknowledgement, even with status 200."""
    return "html" in response.headers.get("content-type", "").lower() or response.body.lstrip()[:1] == b"<"


def _of_outcomes(call: Call, outcomes: list[_Outcome]) -> list[Verdict]:
    """Results match events by position; when there are not as many, by run id. No results at all mean that all is
    stored, as other servers that speak Lunary have it; silence about some runs among others means nothing."""
    if len(outcomes) == len(call.indexes):
        verdicts = [_verdict(outcome) for outcome in outcomes]
    else:
        unanswered = Verdict("retry", "unanswered") if outcomes else DELIVERED
        said = {str(found.id): _verdict(found) for found in sorted(outcomes, key=lambda found: not found.success)}
        verdicts = [said.get(run_id, unanswered) for run_id in _sent_ids(call)]
    worst: dict[int, Verdict] = {}
    for index, verdict in zip(call.indexes, verdicts, strict=True):
        known = worst.get(index)
        if known is None or verdict.kind != "delivered" or (known.duplicate and not verdict.duplicate):
            worst[index] = verdict if known is None or known.kind == "delivered" else known
    return [worst[index] for index in call.indexes]


def _verdict(outcome: _Outcome) -> Verdict:
    if outcome.success:
        return DUPLICATE if outcome.duplicate else DELIVERED
    error = outcome.error
    if isinstance(error, dict):
        error = error.get("message", error)
    reason = str(error or "refused without a reason")
    return DUPLICATE if "already exists" in reason else Verdict("rejected", reason[:300])


def _sent_ids(call: Call) -> list[str]:
    return [event.run_id for event in _sent.decode(call.request.body).events]


def write_reply(results: Sequence[Result], *, bare: bool = False) -> Response:
    """The answer to a request, one result per item in the request's order (which is Lunary's order by time for a
    client that sends in time order, as ours does). ``bare``: the list alone, as ``/api/report`` answers.

    The status is 400 when an item was malformed, with ``message`` and ``path`` of the first; its neighbours are
    stored all the same, and ``results`` says so.
    """
    merged: dict[int, Result] = {}
    for result in results:
        known = merged.get(result.index)
        merged[result.index] = result if known is None else _joined(known, result)
    items = [_item(merged[index]) for index in sorted(merged)]
    first = next((result for _, result in sorted(merged.items()) if result.malformed), None)
    payload: Any = items if bare else {"results": items}
    if first is not None:
        payload = {"message": first.reason, "path": first.path, "results": items}
    headers = {"content-type": "application/json"}
    return Response(200 if first is None else 400, headers, msgspec.json.encode(payload))


def _joined(one: Result, other: Result) -> Result:
    if one.malformed or other.malformed:
        return one if one.malformed else other
    return one if not one.duplicate else other


def _item(result: Result) -> dict[str, Any]:
    item: dict[str, Any] = {"id": result.id, "success": not result.malformed}
    if result.event_id:
        item["eventId"] = result.event_id
    if result.malformed:
        item["error"] = result.reason
        item["path"] = result.path
    if result.duplicate:
        item["duplicate"] = True
    if result.conflict:
        item["conflict"] = True
    return item
