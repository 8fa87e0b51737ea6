"""Metering, from the journal to an endpoint that counts: one action for each finished run, however often it is sent."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from usage_cases import BUILD, DIALECTS, SECRET, end, event

from support.children import Child
from support.usage_server import UsageServer

COUNTS = ("input_tokens", "output_tokens")


def properties(record: Any) -> Any:
    return json.loads(bytes(record.properties))


@pytest.mark.parametrize("name", BUILD)
def test_a_metered_run_is_one_action(name: str, ship: Any) -> None:
    """Tokens, model, duration, status and customer arrive; types that are not named are no actions."""
    with UsageServer(DIALECTS[name], secret=SECRET if name == "vluna" else b"") as server:
        rig, shipper = ship(BUILD[name](server.url, meter={"llm"}).build())
        rig.append(end(1, response_id="chatcmpl-1"), end(2, type="tool"), end(3, type="agent"))
        assert shipper.flush(20.0)
        assert shipper.health().created == 1
        (action,) = server.counted.values()
        said = properties(action)
        assert (action.name, action.customer) == ("llm_call", "acme")
        assert [said[each] for each in COUNTS] == [1000, 200]
        assert (said["model"], said["duration_ms"], said["status"]) == ("gpt-4o", 2000, "ok")
        if name != "vluna":  # where a single event's key is the request's
            assert action.idempotency_key == "chatcmpl-1"


def test_wrappers_count_themselves_and_no_tokens(ship: Any) -> None:
    """An agent that repeats its children's totals is an action of its own, without tokens."""
    with UsageServer(DIALECTS["lumen"]) as server:
        rig, shipper = ship(BUILD["lumen"](server.url, meter={"llm", "agent", "chain"}).build())
        rig.append(end(1, response_id="r1"), end(2, type="agent", response_id="r1"), end(3, type="chain"))
        assert shipper.flush(20.0)
        by_name = {record.name: properties(record) for record in server.counted.values()}
        assert sorted(by_name) == ["agent_execution", "llm_call", "workflow_step"]
        assert [each for each in by_name if COUNTS[0] in by_name[each]] == ["llm_call"]


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "two batches"])
def test_two_layers_that_report_one_response_count_once(apart: bool, ship: Any, caplog: Any) -> None:
    """The same provider's response id: the first counts, a mismatch is shown and never summed."""
    with UsageServer(DIALECTS["vluna"], secret=SECRET) as server:
        rig, shipper = ship(BUILD["vluna"](server.url, meter={"llm"}).build())
        with caplog.at_level(logging.WARNING, "spanloom"):
            rig.append(end(1, response_id="r1"))
            assert not apart or shipper.flush(20.0)
            rig.append(end(2, response_id="r1", tokens=(1000, 250)), end(3, response_id="r2"))
            assert shipper.flush(20.0)
        assert sorted(properties(record)["output_tokens"] for record in server.counted.values()) == [200, 200]
        assert len(server.counted) == 2
        assert "'output_tokens': 200" in caplog.text and "'output_tokens': 250" in caplog.text
        health = shipper.health()
        assert (health.delivered, health.delivered.by_reason["duplicate"], health.balance()) == (3, 1, 0)


def test_the_first_layers_refusal_lets_the_second_count(ship: Any) -> None:
    """A run without a customer cannot be billed; the layer inside it, which has one, is."""
    from msgspec.structs import replace

    from spanloom.records import decode, encode

    with UsageServer(DIALECTS["lumen"]) as server:
        rig, shipper = ship(BUILD["lumen"](server.url, meter={"llm"}).build())
        outside = encode(replace(decode(end(1, response_id="r1")), customer=None))  # type: ignore[type-var]
        rig.append(outside, end(2, response_id="r1"))
        assert shipper.flush(20.0)
        assert [record.customer for record in server.counted.values()] == ["acme"]
        assert shipper.health().dead_lettered == 1


def test_a_killed_run_is_metered_by_what_it_had_reported(ship: Any) -> None:
    """A run closed for a dead process counts when its usage had been recorded, and else not."""
    with UsageServer(DIALECTS["lumen"]) as server:
        rig, shipper = ship(BUILD["lumen"](server.url, meter={"llm"}).build())
        rig.append(end(1, status="killed"), end(2, status="killed", tokens=None), end(3, status="error"))
        assert shipper.flush(20.0)
        assert sorted(properties(record)["status"] for record in server.counted.values()) == ["error", "killed"]


def test_an_event_may_name_its_agent(ship: Any) -> None:
    """Valmi: the agent key of the event's own, else the destination's."""
    with UsageServer(DIALECTS["valmi"]) as server:
        rig, shipper = ship(BUILD["valmi"](server.url, meter={"tool"}).build())
        rig.append(event(1), event(2, agent_key="agent_x"), end(3, type="tool", agent_key="agent_y"))
        assert shipper.flush(20.0)
        agents = [json.loads(sent.body)["agent_key"] for sent in server.requests]
        assert agents[0] == "agent_abc" and sorted(agents[1:]) == ["agent_x", "agent_y"]  # those two fly together


PROGRAM = """
import sys
import spanloom
from support.program import accepted, say
url, first, last, wait = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
spanloom.configure(
    destinations=[spanloom.Valmi("k", "agent_default", url=url, meter={"llm"})], sample=0.0, capture_content=False
)
with spanloom.context(customer="acme", metadata={"agent_key": "agent_resolver"}):
    for number in range(first, last):
        with spanloom.agent("resolve"):
            for layer in ("framework", "client"):
                with spanloom.llm("gpt-4o") as run:
                    run.set(usage={"input": 1000, "output": 200}, response_id=f"resp-{number}")
        spanloom.outcome("resolved", idempotency_key=f"ticket-{number}")
        accepted(number)
say("flushed", wait == "flush" and spanloom.flush(timeout_seconds=20))
import time
time.sleep(0 if wait == "flush" else 60)
"""


def test_a_killed_process_and_the_next_one_bill_each_call_once(home: Path) -> None:
    """SIGKILL while the answers are being lost, a second process that adopts and repeats the tickets: one action for
    each response, one outcome for each ticket, though nothing is sampled and no content is kept."""
    with UsageServer(DIALECTS["valmi"]) as server:

        def lost(request: Any) -> Any:
            server._take_in(request)  # counted, and then the answer says otherwise
            return DIALECTS["valmi"].write_error(503, "lost")

        server.answer_with(*[lost] * 3)
        with Child(PROGRAM, server.url, "0", "10", "stay", home=home, timeout_seconds=60) as child:
            child.wait_for("accepted", 10)
            child.wait_until(lambda: server.requests, "a first request")
            child.kill()
        with Child(PROGRAM, server.url, "8", "20", "flush", home=home, timeout_seconds=60) as child:
            done = child.finish()
        assert done.lines("flushed") == ["True"], done.stdout + done.stderr
        wanted = [f"{what}-{number}" for what in ("resp", "ticket") for number in range(20)]
        assert sorted(server.counted) == sorted(wanted)
        assert max(server.seen.values()) > 1
        assert {json.loads(sent.body)["agent_key"] for sent in server.requests} == {"agent_resolver"}
