"""Lunary requests to records: the guide, the legacy shapes, the SDKs, and everything that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire as examples
from spanloom import records
from spanloom.dialects import Received, lunary
from spanloom.errors import WireError
from spanloom.records import Chat, Feedback, Outcome, RunEnd, RunPoint, RunStart, RunUpdate, TokenUsage
from spanloom.wire import Request

NOW_NS = 1_800_000_000_000_000_000
NOW = "2027-01-15T08:00:00.000000Z"


def read_bytes(body: bytes) -> list[Received]:
    return lunary.read_request(Request("POST", "/v1/runs/ingest", {}, body), received_at_ns=NOW_NS)


def read(*events: Any) -> list[Received]:
    return read_bytes(json.dumps({"events": list(events)}).encode())


def one(event: Any) -> Any:
    (found,) = read(event)
    assert found.record is not None, (found.path, found.reason)
    return found.record


def plain(content: Any) -> Any:
    return json.loads(bytes(content))


def base(**fields: Any) -> dict[str, Any]:
    return {"type": "llm", "event": "start", "runId": "r1", "timestamp": "2024-07-16T00:00:00Z", **fields}


@pytest.mark.parametrize("name", examples.LUNARY)
def test_every_example_of_the_guide_is_read(name: str) -> None:
    """Each of the seventeen documented examples gives a record for each of its events."""
    events = examples.load(name)["events"]
    found = read_bytes(examples.text(name).encode())
    assert {item.index for item in found} == set(range(len(events)))
    assert all(item.record is not None for item in found)
    assert found[0].id == events[0]["runId"]


def test_there_are_seventeen_examples() -> None:
    """None was forgotten when they were copied."""
    assert len(examples.LUNARY) == 17


def test_a_start_keeps_every_field() -> None:
    """The guide's additional data: usage on start is kept too, as an update, which Lunary itself drops."""
    start, update = (item.record for item in read_bytes(examples.text("lunary_03_step1_additional_data").encode()))
    assert isinstance(start, RunStart)
    assert (start.type, start.name, start.user_id, start.tags) == ("llm", "gpt-4o", "some-internal-id", ["tag1"])
    assert start.timestamp == "2022-01-01T00:00:00.000000Z"
    assert plain(start.params) == {"temperature": 0.5, "max_tokens": 1000, "tools": []}
    assert plain(start.metadata) == {"organizationId": "org-123"}
    assert plain(start.user_props) == {"name": "Jane Doe", "email": "jane@example.org"}
    assert isinstance(update, RunUpdate)
    assert update.tokens_usage == TokenUsage(prompt=50, completion=100)
    assert update.event_id != start.event_id


def test_an_end_keeps_its_tags_usage_and_status() -> None:
    """Tags on end, ignored by Lunary, are kept; an unusual status comes back out of metadata."""
    end = one(
        base(
            event="end",
            output={"a": 1},
            tags="solo",
            tokensUsage={"prompt": 1, "promptCached": 2.0},
            metadata={"status": "cancelled", "model": "m", "cost": 0.5, "responseId": 7, "totalTokens": 9},
        )
    )
    assert isinstance(end, RunEnd)
    assert (end.status, end.tags, end.model, end.cost, end.response_id) == ("cancelled", ["solo"], "m", 0.5, None)
    assert end.tokens_usage == TokenUsage(prompt=1, prompt_cached=2, total=9)


@pytest.mark.parametrize(
    ("error", "message"),
    [({"message": "m", "stack": "s"}, "m"), ("plain", "plain"), ({"code": 5}, '{"code": 5}'), (None, "unknown error")],
)
def test_an_error_is_an_end_that_failed(error: Any, message: str) -> None:
    """Errors come as objects, as text, as anything, or not at all; the run failed in each case."""
    end = one(base(event="error", error=error))
    assert isinstance(end, RunEnd)
    assert end.status == "error"
    assert end.error is not None
    assert end.error.message == message


def test_a_chat_belongs_to_its_thread() -> None:
    """parentRunId is the thread; feedback inside a chat is kept as feedback of its run."""
    message = {"role": "user", "content": "hi", "isRetry": True}
    chat, feedback = (
        item.record
        for item in read(
            base(
                event="chat",
                type="thread",
                parentRunId="t1",
                message=message,
                threadTags=["a"],
                threadMetadata={"m": 1},
                feedback={"thumb": "up"},
            )
        )
    )
    assert isinstance(chat, Chat)
    assert (chat.run_id, chat.parent_run_id, chat.thread_id, chat.type) == ("r1", "t1", "t1", "chat")
    assert (plain(chat.message), chat.tags, plain(chat.metadata)) == (message, ["a"], {"m": 1})
    assert isinstance(feedback, Feedback)
    assert feedback.run_id == "r1"


def test_feedback_of_the_guide_has_no_timestamp() -> None:
    """It gets the time of receipt, and the same event id each time, so that a replay is a duplicate."""
    (first,) = read_bytes(examples.text("lunary_05_step1_feedback").encode())
    assert isinstance(first.record, Feedback)
    assert first.record.timestamp == NOW
    again = lunary.read_request(Request("POST", "/", {}, examples.text("lunary_05_step1_feedback").encode()))
    assert again[0].record is not None
    assert again[0].record.event_id == first.record.event_id
    assert again[0].record.timestamp != NOW


def test_event_ids_tell_different_events_apart() -> None:
    """Whitespace, key order and nulls do not matter; content, kind and run do."""
    same = [
        b'{"events":[{"event":"end","runId":"a","output":1}]}',
        b'{"events": [{"runId":"a",  "output": 1, "event": "end", "tags": null}]}',
    ]
    assert len({read_bytes(body)[0].record.event_id for body in same}) == 1  # type: ignore[union-attr]
    different = read({"event": "end", "runId": "a"}, {"event": "end", "runId": "b"}, {"event": "error", "runId": "a"},
                     {"event": "end", "runId": "a", "output": 2})  # fmt: skip
    assert len({item.record.event_id for item in different if item.record}) == 4


def test_legacy_shapes_are_read() -> None:
    """snake_case and kebab-case envelopes, one event in place of a list, lists of one in place of an event."""
    snake = {"type": "llm", "event": "start", "run_id": "r1", "parent_run_id": "p1", "user-id": "u", "user_props": {}}
    start = one(snake)
    assert (start.run_id, start.parent_run_id, start.user_id) == ("r1", "p1", "u")
    (single,) = read_bytes(json.dumps({"events": base()}).encode())
    assert single.record is not None
    assert one([base()]).run_id == "r1"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (1721088000123, "2024-07-16T00:00:00.123000Z"),
        (1721088000123.0, "2024-07-16T00:00:00.123000Z"),
        ("2024-07-16T02:00:00.5+02:00", "2024-07-16T00:00:00.500000Z"),
        ("2024-07-16T00:00:00.123456789Z", "2024-07-16T00:00:00.123456Z"),
        ("2024-07-16 00:00:00", "2024-07-16T00:00:00.000000Z"),
        ("2024-07-16", "2024-07-16T00:00:00.000000Z"),
        ("Tue, 16 Jul 2024 00:00:00 GMT", "2024-07-16T00:00:00.000000Z"),
        (None, NOW),
    ],
)
def test_timestamps_in_every_form(sent: Any, kept: str) -> None:
    """ISO 8601 with any zone and precision, integer milliseconds, a browser's date, nothing."""
    assert one(base(timestamp=sent)).timestamp == kept


def test_the_sdks_nulls_mean_absent() -> None:
    """The Python SDK sends every field of its envelope, null when it has no value."""
    start = one(base(input="x", output=None, error=None, feedback=None, tokensUsage=None, metadata=None, params=None,
                     templateId=None, appId=None, threadMetadata=None, message=None, tags=None))  # fmt: skip
    assert (plain(start.input), start.metadata, start.params, start.tags) == ("x", records.UNSET, records.UNSET, None)


def test_names_that_nobody_knows_are_kept() -> None:
    """A custom event is a moment of its thread, a log of its parent, any other a moment of its run (S39)."""
    custom = one(base(event="custom-event", name="opened", parentRunId="t1", metadata={"a": 1}))
    assert isinstance(custom, RunPoint)
    assert (custom.run_id, custom.label, plain(custom.data)) == ("t1", "opened", {"a": 1})
    log = one({"type": "log", "event": "info", "parentRunId": "p1", "message": "hello"})
    assert (log.run_id, log.label, log.type) == ("p1", "info", None)
    assert one(base(event="from-the-future")).label == "from-the-future"
    assert isinstance(one(base(unknownField={"a": 1})), RunStart)
    update, point = (item.record for item in read(base(event="update", metadata={"model": "m"})))
    assert isinstance(update, RunUpdate)
    assert update.model == "m"
    assert isinstance(point, RunPoint)


def test_our_own_records_come_back_as_they_are() -> None:
    """What `Collector` sends, including what has no place at Lunary."""
    own: list[records.AnyRecord] = [
        RunStart(event_id="r.s", timestamp=NOW, run_id="r", type="llm", root_run_id="r", sampled=False),
        RunPoint(event_id="r.p0", timestamp=NOW, run_id="r", label="retry"),
        Outcome(event_id="o1", timestamp=NOW, name="done", idempotency_key="k", value=2),
        records.LossReport(event_id="l1", timestamp=NOW, destination="collector", lost={"full": 3}),
        Feedback(event_id="f1", timestamp=NOW, key="order-1", overwrite=True),
    ]
    body = b'{"events":[' + b",".join(records.encode(record) for record in own) + b"]}"
    found = read_bytes(body)
    assert [item.record for item in found] == own
    assert [item.event_id for item in found] == [record.event_id for record in own]


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (base(timestamp="yesterday"), "timestamp"),
        (base(timestamp=10**18), "timestamp"),
        (base(timestamp={}), "timestamp"),
        (base(timestamp=True), "timestamp"),
        (base(runId=None), "runId"),
        (base(runId=""), "runId"),
        (base(runId={"a": 1}), "runId"),
        (base(runId="x" * 1001), "runId"),
        (base(parentRunId=[]), "parentRunId"),
        (base(event=None), "event"),
        (base(event=5), "event"),
        (base(type=None), "type"),
        (base(tags={"a": 1}), "tags"),
        (base(tags=["a", {}]), "tags[1]"),
        (base(metadata="text"), "metadata"),
        (base(params=[1]), "params"),
        (base(userProps=5), "userProps"),
        (base(tokensUsage=[]), "tokensUsage"),
        (base(event="end", tokensUsage={"prompt": -1}), "tokensUsage.prompt"),
        (base(event="end", tokensUsage={"completion": "many"}), "tokensUsage.completion"),
        (base(event="chat", message={"role": "user"}), "parentRunId"),
        (base(event="chat", parentRunId="t"), "message"),
        (base(event="chat", parentRunId="t", message="hi"), "message"),
        (base(event="feedback"), "feedback"),
        (base(event="feedback", feedback="up"), "feedback"),
        ({"event": "feedback", "feedback": {}}, "runId"),
        ({"event": "action", "eventId": "e", "timestamp": NOW}, ""),
        ({"event": "outcome", "eventId": "e", "timestamp": "x", "name": "n", "idempotencyKey": "k"}, "timestamp"),
        (None, ""),
        (5, ""),
        ("text", ""),
        ([], ""),
        ([1, 2], ""),
    ],
)
def test_what_is_wrong_is_named_and_its_neighbours_are_kept(event: Any, path: str) -> None:
    """One bad event among good ones (S01): its path and a reason, and records for all the others."""
    found = read(base(runId="a"), base(runId="b"), base(runId="c"), event, base(runId="d"))
    bad = [item for item in found if item.record is None]
    assert [item.path for item in bad] == [f"$.events[3].{path}".rstrip(".")]
    assert bad[0].reason
    assert [item.record.run_id for item in found if isinstance(item.record, RunStart)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"5", b'{"events": null}', b"{}", b'{"events": 5}', b'{"events": []} x',
        b'{"events": [NaN]}', b'{"events": [{"runId": Infinity}]}', b"\xef\xbb\xbf{}", b'{"events": "\xff"}',
        '{"events": []}'.encode("utf-16"), b"[" * 100_000, b'{"events":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"events": [' + b"1," * 1_000_001 + b"1]}",
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused_whole(body: bytes) -> None:
    """Not JSON, not UTF-8, too deep, too many values (S01, S02): a WireError with a client's status."""
    with pytest.raises(WireError) as refused:
        read_bytes(body)
    assert refused.value.status_hint in (400, 413)
    assert refused.value.path.startswith("$")


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 5000])
def test_a_number_that_no_double_holds_costs_only_its_event(number: bytes) -> None:
    """Such numbers pass a lenient parser and break the next one (S02)."""
    body = b'{"events":[{"event":"end","runId":"a"},{"event":"end","runId":"b","output":' + number + b"}]}"
    good, bad = read_bytes(body)
    assert good.record is not None
    assert (bad.record, bad.path) == (None, "$.events[1]")


@pytest.mark.parametrize("kind", ["start", "point"])
@pytest.mark.parametrize(("levels", "read"), [(200, True), (260, False), (900, False)])
def test_depth_is_bounded_for_each_event(kind: str, levels: int, read: bool) -> None:
    """Deeper than any later reader can be sure to follow: named, whichever form the event has (S02)."""
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    own = b'{"event":"point","eventId":"e","timestamp":"2026-01-31T12:00:00Z","runId":"a","label":"x","data":' + deep
    item = own if kind == "point" else b'{"event":"start","type":"llm","runId":"a","input":' + deep
    found, neighbour = read_bytes(b'{"events":[' + item + b'},{"event":"end","runId":"b"}]}')
    assert (found.record is not None) == read
    assert found.path == ("" if read else "$.events[0]")
    assert (found.id, found.event_id) == ("a", "e" if kind == "point" else "")
    assert neighbour.record is not None


@pytest.mark.parametrize(
    ("escaped", "kept"),
    [
        (rb"a\ud800b", "a\ufffdb"), (rb"\udc00", "\ufffd"), (rb"\ud83d\ude00", "\U0001f600"), (rb"\u0000", "\ufffd"),
        (rb"\\ud800", "\\ud800"), (rb"\\\ud800", "\\\ufffd"), (rb"\ud800\ud800\udc00", "\ufffd\U00010000"),
        (rb"\ud800", "\ufffd"),
    ],
)  # fmt: skip
def test_nul_and_lone_surrogates_are_replaced(escaped: bytes, kept: str) -> None:
    """The documented rule for what no later reader could take: U+FFFD, and nothing else is touched."""
    (found,) = read_bytes(b'{"events":[{"event":"end","runId":"a","output":"' + escaped + b'"}]}')
    assert isinstance(found.record, RunEnd)
    assert plain(found.record.output) == kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
field_names = st.sampled_from(
    ["event", "type", "runId", "parentRunId", "timestamp", "tags", "metadata", "message", "tokensUsage", "feedback",
     "error", "userProps", "eventId", "name", "templateId", "run_id", "threadTags", "extra", "key", "output"]
)  # fmt: skip
kinds = st.sampled_from(["start", "end", "error", "chat", "feedback", "update", "custom-event", "action", "point", "x"])


@given(st.lists(st.tuples(kinds, st.dictionaries(field_names, json_values, max_size=8)), max_size=4))
def test_whatever_comes_is_read_or_named(events: list[tuple[str, dict[str, Any]]]) -> None:
    """Any JSON in any field: each item gives records or a path, and nothing is raised (S01)."""
    batch = [{"event": kind, **fields} for kind, fields in events]
    found = read(*batch)
    assert {item.index for item in found} == set(range(len(batch)))
    for item in found:
        assert (item.record is None) == bool(item.reason)
        if item.record is not None:
            assert records.decode(records.encode(item.record)) == item.record


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    """No bytes raise anything but WireError."""
    for wrapped in (body, b'{"events":[' + body + b"]}"):
        try:
            read_bytes(wrapped)
        except WireError:
            pass
