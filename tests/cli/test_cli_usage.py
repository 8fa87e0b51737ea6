"""``spanloom usage`` and ``spanloom keys``, as a person types them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from spanloom.clock import iso
from spanloom.records import Action, Outcome, RunEnd, RunStart, TokenUsage
from spanloom.store import Incoming, Store
from stored import clean_environment

NS = 1_800_000_000_000_000_000


def spanloom(home: Path, *arguments: str, code: int = 0) -> str:
    """Run the command; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", *arguments],
        capture_output=True, text=True, timeout=60, check=False, env=clean_environment(home),
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose store has two traces: one with two outcomes, one without any."""
    records = []
    for trace in ("a", "b"):
        records.append(RunStart(event_id=f"{trace}.s", timestamp=iso(NS), run_id=trace, type="agent", name="resolve"))
        for call in range(2):
            run_id = f"{trace}{call}"
            records.append(
                RunEnd(
                    event_id=f"{run_id}.e", timestamp=iso(NS), run_id=run_id, type="llm", name="m", root_run_id=trace,
                    parent_run_id=trace, tokens_usage=TokenUsage(prompt=1000, completion=200), cost=0.25,
                )
            )  # fmt: skip
    for number in range(2):
        records.append(
            Outcome(event_id=f"o{number}", timestamp=iso(NS), name="resolved", idempotency_key=f"t{number}",
                    customer="=cmd()", value=2.5, run_id="a", root_run_id="a")
        )  # fmt: skip
    records.append(
        Action(event_id="x", timestamp=iso(NS), name="llm_call", idempotency_key="x", customer="acme", metered="llm")
    )
    home = tmp_path / "home"
    home.mkdir()
    with Store(home / "local.db") as store:
        store.write([Incoming(record) for record in records])
    return home


def test_sums_and_the_cost_of_an_outcome(home: Path) -> None:
    """By day, event and customer; the model calls of the outcomes' own trace are what they cost."""
    shown = spanloom(home, "usage")
    assert "2027-01-15" in shown and "resolved" in shown and "llm_call" in shown
    assert "resolved: 2 outcomes cost $0.5000 of model calls, $0.2500 each" in shown
    assert "llm_call" not in spanloom(home, "usage", "--customer", "=cmd()")


def test_csv_is_no_formula(home: Path) -> None:
    """A customer who is called like a formula is text in a spreadsheet (S36)."""
    rows = list(csv.DictReader(io.StringIO(spanloom(home, "usage", "--csv"))))
    assert [(row["event"], row["customer"], row["count"], row["sum"]) for row in rows] == [
        ("llm_call", "acme", "1", "1"),
        ("resolved", "'=cmd()", "2", "5"),
    ]


def test_cloudevents(home: Path) -> None:
    """Every event once, with the attributes that CloudEvents 1.0 asks for."""
    events = [json.loads(line) for line in spanloom(home, "usage", "--cloudevents").splitlines()]
    assert sorted(event["id"] for event in events) == ["t0", "t1", "x"]
    for event in events:
        assert event["specversion"] == "1.0" and event["source"] and event["type"].startswith("spanloom.")
        assert event["subject"] in ("acme", "=cmd()") and event["time"].endswith("Z")


def test_usage_of_nothing_and_wrong_bounds(tmp_path: Path, home: Path) -> None:
    """An empty home is an answer; a bound that is no time is named."""
    assert "Nothing has been recorded yet" in spanloom(tmp_path / "empty", "usage")
    assert "--until 'soon'" in spanloom(home, "usage", "--until", "soon", code=2)


def test_keys_are_added_listed_and_revoked(tmp_path: Path) -> None:
    """A key is shown once; the list shows none; a revoked one says so; the last one says what follows."""
    home = tmp_path / "home"
    assert "There are no keys" in spanloom(home, "keys", "list")
    shown = spanloom(home, "keys", "add", "--for", "lumen", "--project", "billing", "--name", "the bill")
    key = next(line.split(": ")[1] for line in shown.splitlines() if line.startswith("key: "))
    assert key.startswith("lumen_sk_") and "It is the first one" in shown
    listed = spanloom(home, "keys", "list")
    assert "billing" in listed and "the bill" in listed and key not in listed
    key_id = listed.splitlines()[1].split()[0]
    assert "the last one" in spanloom(home, "keys", "revoke", key_id)
    assert "is in force" in spanloom(home, "keys", "revoke", key_id, code=1)
    vluna = spanloom(home, "keys", "add", "--for", "vluna")
    assert "key_id: " in vluna and "secret: " in vluna


def test_without_keys_only_this_machine(tmp_path: Path) -> None:
    """An address beyond the loopback interface needs a key, and the message says how to make one."""
    assert "spanloom keys add" in spanloom(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0", code=1)
