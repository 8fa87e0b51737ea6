"""Records to Lunary requests: the guide's fields, the server's rules on order and form."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from msgspec import Raw

from spanloom.dialects import lunary
from spanloom.records import (
    AnyRecord,
    Chat,
    ErrorInfo,
    Feedback,
    LossReport,
    Outcome,
    RunEnd,
    RunPoint,
    RunStart,
    RunUpdate,
    TokenUsage,
)


def at(milliseconds: int, microseconds: int = 0) -> str:
    return f"2026-01-31T12:00:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}{microseconds:03d}Z"


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def start(run_id: str, when: str, **fields: Any) -> RunStart:
    return RunStart(event_id=f"{run_id}.s", run_id=run_id, timestamp=when, **{"type": "llm", **fields})


def end(run_id: str, when: str, **fields: Any) -> RunEnd:
    return RunEnd(event_id=f"{run_id}.e", run_id=run_id, timestamp=when, **{"type": "llm", **fields})


def sent(*records: AnyRecord, **options: Any) -> list[dict[str, Any]]:
    calls = lunary.write_request(records, lunary.Options(**options))
    return [event for call in calls for event in json.loads(call.request.body)["events"]]


def test_a_start_carries_the_guides_fields_and_no_others() -> None:
    """Every field of the guide's start event, with its value, from one record."""
    (event,) = sent(
        start(
            "r1", at(1, 999), name="gpt-4o", parent_run_id="p1", input=raw([{"role": "user", "content": "hi"}]),
            params=raw({"temperature": 0.5}), metadata=raw({"organizationId": "org-123"}), user_id="u1",
            user_props=raw({"name": "Jane"}), tags=["tag1"], template_version_id=7,
        )
    )  # fmt: skip
    assert event == {
        "type": "llm",
        "event": "start",
        "runId": "r1",
        "parentRunId": "p1",
        "name": "gpt-4o",
        "timestamp": "2026-01-31T12:00:00.001Z",
        "input": [{"role": "user", "content": "hi"}],
        "userId": "u1",
        "userProps": {"name": "Jane"},
        "params": {"temperature": 0.5},
        "metadata": {"organizationId": "org-123"},
        "tags": ["tag1"],
        "templateVersionId": 7,
    }


def test_the_request_is_the_guides() -> None:
    """POST to the guide's path with the key as bearer token, and the key in no repr."""
    options = lunary.Options(public_key="secret-key")
    (call,) = lunary.write_request([start("r1", at(1))], options)
    assert (call.request.method, call.request.path) == ("POST", "/v1/runs/ingest")
    assert call.request.headers == {"content-type": "application/json", "authorization": "Bearer secret-key"}
    assert "secret-key" not in repr(options)


def test_a_failed_run_is_an_end_and_then_an_error() -> None:
    """Lunary ignores output, usage and metadata on error events, so the end carries them first (decision 16)."""
    failed = end(
        "r1", at(5), status="error", output=raw("partial"), tokens_usage=TokenUsage(3, 4, 1, reasoning=2),
        error=ErrorInfo("boom", "Traceback", "ValueError"),
    )  # fmt: skip
    first, second = sent(failed)
    assert first["event"] == "end"
    assert first["output"] == "partial"
    assert first["tokensUsage"] == {"prompt": 3, "completion": 4, "promptCached": 1}
    assert first["metadata"] == {"reasoningTokens": 2, "errorType": "ValueError"}
    assert second["event"] == "error"
    assert second["error"] == {"message": "boom", "stack": "Traceback"}
    (call,) = lunary.write_request([failed])
    assert call.indexes == (0, 0)


@pytest.mark.parametrize("status", ["cancelled", "abandoned", "killed"])
def test_other_statuses_travel_as_metadata(status: Any) -> None:
    """A status that Lunary does not know is said in metadata, also over the user's own `status`."""
    (event,) = sent(end("r1", at(5), status=status, metadata=raw({"a": 1, "status": "mine"})))
    assert event["metadata"] == {"a": 1, "status": status}


def test_what_was_set_late_goes_where_it_survives() -> None:
    """Tags, params and extra that came after the start, model, cost and response id go into the end's metadata."""
    (event,) = sent(
        end(
            "r1", at(5), tags=["late"], params=raw({"top_p": 1}), extra=raw({"x": [1]}), metadata=raw({"mine": True}),
            model="gpt-4o-mini", cost=0.25, response_id="resp_1", items=3,
        )
    )  # fmt: skip
    assert event["metadata"] == {
        "mine": True, "tags": ["late"], "params": '{"top_p": 1}', "extra": '{"x": [1]}', "model": "gpt-4o-mini",
        "cost": 0.25, "responseId": "resp_1", "items": 3,
    }  # fmt: skip
    assert "tags" not in event


def test_nested_metadata_becomes_text() -> None:
    """Lunary drops nested metadata, so it travels as JSON text; flat lists and scalars stay."""
    (event,) = sent(
        start(
            "r1",
            at(1),
            metadata=raw({"deep": {"a": [1]}, "flat": [1, "b"], "mixed": [{}], "holes": [1, None], "n": 1.5}),
        )
    )
    assert event["metadata"] == {
        "deep": '{"a": [1]}',
        "flat": [1, "b"],
        "mixed": "[{}]",
        "holes": "[1, null]",
        "n": 1.5,
    }


@pytest.mark.parametrize(("value", "written"), [(True, "true"), (False, "false"), (None, None), (0, 0), ("x", "x")])
def test_a_boolean_input_becomes_text(value: object, written: object) -> None:
    """Lunary's database refuses a bare boolean input and with it the whole run."""
    assert sent(start("r1", at(1), input=raw(value)))[0]["input"] == written


def test_user_props_go_with_every_user_id() -> None:
    """A userId without userProps would wipe the stored ones, and the end needs neither."""
    events = sent(
        start("a", at(1), user_id="u"), start("b", at(2), user_props=raw({"x": 1})), end("a", at(3), user_id="u")
    )
    assert ["userId" in event for event in events] == [True, False, False]
    assert ["userProps" in event for event in events] == [True, False, False]


def test_a_template_version_that_is_no_integer_never_costs_the_run() -> None:
    """Text goes into metadata under a name that the server does not read as the version."""
    (event,) = sent(start("r1", at(1), template_version_id="v7"))
    assert "templateVersionId" not in event
    assert event["metadata"] == {"templateVersion": "v7"}


def test_our_own_fields_travel_in_metadata_and_the_users_win() -> None:
    """Customer, key and service are kept where a reader at Lunary can see them."""
    (event,) = sent(start("r1", at(1), customer="c1", key="order-1", service="svc", metadata=raw({"customer": "mine"})))
    assert event["metadata"] == {"customer": "mine", "key": "order-1", "service": "svc"}


def test_a_chat_is_the_guides_thread_event() -> None:
    """type thread, the thread as parent, message untouched; tags and metadata inside the message, where they count."""
    message = {"role": "user", "content": "What's the weather in Boston?"}
    chat = Chat(event_id="c", timestamp=at(0), run_id="c1", parent_run_id="t1", type="chat", message=raw(message))
    (event,) = sent(chat)
    assert event == {
        "type": "thread", "event": "chat", "runId": "c1", "parentRunId": "t1",
        "timestamp": "2026-01-31T12:00:00.000Z", "message": message,
    }  # fmt: skip
    tagged = Chat(
        event_id="c", timestamp=at(0), run_id="c1", thread_id="t1", message=raw(message), tags=["a"],
        metadata=raw({"k": {"deep": 1}}),
    )  # fmt: skip
    (event,) = sent(tagged)
    assert event["parentRunId"] == "t1"
    assert event["message"] == {**message, "tags": ["a"], "metadata": {"k": {"deep": 1}}}


def test_feedback_has_a_timestamp_and_overwrite_only_when_asked() -> None:
    """An event without a timestamp breaks the server's sort of its neighbours."""
    given = Feedback(event_id="f", timestamp=at(9), run_id="r1", feedback=raw({"thumb": "up", "comment": "Great"}))
    (event,) = sent(given)
    assert event == {
        "type": "chat", "event": "feedback", "runId": "r1", "timestamp": "2026-01-31T12:00:00.009Z",
        "feedback": {"thumb": "up", "comment": "Great"},
    }  # fmt: skip
    (event,) = sent(Feedback(event_id="f", timestamp=at(9), run_id="r1", feedback=raw({"thumb": None}), overwrite=True))
    assert event["overwrite"] is True


def test_what_has_no_place_is_in_no_call_and_has_a_verdict() -> None:
    """Updates are said again by the end; points, outcomes, reports and unresolved keys are refused by name."""
    records: list[AnyRecord] = [
        RunUpdate(event_id="u", timestamp=at(1), run_id="r1", tokens_usage=TokenUsage(1)),
        RunPoint(event_id="p", timestamp=at(1), run_id="r1", label="retry"),
        Outcome(event_id="o", timestamp=at(1), name="done", idempotency_key="k"),
        LossReport(event_id="l", timestamp=at(1), destination="lunary", lost={"x": 1}),
        Feedback(event_id="f", timestamp=at(1), key="order-1", feedback=raw({"thumb": "up"})),
        Chat(event_id="c", timestamp=at(1), run_id="c1", message=raw({})),
    ]
    assert lunary.write_request(records) == []
    verdicts = [lunary.refusal(record) for record in records]
    assert [(verdict.kind, verdict.reason) for verdict in verdicts if verdict] == [
        ("delivered", "not_carried"), ("rejected", "not_carried"), ("rejected", "not_carried"),
        ("rejected", "not_carried"), ("rejected", "key_unsupported"), ("rejected", "not_carried"),
    ]  # fmt: skip
    assert lunary.refusal(start("r1", at(1))) is None


def test_any_order_of_records_gives_the_servers_order() -> None:
    """By time; on ties parents before children, starts before ends, feedback last."""
    batch: list[AnyRecord] = [
        start("root", at(1)), start("child", at(1), parent_run_id="root"),
        start("leaf", at(1), parent_run_id="child"), end("leaf", at(1)), end("root", at(1)),
        Feedback(event_id="f", timestamp=at(1), run_id="root", feedback=raw({"thumb": "up"})),
    ]  # fmt: skip
    for shuffled in itertools.permutations(batch):
        events = [(event["event"], event["runId"]) for event in sent(*shuffled)]
        assert events == [
            ("start", "root"), ("start", "child"), ("start", "leaf"), ("end", "leaf"), ("end", "root"),
            ("feedback", "root"),
        ]  # fmt: skip


def test_what_happened_in_one_millisecond_keeps_its_order() -> None:
    """An end stays before the start that followed it microseconds later: the server sorts stably by milliseconds."""
    batch: list[AnyRecord] = [
        end("llm", "2026-01-31T12:00:00.001100Z"), start("tool", "2026-01-31T12:00:00.001200Z"),
        end("tool", "2026-01-31T12:00:00.001300Z"), start("next", "2026-01-31T12:00:00.001400Z"),
    ]  # fmt: skip
    for shuffled in itertools.permutations(batch):
        events = sent(*shuffled)
        assert [(event["event"], event["runId"]) for event in events] == [
            ("end", "llm"), ("start", "tool"), ("end", "tool"), ("start", "next"),
        ]  # fmt: skip
        assert {event["timestamp"] for event in events} == {"2026-01-31T12:00:00.001Z"}


def test_a_child_from_a_skewed_clock_never_starts_before_its_parent() -> None:
    """The server would stall for 5 s and lose the link: the child is moved to its parent's start, its end with it."""
    events = sent(start("child", at(1), parent_run_id="root"), end("child", at(2)), start("root", at(7)))
    assert [(event["runId"], event["timestamp"][-5:]) for event in events] == [
        ("root", ".007Z"), ("child", ".007Z"), ("child", ".007Z")
    ]  # fmt: skip


def test_a_circle_of_parents_ends() -> None:
    """Foreign ids may name each other as parents; the order is then by time alone, and nothing hangs."""
    events = sent(start("a", at(1), parent_run_id="b"), start("b", at(2), parent_run_id="a"))
    assert {event["runId"] for event in events} == {"a", "b"}


def test_bodies_are_closed_by_size_in_order() -> None:
    """A body stays below the limit unless one event alone is larger, and the calls together carry all of it."""
    records = [start(f"r{number}", at(number), input=raw("x" * 1000)) for number in range(10)]
    calls = lunary.write_request(records, lunary.Options(max_body_bytes=3000))
    assert [index for call in calls for index in call.indexes] == list(range(10))
    assert all(len(call.request.body) <= 3100 for call in calls)
    assert len(lunary.write_request(records, lunary.Options(max_body_bytes=1))) == 10


def test_user_content_passes_as_the_bytes_it_is() -> None:
    """Numbers and spacing of content are not parsed and written again."""
    odd = b'{"n": 1.10, "big": 123456789012345678901234567890,  "e": 1E5}'
    (call,) = lunary.write_request([start("r1", at(1), input=Raw(odd))])
    assert odd in call.request.body
