"""What each answer means for each record: driven batch by batch over a real journal, without a thread or a network."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ship_cases import AT_ONCE, QUICK, Rig, Scripted, drive, record, refuse

from spanloom.errors import DeliveryError
from spanloom.shipping import dead_letters
from spanloom.shipping.delivery import Delivery
from spanloom.shipping.destination import BatchPolicy
from spanloom.shipping.hand import Hand
from spanloom.shipping.ledger import Ledger
from spanloom.shipping.retry import Pacing, RetryRules
from spanloom.wire import DELIVERED, DUPLICATE, Verdict

POISON = b"POISON"


def poisonous(verdict_or_error: Verdict | DeliveryError):
    """Refuses every batch that holds a poisonous record, as a whole."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        if not any(POISON in payload for payload in payloads):
            return [DELIVERED] * len(payloads)
        if isinstance(verdict_or_error, DeliveryError):
            raise verdict_or_error
        return [verdict_or_error] * len(payloads)

    return script


def test_records_arrive_in_order_and_the_books_balance() -> None:
    """Everything appended is delivered once, in order, in batches within the policy's sizes."""
    destination = Scripted(policy=BatchPolicy(max_events=7, max_bytes=1000))
    rig = Rig(destination)
    records = [record(number) for number in range(50)]
    rig.append(*records)
    delivery = rig.delivery()
    drive(delivery)
    assert destination.delivered == records
    assert all(len(batch) <= 7 and sum(map(len, batch)) <= 1000 for batch in destination.batches)
    health = delivery.ledger.health("ok")
    assert (health.created, health.delivered, health.pending, health.balance()) == (50, 50, 0, 0)
    assert health.state == "idle"


def test_a_record_beyond_the_batch_size_travels_alone() -> None:
    """A record larger than max_bytes is sent by itself, not held back."""
    destination = Scripted(policy=BatchPolicy(max_bytes=500))
    rig = Rig(destination)
    rig.append(record(1), record(2, pad=5000), record(3))
    drive(rig.delivery())
    assert [len(batch) for batch in destination.batches] == [1, 1, 1]


def test_one_poison_in_a_hundred_takes_at_most_sixteen_requests() -> None:
    """99 delivered in order, the poison dead-lettered under its status, at most 16 requests (C64, decision 12)."""
    for place in (0, 1, 37, 50, 98, 99):
        destination = Scripted(poisonous(Verdict("split", "http_400")))
        rig = Rig(destination)
        records = [record(number, name="POISON" if number == place else "fine") for number in range(100)]
        rig.append(*records)
        delivery = rig.delivery()
        assert drive(delivery) <= 16
        assert destination.delivered == [each for each in records if POISON not in each]
        health = delivery.ledger.health("ok")
        assert (health.delivered, health.pending, health.balance()) == (99, 0, 0)


def test_a_poison_is_in_the_dead_letter_file(tmp_path: Path) -> None:
    """The refused record is kept on disk with the reason, and counted as dead-lettered, not as lost."""
    rig = Rig(Scripted(poisonous(Verdict("split", "http_422"))), tmp_path)
    rig.append(record(1), record(2, name="POISON"), record(3))
    delivery = rig.delivery()
    drive(delivery)
    health = delivery.ledger.health("ok")
    assert health.dead_lettered.by_reason == {"http_422": 1}
    assert (health.delivered, health.dropped, health.balance()) == (2, 0, 0)
    (letter,) = [letter for path in dead_letters.files(str(tmp_path / "journal")) for letter in dead_letters.read(path)]
    assert letter.reason == "http_422" and b"POISON" in letter.record


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 59), max_size=6), st.integers(1, 60))
def test_any_poisons_are_found_in_order_and_few_requests(places: set[int], batch: int) -> None:
    """Whatever is poisonous: all others arrive in order, within 2 log2(n) + 2 requests for each poison."""
    destination = Scripted(poisonous(Verdict("split", "http_400")), BatchPolicy(max_events=batch))
    rig = Rig(destination)
    records = [record(number, name="POISON" if number in places else "fine") for number in range(60)]
    rig.append(*records)
    delivery = rig.delivery()
    requests = drive(delivery)
    assert destination.delivered == [each for each in records if POISON not in each]
    assert delivery.ledger.health("ok").balance() == 0
    clean = math.ceil(60 / batch)
    assert requests <= clean + len(places) * (2 * math.ceil(math.log2(batch + 1)) + 3)


def test_an_endpoint_that_refuses_everything_is_paused_not_emptied_into(tmp_path: Path) -> None:
    """400 to every record alone: after ten it is the endpoint's fault, and the rest is kept (C67)."""
    destination = Scripted(lambda payloads: [Verdict("split", "http_400")] * len(payloads))
    rig = Rig(destination, tmp_path)
    rig.append(*(record(number) for number in range(100)))
    delivery = rig.delivery()
    drive(delivery, requests=300)
    assert delivery.pacing.state == "paused"
    health = delivery.ledger.health("paused")
    assert health.dead_lettered == 10 and health.pending == 90 and health.balance() == 0
    assert "every record" in (health.last_error or "")
    destination.script = lambda payloads: [DELIVERED] * len(payloads)
    drive(delivery)
    assert delivery.ledger.health("ok").delivered == 90


def test_too_large_halves_and_learns_the_size() -> None:
    """413: batches halve until they pass; later batches are that small from the start (C65)."""
    limit = 3000

    def script(payloads: list[bytes]) -> list[Verdict]:
        fits = sum(map(len, payloads)) <= limit
        return [DELIVERED if fits else Verdict("split", "http_413")] * len(payloads)

    destination = Scripted(script)
    rig = Rig(destination)
    records = [record(number, pad=100) for number in range(100)]
    rig.append(*records[:50])
    delivery = rig.delivery()
    drive(delivery)
    first = len(destination.batches)
    rig.append(*records[50:])
    drive(delivery)
    refused = [batch for batch in destination.batches[first:] if sum(map(len, batch)) > limit]
    assert destination.delivered == records
    assert refused == []
    assert delivery.max_bytes > limit // 4


def test_a_record_too_large_alone_is_shrunk_once_and_then_put_aside(tmp_path: Path) -> None:
    """413 for one record: sent again without its content; if that is too large as well, dead-lettered (C65)."""

    class Shrinking(Scripted):
        def shrink(self, payload: bytes) -> bytes | None:
            return payload[:300]

    def script(limit: int):
        return lambda payloads: [
            DELIVERED if len(payload) <= limit else Verdict("split", "http_413") for payload in payloads
        ]

    destination = Shrinking(script(400))
    rig = Rig(destination, tmp_path)
    rig.append(record(1, pad=5000), record(2))
    delivery = rig.delivery()
    drive(delivery)
    assert delivery.ledger.health("ok").delivered.by_reason == {"stored": 1, "content_removed": 1}
    destination.script = script(200)
    rig.append(record(3, pad=5000))
    drive(delivery)
    health = delivery.ledger.health("ok")
    assert health.dead_lettered.by_reason == {"too_large": 1}
    assert health.balance() == 0


def test_single_results_count_singly(tmp_path: Path) -> None:
    """Delivered, duplicate, rejected, put off: each record by its own verdict; those put off come again first (C63)."""
    answers = [DELIVERED, DUPLICATE, Verdict("rejected", "bad field"), Verdict("retry", "busy"), DELIVERED]
    destination = Scripted(lambda payloads: answers[: len(payloads)] if len(payloads) == 5 else [DELIVERED])
    rig = Rig(destination, tmp_path)
    records = [record(number) for number in range(5)]
    rig.append(*records)
    delivery = rig.delivery()
    assert drive(delivery) == 2
    assert destination.batches[1] == [records[3]]
    health = delivery.ledger.health("ok")
    assert health.delivered.by_reason == {"stored": 3, "duplicate": 1}
    assert health.dead_lettered.by_reason == {"bad field": 1}
    assert health.balance() == 0


def test_what_has_no_place_there_is_only_counted(tmp_path: Path) -> None:
    """Our own side's rejections (no place, unknown key) are counted as rejected and fill no dead-letter file."""
    destination = Scripted(lambda payloads: [Verdict("rejected", "key_unsupported")] * len(payloads))
    rig = Rig(destination, tmp_path)
    rig.append(record(1), record(2))
    delivery = rig.delivery()
    drive(delivery)
    health = delivery.ledger.health("ok")
    assert health.rejected.by_reason == {"key_unsupported": 2}
    assert health.dead_lettered == 0


def test_a_record_put_off_for_ever_is_put_aside_while_others_pass(tmp_path: Path) -> None:
    """The answer never mentions one record: tried five times, then dead-lettered, its neighbours unharmed (C63)."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        return [Verdict("retry", "unanswered") if POISON in payload else DELIVERED for payload in payloads]

    destination = Scripted(script)
    rig = Rig(destination, tmp_path)
    rig.append(record(1, name="POISON"), *(record(number) for number in range(2, 10)))
    delivery = rig.delivery()
    for number in range(10, 30):
        drive(delivery, requests=1)
        rig.append(record(number))
    drive(delivery, requests=100)
    health = delivery.ledger.health("ok")
    assert health.dead_lettered.by_reason == {"unanswered": 1}
    assert (health.delivered, health.pending, health.balance()) == (28, 0, 0)


def test_a_batch_put_off_as_a_whole_is_a_failure_and_is_kept() -> None:
    """All records put off, again and again: nothing is dead-lettered, the circuit opens."""
    destination = Scripted(lambda payloads: [Verdict("retry", "unexpected_reply")] * len(payloads))
    rig = Rig(destination)
    rig.append(*(record(number) for number in range(10)))
    delivery = rig.delivery()
    drive(delivery, requests=50)
    assert delivery.pacing.state == "open"
    assert delivery.ledger.health("open").pending == 10


@pytest.mark.parametrize("error", [refuse(500), RuntimeError("a bug that quotes a secret")], ids=["http_500", "bug"])
def test_five_equal_failures_split_and_find_the_poison(error: Exception, tmp_path: Path) -> None:
    """A record that makes the endpoint (or a dialect) fail: found by halving, dead-lettered; the others arrive in
    order (decision 12)."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        if any(POISON in payload for payload in payloads):
            raise error
        return [DELIVERED] * len(payloads)

    destination = Scripted(script)
    rig = Rig(destination, tmp_path)
    records = [record(number, name="POISON" if number == 61 else "fine") for number in range(100)]
    rig.append(*records)
    delivery = rig.delivery()
    requests = drive(delivery, requests=200)
    assert destination.delivered == [each for each in records if POISON not in each]
    health = delivery.ledger.health("ok")
    assert health.dead_lettered == 1 and health.pending == 0 and health.balance() == 0
    assert requests <= 5 + 8 + 5 + 3
    assert "secret" not in str(health.dead_lettered.by_reason) + (health.last_error or "")


def test_failures_of_different_kinds_are_no_row_of_equal_ones() -> None:
    """Decision 12: only equal failures point at the batch; an endpoint that fails now so, now so gets it whole."""
    failures = [refuse(500), refuse(503)] * 6

    def script(payloads: list[bytes]) -> list[Verdict]:
        if failures:
            raise failures.pop(0)
        return [DELIVERED] * len(payloads)

    destination = Scripted(script)
    rig = Rig(destination)
    rig.append(*(record(number) for number in range(10)))
    delivery = rig.delivery()
    drive(delivery)
    assert [len(batch) for batch in destination.batches] == [10] * 13
    assert delivery.ledger.health("ok").delivered == 10


def test_an_outage_of_5xx_loses_nothing_and_keeps_the_order() -> None:
    """500 to everything for long, then well again: all delivered, in order, nothing dead-lettered."""

    def failing(payloads: list[bytes]) -> list[Verdict]:
        raise refuse(500)

    destination = Scripted(failing)
    rig = Rig(destination)
    records = [record(number, parentRunId="p") for number in range(30)]
    rig.append(*records)
    delivery = rig.delivery()
    drive(delivery, requests=100)
    destination.script = lambda payloads: [DELIVERED] * len(payloads)
    drive(delivery)
    assert destination.delivered == records
    assert delivery.ledger.health("ok").balance() == 0


def test_a_first_poison_is_told_from_an_outage_by_a_bystander(tmp_path: Path) -> None:
    """The very first record makes the endpoint fail and nothing has passed: a later record that depends on no other is
    sent ahead to find out, and only then is the first one put aside."""
    destination = Scripted(poisonous(refuse(500)))
    rig = Rig(destination, tmp_path)
    child = record(2, parentRunId="p")
    rig.append(record(1, name="POISON"), child, record(3))
    delivery = rig.delivery()
    drive(delivery, requests=40)
    assert sorted(destination.delivered) == sorted([child, record(3)])
    assert destination.delivered[0] == record(3)  # a root's start, not the child
    health = delivery.ledger.health("ok")
    assert health.dead_lettered.by_reason == {"http_500": 1}
    assert health.balance() == 0


def test_a_lone_failing_record_is_kept_when_nothing_shows_that_others_pass() -> None:
    """One record, failing for ever, nothing else to compare with: it stays pending."""
    destination = Scripted(poisonous(refuse(503)))
    rig = Rig(destination)
    rig.append(record(1, name="POISON"))
    delivery = rig.delivery()
    drive(delivery, requests=60)
    assert delivery.ledger.health("open").pending == 1


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_refused_key_pauses_and_drops_nothing(status: int) -> None:
    """401 and its like: paused, everything kept, one probe in 30 s (C66, decision 12)."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        raise refuse(status, pause=True)

    rig = Rig(Scripted(script), rules=RetryRules())
    rig.append(*(record(number) for number in range(10)))
    delivery = rig.delivery()
    assert delivery.send_one(time.monotonic() + 1)
    assert delivery.pacing.state == "paused"
    assert delivery.ready_at(hurried=True) >= delivery.sent_at + 29.0
    assert delivery.ledger.health("paused").pending == 10


def test_own_records_go_before_adopted_ones_three_to_one() -> None:
    """With both lanes full, every fourth batch is of the adopted one (so an old backlog starves nobody)."""
    destination = Scripted(policy=BatchPolicy(max_events=10))
    own, old = Rig(destination), Rig(destination)
    own.append(*(record(number, name="own") for number in range(200)))
    old.append(*(record(number, name="old") for number in range(200)))
    ledger = Ledger("scripted", own.own, old.own)
    delivery = Delivery(destination, ledger, [Hand(own.own), Hand(old.own)], Pacing(AT_ONCE))
    drive(delivery, requests=8)
    order = ["own" if b'"own"' in batch[0] else "old" for batch in destination.batches]
    assert order == ["own", "own", "own", "old"] * 2
    drive(delivery)
    health = ledger.health("ok")
    assert (health.created, health.adopted, health.delivered, health.balance()) == (200, 200, 400, 0)


def test_losses_are_reported_once_with_the_next_batch(tmp_path: Path) -> None:
    """What was given up travels along as a loss report, under one event id until it is acknowledged, and counts in no
    book of records."""
    failing = [True]

    def script(payloads: list[bytes]) -> list[Verdict]:
        if failing[0] and any(b"client_report" in payload for payload in payloads):
            raise refuse(503)
        return [Verdict("rejected", "bad") if POISON in payload else DELIVERED for payload in payloads]

    destination = Scripted(script)
    destination.takes_reports = True
    rig = Rig(destination, tmp_path)
    delivery = rig.delivery()
    rig.append(record(1, name="POISON"), record(2))
    drive(delivery)
    rig.append(record(3))
    drive(delivery, requests=2)
    failing[0] = False
    drive(delivery)
    rig.append(record(4))
    drive(delivery)
    reports = [payload for batch in destination.batches for payload in batch if b"client_report" in payload]
    assert len(set(reports)) == 1 and len(reports) == 3
    assert json.loads(reports[0])["lost"] == {"bad": 1}
    assert [b"client_report" in batch[-1] for batch in destination.batches] == [False, True, True, True, False]
    health = delivery.ledger.health("ok")
    assert (health.created, health.delivered, health.balance()) == (4, 3, 0)


def test_usage_events_are_marked_before_they_are_sent_and_expire_after_the_window(tmp_path: Path) -> None:
    """An event sent without an answer is not sent again once the endpoint has forgotten it (decision 6)."""
    marked_when_sent: list[bool] = []

    def unanswered(payloads: list[bytes]) -> list[Verdict]:
        marked_when_sent.append(any(held.attempted_at is not None for held in rig.own._hand.values()))
        raise DeliveryError("no answer", reason="timeout")

    destination = Scripted(unanswered, BatchPolicy(dedupe_seconds=0.05))
    rig = Rig(destination, tmp_path)
    delivery = rig.delivery()
    rig.append(record(1, "action"))
    drive(delivery, requests=1)
    assert marked_when_sent == [True]
    time.sleep(0.1)
    rig.append(record(2, "action"))
    destination.script = lambda payloads: [DELIVERED] * len(payloads)
    drive(delivery)
    health = delivery.ledger.health("ok")
    assert health.dead_lettered.by_reason == {"unanswered_too_long": 1}
    assert destination.delivered == [record(2, "action")]


def test_usage_events_that_never_went_out_are_sent_however_late(tmp_path: Path) -> None:
    """A refused connection leaves nothing in doubt, so no window applies (decision 6)."""

    def refused(payloads: list[bytes]) -> list[Verdict]:
        raise DeliveryError("nobody there", reason="refused")

    destination = Scripted(refused, BatchPolicy(dedupe_seconds=0.05))
    rig = Rig(destination, tmp_path)
    delivery = rig.delivery()
    rig.append(record(1, "action"))
    drive(delivery, requests=1)
    time.sleep(0.1)
    destination.script = lambda payloads: [DELIVERED] * len(payloads)
    drive(delivery)
    assert delivery.ledger.health("ok").delivered == 1


def test_the_rate_is_the_destinations() -> None:
    """With a minimum interval, the next batch waits for it; a quarter of it when someone waits in flush."""
    destination = Scripted(policy=BatchPolicy(max_events=1, min_interval_seconds=8.0))
    rig = Rig(destination)
    rig.append(record(1), record(2))
    delivery = rig.delivery()
    delivery.send_one(time.monotonic() + 1)
    assert delivery.ready_at(hurried=False) == delivery.sent_at + 8.0
    assert delivery.ready_at(hurried=True) == delivery.sent_at + 2.0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_answer_whatever_unbalances_the_books(data: st.DataObject) -> None:
    """Any mix of verdicts and errors, in any order: the identity holds after each, and a well endpoint ends it."""
    verdicts = st.sampled_from(
        [DELIVERED, DUPLICATE, Verdict("rejected", "bad"), Verdict("retry", "later"), Verdict("split", "http_400"),
         Verdict("split", "http_413"), Verdict("rejected", "not_carried")]
    )  # fmt: skip
    errors = st.sampled_from([refuse(500), refuse(401, pause=True), DeliveryError("x", reason="timeout"), ValueError()])

    def script(payloads: list[bytes]) -> list[Verdict]:
        if data.draw(st.booleans()):
            raise data.draw(errors)
        return [data.draw(verdicts) for _ in payloads]

    destination = Scripted(script, BatchPolicy(max_events=5))
    rig = Rig(destination)
    delivery = rig.delivery()
    rig.append(*(record(number) for number in range(8)))
    for _ in range(6):
        drive(delivery, requests=1)
        assert delivery.ledger.health("ok").balance() == 0
    destination.script = lambda payloads: [DELIVERED] * len(payloads)
    drive(delivery)
    health = delivery.ledger.health("ok")
    assert (health.pending, health.balance(), health.created) == (0, 0, 8)


def test_the_quick_policy_is_what_the_tests_think() -> None:
    """A hundred records fit one batch of the tests' policy."""
    assert QUICK.max_events == 100
