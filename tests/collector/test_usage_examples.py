"""The examples of the four usage documents, posted with curl to the collector's mounts, and read back."""

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
JSON = ("-H", "Content-Type: application/json")
BEARER = ("-H", "Authorization: Bearer sk_api_abc123xyz")


def curl(url: str, text: str, path: Path, *headers: str) -> tuple[int, Any]:
    """Post as the documents do; the status and the JSON answer."""
    if CURL is None:
        pytest.skip("needs curl")
    path.write_text(text, "utf-8")
    ran = subprocess.run(
        [CURL, "-sS", "--noproxy", "*", "-w", "\n%{http_code}", "-X", "POST", url, *JSON, *headers, "-d", f"@{path}"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), json.loads(body)


def stored(collector: Running) -> list[dict[str, Any]]:
    """What the store holds, oldest first."""
    rows = collector.reader.usage_events()
    return [
        {
            "kind": row.kind, "name": row.name, "customer": row.customer, "value": row.value,
            "key": row.idempotency_key, "properties": json.loads(bytes(row.properties)) if row.properties else None,
        }
        for row in reversed(rows)
    ]  # fmt: skip


def test_valmi_action(collector: Running, tmp_path: Path) -> None:
    """Send Action answers with the document's body; id and time apart."""
    status, answer = curl(
        f"{collector.url}/valmi/v1/actions", examples.text("valmi_01_action"), tmp_path / "body", *BEARER
    )
    documented = examples.load("valmi_02_action_reply")
    assert status == 200 and answer.keys() == documented.keys()
    assert answer["status"] == documented["status"] and answer["id"].startswith("action_")
    (row,) = stored(collector)
    assert (row["kind"], row["name"], row["value"]) == ("action", "llm_call", 1)
    assert row["properties"] == examples.load("valmi_01_action")["metadata"]


def test_valmi_outcome(collector: Running, tmp_path: Path) -> None:
    """Send Outcome keeps type, value and metadata."""
    status, answer = curl(
        f"{collector.url}/valmi/v1/outcomes", examples.text("valmi_03_outcome"), tmp_path / "body", *BEARER
    )
    assert (status, answer["status"]) == (200, "processed")
    (row,) = stored(collector)
    assert (row["kind"], row["name"], row["value"]) == ("outcome", "successful_hire", 1)
    assert row["properties"] == {"candidate_id": "cand_123"}


@pytest.mark.parametrize("name", ["atlas_01_fields", "atlas_02_curl"])
def test_atlas_event(collector: Running, tmp_path: Path, name: str) -> None:
    """The endpoint's object is processed, and processed once however often it comes."""
    for _ in range(2):
        status, _ = curl(
            f"{collector.url}/atlas", examples.text(name), tmp_path / "body", "-H", "x-api-key: your-api-key-here"
        )
        assert status == 200
    sent = examples.load(name)
    (row,) = stored(collector)
    assert (row["name"], row["customer"], row["key"]) == (
        sent["eventName"], sent["customerId"], sent["idempotencyKey"],
    )  # fmt: skip
    assert row["properties"] == sent["payload"]


def test_lumen_single_batch_duplicate_and_query(collector: Running, tmp_path: Path) -> None:
    """Single event, batch, a batch again, and the query, each with the documented answer."""
    url = f"{collector.url}/lumen/v1/events"
    status, answer = curl(url, examples.text("lumen_01_single"), tmp_path / "body", *BEARER)
    assert status == 202 and answer["message"] == examples.load("lumen_02_single_reply")["message"]
    status, answer = curl(f"{url}/batch", examples.text("lumen_03_batch"), tmp_path / "body", *BEARER)
    assert status == 202 and answer["message"] == examples.load("lumen_04_batch_reply")["message"]
    status, answer = curl(f"{url}/batch", examples.text("lumen_03_batch"), tmp_path / "body", *BEARER)
    assert (status, answer["message"]) == (202, "Batch received. Processed 0 new events.")
    assert [row["key"] for row in stored(collector)] == ["evt_001", "call_001", "call_002"]

    documented = examples.load("lumen_05_query_reply")["data"][0]
    sent = {name: value for name, value in documented.items() if name != "idempotencyKey"}
    assert curl(url, json.dumps(sent), tmp_path / "body", *BEARER)[0] == 202
    query = "eventName=image-generation&customerId=cust_123&limit=100&startDate=2024-01-01&endDate=2024-01-31"
    rows = httpx.get(f"{url}?{query}", headers={"authorization": "Bearer x"}, trust_env=False).json()["data"]
    assert [{**row, "idempotencyKey": "evt_001"} for row in rows] == [documented]


def test_lumen_backfill_is_for_administrators(collector: Running, tmp_path: Path) -> None:
    """It is refused, in Lumen's words."""
    status, answer = curl(f"{collector.url}/lumen/v1/events/backfill", "{}", tmp_path / "body", *BEARER)
    assert (status, answer["error"]) == (403, "Forbidden")


VLUNA = (
    "-H", "X-Realm-Id: r1", "-H", "X-Principal-Id: customer_123", "-H", "Idempotency-Key: ik_event_0001",
)  # fmt: skip


def test_vluna_first_write_replay_and_conflict(collector: Running, tmp_path: Path) -> None:
    """201 Created on first write, 200 OK for an idempotent replay, 409 for another body under the same key."""
    url, body = f"{collector.url}/vluna/mgt/v1/events", examples.text("vluna_01_event")
    status, answer = curl(url, body, tmp_path / "body", *VLUNA)
    assert status == 201 and answer["data"]["payload"] == {"run_id": "run_456"}
    again, replayed = curl(url, body, tmp_path / "body", *VLUNA)
    assert again == 200 and replayed["data"]["event_id"] == answer["data"]["event_id"]
    status, refused = curl(url, body.replace("run_456", "run_457"), tmp_path / "body", *VLUNA)
    assert status == 409 and refused["ok"] is False
    (row,) = stored(collector)
    assert (row["kind"], row["name"], row["customer"]) == ("outcome", "outcome.job_succeeded", "customer_123")


def test_vluna_batch_answers_item_by_item(collector: Running, tmp_path: Path) -> None:
    """207 Multi-Status with per-item results; what is wrong names its field, and its neighbours stand."""
    event = examples.load("vluna_01_event")
    wrong = {**event, "semantic_kind": "wish"}
    body = json.dumps({"events": [event, wrong, {**event, "payload": {"run_id": "b"}}]})
    status, answer = curl(f"{collector.url}/vluna/mgt/v1/events/batch", body, tmp_path / "body", *VLUNA)
    assert status == 207
    assert [item["status"] for item in answer["data"]["results"]] == ["accepted", "invalid", "accepted"]
    assert "semantic_kind" in answer["data"]["results"][1]["error"]["message"]
    assert (answer["data"]["accepted_count"], answer["data"]["failed_count"]) == (2, 1)
    assert len(stored(collector)) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "names"),
    [
        ("/valmi/v1/outcomes", {"agent_key": "a", "outcome_type": "x"}, 400, "value"),
        ("/valmi/v1/actions", {"action_type": "x"}, 400, "agent_key"),
        ("/atlas", {"eventName": "x"}, 400, "customerId"),
        ("/atlas", {"customerId": "c", "eventName": "x", "timestamp": "2024-09-24T20:09:19"}, 400, "zone"),
        ("/lumen/v1/events", {"eventName": "x", "eventValue": 1}, 400, "customerId"),
        ("/lumen/v1/events", {"eventName": "x", "customerId": "c", "eventValue": "many"}, 400, "eventValue"),
        ("/lumen/v1/events/batch", {"events": []}, 400, "events"),
        ("/lumen/v1/nothing", {}, 404, ""),
        ("/valmi/v1/nothing", {}, 404, ""),
    ],
)
def test_bad_input_names_its_field(
    collector: Running, tmp_path: Path, path: str, body: dict[str, Any], status: int, names: str
) -> None:
    """Missing customer, value out of range, no zone, nothing there: 4xx in the dialect's envelope, nothing stored."""
    given, answer = curl(collector.url + path, json.dumps(body), tmp_path / "body", *BEARER)
    assert given == status
    assert names in json.dumps(answer)
    assert stored(collector) == []
