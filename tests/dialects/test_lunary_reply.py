"""What Lunary and our collector answer: every event gets its verdict, whatever came back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.dialects import Result, lunary
from spanloom.records import AnyRecord, ErrorInfo, RunEnd, RunStart
from spanloom.wire import DELIVERED, DUPLICATE, Call, Response

WHEN = "2026-01-31T12:00:00.000000Z"
EXISTS = "Run with this ID already exists in the database."


def call(count: int = 2) -> Call:
    batch: list[AnyRecord] = [
        RunStart(event_id=f"r{n}.s", run_id=f"r{n}", timestamp=WHEN, type="llm") for n in range(count)
    ]
    return lunary.write_request(batch)[0]


def answer(status: int, payload: Any, **headers: str) -> Response:
    return Response(status, headers, payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def test_results_match_events_by_position() -> None:
    """A failure hides inside a 200 and is found by its place; "already exists" means delivered."""
    verdicts = lunary.read_reply(
        call(4),
        answer(200, {"results": [
            {"id": "r0", "success": True},
            {"id": "r1", "success": False, "error": EXISTS},
            {"id": "r2", "success": False, "error": "column input is of type jsonb"},
            {"id": "r3", "success": True, "duplicate": True},
        ]}),
    )  # fmt: skip
    assert [verdict.kind for verdict in verdicts] == ["delivered", "delivered", "rejected", "delivered"]
    assert [verdict.duplicate for verdict in verdicts] == [False, True, False, True]
    assert verdicts[2].reason == "column input is of type jsonb"


def test_fewer_results_match_by_id() -> None:
    """A server that answers only for some is read by run id; the others are asked about again (C63)."""
    said = [{"id": "r0", "success": True}, {"id": "r1", "success": False, "error": {"message": "no"}}]
    verdicts = lunary.read_reply(call(3), answer(200, said))
    assert [verdict.kind for verdict in verdicts] == ["delivered", "rejected", "retry"]
    assert [verdict.reason for verdict in verdicts] == ["", "no", "unanswered"]


def test_of_two_results_for_one_run_the_failure_counts() -> None:
    """Start and end of a run share its id: with results missing it is not known whose the failure is."""
    for said in ([True, False], [False, True]):
        results = [{"id": "r0", "success": good} for good in said]
        assert lunary.read_reply(call(3), answer(200, results))[0].kind == "rejected"


def test_an_end_and_its_error_share_one_verdict() -> None:
    """When either event was refused the record was, at both of its places."""
    failed = RunEnd(event_id="r.e", run_id="r", timestamp=WHEN, type="llm", status="error", error=ErrorInfo("x"))
    (sent,) = lunary.write_request([failed])
    for outcomes in ([True, False], [False, True]):
        results = [{"id": "r", "success": good, "error": None if good else "no"} for good in outcomes]
        kinds = [verdict.kind for verdict in lunary.read_reply(sent, answer(200, {"results": results}))]
        assert kinds == ["rejected", "rejected"]


@pytest.mark.parametrize("body", [b"", b"{}", b"ok", b'{"results": null}', b'{"results": []}', b"\xff", b"[" * 5000])
def test_a_success_without_results_is_a_success(body: bytes) -> None:
    """Other servers that speak Lunary answer less; a 2xx is their acknowledgement."""
    assert lunary.read_reply(call(), answer(200, body)) == [DELIVERED, DELIVERED]


def test_a_web_page_is_no_acknowledgement() -> None:
    """A proxy's login page comes with status 200 and has stored nothing."""
    page = Response(200, {"content-type": "text/html; charset=utf-8"}, b"<html>Sign in</html>")
    assert [verdict.kind for verdict in lunary.read_reply(call(), page)] == ["retry", "retry"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "split"), (413, "split"), (422, "split"), (401, "retry"), (402, "retry"), (403, "retry"), (404, "retry"),
     (408, "retry"), (429, "retry"), (500, "retry"), (503, "retry"), (302, "retry"), (405, "rejected"),
     (415, "rejected")],
)  # fmt: skip
def test_a_status_is_a_verdict_on_all(status: int, kind: str) -> None:
    """Without results the status decides, the same for every event."""
    verdicts = lunary.read_reply(call(), answer(status, {"message": "no"}))
    assert [verdict.kind for verdict in verdicts] == [kind, kind]


def test_a_400_that_says_which_is_taken_at_its_word() -> None:
    """Our collector stores the good neighbours and names the bad one: nothing needs to be sent again."""
    reply = lunary.write_reply(
        [Result(0, "r0"), Result(1, "r1", malformed=True, reason="bad", path="$.events[1].tags")]
    )
    assert reply.status == 400
    assert json.loads(reply.body) == {
        "message": "bad", "path": "$.events[1].tags",
        "results": [
            {"id": "r0", "success": True},
            {"id": "r1", "success": False, "error": "bad", "path": "$.events[1].tags"},
        ],
    }  # fmt: skip
    assert [verdict.kind for verdict in lunary.read_reply(call(), reply)] == ["delivered", "rejected"]


@pytest.mark.parametrize(
    "results", [[], [{"id": "r1", "success": False, "error": "bad"}], [{"id": "r0", "success": True}]]
)
def test_a_400_that_speaks_of_some_only_stores_nothing(results: list[Any]) -> None:
    """C63: beside a refusal silence is no acknowledgement: the batch is split, and each record is asked about again."""
    verdicts = lunary.read_reply(call(3), answer(400, {"message": "bad", "results": results}))
    assert [verdict.kind for verdict in verdicts] == ["split"] * 3


def test_the_reply_is_the_vendors() -> None:
    """200 and one result per item; the bare list for the legacy route; records of one item share its result."""
    results = [Result(0, "a", duplicate=True), Result(0, "a"), Result(1, "b", duplicate=True, event_id="e")]
    assert json.loads(lunary.write_reply(results).body) == {
        "results": [{"id": "a", "success": True}, {"id": "b", "success": True, "eventId": "e", "duplicate": True}]
    }
    assert json.loads(lunary.write_reply([Result(0, "a")], bare=True).body) == [{"id": "a", "success": True}]


@given(st.lists(st.sampled_from(["new", "duplicate", "malformed"]), min_size=1, max_size=6))
def test_replies_come_back_as_they_were_written(outcomes: list[str]) -> None:
    """read_reply(write_reply(x)) says of each record what the server said of it."""
    results = [
        Result(n, f"r{n}", malformed=word == "malformed", reason="why" if word == "malformed" else "",
               duplicate=word == "duplicate")
        for n, word in enumerate(outcomes)
    ]  # fmt: skip
    verdicts = lunary.read_reply(call(len(outcomes)), lunary.write_reply(results))
    expected = {"new": ("delivered", False), "duplicate": ("delivered", True), "malformed": ("rejected", False)}
    assert [(verdict.kind, verdict.duplicate) for verdict in verdicts] == [expected[word] for word in outcomes]


@given(st.integers(100, 599), st.binary(max_size=40), st.sampled_from(["", "text/html", "application/json"]))
def test_any_answer_gives_verdicts(status: int, body: bytes, content_type: str) -> None:
    """Whatever a proxy puts in place of the answer, each event has a verdict and nothing is raised."""
    verdicts = lunary.read_reply(call(), Response(status, {"content-type": content_type}, body))
    assert len(verdicts) == 2
    assert DUPLICATE not in verdicts
