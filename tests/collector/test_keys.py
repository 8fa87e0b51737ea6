"""Keys: minted in each client's form, stored hashed, asked for in each dialect's words, one project each (S08, S38)."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spanloom.clock import is_run_id, iso
from spanloom.collector.keys import KINDS, Keyed, KeyRing
from spanloom.collector.server import Running
from spanloom.errors import SettingsError, SpanloomError
from spanloom.records import Action, encode
from spanloom.shipping.usage_destinations import Vluna

EVENTS = {
    "/v1/runs/ingest": {
        "events": [{"type": "llm", "event": "start", "runId": "r1", "timestamp": "2026-01-01T00:00:00Z"}]
    },
    "/valmi/v1/actions": {"agent_key": "a", "action_type": "x", "metadata": {"idempotency_key": "k1"}},
    "/atlas": {"customerId": "c", "eventName": "x", "idempotencyKey": "k1"},
    "/lumen/v1/events": {"eventName": "x", "customerId": "c", "eventValue": 1, "idempotencyKey": "k1"},
}  # fmt: skip
KIND_OF = {
    "/v1/runs/ingest": "collector", "/valmi/v1/actions": "valmi", "/atlas": "atlas", "/lumen/v1/events": "lumen",
}  # fmt: skip


def headers(path: str, key: str) -> dict[str, str]:
    return {"x-api-key": key} if path == "/atlas" else {"authorization": f"Bearer {key}"}


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    """A key ring beside a store that is not there yet."""
    return KeyRing(tmp_path / "store" / "runs.db")


@pytest.fixture
def keyed(tmp_path: Path, ring: KeyRing) -> Iterator[tuple[Running, httpx.Client]]:
    """A collector that asks for keys, and a client."""
    with (
        Running(tmp_path / "store" / "runs.db", access=Keyed(ring)) as running,
        httpx.Client(base_url=running.url, timeout=20, trust_env=False) as client,
    ):
        yield running, client


@pytest.mark.parametrize("path", EVENTS)
def test_a_key_opens_its_own_door_and_project(path: str, ring: KeyRing, keyed: tuple[Running, httpx.Client]) -> None:
    """No key, a wrong one, one of another kind, a revoked one: 401 in JSON; the right one is taken, for its project."""
    running, client = keyed
    _, other = ring.add("lumen" if path != "/lumen/v1/events" else "valmi", "elsewhere")
    key, given = ring.add(KIND_OF[path], "mine")
    for presented in ("none", "wrong", "\xff", "k" * 5000, other["key"]):
        raw = {name: text.encode("latin-1") for name, text in headers(path, presented).items()}
        refused = client.post(path, json=EVENTS[path], headers=raw)
        assert refused.status_code in (401, 431), presented
        if refused.status_code == 401:
            assert refused.json() and given["key"] not in refused.text
    answer = client.post(path, json=EVENTS[path], headers=headers(path, given["key"]))
    assert answer.status_code in (200, 202)
    assert running.reader.projects() == ["mine"]
    ring.revoke(key.id)
    assert client.post(path, json=EVENTS[path], headers=headers(path, given["key"])).status_code == 401


def test_a_key_in_the_query_opens_nothing(ring: KeyRing, keyed: tuple[Running, httpx.Client]) -> None:
    """Addresses end up in logs; a key in one is not looked at (S08)."""
    _, given = ring.add("collector")
    assert keyed[1].get(f"/v1/runs?key={given['key']}&api_key={given['key']}").status_code == 401


def test_projects_do_not_see_each_other(ring: KeyRing, keyed: tuple[Running, httpx.Client]) -> None:
    """What one key wrote, another one's queries never show (S38); equal ids and keys do not meet either."""
    client = keyed[1]
    first, second = (ring.add("lumen", project)[1]["key"] for project in ("one", "two"))
    for key, value in ((first, 1), (second, 2)):
        event = {**EVENTS["/lumen/v1/events"], "eventValue": value}
        assert client.post("/lumen/v1/events", json=event, headers=headers("", key)).status_code == 202
    for key, value in ((first, 1), (second, 2)):
        rows = client.get("/lumen/v1/events", headers=headers("", key)).json()["data"]
        assert [row["eventValue"] for row in rows] == [value]


def test_vluna_is_signed_with_a_minted_key(ring: KeyRing, keyed: tuple[Running, httpx.Client]) -> None:
    """The client's signature over the raw path, mount included, verifies; another secret's does not."""
    running, _ = keyed
    import time

    _, given = ring.add("vluna", "billing")
    event = Action(event_id="e1", timestamp=iso(0), name="n", idempotency_key="k1", customer="acme")
    url = f"{running.url}/vluna/mgt/v1"
    right = Vluna("realm", given["key_id"], given["secret"], url=url).build()
    assert [verdict.kind for verdict in right.deliver([encode(event)], time.monotonic() + 10)] == ["delivered"]
    right.close()
    assert running.reader.projects() == ["billing"]
    wrong = Vluna("realm", given["key_id"], "d3Jvbmc=", url=url).build()
    with pytest.raises(SpanloomError) as refused:
        wrong.deliver([encode(event)], time.monotonic() + 10)
    assert getattr(refused.value, "pause", False)  # a person has to mend that
    wrong.close()


def test_what_is_on_disk(ring: KeyRing) -> None:
    """0600, hashes only: the credential itself stands nowhere; Vluna's secret derives, the same each time."""
    made = {kind: ring.add(kind)[1] for kind in KINDS}
    text = ring.path.read_text("utf-8")
    for given in made.values():
        assert all(value not in text for name, value in given.items() if name != "key_id")
    for path in ring.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert is_run_id(made["lunary"]["public_key"])
    signer = KeyRing(ring.path.parent / "runs.db").signer(made["vluna"]["key_id"])
    assert signer is not None and signer[1] == "default"
    import base64

    assert base64.b64encode(signer[0]).decode() == made["vluna"]["secret"]


def test_wrong_arguments_and_a_broken_file(ring: KeyRing) -> None:
    """An unknown kind, a project without a name, a key that is not there, a file that is none: said, with the cure."""
    with pytest.raises(SettingsError, match="lunar"):
        ring.add("lunar")
    with pytest.raises(SettingsError, match="project"):
        ring.add("lumen", " ")
    with pytest.raises(SettingsError, match="spanloom keys list"):
        ring.revoke("nothing")
    ring.add("lumen")
    ring.path.write_text(json.dumps({"keys": 3}))
    with pytest.raises(SpanloomError, match="no file of keys"):
        KeyRing(ring.path.parent / "runs.db").keys()


def test_no_service_key_opens_anothers_door(ring: KeyRing) -> None:
    """S38: every service key has a secret of its own, the one it was given; the id of a key of another kind, and one
    that was revoked, sign nothing."""
    first, given = ring.add("vluna", "one")
    second, other = ring.add("vluna", "two")
    assert given["secret"] != other["secret"]
    for key, secret, project in ((first, given, "one"), (second, other, "two")):
        found = ring.signer(key.id)
        assert found is not None and found == (base64.b64decode(secret["secret"]), project)
    for kind in sorted(set(KINDS) - {"vluna"}):
        assert ring.signer(ring.add(kind)[0].id) is None
    ring.revoke(first.id)
    assert ring.signer(first.id) is None and ring.signer(second.id) is not None
