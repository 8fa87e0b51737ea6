"""Runs read back over HTTP, in the shapes of the public API."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

JSON = {"content-type": "application/json"}
PUBLIC_FIELDS = {
    "id", "projectId", "isPublic", "feedback", "parentFeedback", "feedbacks", "type", "name", "createdAt", "endedAt",
    "duration", "templateVersionId", "templateSlug", "cost", "tokens", "toxicity", "tags", "input", "output", "error",
    "status", "siblingRunId", "params", "metadata", "user", "traceId", "scores", "firstMessage", "messagesCount",
}  # fmt: skip


def fill(client: httpx.Client, *events: dict[str, Any]) -> None:
    assert client.post("/v1/runs/ingest", json={"events": list(events)}).status_code == 200


def run(run_id: str, second: int, kind: str = "llm", parent: str | None = None, **fields: Any) -> list[dict[str, Any]]:
    start = {"event": "start", "type": kind, "runId": run_id, "parentRunId": parent, **fields}
    start["timestamp"] = f"2026-01-31T12:00:{second:02d}Z"
    return [start, {"event": "end", "type": kind, "runId": run_id, "timestamp": f"2026-01-31T12:00:{second + 1:02d}Z"}]


@pytest.fixture(scope="module")
def filled(standing_client: httpx.Client) -> httpx.Client:
    """An agent with two children, and six runs beside."""
    client = standing_client
    fill(client, *run("agent", 0, "agent", name="planner"), *run("first", 1, "llm", "agent"))
    fill(client, *run("second", 2, "tool", "agent"))
    for number in range(6):
        fill(client, *run(f"run-{number}", 10 + number, "llm", userId=f"u{number % 2}", tags=[f"t{number % 3}"]))
    return client


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["data"]]


def test_a_run_has_every_field_of_the_public_shape(filled: httpx.Client) -> None:
    """A client written for Lunary's API finds all it looks for."""
    found = filled.get("/v1/runs/agent").json()
    assert set(found) >= PUBLIC_FIELDS
    assert (found["type"], found["name"], found["status"], found["duration"]) == (
        "agent", "planner", "success", "00:00:01"
    )  # fmt: skip
    assert found["createdAt"] == "2026-01-31T12:00:00.000Z"


def test_runs_come_in_pages_newest_first(filled: httpx.Client) -> None:
    """page and limit as at Lunary: no run twice, none missing."""
    answer = filled.get("/v1/runs", params={"type": "llm", "limit": 3, "page": 0}).json()
    assert (answer["page"], answer["limit"]) == (0, 3)
    pages = [ids(filled.get("/v1/runs", params={"type": "llm", "limit": 3, "page": page})) for page in range(4)]
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [run_id for page in pages for run_id in page] == [
        "run-5",
        "run-4",
        "run-3",
        "run-2",
        "run-1",
        "run-0",
        "first",
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "agent"}, ["agent"]), ({"type": "trace"}, ["agent"]), ({"type": "tool"}, ["second"]),
        ({"parentRunId": "agent"}, ["second", "first"]), ({"userId": "u1"}, ["run-5", "run-3", "run-1"]),
        ({"tags": "t2"}, ["run-5", "run-2"]), ({"name": "planner"}, ["agent"]), ({"status": "started"}, []),
        ({"type": "llm", "status": "success", "limit": "1"}, ["run-5"]), ({"type": "nonsense"}, []),
        ({"sortField": "createdAt", "sortDirection": "asc", "limit": "2"}, ["agent", "first"]),
    ],
)  # fmt: skip
def test_filters_and_orders(filled: httpx.Client, query: dict[str, str], expected: list[str]) -> None:
    """Each filter of the public API that this collector has."""
    assert ids(filled.get("/v1/runs", params=query)) == expected


def test_text_is_searched(client: httpx.Client) -> None:
    """By a word of the input; odd search syntax is text like any other (S13)."""
    fill(client, *run("a", 1, input="the quick brown fox"), *run("b", 2, input="lazy dog"))
    for hostile in ('"', "* OR", "a' --", "NEAR(", "%"):
        assert client.get("/v1/runs", params={"search": hostile}).status_code == 200
    assert "a" not in ids(client.get("/v1/runs", params={"search": "zebra"}))


@pytest.mark.parametrize(
    ("query", "path"),
    [({"limit": "0"}, "limit"), ({"limit": "x"}, "limit"), ({"limit": "501"}, "limit"), ({"page": "-1"}, "page"),
     ({"page": "²"}, "page"), ({"sortField": "name; drop"}, "sortField"), ({"sortDirection": "up"}, "sortDirection")],
)  # fmt: skip
def test_a_wrong_query_is_named(standing_client: httpx.Client, query: dict[str, str], path: str) -> None:
    """400 that says which parameter and what it takes."""
    answer = standing_client.get("/v1/runs", params=query)
    assert (answer.status_code, answer.json()["path"]) == (400, f"$.{path}")


def test_related_is_the_subtree(filled: httpx.Client) -> None:
    """Parents before children, each with its parent's id."""
    found = filled.get("/v1/runs/agent/related").json()
    assert found[0]["id"] == "agent"
    assert {(item["id"], item["parentRunId"]) for item in found[1:]} == {("first", "agent"), ("second", "agent")}


@pytest.mark.parametrize("path", ["", "/related", "/feedback"])
def test_an_unknown_run_is_404(standing_client: httpx.Client, path: str) -> None:
    """JSON that names the id."""
    answer = standing_client.get(f"/v1/runs/no-such-run{path}")
    assert answer.status_code == 404
    assert "no-such-run" in answer.json()["message"]


def test_feedback_is_merged_and_read(filled: httpx.Client) -> None:
    """By event and by PATCH; a later word replaces an earlier one under the same key only."""
    assert filled.get("/v1/runs/agent/feedback").json() is None
    fill(filled, {"event": "feedback", "runId": "agent", "feedback": {"thumb": "up", "comment": "Great"}})
    assert filled.get("/v1/runs/agent/feedback").json() == {"thumb": "up", "comment": "Great"}
    answer = filled.patch("/v1/runs/agent/feedback", json={"thumb": "down"})
    assert answer.json() == {"thumb": "down", "comment": "Great"}
    assert filled.get("/v1/runs/agent").json()["feedback"] == {"thumb": "down", "comment": "Great"}


@pytest.mark.parametrize(
    ("body", "path"),
    [({"thumb": "sideways"}, "$.thumb"), ({"comment": 5}, "$.comment"), ({"other": 1}, "$"), ([], "$"), (None, "$")],
)
def test_wrong_feedback_is_named(filled: httpx.Client, body: Any, path: str) -> None:
    """PATCH takes thumb, comment, score and label."""
    answer = filled.patch("/v1/runs/agent/feedback", content=json.dumps(body), headers=JSON)
    assert (answer.status_code, answer.json()["path"]) == (400, path)
    assert filled.patch("/v1/runs/nobody/feedback", json={"thumb": "up"}).status_code == 404


def test_feedback_before_its_run_is_kept(client: httpx.Client) -> None:
    """Lunary drops it with success; here it is there when the run comes (S26)."""
    fill(client, {"event": "feedback", "runId": "late", "feedback": {"thumb": "up"}})
    assert client.get("/v1/runs/late/feedback").json() == {"thumb": "up"}
    fill(client, *run("late", 1))
    assert client.get("/v1/runs/late").json()["feedback"] == {"thumb": "up"}


def test_events_in_any_order_make_the_right_run(client: httpx.Client) -> None:
    """Child before parent and end before start, in requests of their own (S26)."""
    parent, child = run("p", 1, "agent", name="late parent"), run("c", 2, "llm", "p", name="gpt-4o")
    for event in (child[1], child[0], parent[1], parent[0]):
        fill(client, event)
    found = client.get("/v1/runs/c").json()
    assert (found["name"], found["status"], found["parentRunId"]) == ("gpt-4o", "success", "p")
    assert [item["id"] for item in client.get("/v1/runs/p/related").json()] == ["p", "c"]


def test_health_says_what_is_there(filled: httpx.Client) -> None:
    """A probe finds out whether the store can be read."""
    assert filled.get("/v1/health").json()["status"] == "ok"
    assert filled.get("/v1/health").json()["runs"] == 9
