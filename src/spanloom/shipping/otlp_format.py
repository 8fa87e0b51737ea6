"""Records to OTLP requests: the start and the end of a run are joined into one span.

Theory of operation. A span needs what the start brought (input, params, metadata) and what the end says. The end is
self-contained but for those, so a start is *delivered* by being remembered here until its end comes, and the end is
sent with it. The memory is bounded (`MOST_BYTES`): beyond it the oldest start is let go, and so is one whose process
died after handing it over; such a run is sent without input, says so (``spanloom.input_unknown``), and is counted in
`Joined.without_start`. Nothing is forgotten before its span has been acknowledged, so that a batch can be tried again
or split. An exchange of a conversation is likewise joined from its messages, and sent with its answer.

Promises: pure but for that memory; one verdict for each record. Must never: hold more than `MOST_BYTES`, or send a run
that was not sampled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..dialects import otlp
from ..dialects.otlp_ids import hex32
from ..dialects.otlp_values import LogEvent, Span
from ..records import Chat, Feedback, RunEnd, RunPoint, RunRecord, RunStart, decode_batch
from ..wire import Call, Request, Response, Verdict
from .destination import kind_of
from .http_destination import Written

MOST_BYTES = 32 << 20
_MOST_TRACES = 50_000
_KINDS = frozenset({b"start", b"update", b"point", b"end", b"chat", b"feedback"})
_JOINED = Verdict("delivered", "joined")
_NOT_CARRIED = Verdict("rejected", "not_carried")
_AFTER_END = Verdict("rejected", "after_end")


@dataclass(slots=True)
class _Pending:
    """What is known of a run whose span has not been acknowledged yet."""

    start: RunStart | None = None
    points: dict[str, RunPoint] = field(default_factory=dict)
    chats: dict[str, Chat] = field(default_factory=dict)
    size_bytes: int = 0


class Joined:
    """The memory: starts, points and messages by run id, and the trace that each known run belongs to.

    ``without_start`` counts the spans that had to go without their input, ``let_go`` the runs that were too many."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._traces: OrderedDict[str, str] = OrderedDict()
        self.size_bytes = 0
        self.without_start = 0
        self.let_go = 0

    def add(self, record: RunStart | RunPoint | Chat, size_bytes: int) -> None:
        """Remember a record until its run's span has been acknowledged."""
        pending = self._pending.setdefault(record.run_id, _Pending())
        if isinstance(record, RunStart):
            grown = pending.start is None
            pending.start = record
        elif isinstance(record, RunPoint):
            grown = record.event_id not in pending.points
            pending.points[record.event_id] = record
        else:
            grown = record.event_id not in pending.chats
            pending.chats[record.event_id] = record
        if grown:
            pending.size_bytes += size_bytes
            self.size_bytes += size_bytes
        while self.size_bytes > self._most_bytes and len(self._pending) > 1:
            self.forget(next(iter(self._pending)))
            self.let_go += 1

    def of(self, run_id: str) -> _Pending:
        """What is remembered of a run; an empty one for nothing."""
        return self._pending.get(run_id) or _Pending()

    def forget(self, run_id: str) -> None:
        """Its span has arrived."""
        pending = self._pending.pop(run_id, None)
        if pending is not None:
            self.size_bytes -= pending.size_bytes

    def trace_of(self, record: RunRecord) -> str:
        """The trace id (32 hex digits) of a run. One whose record names no root belongs to its parent's trace, when
        that is known here, and else begins its own."""
        known = self._traces.get(record.run_id)
        if record.trace_id or record.root_run_id:
            known = record.trace_id or hex32(record.root_run_id or "")
        elif known is None:
            known = self._traces.get(record.parent_run_id or "") or hex32(record.run_id)
        self._traces[record.run_id] = known
        self._traces.move_to_end(record.run_id)
        if len(self._traces) > _MOST_TRACES:
            self._traces.popitem(last=False)
        return known

    def known_trace(self, run_id: str) -> str:
        """The trace of a run that was seen here, "" otherwise."""
        return self._traces.get(run_id, "")


@dataclass(slots=True)
class _Batch:
    """What one batch becomes. ``closing``: the run that a span ends, by the record's place; ``exchanges``: the spans of
    exchanges, with their places, by run; ``ended``: the places of ends; ``late``: what was said of them afterwards."""

    spans: list[tuple[int, Span]] = field(default_factory=list)
    events: list[tuple[int, LogEvent]] = field(default_factory=list)
    settled: dict[int, Verdict] = field(default_factory=dict)
    twins: dict[int, int] = field(default_factory=dict)
    closing: dict[int, str] = field(default_factory=dict)
    exchanges: dict[str, tuple[int, Span]] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    late: dict[str, RunEnd] = field(default_factory=dict)


class OtlpFormat:
    """A `http_destination.Format`: runs, their points, exchanges and feedback."""

    def __init__(self, options: otlp.Options) -> None:
        self._options = options
        self.joined = Joined()
        self._closing: list[tuple[Request, list[str]]] = []

    def takes(self, payload: bytes) -> bool:
        """All that is said of runs; actions and outcomes have no place in OTLP."""
        return kind_of(payload) in _KINDS

    def write(self, payloads: Sequence[bytes]) -> Written:
        """See `http_destination.Format.write`."""
        batch = _Batch()
        records = decode_batch(list(payloads))
        batch.late = {record.run_id: record for record in records if isinstance(record, RunEnd) and record.late}
        for index, record in enumerate(records):
            if isinstance(record, Feedback):
                self._add_feedback(batch, index, record)
            elif not isinstance(record, RunRecord) or not record.sampled:
                batch.settled[index] = _NOT_CARRIED
            else:
                self._add(batch, index, record, len(payloads[index]))
        calls = otlp.write_spans(batch.spans, self._options)
        self._closing = [
            (call.request, [batch.closing[index] for index in call.indexes if index in batch.closing]) for call in calls
        ]
        return Written(calls + otlp.write_events(batch.events, self._options), batch.settled, batch.twins)

    def _add(self, batch: _Batch, index: int, record: RunRecord, size_bytes: int) -> None:
        trace_id = self.joined.trace_of(record)
        span: Span | None = None
        if isinstance(record, RunEnd):
            exchange = batch.exchanges.get(record.run_id)
            if exchange is not None:  # the block of an exchange whose answer is in this batch
                otlp.ended_chat(exchange[1], record)
                batch.twins[index] = exchange[0]
                return
            if record.late is not None:  # in the span of its run, where that goes with it; else that has been sent
                if record.run_id in batch.ended:
                    batch.twins[index] = batch.ended[record.run_id]
                else:
                    batch.settled[index] = _AFTER_END
                return
            batch.ended[record.run_id] = index
            span = self._span(batch.late.get(record.run_id, record), trace_id)
        elif isinstance(record, Chat):
            self.joined.add(record, size_bytes)
            if otlp.is_answer(record):
                span = otlp.chat_span(list(self.joined.of(record.run_id).chats.values()), trace_id=trace_id)
                batch.exchanges[record.run_id] = (index, span)
        elif isinstance(record, RunStart | RunPoint):
            self.joined.add(record, size_bytes)
        if span is None:  # an update is joined too: the end says it again
            batch.settled[index] = _JOINED
            return
        batch.spans.append((index, span))
        batch.closing[index] = record.run_id

    def _add_feedback(self, batch: _Batch, index: int, record: Feedback) -> None:
        if not record.run_id:
            batch.settled[index] = Verdict("rejected", "key_unsupported")
            return
        trace_id = self.joined.known_trace(record.run_id)
        batch.events.append((index, otlp.evaluation_of(record, trace_id=trace_id)))

    def read(self, call: Call, response: Response) -> list[Verdict]:
        """See `http_destination.Format.read`."""
        verdicts = otlp.read_reply(call, response)
        if all(verdict.kind in ("delivered", "rejected") for verdict in verdicts):
            for request, run_ids in self._closing:
                if request is call.request:
                    for run_id in run_ids:
                        self.joined.forget(run_id)
        return verdicts

    def _span(self, end: RunEnd, trace_id: str) -> Span:
        pending = self.joined.of(end.run_id)
        if pending.chats:
            span = otlp.chat_span(list(pending.chats.values()), trace_id=trace_id)
            otlp.ended_chat(span, end)
            return span
        if pending.start is None:
            self.joined.without_start += 1
        return otlp.span_of(end, pending.start, list(pending.points.values()), trace_id=trace_id)
