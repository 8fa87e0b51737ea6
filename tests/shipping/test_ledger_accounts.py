"""The books: exact, pleasant to read, and never one entry per error text."""

from __future__ import annotations

import json
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ship_cases import Rig, Scripted, record

from spanloom.shipping.ledger import Count, DestinationHealth, Health, Ledger


def test_a_count_is_a_number_with_its_reasons() -> None:
    """It compares, adds, prints and serialises as the number it is."""
    count = Count({"expired": 3, "too_large": 2, "nothing": 0})
    assert count == 5 and count + 1 == 6 and count.total == 5
    assert count.by_reason == {"expired": 3, "too_large": 2}
    assert str(count) == "5 (expired 3, too_large 2)"
    assert json.dumps({"n": count}) == '{"n": 5}'
    assert pickle.loads(pickle.dumps(count)).by_reason == count.by_reason
    assert not Count() and str(Count(total=4)) == "4"


def test_the_identity_of_an_account() -> None:
    """balance is what came in less what is accounted for."""
    whole = DestinationHealth(
        "x",
        "ok",
        created=Count(total=7),
        adopted=Count(total=2),
        delivered=Count({"stored": 4}),
        pending=Count(total=3),
        dropped=Count({"expired": 1}),
        rejected=Count({"bad": 1}),
    )
    assert whole.balance() == 0
    short = DestinationHealth("x", "ok", created=Count(total=7))
    assert short.balance() == 7
    assert Health({"a": whole, "b": short}).balance() == 7


def test_health_reads_like_a_page() -> None:
    """print(health) names each destination, its state, what is pending and the last error; the worst state counts."""
    lunary = DestinationHealth("lunary", "paused", created=Count(total=3), pending=Count(total=3), lag_seconds=61.24,
                               last_error="https://x answered 401: the key is not accepted")  # fmt: skip
    health = Health({"lunary": lunary, "local": DestinationHealth("local", "idle")}, journal="disk")
    text = str(health)
    assert health.state == "paused" and health["lunary"] is lunary
    for words in ("lunary: paused", "created 3", "pending 3", "61.2 s", "answered 401", "local: idle", "journal: disk"):
        assert words in text
    assert str(Health()) == "no destination" and Health().state == "idle"


@given(st.lists(st.text(max_size=300), max_size=80))
def test_reasons_are_few_and_short(texts: list[str]) -> None:
    """However many error texts an endpoint invents, there are at most 41 words, none longer than 120 characters."""
    ledger = Ledger("x", Rig(Scripted()).own)
    words = {ledger.reason(text) for text in texts}
    assert len(words) <= 41 and all(len(word) <= 120 for word in words)


def test_a_reason_does_not_depend_on_ids_and_numbers() -> None:
    """Two texts that differ in a run id or a long number are one reason."""
    ledger = Ledger("x", Rig(Scripted()).own)
    one = ledger.reason("run 0199c0de-0000-7000-8000-000000000001 failed at 123456")
    two = ledger.reason("run 0199c0de-0000-7000-8000-00000000ffff failed at 9999999")
    assert one == two == "run … failed at …"


def test_lag_is_the_age_of_the_oldest_pending_record() -> None:
    """With something pending there is a lag; with nothing there is none."""
    rig = Rig(Scripted())
    ledger = Ledger("scripted", rig.own, rig.adopted)
    assert ledger.health("ok").lag_seconds is None
    rig.append(record(1))
    assert ledger.health("ok").lag_seconds is not None
    rig.own.settle(rig.own.take(10, 1 << 20))
    assert ledger.health("ok").lag_seconds is None


@pytest.mark.parametrize("readers", [3])
def test_the_account_is_exact_while_everything_moves(readers: int) -> None:
    """Threads that read health while records come and go never see a record twice or not at all."""
    rig = Rig(Scripted())
    shipper = rig.shipper()
    wrong: list[DestinationHealth] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            health = shipper.health()
            if health.balance() or sum(health.delivered.by_reason.values()) != health.delivered:
                wrong.append(health)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        rig.append(record(number))
        shipper.ensure_running()
    assert shipper.flush(20.0)
    stop.set()
    for thread in threads:
        thread.join()
    shipper.close(1.0)
    assert wrong == []
    assert shipper.health().delivered.by_reason == {"stored": 2000}
