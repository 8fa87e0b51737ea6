"""The public ``vlunaai`` and ``lumen-python-sdk``, each in an environment of its own, at our collector's mounts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spanloom.collector.keys import Keyed, KeyRing
from spanloom.collector.server import Running
from vendor import environments

HERE = Path(__file__).parent


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    """The collector's keys."""
    return KeyRing(tmp_path / "store" / "runs.db")


@pytest.fixture
def keyed(tmp_path: Path, ring: KeyRing) -> Iterator[Running]:
    """A collector that asks for keys."""
    with Running(tmp_path / "store" / "runs.db", access=Keyed(ring)) as running:
        yield running


def said_by(python: Path, program: str, variables: dict[str, str]) -> Any:
    """Run a vendor's program; what it printed last."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VLUNA", "LUMEN"))}
    environment |= {**variables, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    ran = subprocess.run(
        [str(python), str(HERE / program)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def stored(running: Running, project: str) -> list[tuple[str, str, str | None, float, str]]:
    """Kind, name, customer, value and key of each event, oldest first."""
    rows = reversed(running.reader.usage_events(project=project))
    return [(row.kind, row.name, row.customer, row.value, row.idempotency_key) for row in rows]


def test_vlunas_sdk_single_replay_conflict_and_batch(ring: KeyRing, keyed: Running) -> None:
    """Signed by the package, read by its models: created, replayed, refused, and a batch item by item."""
    python = environments.python_for_test("vlunaai")
    _, given = ring.add("vluna", "billing")
    variables = {
        "VLUNA_SERVICE_BASE_URL": f"{keyed.url}/vluna/mgt/v1", "VLUNA_SERVICE_KEY_ID": given["key_id"],
        "VLUNA_SERVICE_KEY_SECRET": given["secret"],
    }  # fmt: skip
    said = said_by(python, "vluna_program.py", variables)
    single, results = said["single"]["data"], said["batch"]["data"]["results"]
    assert (single["event_key"], single["payload"], single["labels"]) == ("k1", {"job": "a"}, {"tier": "pro"})
    assert said["replay"]["data"]["event_id"] == single["event_id"]
    assert said["conflict"][0] == 409 and said["unsigned"][0] == 401
    assert [item["status"] for item in results] == ["duplicate", "accepted", "invalid"]
    assert "semantic_kind" in results[2]["error"]["message"]
    assert (said["batch"]["data"]["accepted_count"], said["batch"]["data"]["failed_count"]) == (1, 1)
    assert [row[:3] for row in stored(keyed, "billing")] == [("outcome", "outcome.job_succeeded", "acme")] * 2
    payloads = [json.loads(bytes(row.properties or b"")) for row in keyed.reader.usage_events(project="billing")]
    assert payloads == [{"job": "c"}, {"job": "a"}]
    assert keyed.reader.projects() == ["billing"]


def test_lumens_sdk_sends(ring: KeyRing, keyed: Running) -> None:
    """Numbers, texts, defaults and keys of its `send_event` are stored; a duplicate once; what is wrong is refused."""
    python = environments.python_for_test("lumen")
    _, given = ring.add("lumen", "billing")
    variables = {"LUMEN_API_URL": f"{keyed.url}/lumen", "LUMEN_API_KEY": given["key"]}
    said = said_by(python, "lumen_program.py", variables)
    assert [answer[0] for answer in said] == [202, 202, 202, 202, 401, 400]
    assert [answer[1]["deduplicated"] for answer in said[:4]] == [False, True, False, False]
    assert "customerId" in json.dumps(said[5][1])
    rows = stored(keyed, "billing")
    assert [row[:4] for row in rows[:2]] == [
        ("action", "image-generation", "u1", 3), ("action", "image-generation", "cus_1", 1),
    ]  # fmt: skip
    assert (rows[0][4], rows[2][1:3], len(rows)) == ("k1", ("plan", "u1"), 3)
    (plan,) = keyed.reader.usage_events(project="billing", name="plan")
    assert "premium" in bytes(plan.properties or b"").decode()
