"""Our own clients against our own collector, over real sockets: `Collector` and `Lunary` destinations."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from msgspec import Raw

from spanloom import records
from spanloom.collector.server import Running
from spanloom.records import AnyRecord, Chat, ErrorInfo, Feedback, Outcome, RunEnd, RunStart, TokenUsage
from spanloom.shipping.destinations import Collector, Lunary
from spanloom.shipping.http_destination import HttpDestination

KEY = "259d2d94-9446-478a-ae04-484de705b522"


def at(microseconds: int) -> str:
    return f"2026-01-31T12:00:00.{microseconds:06d}Z"


def conversation() -> list[AnyRecord]:
    """An exchange with an agent, a model call that worked and one that failed, and feedback."""
    who: dict[str, Any] = {"user_id": "u1", "user_props": Raw(b'{"plan":"pro"}')}
    asked, answered = Raw(b'{"role":"user","content":"hi"}'), Raw(b'{"role":"assistant","content":"ho"}')
    return [
        Chat(event_id="c1", timestamp=at(1), run_id="chat", parent_run_id="thread", type="chat", message=asked, **who),
        RunStart(event_id="a.s", timestamp=at(2), run_id="agent", parent_run_id="chat", type="agent", name="a", **who),
        RunStart(event_id="l.s", timestamp=at(3), run_id="llm", parent_run_id="agent", type="llm", name="gpt-4o",
                 input=Raw(b'"hi"'), tags=["x"]),
        RunEnd(event_id="l.e", timestamp=at(4), run_id="llm", parent_run_id="agent", type="llm", output=Raw(b'"ho"'),
               tokens_usage=TokenUsage(5, 7), status="ok"),
        RunStart(event_id="m.s", timestamp=at(5), run_id="failed", parent_run_id="agent", type="llm", name="gpt-4o"),
        RunEnd(event_id="m.e", timestamp=at(6), run_id="failed", parent_run_id="agent", type="llm", status="error",
               error=ErrorInfo("boom", "Traceback…", "ValueError")),
        RunEnd(event_id="a.e", timestamp=at(7), run_id="agent", parent_run_id="chat", type="agent", status="cancelled"),
        Chat(event_id="c2", timestamp=at(8), run_id="chat", parent_run_id="thread", type="chat", message=answered),
        Feedback(event_id="f", timestamp=at(9), run_id="chat", feedback=Raw(b'{"thumb":"up"}')),
    ]  # fmt: skip


def deliver(destination: HttpDestination, batch: list[AnyRecord]) -> list[tuple[str, bool]]:
    verdicts = destination.deliver([records.encode(record) for record in batch], time.monotonic() + 20)
    return [(verdict.kind, verdict.duplicate) for verdict in verdicts]


@pytest.mark.parametrize("kind", ["collector", "lunary"])
def test_what_a_client_sends_is_the_tree_that_is_read(kind: str, collector: Running, client: httpx.Client) -> None:
    """Every record is delivered, a second time as a duplicate, and the tree says what the records said."""
    destination = (Collector(collector.url) if kind == "collector" else Lunary(KEY, collector.url)).build()
    try:
        batch = conversation()
        assert deliver(destination, batch) == [("delivered", False)] * len(batch)
        assert deliver(destination, list(reversed(batch))) == [("delivered", True)] * len(batch)
    finally:
        destination.close()
    found = {run["id"]: run for run in client.get("/v1/runs/thread/related").json()}
    assert {run_id: run["parentRunId"] for run_id, run in found.items()} == {
        "thread": None, "chat": "thread", "agent": "chat", "llm": "agent", "failed": "agent"
    }  # fmt: skip
    assert {run_id: found[run_id]["status"] for run_id in ("agent", "llm", "failed")} == {
        "agent": "cancelled", "llm": "success", "failed": "error"
    }  # fmt: skip
    assert (found["chat"]["messagesCount"], found["chat"]["feedback"]) == (2, {"thumb": "up"})
    assert (found["llm"]["input"], found["llm"]["output"], found["llm"]["tags"]) == ("hi", "ho", ["x"])
    assert (found["llm"]["tokens"]["prompt"], found["llm"]["tokens"]["completion"]) == (5, 7)
    assert (found["failed"]["error"]["message"], found["failed"]["error"]["stack"]) == ("boom", "Traceback…")
    assert found["agent"]["user"]["props"] == {"plan": "pro"}


def test_a_record_that_the_collector_refuses_costs_no_other(collector: Running, client: httpx.Client) -> None:
    """One record among many names no time: its client learns so from the first answer, and all others are stored."""
    batch = conversation()
    batch.insert(4, Outcome(event_id="bad", timestamp="never", name="done", idempotency_key="k"))
    destination = Collector(collector.url).build()
    try:
        verdicts = destination.deliver([records.encode(record) for record in batch], time.monotonic() + 20)
    finally:
        destination.close()
    assert [verdict.kind for verdict in verdicts] == ["delivered"] * 4 + ["rejected"] + ["delivered"] * 5
    assert len(client.get("/v1/runs/thread/related").json()) == 5
