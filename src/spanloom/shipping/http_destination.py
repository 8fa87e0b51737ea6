"""HttpDestination: a destination made of a wire format and a transport.

Promises: one verdict for each record, whatever the endpoint answers; a batch that makes several requests sends them in
order and stops at the first that fails, so that what comes later never overtakes. Where the format wants no order
between them and the policy allows it, several are in flight at once (`in_flight`). Raises `DeliveryError` only when
nothing of the batch was answered. Must never: keep a key where a repr, a log or an exception shows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import UNSET, Raw

from ..errors import DeliveryError, WireError
from ..records import Chat, RunEnd, RunPoint, RunStart, decode, encode
from ..wire import DUPLICATE, Call, Response, Verdict
from .destination import NEVER_SENT, BatchPolicy
from .in_flight import InFlight, Outcome, first_failure
from .retry import Reaction, reaction_to, retry_after_seconds
from .transport import Transport

_UNREADABLE = Verdict("rejected", "unreadable")
_NOT_CARRIED = Verdict("rejected", "not_carried")


@dataclass(frozen=True, slots=True)
class Written:
    """A batch in a wire format: ``calls`` to be sent in order, and the verdicts (by place in the batch) on records
    that are in no call. ``twins``: records that say the same as another of the batch (both by place), which alone is
    sent and whose verdict they share. ``ordered``: a call waits for the answer to the one before it."""

    calls: list[Call]
    settled: dict[int, Verdict] = field(default_factory=dict)
    twins: dict[int, int] = field(default_factory=dict)
    ordered: bool = True


class Format(Protocol):
    """A wire format as the client sees it: pure functions, no I/O."""

    def takes(self, payload: bytes) -> bool:
        """Whether a record has a place in this format, by its first bytes."""
        ...

    def write(self, payloads: Sequence[bytes]) -> Written:
        """The requests for a batch; raises WireError when one of the records cannot be read."""
        ...

    def read(self, call: Call, response: Response) -> list[Verdict]:
        """One verdict for each of ``call.indexes``; asked for statuses 2xx, 400 and 422."""
        ...


class HttpDestination:
    """A `destination.Destination` over HTTP. Its methods run on one thread at a time."""

    def __init__(
        self,
        name: str,
        dest_id: str,
        policy: BatchPolicy,
        wire_format: Format,
        transport: Transport,
        wall_seconds: Callable[[], float] = time.time,
        reactions: Mapping[int, Reaction] | None = None,
        optional_paths: Collection[str] = (),
    ) -> None:
        """``reactions``: what a status asks for at this vendor, where that is not what `reaction_to` says.
        ``optional_paths``: what an endpoint need not have; that it is not there is an answer for the format to read,
        about these records alone."""
        self.name = name
        self.dest_id = dest_id
        self.policy = policy
        self.takes = wire_format.takes
        self._format = wire_format
        self._transport = transport
        self._flights = InFlight(transport, policy.requests_at_once)
        self._wall_seconds = wall_seconds
        self._reactions = dict(reactions or {})
        self._optional_paths = frozenset(optional_paths)
        self.pages_url: str | None = None  # where the server shows runs, when it does
        self._compression = "untried"  # then "works" or "refused"
        self._written: tuple[list[bytes], Written] | None = None

    def __repr__(self) -> str:
        return f"HttpDestination({self.name!r}, {self._transport.base_url!r})"

    @property
    def answers(self) -> int:
        """See `destination.Destination.answers`."""
        return self._flights.answers

    def prepare(self) -> None:
        """See `destination.Destination.prepare`."""
        self._transport.prepare()

    def forget(self) -> None:
        """See `destination.Destination.forget`."""
        self._flights.forget()
        self._written = None

    def close(self) -> None:
        """See `destination.Destination.close`."""
        self._flights.close()

    def shrink(self, payload: bytes) -> bytes | None:
        """See `destination.Destination.shrink`."""
        return without_content(payload)

    def deliver(self, payloads: Sequence[bytes], deadline: float) -> list[Verdict]:
        """See `destination.Destination.deliver`."""
        verdicts: dict[int, Verdict] = {}
        written = self._write(list(payloads), verdicts)
        verdicts.update(written.settled)
        deadline = min(deadline, time.monotonic() + self.policy.request_seconds)

        def send(call: Call, line: Transport) -> list[Verdict]:
            return self._answers(call, line, deadline)

        outcomes = self._flights.send_all(written.calls, send, deadline, ordered=written.ordered)
        self._read_outcomes(written.calls, outcomes, verdicts)
        for index, first in written.twins.items():
            shared = verdicts.get(first, _NOT_CARRIED)
            verdicts[index] = DUPLICATE if shared.kind == "delivered" else shared
        return [verdicts.get(index, _NOT_CARRIED) for index in range(len(payloads))]

    def _write(self, payloads: list[bytes], verdicts: dict[int, Verdict]) -> Written:
        """The requests of a batch, the same objects again when the same batch is tried again."""
        if self._written is not None and self._written[0] == payloads:
            return self._written[1]
        try:
            written = self._format.write(payloads)
        except WireError:
            written = self._write_readable(payloads, verdicts)
        self._written = (payloads, written)
        return written

    def _write_readable(self, payloads: list[bytes], verdicts: dict[int, Verdict]) -> Written:
        """Write a batch without the records that nobody can read; those are rejected."""
        places = [index for index, payload in enumerate(payloads) if _readable(payload)]
        for index in set(range(len(payloads))) - set(places):
            verdicts[index] = _UNREADABLE
        written = self._format.write([payloads[index] for index in places])
        calls = [Call(call.request, tuple(places[index] for index in call.indexes)) for call in written.calls]
        settled = {places[index]: verdict for index, verdict in written.settled.items()}
        twins = {places[index]: places[first] for index, first in written.twins.items()}
        return Written(calls, {**settled, **verdicts}, twins, written.ordered)

    @staticmethod
    def _read_outcomes(calls: Sequence[Call], outcomes: Sequence[Outcome], verdicts: dict[int, Verdict]) -> None:
        """What was not sent is to be sent again; a record that was half sent is sent again whole. A failure counts
        against none of them: the first is the first of the next batch, which then fails as a batch."""
        left = [call for call, outcome in zip(calls, outcomes, strict=True) if not isinstance(outcome, list)]
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, list):
                for index, verdict in zip(call.indexes, outcome, strict=True):
                    verdicts[index] = _worse(verdicts.get(index), verdict)
        if not left:
            return
        pairs = zip(calls, outcomes, strict=True)
        in_doubt = {index for call, outcome in pairs for index in _in_doubt(call, outcome)}
        error = first_failure(outcomes)
        if error is not None and len(left) == len(calls):
            error.in_doubt = tuple(sorted(in_doubt))
            raise error
        reason, wait = ("no_time_left", None) if error is None else (error.reason, error.retry_after_seconds)
        for call in left:
            for index in call.indexes:
                verdicts[index] = Verdict("retry", reason, False, index in in_doubt, True, wait)

    def _answers(self, call: Call, line: Transport, deadline: float) -> list[Verdict]:
        """Send one call; the verdicts of its records, or DeliveryError when its status speaks for all of them."""
        response = self._exchange(call, line, deadline)
        status = response.status
        reaction = self._reactions.get(status) or reaction_to(status)
        if status in ABSENT and call.request.path in self._optional_paths:
            reaction = "answered"
        if reaction in ("answered", "split"):
            verdicts = self._format.read(call, response)
            if len(verdicts) == len(call.indexes):
                return verdicts
            return [Verdict("retry", "unexpected_reply")] * len(call.indexes)
        if reaction == "duplicate":
            return [DUPLICATE] * len(call.indexes)
        if reaction == "shrink":
            return [Verdict("split", f"http_{status}")] * len(call.indexes)
        wait = retry_after_seconds(response.headers.get("retry-after"), self._wall_seconds())
        pause = reaction in ("pause", "plain")
        message = f"{self._transport.base_url} answered {status}"
        if pause:
            message += _CURES.get(status, "")
        raise DeliveryError(message, reason=f"http_{status}", pause=pause, retry_after_seconds=wait, answered=True)

    def _exchange(self, call: Call, line: Transport, deadline: float) -> Response:
        """Compressed unless the endpoint has refused that: a 400 or 415 to the first compressed body is tried once
        more without, and what helps is remembered."""
        compress = self._compression != "refused"
        response = line.send(call.request, deadline, compress=compress)
        if response.status not in (400, 415) or not self._transport.compress:
            if compress:
                self._compression = "works"
            return response
        if response.status == 415 or self._compression == "untried":
            plain = line.send(call.request, deadline, compress=False)
            if plain.status != response.status:
                self._compression = "refused"
            elif self._compression == "untried":
                self._compression = "works"  # it was not the compression that it minded
            return plain
        return response


ABSENT = frozenset({404, 405, 410, 501})
"""Nothing is there that would take such a request."""

_CURES = {
    401: ": the key is not accepted",
    402: ": the key is not accepted",
    403: ": the key is not accepted",
    404: ": nothing is there; check url",
    405: ": it takes no records; check url",
    410: ": it is gone; check url",
}


def _in_doubt(call: Call, error: Outcome) -> tuple[int, ...]:
    """The places of a call's records when they may be stored although no answer came."""
    if not isinstance(error, DeliveryError):
        return ()
    if error.answered or error.reason in NEVER_SENT or error.in_doubt == ():
        return ()
    return call.indexes


def _readable(payload: bytes) -> bool:
    try:
        decode(payload)
    except WireError:
        return False
    return True


_RANK = {"delivered": 0, "split": 1, "retry": 2, "rejected": 3}


def _worse(known: Verdict | None, new: Verdict) -> Verdict:
    """A record that travels in two calls is delivered when both are."""
    if known is None or _RANK[new.kind] > _RANK[known.kind]:
        return new
    return new if known.duplicate and not new.duplicate and new.kind == "delivered" else known


def without_content(payload: bytes) -> bytes | None:
    """A record with its content replaced by a note of its size, for an endpoint that refuses it as too big; what
    names, times, joins and counts a run is kept. None when that saves less than half, or for other kinds."""
    try:
        record = decode(payload)
    except WireError:
        return None
    if not isinstance(record, (RunStart, RunEnd, RunPoint, Chat)):
        return None
    changes: dict[str, object] = {}
    for name in ("input", "output", "params", "metadata", "extra", "data", "user_props", "message"):
        content = getattr(record, name, UNSET)
        if isinstance(content, Raw) and len(bytes(content)) > 256:
            changes[name] = _note(name, bytes(content))
    if isinstance(record, RunEnd) and record.error is not None and record.error.stack:
        changes["error"] = msgspec.structs.replace(record.error, message=record.error.message[:1000], stack=None)
    smaller = encode(msgspec.structs.replace(record, **changes))
    return smaller if len(smaller) * 2 <= len(payload) else None


def _note(name: str, content: bytes) -> Raw:
    """Text for values, an object where the field is one; a message keeps its role."""
    text = f"<removed: {len(content)} bytes were too many for the destination>"
    if name in ("input", "output"):
        return Raw(msgspec.json.encode(text))
    if name != "message":
        return Raw(msgspec.json.encode({"removed": text}))
    try:
        role = msgspec.json.decode(content, type=_Role).role
    except (msgspec.DecodeError, UnicodeDecodeError):
        role = "user"
    return Raw(msgspec.json.encode({"role": role, "content": text}))


class _Role(msgspec.Struct):
    role: str = "user"
