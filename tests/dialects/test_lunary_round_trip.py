"""read_request(write_request(x)) == x, up to what the dialect documents as lost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from spanloom.clock import iso
from spanloom.dialects import lunary
from spanloom.records import AnyRecord, Chat, ErrorInfo, Feedback, RunEnd, RunStart, TokenUsage

text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
names = text.map(lambda name: f"m.{name}")  # not one of the names under which our own fields travel
objects = st.dictionaries(names, values, max_size=3).map(lambda value: Raw(msgspec.json.encode(value)))
contents = values.filter(lambda value: value is not None).map(lambda value: Raw(msgspec.json.encode(value)))
times = st.integers(1_700_000_000_000, 1_700_000_000_040).map(lambda ms: iso(ms * 1_000_000))
ids = st.sampled_from(["a", "b", "c", "d"])
maybe = st.none() | text
counts = st.none() | st.integers(0, 2**50)
usages = st.builds(
    TokenUsage, prompt=counts, completion=counts, prompt_cached=counts, reasoning=counts, total=counts
).filter(lambda usage: usage != TokenUsage())

run = {"event_id": text, "timestamp": times, "run_id": ids, "parent_run_id": st.none() | st.just("elsewhere")}
starts = st.builds(
    RunStart, **run, type=st.sampled_from(["llm", "tool"]), name=maybe, input=contents | st.just(UNSET),
    params=objects | st.just(UNSET), metadata=objects | st.just(UNSET), tags=st.none() | st.lists(text, min_size=1),
    user_id=maybe, user_props=objects, template_version_id=st.none() | st.integers(0, 2**31),
    customer=maybe, key=maybe, service=maybe, runtime=maybe,
)  # fmt: skip
ends = st.builds(
    RunEnd, **run, type=st.sampled_from(["llm", "tool"]), output=contents | st.just(UNSET),
    metadata=objects | st.just(UNSET), tokens_usage=st.none() | usages, model=maybe, response_id=maybe,
    tags=st.none() | st.lists(text, min_size=1, max_size=3), items=counts,
    status=st.sampled_from(["ok", "cancelled", "abandoned", "killed"]), cost=st.none() | st.floats(0, 1e6),
)  # fmt: skip
errors = st.builds(
    RunEnd, **run, type=st.just("llm"), output=contents, status=st.just("error"),
    error=st.builds(ErrorInfo, message=text, stack=maybe),
)  # fmt: skip
chats = st.builds(
    Chat, event_id=text, timestamp=times, run_id=ids, parent_run_id=st.just("thread"), type=st.just("chat"),
    message=objects, user_id=maybe, user_props=objects,
)  # fmt: skip
feedbacks = st.builds(
    Feedback, event_id=text, timestamp=times, run_id=ids, feedback=objects, overwrite=st.booleans()
)  # fmt: skip


def plain(content: Any) -> Any:
    return content if content is UNSET else json.loads(bytes(content))


def flattened(metadata: Any) -> Any:
    """Metadata as it is after one passage: nested values are text."""
    if metadata is UNSET:
        return {}

    def nested(value: Any) -> bool:
        return isinstance(value, dict) or (
            isinstance(value, list) and any(item is None or isinstance(item, dict | list) for item in value)
        )

    return {
        name: msgspec.json.encode(value).decode() if nested(value) else value for name, value in plain(metadata).items()
    }


def carried(record: Any) -> dict[str, Any]:
    """What of a record a passage promises to keep."""
    common = ("timestamp", "run_id", "parent_run_id", "customer", "key", "service", "runtime", "tags", "overwrite")
    kept = {name: getattr(record, name) for name in common if hasattr(record, name)}
    if isinstance(record, Feedback):
        return {**kept, "feedback": plain(record.feedback)}
    if isinstance(record, Chat):
        return {**kept, "message": plain(record.message), "user_id": record.user_id}
    if isinstance(record, RunStart):
        sent = plain(record.input)
        kept |= {"input": json.dumps(sent) if isinstance(sent, bool) else sent, "params": plain(record.params)}
        kept |= {"name": record.name, "user_id": record.user_id, "version": record.template_version_id}
        kept["user_props"] = plain(record.user_props) if record.user_id else None
    else:
        kept |= {"output": plain(record.output), "usage": record.tokens_usage, "model": record.model}
        kept |= {"response": record.response_id, "cost": record.cost, "items": record.items, "status": record.status}
    ours = ("customer", "key", "service", "model", "cost", "responseId", "items", "tags", "status", "reasoningTokens",
            "totalTokens")  # fmt: skip
    kept["metadata"] = {name: value for name, value in flattened(record.metadata).items() if name not in ours}
    return {"type": record.type, **kept}


def passage(batch: list[AnyRecord]) -> list[AnyRecord]:
    calls = lunary.write_request(batch)
    found = [item for call in calls for item in lunary.read_request(call.request)]
    assert all(item.record is not None for item in found), found
    order = [index for call in calls for index in call.indexes]
    assert sorted(set(order)) == list(range(len(batch)))
    return [item.record for _, item in sorted(zip(order, found, strict=True), key=lambda pair: pair[0]) if item.record]


@given(st.lists(starts | chats | feedbacks, max_size=5))
def test_what_is_written_is_read_back(batch: list[AnyRecord]) -> None:
    """Starts, chats and feedback keep every field that the dialect carries; only times may move to a parent's start."""
    for before, after in zip(batch, passage(batch), strict=True):
        assert type(after) is type(before)
        one, other = carried(before), carried(after)
        assert other.pop("timestamp") >= one.pop("timestamp")
        assert other == one


@given(ends)
def test_an_end_is_read_back(record: RunEnd) -> None:
    """Usage, model, cost, late tags and unusual statuses come back out of the fields and metadata they went into."""
    (after,) = passage([record])
    assert carried(after) == carried(record)


@given(errors)
def test_an_error_comes_back_as_end_and_error(record: RunEnd) -> None:
    """The first keeps the output, the second the error; a store that merges both has the record again."""
    calls = lunary.write_request([record])
    end, error = (item.record for item in lunary.read_request(calls[0].request))
    assert isinstance(end, RunEnd)
    assert isinstance(error, RunEnd)
    assert plain(end.output) == plain(record.output)
    assert (error.status, error.error) == ("error", record.error)
    assert end.timestamp == error.timestamp == record.timestamp


@given(st.lists(starts | ends | chats | feedbacks, max_size=6))
def test_a_batch_is_sorted_for_the_server(batch: list[AnyRecord]) -> None:
    """Timestamps never fall, which is the order in which Lunary's results come back."""
    for call in lunary.write_request(batch):
        times = [event["timestamp"] for event in json.loads(call.request.body)["events"]]
        assert times == sorted(times)
        assert len(times) == len(call.indexes)
