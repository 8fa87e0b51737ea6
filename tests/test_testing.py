"""`spanloom.testing`: what users' own tests see of what their code recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import spanloom
from spanloom import agent, llm, tool
from spanloom.testing import capture

if TYPE_CHECKING:
    from spanloom.testing import CapturedRuns


@tool
def search(query: str) -> list[str]:
    return [query, "x"]


@agent(tags=["demo"])
def answer(question: str) -> str:
    with llm("gpt-4o", input=[{"role": "user", "content": question}], params={"temperature": 0}) as run:
        run.set(output="hello", usage={"input": 5, "output": 7}, model="gpt-4o-mini", response_id="r1")
    return " ".join(search(question))


def test_a_tree_is_walked_by_type_and_name() -> None:
    """The example of the front door."""
    with capture() as runs:
        answer("hi")
    root = runs.one("agent", "answer")
    assert root.child("tool", "search").output == ["hi", "x"]
    assert root.child("tool").input == {"query": "hi"}
    call = root.child("llm", "gpt-4o")
    assert (call.usage, call.model, call.params) == ({"input": 5, "output": 7}, "gpt-4o-mini", {"temperature": 0})
    assert (root.input, root.output, root.status, root.tags) == ("hi", "hi x", "ok", ["demo"])
    assert [run.type for run in root.descendants()] == ["llm", "tool"]
    assert runs.roots == [root] or [run.id for run in runs.roots] == [root.id]
    assert call.parent is not None and call.parent.name == "answer"


def test_errors_feedback_context_and_events_are_there() -> None:
    """What can be said of a run can be asked of it."""

    @tool
    def breaks() -> None:
        spanloom.current_run().event("retry", attempt=2)
        raise ValueError("no")

    with capture() as runs, spanloom.context(user="u1", tags=["t"], metadata={"a": {"b": 1}}, key="k"):
        with pytest.raises(ValueError, match="no"):
            breaks()
        spanloom.feedback(key="k", thumb="up", comment="fine")
    run = runs.one()
    assert run.error is not None
    assert (run.error["type"], run.error["message"]) == ("ValueError", "no")
    assert "in breaks" in run.error["stack"]
    assert (run.user, run.tags, run.metadata, run.key) == ("u1", ["t"], {"a": {"b": 1}}, "k")
    assert run.events == [("retry", {"attempt": 2})]
    assert run.feedback == {"comment": "fine", "thumb": "up"}


def test_actions_and_outcomes_are_listed() -> None:
    """Usage events are not runs."""
    with capture() as runs:
        spanloom.action("llm_call", customer="c1", properties={"tokens": 3})
        spanloom.outcome("done", customer="c1", value=2, idempotency_key="k1")
    assert [event.name for event in runs.actions] == ["llm_call"]
    assert [(event.name, event.value, event.idempotency_key) for event in runs.outcomes] == [("done", 2, "k1")]
    assert len(runs) == 0


def test_deterministic_ids_and_times_repeat() -> None:
    """Two captures of the same program are equal, byte for byte."""
    seen = []
    for _ in range(2):
        with capture(deterministic=True) as runs:
            answer("hi")
        seen.append(list(runs.payloads))
    assert seen[0] == seen[1]
    assert runs.one("agent").started_at == "2026-01-01T00:00:00.001000Z"


def test_settings_of_configure_apply() -> None:
    """A test sees what an endpoint would get: redacted, sampled, without content."""
    with capture(redact=lambda path, text: text.replace("Ann", "A.")) as runs:
        search("Ann asks, password=hunter22")
    assert runs.one().input["query"].startswith("A. asks, password=[redacted")
    with capture(capture_content=False) as runs:
        search("secret")
    assert runs.one().input is None
    with pytest.raises(spanloom.UsageError, match="sample=9"), capture(sample=9):
        pass


def test_a_missing_run_says_what_there_was() -> None:
    """The failure shows the tree."""
    with capture() as runs:
        answer("hi")
    with pytest.raises(AssertionError, match=r"expected one run \(tool 'serach'\), found 0(.|\n)*tool search \[ok\]"):
        runs.one("tool", "serach")


def test_captures_nest_and_leave_nothing_behind() -> None:
    """The inner block takes what happens in it; afterwards the outer one is in place again."""
    with capture() as outer:
        search("a")
        with capture() as inner:
            search("b")
        search("c")
    assert [run.input["query"] for run in outer] == ["a", "c"]
    assert [run.input["query"] for run in inner] == ["b"]


def test_chats_and_tasks_are_captured() -> None:
    """A conversation's exchange with its messages; runs of tasks under their parents."""

    @agent
    async def respond(text: str) -> str:
        results = await asyncio.gather(*(asyncio.to_thread(search, text) for _ in range(3)))
        return str(len(results))

    async def main() -> None:
        with spanloom.thread("t9").chat("How many?") as chat:
            chat.reply(await respond("x"))

    with capture() as runs:
        asyncio.run(main())
    chat = runs.one("chat")
    assert [message["role"] for message in chat.messages] == ["user", "assistant"]
    assert len(chat.child("agent", "respond").children) == 3
    assert chat.thread == "t9" or chat.parent_id == "t9"


@pytest.mark.spanloom(deterministic=True)
def test_the_fixture_records(spanloom_runs: CapturedRuns) -> None:
    """The plugin's fixture is `capture`, with the marker's settings."""
    search("q")
    assert spanloom_runs.one("tool", "search").started_at == "2026-01-01T00:00:00.001000Z"


def test_nothing_is_written_or_sent_while_capturing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No journal and no store is made for what a test records."""
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path))
    with capture() as runs:
        search("q")
        assert spanloom.flush() is True
    assert len(runs) == 1
    assert list(tmp_path.iterdir()) == []
