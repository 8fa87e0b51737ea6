"""What the endpoint answers, or fails to: lost acknowledgements, poison, refusals (C54, C63-C71).

Must show 6. In every case what was accepted is stored once, or lies in the dead-letter file with its reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import toxic as toxics
from support.balance import Account, only, read
from support.children import Child, Finished, child
from support.oracle import Oracle
from support.toxic import Toxic
from support.volume import volume

LOSING = """
import sys
import spanloom
from support.program import accepted, say, say_health

url, prefix, losses = sys.argv[1], sys.argv[2], int(sys.argv[3])
spanloom.configure(destinations=[spanloom.Collector(url)])
for loss in range(losses):
    for number in range(3):
        mark = f"{prefix}-{loss}-{number}"
        with spanloom.tool(mark):
            pass
        accepted(mark)
    say("flushed", spanloom.flush(timeout_seconds=30))
say_health()
"""


def test_lost_acknowledgements_are_never_seen_twice(home: Path) -> None:
    """Every second response is lost after the commit: all is sent again with the same ids and stored once (C54)."""
    programs, losses = volume(ci=2, full=10), volume(ci=3, full=110)
    with Oracle(keeps="ids") as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.drop_response(every=2))
        running = [
            Child(LOSING, toxic.url, f"p{n}", str(losses), home=home, timeout_seconds=60 + losses * 10)
            for n in range(programs)
        ]
        marks: set[str] = set()
        for program in running:
            done = program.finish().assert_clean()
            assert set(done.lines("flushed")) == {"True"}
            assert only(read(done.lines("health")[-1]))["pending"] == 0
            marks.update(done.accepted)
            program.close()
        assert toxic.fired["drop_response"] >= volume(ci=5, full=1000)
        assert oracle.log.resent(), "no acknowledgement was lost, so nothing was proved"
        assert marks == oracle.log.names("start").keys() == oracle.log.names("end").keys()
        oracle.log.assert_clean()
        print(f"{toxic.fired['drop_response']} responses lost, {len(oracle.log.resent())} events sent again")


BATCH = """
import sys
import spanloom
from support.program import accepted, say, say_health

url, odd, text = sys.argv[1], int(sys.argv[2]), sys.argv[3]
spanloom.configure(destinations=[spanloom.Collector(url)])
for number in range(50):
    with spanloom.tool(f"mark-{number}", input=text if number == odd else "plain"):
        pass
    accepted(f"mark-{number}")
say("flushed", spanloom.flush(timeout_seconds=30))
say_health()
"""


def batch(home: Path, url: str, odd: int = -1, text: str = "") -> tuple[Finished, Account]:
    """One program that records 100 events, one of them with this text; its end and its account, all settled."""
    done = child(BATCH, url, str(odd), text, home=home, timeout_seconds=60)
    assert done.lines("flushed") == ["True"]
    account = only(read(done.lines("health")[-1]))
    assert account["created"] == 100
    assert account["pending"] == 0
    return done, account


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("odd", [0, 24, 49])
def test_one_poison_event_in_a_hundred(home: Path, status: int, odd: int) -> None:
    """99 are delivered, the poison is put aside with its reason, and it takes at most 16 requests (C64)."""
    with Oracle() as oracle:
        oracle.refuse_poison("POISON", status)
        _, account = batch(home, oracle.url, odd, "POISON")
        assert account["delivered"] == 99
        assert account["dead_lettered"] == 1
        assert list(account["reasons"]["dead_lettered"].values()) == [1]
        stored = oracle.log.stored().values()
        assert len([seen for seen in stored if seen.event in ("start", "end")]) == 99
        assert len(oracle.log.exchanges()) <= 16
        reports = [seen.payload for seen in stored if seen.event == "client_report"]
        assert [report["lost"] for report in reports if report] == [account["reasons"]["dead_lettered"]]
        assert oracle.fired()[0] >= 1


def test_a_size_limit_is_learned(home: Path) -> None:
    """413 halves the batch until it fits, and later batches keep to what was learned; nothing is lost (C65)."""
    with Oracle() as oracle:
        oracle.limit_size(8000)
        done, account = batch(home, oracle.url)
        assert account["delivered"] == 100
        assert oracle.log.names("end").keys() == set(done.accepted)
        assert oracle.fired()[0] >= 1
        oracle.log.assert_clean()


def test_a_single_event_beyond_every_limit_is_put_aside(home: Path) -> None:
    """One event that no request can hold is dead-lettered; its neighbours arrive (C65)."""
    with Oracle() as oracle:
        oracle.limit_size(20_000)
        _, account = batch(home, oracle.url, 20, "x" * 40_000)
        assert account["delivered"] + account["dead_lettered"] == 100
        assert account["dead_lettered"] <= 1
        assert len([seen for seen in oracle.log.stored().values() if seen.event != "client_report"]) >= 99


def test_compression_refused_is_remembered(home: Path) -> None:
    """415 for gzip: the same batch goes out plain, and nothing is compressed again (C71)."""
    with Oracle() as oracle:
        oracle.refuse_compression()
        _, account = batch(home, oracle.url)
        assert account["delivered"] == 100
        assert len([one for one in oracle.log.exchanges() if one.encoding]) == 1
        assert oracle.fired() == [1]


def test_single_failures_inside_a_200_are_put_aside(home: Path) -> None:
    """An event whose result is a failure is dead-lettered with the server's reason; the others are delivered (C63)."""
    with Oracle() as oracle:
        oracle.result_for("BAD", success=False, error="no such template")
        _, account = batch(home, oracle.url, 7, "BAD")
        assert account["delivered"] == 99
        assert account["dead_lettered"] + account["rejected"] == 1
        assert "no such template" in str(account["reasons"])


@pytest.mark.parametrize(
    "rule",
    [
        {"status": 503, "headers": {"Retry-After": "1"}, "times": 1},
        {"status": 429, "headers": {"Retry-After": "0"}, "times": 1},
        {"status": 500, "headers": {"Retry-After": "-1"}, "times": 1},
        {"status": 502, "headers": {"Retry-After": "NaN"}, "body": "<html>bad gateway</html>", "times": 1},
        {"status": 504, "headers": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, "times": 1},
        {"status": 408, "headers": {"Retry-After": "inf"}, "times": 1},
        {"status": 500, "commits": True, "times": 1},
        {"status": 413, "before_body": True, "times": 1},
    ],
    ids=lambda rule: f"{rule['status']} {rule.get('headers', {}).get('Retry-After', '')}",
)
def test_a_passing_failure_delays_and_loses_nothing(home: Path, rule: dict[str, Any]) -> None:
    """Each retryable status, with each kind of Retry-After, and one that had committed: all stored once (C68, C61)."""
    with Oracle() as oracle:
        oracle.answer(**rule)
        done, account = batch(home, oracle.url)
        assert oracle.fired() == [1]
        assert account["delivered"] == 100
        assert oracle.log.names("end").keys() == set(done.accepted)
        oracle.log.assert_clean()


PAUSED = """
import sys, time
import spanloom
from support.balance import plain
from support.program import accepted, say, say_health

spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
for number in range(20):
    with spanloom.tool(f"mark-{number}"):
        pass
    accepted(f"mark-{number}")
say("flushed", spanloom.flush(timeout_seconds=2.5))
say_health("paused")
say("asked")
time.sleep(float(sys.argv[2]))
say("flushed", spanloom.flush(timeout_seconds=60))
say_health()
"""


@pytest.mark.parametrize("status", [401, 403, 404, 402])
def test_a_refusal_that_a_person_must_cure_pauses(home: Path, status: int) -> None:
    """Wrong key, wrong path, unpaid: nothing is dropped, hardly anything is sent, health() says paused (C66, C67)."""
    with Oracle() as oracle:
        oracle.answer(status)
        with Child(PAUSED, oracle.url, "0", home=home, timeout_seconds=90) as running:
            account = only(read(running.wait_for("paused")[-1]))
            assert account["pending"] == 40
            assert account["state"] == "paused"
            assert str(status) in account["last_error"]
            assert len(oracle.log.exchanges()) <= 4
            done = running.kill()
        assert done.lines("flushed") == ["False"]
