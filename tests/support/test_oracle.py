"""The oracle itself: what it says it stored it did store, and its questions do find what is wrong."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.oracle import Oracle


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle() as running:
        yield running


def event(run: str, kind: str = "start", second: int = 0, **fields: Any) -> dict[str, Any]:
    made = {"event": kind, "runId": run, "timestamp": f"2026-01-01T00:00:{second:02d}Z", **fields}
    return made if "eventId" not in made else {"eventId": made.pop("eventId"), **made}


def post(oracle: Oracle, events: object, **headers: str) -> tuple[int, Any, dict[str, str]]:
    body = json.dumps({"events": events}).encode()
    if headers.get("Content_Encoding") == "gzip":
        body = gzip.compress(body)
    connection = http.client.HTTPConnection("127.0.0.1", oracle.port, timeout=10)
    try:
        connection.request(
            "POST", "/v1/runs/ingest", body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] == b"{" else text, dict(response.headers)
    finally:
        connection.close()


def test_lunary_reply_is_in_timestamp_order_and_knows_a_start_again(oracle: Oracle) -> None:
    """Events without an event id get Lunary's reply: sorted by time, "already exists" for a start seen before."""
    status, reply, _ = post(oracle, [event("b", second=2), event("a", second=1)])
    assert status == 200
    assert reply == {"results": [{"id": "a", "success": True}, {"id": "b", "success": True}]}
    _, again, _ = post(oracle, event("a", second=1))
    assert again["results"][0]["success"] is False
    assert "already exists" in again["results"][0]["error"]


def test_collector_reply_names_event_ids_and_duplicates(oracle: Oracle) -> None:
    """Events with an event id get our collector's reply, where a replay is a success that says duplicate."""
    batch = [event("a", eventId="a.s"), event("a", "end", 1, eventId="a.e")]
    assert [result["eventId"] for result in post(oracle, batch)[1]["results"]] == ["a.s", "a.e"]
    assert all(result["success"] and result["duplicate"] for result in post(oracle, batch)[1]["results"])
    assert oracle.log.resent() == ["a.e", "a.s"]
    assert oracle.log.visible_duplicates() == []


def test_missing_and_unknown_are_found(oracle: Oracle) -> None:
    """An id that was expected and never came is missing, one that came unexpectedly is unknown."""
    post(oracle, [event("a", eventId="a.s")])
    assert oracle.log.missing(["a.s", "b.s"]) == ["b.s"]
    assert oracle.log.unknown([]) == ["a.s"]


def test_visible_duplicates_altered_and_out_of_order_are_found(oracle: Oracle) -> None:
    """One moment under two ids, one id with two payloads, and a child before its parent each show."""
    post(oracle, [event("child", eventId="c.s", parentRunId="parent", name="mark-1")])
    post(oracle, [event("parent", eventId="p.s", name="mark-2")])
    post(oracle, [event("other", eventId="o.s", name="mark-2"), event("child", eventId="c.s", name="changed")])
    assert oracle.log.out_of_order() == ["c.s"]
    assert oracle.log.visible_duplicates() == ["o.s", "p.s"]
    assert oracle.log.altered() == ["c.s"]
    with pytest.raises(AssertionError, match="out of order"):
        oracle.log.assert_clean()


def test_a_status_is_answered_as_often_as_asked_and_stores_nothing(oracle: Oracle) -> None:
    """A scripted 503 carries its Retry-After, is counted, and what it refused is not acknowledged."""
    oracle.answer(503, headers={"Retry-After": "7"}, times=2)
    for _ in range(2):
        status, _, headers = post(oracle, event("a"))
        assert (status, headers["Retry-After"]) == (503, "7")
    assert oracle.log.stored() == {}
    assert post(oracle, event("a"))[0] == 200
    assert oracle.fired() == [2]
    assert [exchange.status for exchange in oracle.log.exchanges()] == [503, 503, 200]


def test_every_second_request_can_fail(oracle: Oracle) -> None:
    """A rule with ``every`` alternates."""
    oracle.answer(500, every=2)
    assert [post(oracle, event("a"))[0] for _ in range(4)] == [500, 200, 500, 200]


def test_a_poisoned_batch_is_refused_whole(oracle: Oracle) -> None:
    """One marked event costs its neighbours the batch, and only then."""
    oracle.refuse_poison("POISON", 422)
    assert post(oracle, [event("a"), event("b", input="POISON")])[0] == 422
    assert post(oracle, [event("a")])[0] == 200
    assert list(oracle.log.stored()) == ["a:start"]


def test_size_key_and_compression_are_refused(oracle: Oracle) -> None:
    """413 beyond a size, 401 without the key, 415 for gzip; each is switched off by recover()."""
    oracle.limit_size(200)
    assert post(oracle, [event("a", input="x" * 300)])[0] == 413
    oracle.require_key("k1")
    assert post(oracle, event("a"))[0] == 401
    assert post(oracle, event("a"), Authorization="Bearer k1")[0] == 200
    oracle.refuse_compression()
    assert post(oracle, event("b"), Content_Encoding="gzip", x_api_key="k1")[0] == 415
    oracle.recover()
    assert post(oracle, event("b"), Content_Encoding="gzip")[0] == 200
    assert oracle.log.exchanges()[-1].encoding == "gzip"


def test_single_results_can_fail_or_be_left_out(oracle: Oracle) -> None:
    """A 200 may hide a failure, or say nothing of an event; a failed event is not stored."""
    oracle.result_for("BAD", success=False, error="no such template")
    _, reply, _ = post(oracle, [event("a"), event("b", second=1, name="BAD")])
    assert reply["results"][1] == {"id": "b", "success": False, "error": "no such template"}
    assert list(oracle.log.stored()) == ["a:start"]
    oracle.recover()
    oracle.answer(contains="BAD", omit_result=True)
    assert [result["id"] for result in post(oracle, [event("c"), event("d", name="BAD")])[1]["results"]] == ["c"]


def test_a_reply_can_be_anything(oracle: Oracle) -> None:
    """A body may be HTML, a failure may commit, and an answer may come before the body is read."""
    oracle.answer(200, body="<html>", times=1)
    assert post(oracle, event("a"))[1] == b"<html>"
    oracle.answer(500, commits=True, times=1)
    assert post(oracle, event("b"))[0] == 500
    assert sorted(oracle.log.stored()) == ["a:start", "b:start"]
    oracle.answer(413, before_body=True, times=1)
    assert post(oracle, event("c"))[0] == 413


def test_waiting_for_the_log_gives_up(oracle: Oracle) -> None:
    """`wait_until` says False when it did not come true in time, True when it did."""
    assert not oracle.wait_until(lambda log: bool(log.stored()), timeout_seconds=0.1)
    post(oracle, event("a"))
    assert oracle.wait_until(lambda log: bool(log.stored()))
