"""Several requests at once to the endpoints that take one event each: how many, and what a failure among them does."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ship_cases import wait_until
from usage_cases import BUILD, DIALECTS, event, event_key

from spanloom.shipping.in_flight import WIDTH
from spanloom.wire import Request, Response
from support.children import Child
from support.usage_server import UsageServer

ONE_BY_ONE = ["valmi", "atlas"]


def together(server: UsageServer) -> Callable[[Request], None]:
    """After the first request: each waits until four are there, so that their answers are surely given together."""
    full: list[bool] = []

    def hold(_: Request) -> None:
        many = len(server.requests) > 1 and not full
        if many and wait_until(lambda: bool(full) or server.most_at_once >= WIDTH, 5.0):
            full.append(True)

    return hold


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_a_slow_endpoint_gets_four_at_once_and_each_event_once(name: str, ship: Any) -> None:
    """An answer takes 20 ms: never more than four requests are in flight, and four are; each event comes once."""
    with UsageServer(DIALECTS[name]) as server:
        server.hold = lambda _: time.sleep(0.02)
        rig, shipper = ship(BUILD[name](server.url).build())
        rig.append(*(event(number) for number in range(80)))
        assert shipper.flush(30.0)
        assert server.most_at_once == WIDTH and server.connections == WIDTH
        assert server.seen == {event_key(number): 1 for number in range(80)}
        assert (shipper.health().delivered, shipper.health().balance()) == (80, 0)


@pytest.mark.parametrize("name", ONE_BY_ONE)
@pytest.mark.parametrize("status", [429, 503])
def test_one_of_four_refused_for_now_is_the_only_one_sent_again(name: str, status: int, ship: Any) -> None:
    """429 or 503 to one while three others are taken: those are settled, nothing else is begun before the wait is over,
    and then what is left goes, each event counted once."""
    with UsageServer(DIALECTS[name]) as server:
        server.hold = together(server)
        server.answer_with(lambda _: None, Response(status, {"retry-after": "1"}))
        rig, shipper = ship(BUILD[name](server.url).build())
        rig.append(*(event(number) for number in range(5)))
        assert shipper.flush(0.5) is False
        health = shipper.health()
        assert (len(server.requests), health.delivered, shipper.ledger.pending()) == (5, 4, 1)
        assert shipper.flush(20.0)
        assert server.seen == {event_key(number): 1 for number in range(5)} and len(server.requests) == 6


def test_an_endpoint_in_trouble_is_asked_by_one_request_at_a_time(ship: Any) -> None:
    """500 to everything: the four in flight fail, and from then on there is one request at a time; once it works again
    everything arrives, each event once, and nothing is a dead letter."""
    with UsageServer(DIALECTS["valmi"]) as server:
        server.hold = lambda _: time.sleep(0.005)
        rig, shipper = ship(BUILD["valmi"](server.url).build())
        rig.append(*(event(number) for number in range(20)))
        assert shipper.flush(20.0) and server.most_at_once == WIDTH
        broken = [True]
        server.answer_with(*[lambda _: Response(500) if broken[0] else None] * 1000)
        rig.append(*(event(number) for number in range(20, 40)))
        assert shipper.flush(0.3) is False
        server.most_at_once = 0
        before = len(server.requests)
        assert shipper.flush(0.3) is False
        assert server.most_at_once == 1 and len(server.requests) > before
        broken[0] = False
        assert shipper.flush(20.0)
        assert server.seen == {event_key(number): 1 for number in range(40)}
        assert not shipper.health().dead_lettered


def test_a_poison_among_those_in_flight_costs_no_neighbour(ship: Any) -> None:
    """One event is answered 500 whenever it comes, the others are taken: it alone is a dead letter in the end."""
    poison = event_key(3).encode()
    with UsageServer(DIALECTS["valmi"]) as server:
        server.answer_with(*[lambda request: Response(500) if poison in request.body else None] * 1000)
        rig, shipper = ship(BUILD["valmi"](server.url).build())
        rig.append(*(event(number) for number in range(40)))
        assert shipper.flush(30.0)
        health = shipper.health()
        assert (health.delivered, dict(health.dead_lettered.by_reason)) == (39, {"http_500": 1})
        assert server.seen == {event_key(number): 1 for number in range(40) if number != 3}


def test_two_events_of_one_key_keep_their_order(ship: Any) -> None:
    """Of one idempotency key the first to arrive counts, so such a batch goes one by one."""
    with UsageServer(DIALECTS["valmi"]) as server:
        server.hold = lambda _: time.sleep(0.005)
        rig, shipper = ship(BUILD["valmi"](server.url).build())
        rig.append(*(event(number, key=f"key-{number % 10}", name=f"name-{number // 10}") for number in range(20)))
        assert shipper.flush(20.0)
        assert {record.name for record in server.counted.values()} == {"name-0"}
        assert server.most_at_once == 1


def _none_to_be_had(*_: Any) -> int:
    raise RuntimeError("can't start new thread")


def _never_runs(*_: Any) -> int:
    return 1


@pytest.mark.parametrize("start", [_none_to_be_had, _never_runs])
def test_without_other_threads_one_sends_everything(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host in which no thread can be had, or none ever runs: the batch is delivered all the same (C28)."""
    with UsageServer(DIALECTS["atlas"]) as server:
        destination = BUILD["atlas"](server.url).build()
        serving = _thread.start_new_thread
        ours = [start]
        monkeypatch.setattr(_thread, "start_new_thread", lambda *given: (ours[0] or serving)(*given))
        verdicts = destination.deliver([event(number) for number in range(12)], time.monotonic() + 20)
        assert [verdict.kind for verdict in verdicts] == ["delivered"] * 12
        assert server.connections == 1
        destination.close()


def test_a_forked_child_uses_none_of_the_connections(ship: Any) -> None:
    """After `forget` every connection is a new one, and several are in flight again after the first answer."""
    with UsageServer(DIALECTS["valmi"]) as server:
        server.hold = lambda _: time.sleep(0.01)
        destination = BUILD["valmi"](server.url).build()
        destination.deliver([event(number) for number in range(20)], time.monotonic() + 20)
        assert server.connections == WIDTH
        destination.forget()
        destination.deliver([event(number) for number in range(20, 40)], time.monotonic() + 20)
        assert server.connections == 2 * WIDTH
        assert server.seen == {event_key(number): 1 for number in range(40)}
        destination.close()


def test_no_request_is_begun_that_the_deadline_would_cut_off(ship: Any) -> None:
    """Where an answer takes longer than what is left, the rest is put off, and none of it is in doubt."""
    with UsageServer(DIALECTS["valmi"]) as server:
        server.hold = lambda _: time.sleep(0.4)
        destination = BUILD["valmi"](server.url).build()
        verdicts = destination.deliver([event(number) for number in range(30)], time.monotonic() + 2.0)
        put_off = [verdict for verdict in verdicts if verdict.kind == "retry"]
        assert put_off and {verdict.reason for verdict in put_off} == {"no_time_left"}
        assert not any(verdict.doubtful for verdict in put_off)
        assert len(server.requests) == len(server.counted) == 30 - len(put_off)
        destination.close()


PROGRAM = """
import sys
import spanloom
spanloom.configure(destinations=[spanloom.Valmi("key", "agent", url=sys.argv[1])], exit_timeout_seconds=20)
for number in range(24):
    spanloom.outcome("resolved", value=1, idempotency_key=f"ticket-{number}")
"""


def test_the_end_of_the_process_sends_several_at_once(home: Path) -> None:
    """A program that ends at once, an endpoint that takes 0.2 s for each of 24 events, in sum more than one that says
    nothing is given: it answers, so it is waited for; four are in flight, and each event has come once (C19)."""
    with UsageServer(DIALECTS["valmi"]) as server:
        server.hold = lambda _: time.sleep(0.2)
        with Child(PROGRAM, server.url, home=home) as child:
            child.finish().assert_clean()
        assert server.most_at_once == WIDTH
        assert server.seen == {f"ticket-{number}": 1 for number in range(24)}
