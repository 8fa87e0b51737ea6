"""Events for the store's tests: short ways to write them, and strategies that make them collide."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET, Raw, structs

from spanloom.clock import iso
from spanloom.records import (
    Action,
    AnyRecord,
    Chat,
    ErrorInfo,
    Feedback,
    Outcome,
    RunEnd,
    RunPoint,
    RunStart,
    RunUpdate,
    TokenUsage,
    encode,
)
from spanloom.store import Incoming, Reader, Run, RunFilter, Store
from spanloom.store.values import RunDetail

T0_US = 1_790_000_000_000_000


def at(seconds: float) -> str:
    """The timestamp of a moment of the tests' day."""
    return iso(T0_US * 1000 + int(seconds * 1_000_000_000))


def raw(value: Any) -> Any:
    """A value as content; UNSET stays UNSET."""
    return value if value is UNSET else Raw(json.dumps(value).encode())


def start(run_id: str, seconds: float = 0, *, type: str = "agent", input: Any = UNSET, **more: Any) -> RunStart:
    return RunStart(event_id=f"{run_id}.s", timestamp=at(seconds), run_id=run_id, type=type, input=raw(input), **more)


def end(run_id: str, seconds: float = 1, *, type: str = "agent", output: Any = UNSET, **more: Any) -> RunEnd:
    event_id = more.pop("event_id", f"{run_id}.e")
    return RunEnd(event_id=event_id, timestamp=at(seconds), run_id=run_id, type=type, output=raw(output), **more)


def chat(run_id: str, thread: str, seconds: float, role: str, content: str, **more: Any) -> Chat:
    message = raw({"role": role, "content": content})
    event_id = hashlib.sha256(f"{run_id}{seconds}{role}{content}".encode()).hexdigest()[:36]
    return Chat(event_id=event_id, timestamp=at(seconds), run_id=run_id, parent_run_id=thread, message=message, **more)


def feedback(seconds: float, values: Any, **more: Any) -> Feedback:
    event_id = hashlib.sha256(f"{seconds}{values}{more}".encode()).hexdigest()[:36]
    return Feedback(event_id=event_id, timestamp=at(seconds), feedback=raw(values), **more)


def put(store: Store, *records: AnyRecord, project: str = "default") -> list[Any]:
    """Write records as one batch."""
    return store.write([Incoming(record, project=project) for record in records])


def contents(path: Any, project: str = "default") -> tuple[Any, ...]:
    """All that a store says of its runs, apart from when and in which order they came."""
    with Reader(path) as reader:
        runs = sorted(reader.runs(RunFilter(), limit=10_000, project=project).runs, key=lambda run: run.id)
        details = [_timeless(detail) for detail in reader.details(runs)]
        usage = sorted((row.kind, row.name, row.idempotency_key, row.value) for row in reader.usage_events())
        return details, usage


def _timeless(detail: RunDetail) -> tuple[Run, dict[str, Any]]:
    said = json.loads(json.dumps(structs.asdict(detail.content), default=_plain, sort_keys=True))
    return structs.replace(detail.run, seq=0, received_us=0), said


def _plain(value: Any) -> Any:
    return json.loads(bytes(value)) if isinstance(value, Raw) else structs.asdict(value)


_ids = st.sampled_from(["a", "b", "c", "t"])
_maybe_ids = st.none() | _ids
_moments = st.integers(0, 3).map(at) | st.just("no time at all")
_words = st.sampled_from(["x", "y", "z"])
_maybe_words = st.none() | _words
_values = st.just(UNSET) | st.sampled_from([None, "x", 1, True, {"k": 1}, {"k": 2, "l": "m"}, ["x"]]).map(raw)
_counts = st.none() | st.integers(0, 5)
_usages = st.none() | st.builds(TokenUsage, prompt=_counts, completion=_counts, reasoning=_counts, total=_counts)
_tags = st.none() | st.lists(_words, max_size=2)
_run = {
    "event_id": st.just(""), "timestamp": _moments, "run_id": _ids, "type": st.sampled_from(["agent", "llm", None]),
    "name": _maybe_words, "parent_run_id": _maybe_ids, "root_run_id": _maybe_ids, "user_id": _maybe_words,
    "key": _maybe_words, "customer": _maybe_words, "sampled": st.booleans(),
    "trace_id": st.sampled_from([None, "0af7651916cd43dd8448eb211c80319c"]),
    "parent_span_id": st.sampled_from([None, "b7ad6b7169203331", "00f067aa0ba902b7"]),
}  # fmt: skip
_reported = {"tokens_usage": _usages, "model": _maybe_words, "cost": st.none() | st.sampled_from([0.5, 2.0]),
             "response_id": _maybe_words}  # fmt: skip
_errors = st.none() | st.builds(ErrorInfo, message=_words, stack=_maybe_words, type=_maybe_words)
_messages = st.sampled_from(["user", "assistant"]).map(lambda role: raw({"role": role, "content": "x"}))
_feedbacks = st.sampled_from([{"thumb": "up"}, {"thumb": "down"}, {"thumb": None}, {"comment": "c"}, {"score": 1}])
_usage = {"event_id": st.just(""), "timestamp": _moments, "name": _words, "customer": _maybe_words,
          "value": st.integers(0, 3), "run_id": _maybe_ids, "idempotency_key": st.just("")}  # fmt: skip

records = st.one_of(
    st.builds(RunStart, **_run, input=_values, params=_values, metadata=_values, tags=_tags),
    st.builds(RunEnd, **_run, **_reported, output=_values, metadata=_values, extra=_values, tags=_tags, error=_errors,
              status=st.sampled_from(["ok", "error", "cancelled", "abandoned", "killed"]),
              started_at=st.none() | _moments, items=_counts),
    st.builds(RunUpdate, **_run, **_reported),
    st.builds(RunPoint, **_run, label=_words, data=_values),
    st.builds(Chat, **{**_run, "parent_run_id": _ids}, message=_messages, metadata=_values, tags=_tags),
    st.builds(Feedback, event_id=st.just(""), timestamp=_moments, run_id=_maybe_ids, key=_maybe_words,
              feedback=_feedbacks.map(raw), overwrite=st.booleans()),
    st.builds(Action, **_usage), st.builds(Outcome, **_usage),
).map(lambda record: _named_by_content(record))  # fmt: skip


def _named_by_content(record: AnyRecord) -> AnyRecord:
    """The record with ids that stand for its content, so that the same content is the same event."""
    name = hashlib.sha256(encode(record)).hexdigest()[:36]
    if isinstance(record, (Action, Outcome)):
        return structs.replace(record, event_id=name, idempotency_key=name)
    return structs.replace(record, event_id=name)
