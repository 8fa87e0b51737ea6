"""`configure` again, for a destination that is already in use: what has changed counts from the next request on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import spanloom
from spanloom.dialects import lumen
from support.oracle import Oracle
from support.usage_server import UsageServer


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """No destination outlives its test."""
    spanloom.configure(destinations=[], journal=None)
    yield
    spanloom.shutdown(timeout_seconds=0)
    spanloom.configure(destinations=[], journal="default")


def test_a_corrected_key_is_used_at_once(oracle: Oracle) -> None:
    """A wrong key pauses the destination; the right one delivers what has waited, without another process."""
    oracle.require_key("right-key")
    spanloom.configure(destinations=[spanloom.Collector(oracle.url, key="wrong-key")])
    spanloom.outcome("resolved", customer="acme")
    assert spanloom.flush(timeout_seconds=10) is False
    assert spanloom.health()["collector"].state == "paused"
    spanloom.configure(destinations=[spanloom.Collector(oracle.url, key="right-key")])
    assert spanloom.flush(timeout_seconds=20)
    assert spanloom.health()["collector"].delivered == 1


def test_another_meter_counts_from_now_on() -> None:
    """A destination that is named again with ``meter`` meters the runs that end afterwards."""
    with UsageServer(lumen) as server:
        spanloom.configure(destinations=[spanloom.Lumen("k", url=server.url)])
        spanloom.outcome("resolved", customer="acme", idempotency_key="one")
        assert spanloom.flush(timeout_seconds=20)
        spanloom.configure(destinations=[spanloom.Lumen("k", url=server.url, meter={"llm"})])
        with spanloom.context(customer="acme"), spanloom.llm("gpt-4o") as run:
            run.set(usage={"input": 1, "output": 2}, response_id="resp-1")
        assert spanloom.flush(timeout_seconds=20)
        assert sorted(server.counted) == ["one", "resp-1"]


def test_the_same_again_changes_nothing() -> None:
    """Equal arguments keep the connection: one serves both configurations."""
    with UsageServer(lumen) as server:
        for number in range(2):
            spanloom.configure(destinations=[spanloom.Lumen("k", url=server.url)])
            spanloom.outcome("resolved", customer="acme", idempotency_key=str(number))
            assert spanloom.flush(timeout_seconds=20)
        assert len(server.counted) == 2 and server.connections == 1


def test_two_that_lead_to_the_same_place_are_said_to() -> None:
    """Two keys at one address are one account of deliveries: the second is not used, and that is said."""
    spanloom.configure(
        destinations=[spanloom.Lumen("k1", url="http://127.0.0.1:9"), spanloom.Lumen("k2", url="http://127.0.0.1:9")]
    )
    assert spanloom.health().problems == ("two Lumen destinations lead to the same place: only the first is used",)
    assert list(spanloom.health().destinations) == ["lumen"]
