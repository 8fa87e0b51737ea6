"""What we send as OTLP and read again is what was recorded, in both encodings."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from spanloom.clock import iso
from spanloom.dialects import otlp, otlp_json, otlp_proto
from spanloom.dialects.otlp_ids import foreign_run_id, span_id_of
from spanloom.dialects.otlp_reading import records_of
from spanloom.dialects.otlp_values import Span
from spanloom.dialects.otlp_writing import chat_span, evaluation_of, span_of
from spanloom.records import (
    RUN_TYPES,
    STATUSES,
    Chat,
    ErrorInfo,
    Feedback,
    RunEnd,
    RunPoint,
    RunStart,
    TokenUsage,
)

ENCODINGS = {
    "protobuf": (otlp_proto.encode_traces, otlp_proto.decode_traces),
    "json": (otlp_json.encode_traces, otlp_json.decode_traces),
}
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
contents = st.just(UNSET) | values.map(lambda value: Raw(msgspec.json.encode(value)))
objects = st.just(UNSET) | st.dictionaries(texts, values, min_size=1, max_size=3).map(
    lambda value: Raw(msgspec.json.encode(value))
)
run_ids = st.uuids(version=4).map(str)
counts = st.none() | st.integers(0, 2**62)


def decoded(content: Any) -> Any:
    """A content's value, whatever its spelling."""
    return content if content is UNSET else msgspec.json.decode(content)


@st.composite
def runs(draw: st.DrawFn) -> tuple[RunStart, RunEnd]:
    """A run as the recording room writes it."""
    began = draw(st.integers(1_600_000_000_000_000, 1_900_000_000_000_000)) * 1000
    run_id, root = draw(run_ids), draw(run_ids)
    who: dict[str, Any] = {
        "run_id": run_id, "root_run_id": root, "parent_run_id": draw(st.none() | run_ids),
        "type": draw(st.sampled_from(RUN_TYPES)), "name": draw(texts), "user_id": draw(st.none() | texts),
        "thread_id": draw(st.none() | texts), "customer": draw(st.none() | texts), "key": draw(st.none() | texts),
        "service": draw(st.none() | texts),
    }  # fmt: skip
    if who["service"] == "unknown_service":
        who["service"] = None
    start = RunStart(
        event_id=f"{run_id}.s", timestamp=iso(began), **who, input=draw(contents), params=draw(objects),
        metadata=draw(objects), user_props=draw(objects),
        tags=draw(st.none() | st.lists(texts, min_size=1, unique=True)),
    )  # fmt: skip
    status = draw(st.sampled_from([word for word in STATUSES if word != "running"]))
    failed = status in ("error", "killed")
    usage = TokenUsage(draw(counts), draw(counts), draw(counts), draw(counts), draw(counts))
    end = RunEnd(
        event_id=f"{run_id}.e", timestamp=iso(began + draw(st.integers(0, 10**9)) * 1000), **who,
        started_at=iso(began), output=draw(contents), status=status,
        error=ErrorInfo(draw(texts), draw(st.none() | texts), draw(st.none() | texts)) if failed else None,
        tokens_usage=None if usage == TokenUsage() else usage, model=draw(st.none() | texts),
        cost=draw(st.none() | st.floats(0, 1000)), response_id=draw(st.none() | texts), extra=draw(objects),
        items=draw(st.none() | st.integers(0, 10**6)),
    )  # fmt: skip
    return start, end


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=60, deadline=None)
@given(run=runs())
def test_a_run_comes_back_as_it_was_recorded(encoding: str, run: tuple[RunStart, RunEnd]) -> None:
    """Ids, types, times, content, usage, errors and who it was for, all of it."""
    start, end = run
    encode, decode = ENCODINGS[encoding]
    (span,) = decode(encode([span_of(end, start)]))
    assert isinstance(span, Span)
    first, last = records_of(span)
    assert isinstance(first, RunStart) and isinstance(last, RunEnd)
    for name in ("event_id", "timestamp", "run_id", "type", "name", "parent_run_id", "root_run_id", "user_id",
                 "thread_id", "customer", "key", "service", "tags"):  # fmt: skip
        assert getattr(first, name) == getattr(start, name), name
    for name in ("input", "params", "metadata", "user_props"):
        assert decoded(getattr(first, name)) == decoded(getattr(start, name)), name
    for name in ("event_id", "timestamp", "started_at", "run_id", "type", "tokens_usage", "status", "error", "cost",
                 "items"):  # fmt: skip
        assert getattr(last, name) == getattr(end, name), name
    if end.type in ("llm", "embed"):
        assert (last.model, last.response_id) == (end.model, end.response_id)
    for name in ("output", "extra"):
        assert decoded(getattr(last, name)) == decoded(getattr(end, name)), name


def test_an_exchange_comes_back_as_its_messages() -> None:
    """The user's message and the answer of a chat run, with their own ids and times."""
    run_id = str(uuid.uuid4())
    chats = [
        Chat(event_id=f"{role}-1", timestamp=iso(at * 1000), run_id=run_id, root_run_id=run_id, type="chat",
             parent_run_id="thread-1", thread_id="thread-1", user_id="u1",
             message=Raw(msgspec.json.encode({"role": role, "content": "hi"})))
        for at, role in ((10**15, "user"), (10**15 + 5, "assistant"))
    ]  # fmt: skip
    (span,) = otlp_json.decode_traces(otlp_json.encode_traces([chat_span(chats)]))
    assert isinstance(span, Span)
    assert span.parent_span_id == ""  # the thread is the session, not a span
    assert span.attributes["session.id"] == span.attributes["gen_ai.conversation.id"] == "thread-1"
    found = records_of(span)
    assert [record.event_id for record in found] == ["user-1", "assistant-1"]
    assert found[0].timestamp == chats[0].timestamp and found[1].timestamp == chats[1].timestamp
    assert all(isinstance(record, Chat) and record.parent_run_id == "thread-1" for record in found)


def test_feedback_comes_back_whole() -> None:
    """The evaluation event carries every key, and says thumb and score by the convention's names too."""
    run_id = str(uuid.uuid4())
    given_ = Feedback(event_id="f1", timestamp=iso(10**18), run_id=run_id, overwrite=True,
                      feedback=Raw(b'{"thumb":"up","comment":"Great"}'))  # fmt: skip
    (event,) = otlp_proto.decode_logs(otlp_proto.encode_logs([evaluation_of(given_, trace_id="ab" * 16)]))
    assert isinstance(event, otlp.LogEvent)
    assert (event.name, event.span_id) == ("gen_ai.evaluation.result", span_id_of(run_id))
    assert event.attributes["gen_ai.evaluation.score.value"] == 1.0
    found = otlp.feedback_of(event)
    assert found == given_


def test_a_point_becomes_a_span_event_and_comes_back() -> None:
    """`run.event` is an event of the span, its data the event's attributes."""
    run_id = str(uuid.uuid4())
    who = {"run_id": run_id, "root_run_id": run_id, "type": "tool", "name": "search"}
    start = RunStart(event_id=f"{run_id}.s", timestamp=iso(10**18), **who)
    end = RunEnd(event_id=f"{run_id}.e", timestamp=iso(10**18), started_at=iso(10**18), **who)
    point = RunPoint(event_id=f"{run_id}.p1", timestamp=iso(10**18), label="retry", data=Raw(b'{"attempt":2}'), **who)
    found = records_of(span_of(end, start, [point]))
    assert isinstance(found[1], RunPoint)
    assert (found[1].event_id, found[1].label, found[1].data) == (f"{run_id}.p1", "retry", Raw(b'{"attempt":2}'))


def test_a_strangers_child_finds_its_parent_among_our_runs() -> None:
    """Below our root by the trace id, below an inner run of ours by tracestate, else below the stranger's span."""
    root, inner = str(uuid.uuid4()), str(uuid.uuid4())
    trace = root.replace("-", "")
    below_root = Span(trace, "12" * 8, "GET", 1, 2, parent_span_id=trace[16:])
    state = f"other=1,spanloom={trace}-{inner.replace('-', '')}"
    below_inner = Span(trace, "34" * 8, "GET", 1, 2, parent_span_id=span_id_of(inner), trace_state=state)
    deeper = Span(trace, "56" * 8, "GET", 1, 2, parent_span_id="34" * 8, trace_state=state)
    parents = [records_of(span)[0].parent_run_id for span in (below_root, below_inner, deeper)]  # type: ignore[union-attr]
    assert parents == [root, inner, foreign_run_id(trace, "34" * 8)]
    assert {record.root_run_id for span in (below_root, deeper) for record in records_of(span)} == {root}  # type: ignore[union-attr]
