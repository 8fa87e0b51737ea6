"""Which runs a journal has opened and not closed, and the records that close them for a process that cannot.

Promise: fed every record of a journal in order, it knows the open runs, with the usage that became known of each, and
keeps no user content. Bounded: beyond `MAX_OPEN` runs the oldest is forgotten and counted.

Most runs end soon after they began. So a start is put aside as it is, and read only when it is still open after
`_FRESH` others: 0.9 us a record instead of 2.5. (For that long its content is held, at most 1 MB of it.)

A run is closed as ``killed`` at the time of the last record of its process (nobody knows when it really stopped), with
an error that says so.
"""

from __future__ import annotations

import re

import msgspec

from ..records import ErrorInfo, RunEnd, TokenUsage, encode

MAX_OPEN = 20_000

_FRESH = 256
_FRESH_BYTES = 4096
_HEAD = re.compile(rb'\{"event":"(\w+)","eventId":"[^"\\]*","timestamp":"([^"\\]*)","runId":"([^"\\]*)"')
"""How the recording room's records begin; with escapes, or in another order, they are read as JSON."""

_KILLED = ErrorInfo(message="The process ended before this run did; its end is unknown.", type="ProcessEnded")


class _Seen(msgspec.Struct, rename="camel", omit_defaults=True):
    """What we read of a run's record: the envelope, none of the content."""

    event: str
    run_id: str
    timestamp: str
    type: str | None = None
    name: str | None = None
    parent_run_id: str | None = None
    root_run_id: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    customer: str | None = None
    key: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None
    service: str | None = None
    runtime: str | None = None
    sampled: bool = True
    tokens_usage: TokenUsage | None = None
    model: str | None = None
    cost: float | None = None
    response_id: str | None = None


class _Stamp(msgspec.Struct):
    timestamp: str


_seen = msgspec.json.Decoder(_Seen)
_stamp = msgspec.json.Decoder(_Stamp)
_list = msgspec.json.Decoder(list[_Seen])
_encoder = msgspec.json.Encoder()
_ABOUT_RUNS = (b'{"event":"start"', b'{"event":"update"', b'{"event":"end"')
_REPORTED = ("tokens_usage", "model", "cost", "response_id")


def timestamp_of(payload: bytes) -> str | None:
    """A record's timestamp, or None when it cannot be read."""
    try:
        return _stamp.decode(payload).timestamp
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class OpenRuns:
    """``forgotten`` counts the runs that were too many; ``last_timestamp`` is the latest that was seen."""

    def __init__(self) -> None:
        self._open: dict[str, _Seen] = {}
        self._fresh: dict[bytes, bytes] = {}  # run id -> the start record
        self._latest = b""
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._known())

    @property
    def last_timestamp(self) -> str:
        return self._latest.decode("utf-8", "replace")

    def saw(self, timestamp: str) -> None:
        """Something happened then."""
        self._latest = max(self._latest, timestamp.encode())

    def feed(self, payload: bytes) -> None:
        """Look at one record; what is not about a run is passed over."""
        head = _HEAD.match(payload)
        if head is None:
            return self._read(payload)
        kind, at, run_id = head.groups()
        if kind == b"end":
            self._fresh.pop(run_id, None)
            if self._open:  # also when it was fresh: a start that is noted on disk may be met again
                self._open.pop(run_id.decode("utf-8", "replace"), None)
        elif kind == b"start" and len(payload) <= _FRESH_BYTES:
            self._fresh[run_id] = payload
            if len(self._fresh) >= _FRESH:
                self._known()
        else:
            return self._read(payload)
        if at > self._latest:
            self._latest = at
        return None

    def _known(self) -> dict[str, _Seen]:
        """All that are open, the fresh ones read."""
        fresh, self._fresh = self._fresh, {}
        for payload in fresh.values():
            self._read(payload)
        return self._open

    def _read(self, payload: bytes) -> None:
        if not payload.startswith(_ABOUT_RUNS):
            return
        try:
            seen = _seen.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        self.saw(seen.timestamp)
        if seen.event == "start":
            self._open[seen.run_id] = seen
            if len(self._open) > MAX_OPEN:
                del self._open[next(iter(self._open))]
                self.forgotten += 1
        elif seen.event == "end":
            self._known().pop(seen.run_id, None)
        else:
            self._report(seen)

    def _report(self, seen: _Seen) -> None:
        run = self._known().get(seen.run_id)
        if run is None:
            return
        for name in _REPORTED:
            value = getattr(seen, name)
            if value is not None:
                setattr(run, name, value)

    def epitaphs(self) -> list[bytes]:
        """End records for all that are open, children before parents."""
        runs = sorted(self._known().values(), key=lambda run: run.timestamp, reverse=True)
        return [encode(_end(run, max(self.last_timestamp, run.timestamp))) for run in runs]

    def dump(self) -> bytes:
        """As JSON, to outlive the segments that it was read from."""
        return _encoder.encode(list(self._known().values()))

    def load(self, data: bytes) -> None:
        """Take in what `dump` wrote; damaged data is nothing."""
        try:
            runs = _list.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        for run in runs:
            self._open[run.run_id] = run
            self.saw(run.timestamp)


def _end(run: _Seen, at: str) -> RunEnd:
    return RunEnd(
        event_id=f"{run.run_id}.e",
        timestamp=at,
        run_id=run.run_id,
        type=run.type,
        name=run.name,
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        user_id=run.user_id,
        thread_id=run.thread_id,
        customer=run.customer,
        key=run.key,
        trace_id=run.trace_id,
        parent_span_id=run.parent_span_id,
        service=run.service,
        runtime=run.runtime,
        sampled=run.sampled,
        tokens_usage=run.tokens_usage,
        model=run.model,
        cost=run.cost,
        response_id=run.response_id,
        status="killed",
        started_at=run.timestamp,
        error=_KILLED,
    )
