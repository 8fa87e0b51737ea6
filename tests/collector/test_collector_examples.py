"""The guide's seventeen examples, posted with curl as the guide does it, and read back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

import wire as examples
from spanloom.collector.server import Running

CURL = shutil.which("curl")


def post_by_curl(url: str, text: str, path: Path) -> tuple[int, Any]:
    """Post as the guide's commands do; the status and the JSON answer."""
    if CURL is None:
        answer = httpx.post(f"{url}/v1/runs/ingest", content=text, headers={"content-type": "application/json"})
        return answer.status_code, answer.json()
    path.write_text(text, "utf-8")
    ran = subprocess.run(
        [CURL, "-sS", "--noproxy", "*", "-w", "\n%{http_code}", "-X", "POST", f"{url}/v1/runs/ingest", "-H",
         "Content-Type: application/json", "-H", "Authorization: Bearer 0x0", "-d", f"@{path}"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.parametrize("name", examples.LUNARY)
def test_an_example_posted_with_curl_is_accepted_and_read_back(
    name: str, collector: Running, client: httpx.Client, tmp_path: Path
) -> None:
    """Every event of the example succeeds, and every value of it stands in the run that is read back."""
    status, answer = post_by_curl(collector.url, examples.text(name), tmp_path / "example.json")
    events = examples.load(name)["events"]
    assert status == 200
    assert answer == {"results": [{"id": event["runId"], "success": True} for event in events]}
    for event in events:
        if event["event"] == "feedback":
            assert client.get(f"/v1/runs/{event['runId']}/feedback").json() == event["feedback"]
            continue
        run = client.get(f"/v1/runs/{event['runId']}").json()
        for field in ("name", "input", "output", "tags", "metadata", "error", "parentRunId"):
            if field in event:
                assert run[field] == event[field], field
        if "params" in event or "extra" in event:
            assert run["params"] == event.get("params", event.get("extra"))
        if "userId" in event:
            assert (run["user"]["externalId"], run["user"]["props"]) == (event["userId"], event["userProps"])
        if "tokensUsage" in event:
            assert run["tokens"]["prompt"] == event["tokensUsage"]["prompt"]
            assert run["tokens"]["completion"] == event["tokensUsage"]["completion"]
        if "message" in event:
            side = "input" if event["message"]["role"] == "user" else "output"
            assert run[side] == [event["message"]]
        moment = event["timestamp"].replace("Z", ".000Z")
        if event["event"] in ("start", "end", "error"):
            assert run["createdAt" if event["event"] == "start" else "endedAt"] == moment


def test_step_3_becomes_one_tree(collector: Running, client: httpx.Client, tmp_path: Path) -> None:
    """All events of the guide's conversation, sent backwards and twice, give its tree once."""
    names = [name for name in examples.LUNARY if "step3" in name or "bonus" in name]
    for name in [*reversed(names), *names]:
        status, _ = post_by_curl(collector.url, examples.text(name), tmp_path / "example.json")
        assert status == 200
    related = client.get("/v1/runs/thread-run-id/related").json()
    assert [(run["id"], run["type"], run["parentRunId"]) for run in related] == [
        ("thread-run-id", "thread", None),
        ("chat-run-id", "chat", "thread-run-id"),
        ("agent-run-id", "agent", "chat-run-id"),
        ("llm-run-id-2", "llm", "agent-run-id"),
        ("tool-run-id", "tool", "agent-run-id"),
        ("llm-run-id", "llm", "agent-run-id"),
    ]
    by_id = {run["id"]: run for run in related}
    assert by_id["chat-run-id"]["feedback"] == {"comment": "Great response!", "thumb": "up"}
    assert by_id["chat-run-id"]["messagesCount"] == 2
    assert by_id["agent-run-id"]["duration"] == "00:00:19"
    assert {run["status"] for run in related if run["type"] in ("agent", "llm", "tool")} == {"success"}
