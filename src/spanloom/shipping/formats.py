"""The wire formats as a client drives them: bytes from the journal in, requests out, verdicts back.

Promise: each format is a thin hand on a dialect; facts about a vendor's wire live in `dialects`, not here.
Must never: parse users' content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ..dialects import lunary
from ..errors import WireError
from ..records import decode_batch
from ..wire import DELIVERED, DUPLICATE, Call, Request, Response, Verdict
from .destination import kind_of
from .http_destination import Written

_LUNARY_KINDS = frozenset(kind.encode() for kind in lunary.KINDS)


class LunaryFormat:
    """Runs, chats and feedback in Lunary's envelope (`dialects.lunary`)."""

    def __init__(self, options: lunary.Options) -> None:
        self._options = options

    def takes(self, payload: bytes) -> bool:
        """Starts, ends, chats and feedback; Lunary has no place for the other kinds."""
        return kind_of(payload) in _LUNARY_KINDS

    def write(self, payloads: Sequence[bytes]) -> Written:
        """See `http_destination.Format.write`."""
        records = decode_batch(list(payloads))
        refused = {index: verdict for index, record in enumerate(records) if (verdict := lunary.refusal(record))}
        return Written(lunary.write_request(records, self._options), refused)

    def read(self, call: Call, response: Response) -> list[Verdict]:
        """See `http_destination.Format.read`."""
        return lunary.read_reply(call, response)


class _Sent(msgspec.Struct, rename="camel"):
    event_id: str
    timestamp: str = ""


class _SentBody(msgspec.Struct):
    events: list[_Sent]


class _Envelope(msgspec.Struct, rename="camel"):
    """What every record has; that the rest is JSON is seen in passing, without making objects of it."""

    event: str
    event_id: str
    timestamp: str


class _Result(msgspec.Struct, rename="camel"):
    """One of the collector's ``results``. Their order is Lunary's (by time), so the event id is what joins them."""

    event_id: str | None = None
    success: bool = False
    duplicate: bool = False
    retry: bool = False
    error: Any = None


class _Reply(msgspec.Struct):
    results: list[_Result]


_sent = msgspec.json.Decoder(_SentBody)
_envelope = msgspec.json.Decoder(_Envelope)
_reply = msgspec.json.Decoder(_Reply)


class CollectorFormat:
    """Records as they stand in the journal, in Lunary's envelope: ``{"events":[…]}`` to ``/v1/runs/ingest``."""

    def __init__(self, key: str | None) -> None:
        self._headers = {"content-type": "application/json"}
        self._written: tuple[bytes, list[str]] = (b"", [])  # the last body and its event ids
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def takes(self, payload: bytes) -> bool:
        """Everything: the collector knows every kind of record, and will know those of later versions."""
        return True

    def write(self, payloads: Sequence[bytes]) -> Written:
        """See `http_destination.Format.write`. Raises WireError when a payload is not a record."""
        event_ids = [_event_id(payload) for payload in payloads]
        body = _body(payloads)
        self._written = (body, event_ids)
        request = Request("POST", "/v1/runs/ingest", self._headers, body)
        return Written([Call(request, tuple(range(len(payloads))))] if payloads else [])

    def read(self, call: Call, response: Response) -> list[Verdict]:
        """Every result counts by its event id. A record without one is sent again; so is all of a batch whose answer
        cannot be read, which is safe because the collector knows each event by its id."""
        try:
            results = _reply.decode(response.body).results
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            refused = response.status in (400, 422)
            verdict = Verdict("split", f"http_{response.status}") if refused else Verdict("retry", "unexpected_reply")
            return [verdict] * len(call.indexes)
        by_id = {result.event_id: _verdict(result) for result in results if result.event_id}
        missing = Verdict("retry", "unanswered")
        body, event_ids = self._written
        if body is not call.request.body:  # written before the last one
            event_ids = [event.event_id for event in _sent.decode(call.request.body).events]
        return [by_id.get(event_id, missing) for event_id in event_ids]


def _body(payloads: Sequence[bytes]) -> bytes:
    """``{"events":[…]}``, of one copy of each payload: a second one of the whole costs 1 us a record."""
    parts = list(payloads) or [b""]
    parts[0] = b'{"events":[' + parts[0]
    parts[-1] += b"]}"
    return b",".join(parts)


_HEAD = re.compile(rb'\{"event":"\w+","eventId":"([^"\\\x00-\x1f\x80-\xff]+)","timestamp":"')


def _event_id(payload: bytes) -> str:
    """A record's event id. Raises WireError when it is no record, which would spoil the whole body.

    Our own records are known by their first and last bytes, at a third of the price of reading them: the journal's
    checksums vouch for what is between. Should a body be refused all the same, halving finds the one."""
    head = _HEAD.match(payload)
    if head is not None and payload.endswith(b"}"):
        return head[1].decode()
    try:
        return _envelope.decode(payload).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(str(error)) from None


def _verdict(result: _Result) -> Verdict:
    if result.success:
        return DUPLICATE if result.duplicate else DELIVERED
    if result.retry:
        return Verdict("retry", "not_now")
    return Verdict("rejected", str(result.error or "refused without a reason")[:300])
