"""Usage destinations, whole: real lanes, the real shipper, real sockets, and endpoints that count by the documents."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ship_cases import wait_until
from usage_cases import BUILD, DIALECTS, SECRET, event, event_key

from spanloom.dialects import atlas, lumen, usage, valmi, vluna
from spanloom.shipping.usage_destinations import Lumen, Valmi
from spanloom.wire import Response
from support import toxic as toxics
from support.toxic import Toxic
from support.usage_server import UsageServer


def serving(name: str) -> UsageServer:
    return UsageServer(DIALECTS[name], secret=SECRET if name == "vluna" else b"")


TORN, CUT, HALF = toxics.truncate_response(30, 2), toxics.reset_after(100, 2), toxics.half_close(2)
FAULTS = [
    ("valmi", toxics.drop_response(3)), ("valmi", TORN), ("valmi", toxics.refuse()), ("atlas", CUT), ("atlas", HALF),
    ("vluna", HALF), ("lumen", HALF),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda value: getattr(value, "kind", value))
def test_a_faulty_network_loses_nothing_and_bills_nothing_twice(name: str, fault: toxics.Fault, ship: Any) -> None:
    """Client, proxy with faults, endpoint, in every dialect: each event is counted exactly once (C50, C53, C54)."""
    with serving(name) as server, Toxic(server.port) as toxic:
        rig, shipper = ship(BUILD[name](toxic.url + server.mount).build())
        toxic.use(fault)
        rig.append(*(event(number, customer=f"c{number % 3}") for number in range(24)))
        if fault.times is None:
            assert shipper.flush(0.3) is False
            toxic.clear()
        assert shipper.flush(20.0)
        assert sorted(server.counted) == sorted(event_key(number) for number in range(24)), server.counted
        health = shipper.health()
        assert (health.delivered, health.balance()) == (24, 0)
        if fault.times is not None:
            assert toxic.fired[fault.kind] == fault.times
        if fault.kind == "drop_response":
            assert max(server.seen.values()) > 1  # it did see some of them again


def test_each_attempt_is_signed_anew_and_says_the_same(ship: Any) -> None:
    """A retry has a nonce and a time of its own, the same body and the same Idempotency-Key."""
    with serving("vluna") as server:
        server.answer_with(Response(503), Response(429, {"retry-after": "0"}))
        rig, shipper = ship(BUILD["vluna"](server.url).build())
        rig.append(event(1), event(2))
        assert shipper.flush(20.0)
        parts = [re.search(r"ts=([^,]+),nonce=([^,]+),", sent.headers["authorization"]) for sent in server.requests]
        assert len(server.requests) == 3 and len({found[2] for found in parts if found}) == 3
        assert len({found[1] for found in parts if found}) == 3
        assert len({(sent.body, sent.headers["idempotency-key"]) for sent in server.requests}) == 1


def test_vlunas_results_count_one_by_one(ship: Any) -> None:
    """207: accepted and duplicate are settled, invalid is a dead letter with its words, failed goes again alone."""

    def results(_: Any) -> Response:
        said = [
            {"index": 0, "status": "accepted", "event_id": "a"},
            {"index": 1, "status": "duplicate", "event_id": "b"},
            {"index": 2, "status": "invalid", "error": {"code": "BAD", "message": "no such type"}},
            {"index": 3, "status": "failed", "error": {"code": "SERVER.UNEXPECTED", "message": "later"}},
        ]
        return usage.answer(207, {"ok": True, "code": "OK", "data": {"results": said}})

    with serving("vluna") as server:
        server.answer_with(results)
        rig, shipper = ship(BUILD["vluna"](server.url).build())
        rig.append(*(event(number) for number in range(4)))
        assert shipper.flush(20.0)
        assert list(server.counted) == [event_key(3)]
        health = shipper.health()
        assert (health.delivered, health.delivered.by_reason["duplicate"]) == (3, 1)
        assert list(health.dead_lettered.by_reason) == ["invalid: BAD no such type"] and health.balance() == 0


def test_payers_travel_apart_and_a_thousand_at_most(ship: Any) -> None:
    """One request has one principal and one user, and at most 1000 events."""
    with serving("vluna") as server:
        rig, shipper = ship(BUILD["vluna"](server.url).build())
        rig.append(*(event(number, customer="c1" if number % 10 else "c2") for number in range(1200)))
        assert shipper.flush(20.0)
        assert len(server.counted) == 1200
        for sent in server.requests:
            assert len(vluna.read_request(sent).items) <= 1000
        for record in server.counted.values():
            assert record.customer == ("c1" if int(record.event_id[-4:]) % 10 else "c2")
        assert {sent.headers["x-principal-id"] for sent in server.requests} == {"c1", "c2"}


def test_a_key_used_for_something_else_is_a_dead_letter_with_the_reason(ship: Any) -> None:
    """409: never sent again, kept with its reason; the neighbour goes."""
    with serving("vluna") as server:
        server.answer_with(vluna_conflict())
        rig, shipper = ship(BUILD["vluna"](server.url).build())
        rig.append(event(1, key="ticket-1"), event(2, key="ticket-2"))
        assert shipper.flush(20.0)
        assert list(server.counted) == ["ticket-2"]
        (reason,) = shipper.health().dead_lettered.by_reason
        assert reason.startswith("idempotency_conflict")


def vluna_conflict() -> Response:
    return vluna.write_error(409, "idempotency_conflict: this key was used with another body")


@pytest.mark.parametrize("name", ["valmi", "atlas"])
def test_a_failure_halfway_is_held_against_nobody(name: str, ship: Any) -> None:
    """One event a request, every third answered 503: what waited behind is never given up, however often it waits."""
    turns = iter(range(10_000))
    with serving(name) as server:
        server.answer_with(*[lambda _: Response(503) if next(turns) % 3 == 2 else None] * 300)
        rig, shipper = ship(BUILD[name](server.url).build())
        rig.append(*(event(number) for number in range(40)))
        assert shipper.flush(60.0)
        assert len(server.counted) == 40
        assert not shipper.health().dead_lettered


def test_retry_after_counts_in_the_middle_of_a_batch(ship: Any) -> None:
    """429 with Retry-After on the second of 30 requests: but for those begun before that answer was read, no request
    before the time is over."""
    with serving("valmi") as server:
        server.answer_with(lambda _: None, Response(429, {"retry-after": "300"}))
        rig, shipper = ship(BUILD["valmi"](server.url).build())
        rig.append(*(event(number) for number in range(30)))
        assert shipper.flush(0.4) is False
        assert 2 <= len(server.requests) <= 12 and len(server.counted) == len(server.requests) - 1
        assert shipper.ledger.pending() == 30 - len(server.counted)


def test_one_event_a_request_goes_over_kept_connections(ship: Any) -> None:
    """Valmi: 100 events, at most four connections that are kept alive, each event once."""
    with serving("valmi") as server:
        rig, shipper = ship(BUILD["valmi"](server.url).build())
        rig.append(*(event(number) for number in range(100)))
        assert shipper.flush(20.0)
        assert sorted(server.counted) == [event_key(number) for number in range(100)]
        assert server.connections <= 4 and len(server.requests) == 100


def test_lumen_goes_in_chunks(ship: Any) -> None:
    """100 events in a request, however many wait; ``max_batch`` says otherwise."""
    for most, wanted in ((100, 100), (500, 500)):
        with serving("lumen") as server:
            rig, shipper = ship(Lumen("k", url=server.url, max_batch=most).build())
            rig.append(*(event(number) for number in range(500)))
            assert shipper.flush(20.0)
            assert max(len(lumen.read_request(sent).items) for sent in server.requests) == wanted
            assert len(server.counted) == 500


def test_lumens_per_item_errors_spoil_no_neighbour(ship: Any) -> None:
    """The newer answer names the item that is wrong: that one is a dead letter, the others are delivered."""
    with serving("lumen") as server:
        said = {"accepted": 2, "rejected": 1, "errors": [{"index": 1, "error": "no such customer"}]}
        server.answer_with(usage.answer(202, said))
        rig, shipper = ship(BUILD["lumen"](server.url).build())
        rig.append(*(event(number) for number in range(3)))
        assert shipper.flush(20.0)
        health = shipper.health()
        assert (health.delivered, dict(health.dead_lettered.by_reason)) == (2, {"invalid: no such customer": 1})


@pytest.mark.parametrize("on_ambiguous", ["retry", "drop"])
def test_an_event_in_doubt_goes_again_or_is_given_up_as_told(on_ambiguous: Any, ship: Any) -> None:
    """The answer is lost after the event was counted: sent again under its key, or a dead letter at once."""
    with serving("valmi") as server, Toxic(server.port) as toxic:
        rig, shipper = ship(Valmi("k", "agent", url=toxic.url, on_ambiguous=on_ambiguous).build())
        toxic.use(toxics.drop_response(1))
        rig.append(event(1))
        assert shipper.flush(20.0)
        health = shipper.health()
        assert server.seen[event_key(1)] == (2 if on_ambiguous == "retry" else 1) and len(server.counted) == 1
        assert health.delivered == (on_ambiguous == "retry")
        assert dict(health.dead_lettered.by_reason) == ({} if health.delivered else {"unanswered_too_long": 1})


def test_a_wrong_event_is_refused_here_and_spoils_no_neighbour(ship: Any) -> None:
    """An event without a customer never reaches an endpoint that needs one; the dead letter says which field."""
    for name in ("vluna", "atlas", "lumen"):
        with serving(name) as server:
            rig, shipper = ship(BUILD[name](server.url).build())
            rig.append(event(1), event(2, customer=None), event(3))
            assert shipper.flush(20.0)
            assert list(server.counted) == [event_key(1), event_key(3)]
            (reason,) = shipper.health().dead_lettered.by_reason
            assert reason.startswith("invalid: customer: is missing")


def test_a_silent_destination_delays_no_other(ship: Any) -> None:
    """One endpoint swallows every byte: the others deliver everything while it waits for its first answer."""
    with serving("atlas") as dark, Toxic(dark.port) as toxic, serving("lumen") as server:
        toxic.use(toxics.blackhole())
        silent, silent_shipper = ship(BUILD["atlas"](toxic.url).build())
        rig, shipper = ship(BUILD["lumen"](server.url).build())
        silent.append(event(1))
        assert silent_shipper.ensure_running()
        assert wait_until(lambda: toxic.fired["blackhole"] > 0)
        for number in range(20):
            rig.append(event(number))
            assert shipper.flush(20.0)
        assert len(server.counted) == 20 and silent_shipper.health().pending == 1


def test_an_external_atlas_takes_lists_of_twenty(ship: Any) -> None:
    """The newer form: lists of at most 20, ``generatedAt`` and ``data`` in every event."""
    with serving("atlas") as server:
        rig, shipper = ship(BUILD["atlas"](server.url, profile="atlas-external").build())
        rig.append(*(event(number) for number in range(50)))
        assert shipper.flush(20.0)
        assert [len(atlas.read_request(sent).items) for sent in server.requests] == [20, 20, 10]
        assert all(b'"generatedAt"' in sent.body and b'"data"' in sent.body for sent in server.requests)
        assert len(server.counted) == 50


def test_no_credential_of_another_destination_is_sent(ship: Any) -> None:
    """Each request carries its own destination's key alone."""
    for name in BUILD:
        with serving(name) as server:
            rig, shipper = ship(BUILD[name](server.url).build())
            rig.append(event(1))
            assert shipper.flush(20.0)
            (sent,) = server.requests
            said = repr(sorted(sent.headers.items())) + sent.body.decode()
            others = [f"{other}-key" for other in BUILD if other != name]
            assert f"{name}-key" in said and not any(other in said for other in others)
            assert valmi.credential(sent) or name != "valmi"


@pytest.mark.parametrize("name", ["valmi", "lumen"])
def test_one_customers_refused_events_hold_up_nobody_elses(name: str, ship: Any) -> None:
    """Forty events in a row that the endpoint answers with 400: dead letters with its words; all others are counted."""

    def picky(request: Any) -> Response | None:
        return DIALECTS[name].write_error(400, "unknown customer") if b"stranger" in request.body else None

    with serving(name) as server:
        server.answer_with(*[picky] * 1000)
        rig, shipper = ship(BUILD[name](server.url).build())
        rig.append(*(event(number, customer="stranger") for number in range(40)))
        rig.append(*(event(number) for number in range(40, 60)))
        assert shipper.flush(10.0)
        health = shipper.health()
        assert (health.delivered, health.dead_lettered, health.balance()) == (20, 40, 0)
        assert all("unknown customer" in reason for reason in health.dead_lettered.by_reason)


def test_a_dead_letter_is_said_once_a_minute(ship: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Ten outcomes without a customer, which Lumen does not take: one line in the log names field, cure and where the
    records are (C41)."""
    with serving("lumen") as server:
        rig, shipper = ship(BUILD["lumen"](server.url).build())
        rig.append(*(event(number, customer=None) for number in range(10)))
        assert shipper.flush(20.0)
        assert shipper.health().dead_lettered.total == 10 and not server.requests
    (line,) = [one.getMessage() for one in caplog.records if one.name == "spanloom"]
    assert "lumen does not take a record" in line and "customer" in line and "spanloom journal ls" in line
