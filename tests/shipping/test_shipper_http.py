"""Destinations over HTTP, whole: real lanes, the real shipper, real sockets, and an oracle that takes notes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace
from raw_server import RawServer, answering, raw_server, reply
from ship_cases import Rig, record

from spanloom.errors import DeliveryError
from spanloom.records import Feedback, RunEnd, RunPoint, RunStart, RunUpdate, decode, encode
from spanloom.shipping.destination import BatchPolicy
from spanloom.shipping.destinations import Collector, Lunary
from spanloom.shipping.formats import CollectorFormat
from spanloom.shipping.http_destination import HttpDestination, Written, without_content
from spanloom.shipping.retry import RetryRules
from spanloom.shipping.shipper import Shipper
from spanloom.shipping.transport import Timeouts, Transport
from spanloom.wire import DELIVERED, Call, Request, Response
from support import toxic as toxics
from support.oracle import Oracle
from support.toxic import Toxic

KEY = "11111111-2222-4333-8444-555555555555"
QUICKLY = RetryRules(first_seconds=0.01, longest_seconds=0.05, probe_seconds=0.05, probe_jitter_seconds=0.0,
                     hurry_seconds=0.01, tokens=1e9)  # fmt: skip


@pytest.fixture
def rigs() -> Iterator[list[Shipper]]:
    shippers: list[Shipper] = []
    yield shippers
    for shipper in shippers:
        shipper.close(0.5)


def shipping(destination: HttpDestination, rigs: list[Shipper]) -> tuple[Rig, Shipper]:
    rig = Rig(destination, rules=QUICKLY)
    shipper = rig.shipper()
    rigs.append(shipper)
    return rig, shipper


def deliver(destination: HttpDestination, *payloads: bytes, seconds: float = 5.0) -> list[str]:
    verdicts = destination.deliver(list(payloads), time.monotonic() + seconds)
    destination.close()
    return [f"{verdict.kind}:{verdict.reason}".rstrip(":") for verdict in verdicts]


def run(number: int) -> list[bytes]:
    """The start and the end of a run, in Lunary's sense complete."""
    run_id = f"00000000-0000-7000-8000-{number:012d}"
    start = RunStart(event_id=run_id + ".s", timestamp=f"2026-01-01T00:00:00.{number:06d}Z", run_id=run_id,
                     type="llm", name="m", input=b'{"a":1}')  # type: ignore[arg-type]  # fmt: skip
    end = RunEnd(event_id=run_id + ".e", timestamp=f"2026-01-01T00:00:01.{number:06d}Z", run_id=run_id, type="llm")
    return [encode(replace(start, input=Raw(b'{"a":1}'))), encode(end)]


def test_a_thousand_records_reach_the_collector_once_and_in_order(rigs: list[Shipper]) -> None:
    """Records arrive unchanged, in order, with the key; the books say delivered."""
    with Oracle() as oracle:
        oracle.require_key("secret-key")
        rig, shipper = shipping(Collector(oracle.url, key="secret-key").build(), rigs)
        records = [record(number) for number in range(1000)]
        rig.append(*records)
        assert shipper.flush(20.0)
        stored = oracle.log.stored()
        assert [seen.payload for seen in stored.values()] == [json.loads(each) for each in records]
        oracle.log.assert_clean()
        health = shipper.health()
        assert (health.delivered, health.balance()) == (1000, 0)


def test_lunary_gets_the_guides_envelope(rigs: list[Shipper]) -> None:
    """Starts and ends arrive as Lunary's events under the public key; kinds without a place there are not taken."""
    with Oracle() as oracle:
        oracle.require_key(KEY)
        rig, shipper = shipping(Lunary(KEY, url=oracle.url).build(), rigs)
        rig.append(*run(1), record(5, "action"), *run(2))
        assert shipper.flush(20.0)
        assert sum(oracle.log.names("start").values()) == 2
        assert len(oracle.log.received()) == 4
        health = shipper.health()
        assert (health.created, health.delivered, health.balance()) == (4, 4, 0)


def test_lunary_rejects_what_it_has_no_place_for() -> None:
    """Feedback by a key that nobody resolved is rejected as key_unsupported; a start sent again is a duplicate."""
    with Oracle() as oracle:
        destination = Lunary(KEY, url=oracle.url).build()
        feedback = encode(Feedback(event_id="f1", timestamp="2026-01-01T00:00:02.000000Z", key="order-42"))
        start, end = run(1)
        assert deliver(destination, start, feedback, end) == ["delivered", "rejected:key_unsupported", "delivered"]
        assert deliver(destination, start) == ["delivered:duplicate"]


def test_lost_acknowledgements_are_sent_again_and_seen_once(rigs: list[Shipper]) -> None:
    """The endpoint commits and the answer is lost: sent again under the same ids, visible once (C54)."""
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        rig, shipper = shipping(Collector(toxic.url).build(), rigs)
        toxic.use(toxics.drop_response(times=3))
        rig.append(*(record(number) for number in range(50)))
        assert shipper.flush(20.0)
        assert toxic.fired["drop_response"] == 3
        assert oracle.log.resent()
        oracle.log.assert_clean()
        health = shipper.health()
        assert health.delivered == 50 and health.delivered.by_reason["duplicate"] > 0 and health.balance() == 0


@pytest.mark.parametrize(
    "fault", [toxics.refuse(), toxics.half_close(2), toxics.truncate_response(30, 2), toxics.reset_after(100, 2)],
    ids=lambda fault: fault.kind,
)  # fmt: skip
def test_a_broken_network_delays_and_loses_nothing(fault: toxics.Fault, rigs: list[Shipper]) -> None:
    """Whatever the connection does, everything is delivered afterwards, nothing twice to be seen (C50, C53)."""
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        rig, shipper = shipping(Collector(toxic.url).build(), rigs)
        toxic.use(fault)
        rig.append(*(record(number) for number in range(50)))
        if fault.times is None:
            assert shipper.flush(0.5) is False
            toxic.clear()
        assert shipper.flush(20.0)
        oracle.log.assert_clean()
        assert len(oracle.log.stored()) == 50
        assert shipper.health().balance() == 0


def test_a_poison_among_a_hundred_costs_sixteen_requests_at_most(rigs: list[Shipper]) -> None:
    """400 for every batch that holds the poison: 99 stored, one put aside, at most 16 requests on the wire (C64)."""
    with Oracle() as oracle:
        oracle.refuse_poison("POISON")
        rig, shipper = shipping(Collector(oracle.url).build(), rigs)
        rig.append(*(record(number, name="POISON" if number == 41 else "fine") for number in range(100)))
        assert shipper.flush(20.0)
        assert sum(oracle.log.names("start").values()) == 99
        assert len(oracle.log.exchanges()) <= 16
        health = shipper.health()
        assert health.delivered == 99 and health.balance() == 0 and health.pending == 0


def test_a_size_limit_is_learned(rigs: list[Shipper]) -> None:
    """413 above 20 kB: all is delivered, and later batches are small from the start (C65)."""
    with Oracle() as oracle:
        oracle.limit_size(20_000)
        rig, shipper = shipping(Collector(oracle.url).build(), rigs)
        rig.append(*(record(number, pad=500) for number in range(200)))
        assert shipper.flush(20.0)
        refused = sum(oracle.fired())
        rig.append(*(record(number, pad=500) for number in range(200, 400)))
        assert shipper.flush(20.0)
        assert sum(oracle.fired()) == refused
        assert len(oracle.log.stored()) == 400


def test_an_endpoint_without_compression_is_remembered(rigs: list[Shipper]) -> None:
    """415 to a compressed body: sent plain, once found out, for good (C71)."""
    with Oracle() as oracle:
        oracle.refuse_compression()
        destination = Collector(oracle.url).build()
        big = [record(number, pad=2000) for number in range(3)]
        assert deliver(destination, *big) == ["delivered"] * 3
        assert deliver(destination, *big) == ["delivered:duplicate"] * 3
        assert [exchange.encoding for exchange in oracle.log.exchanges()] == ["gzip", "", ""]


@pytest.mark.parametrize(
    ("status", "reason", "pause"),
    [(301, "http_301", True), (401, "http_401", True), (404, "http_404", True), (501, "http_501", True),
     (429, "http_429", False), (500, "http_500", False), (529, "http_529", False)],
)  # fmt: skip
def test_a_status_that_speaks_for_the_batch_raises(status: int, reason: str, pause: bool) -> None:
    """Nothing delivered, nothing lost: the reason is the status, with a cure where a person is needed (C66 to C68)."""
    headers = "Retry-After: 7\r\n"
    with raw_server(answering(reply(b"<html>no</html>", f"{status} Whatever", headers))) as server:
        destination = Collector(server.url, key="canary-key").build()
        with pytest.raises(DeliveryError) as caught:
            deliver(destination, record(1))
        destination.close()
    error = caught.value
    assert (error.reason, error.pause, error.retry_after_seconds, error.answered) == (reason, pause, 7.0, True)
    assert "canary-key" not in str(error) + repr(destination)


def test_a_conflict_means_that_it_was_there_already() -> None:
    """409: delivered, as a duplicate."""
    with raw_server(answering(reply(b"", "409 Conflict"))) as server:
        assert deliver(Collector(server.url).build(), record(1), record(2)) == ["delivered:duplicate"] * 2


@pytest.mark.parametrize(
    "body", [b"", b"<html>login</html>", b"not json", b'{"results":7}', b'{"results":[7]}', b"[" * 5000, b"null"]
)
def test_an_unreadable_answer_is_no_acknowledgement(body: bytes) -> None:
    """A 200 without results from a collector acknowledges nothing: sent again, safe by event ids (C63)."""
    with raw_server(answering(reply(body))) as server:
        assert deliver(Collector(server.url).build(), record(1)) == ["retry:unexpected_reply"]


def test_results_count_by_event_id_whatever_their_order() -> None:
    """Results out of order, doubled, unknown or missing: each record by its own (C63)."""
    ids = [json.loads(record(number))["eventId"] for number in range(4)]
    results = [
        {"eventId": "unknown", "success": True},
        {"eventId": ids[2], "success": False, "error": "bad field"},
        {"eventId": ids[0], "success": True, "duplicate": True},
        {"eventId": ids[3], "success": False, "retry": True},
        {"eventId": ids[0], "success": True, "duplicate": True},
    ]
    with raw_server(answering(reply(json.dumps({"results": results}).encode()))) as server:
        verdicts = deliver(Collector(server.url).build(), *(record(number) for number in range(4)))
    assert verdicts == ["delivered:duplicate", "retry:unanswered", "rejected:bad field", "retry:not_now"]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.builds(lambda found: json.dumps({"results": found}).encode(), _values),
       st.sampled_from([200, 202, 207, 400, 422]))  # fmt: skip
def test_any_answer_gives_one_verdict_for_each_record(body: bytes, status: int) -> None:
    """Whatever the body of an answer, there is a verdict for each record and no exception."""
    wire_format = CollectorFormat(None)
    (call,) = wire_format.write([record(1), record(2)]).calls
    assert len(wire_format.read(call, Response(status, {}, body))) == 2


def test_a_record_that_nobody_can_read_does_not_spoil_its_neighbours() -> None:
    """A payload that is no record is rejected as unreadable; the others of its batch are delivered."""
    with Oracle() as oracle:
        for destination in (Collector(oracle.url).build(), Lunary(KEY, url=oracle.url).build()):
            (start, end), bad = run(7), b'{"event":"start","broken'
            verdicts = deliver(destination, start, bad, end)
            assert verdicts[1] == "rejected:unreadable"
            assert verdicts[0].startswith("delivered") and verdicts[2].startswith("delivered")


class _TwoCalls:
    """A format that sends each record by itself, to see what follows when one of several requests fails."""

    def takes(self, payload: bytes) -> bool:
        return True

    def write(self, payloads):  # type: ignore[no-untyped-def]
        return Written([Call(Request("POST", "/", {}, each), (index,)) for index, each in enumerate(payloads)])

    def read(self, call: Call, response: Response):  # type: ignore[no-untyped-def]
        return [DELIVERED] * len(call.indexes)


def test_the_first_failing_request_of_a_batch_holds_the_later_ones_back() -> None:
    """Three requests, the second answered 503: the first record is delivered, the others stay, unsent or not."""
    with raw_server(answering(reply(), reply(b"", "503 Busy"))) as server:
        transport = Transport(server.url, headers={}, timeouts=Timeouts())
        destination = HttpDestination("two", "0" * 16, BatchPolicy(), _TwoCalls(), transport)
        verdicts = deliver(destination, record(1), record(2), record(3))
    assert verdicts == ["delivered", "retry:http_503", "retry:http_503"]
    assert len(server.requests) == 2


class _Counting(CollectorFormat):
    """Counts how often a batch is written."""

    written = 0

    def write(self, payloads):  # type: ignore[no-untyped-def]
        self.written += 1
        return super().write(payloads)


def test_the_same_batch_is_written_and_compressed_once() -> None:
    """Sent again, a batch goes out as the very same bytes, without having been written again."""
    with raw_server(answering(reply(b"", "503 Busy"))) as server:
        wire_format = _Counting(None)
        transport = Transport(server.url, headers={}, timeouts=Timeouts())
        destination = HttpDestination("c", "0" * 16, BatchPolicy(), wire_format, transport)
        batch = [record(number, pad=500) for number in range(10)]
        for _ in range(3):
            with pytest.raises(DeliveryError):
                destination.deliver(batch, time.monotonic() + 5)
        destination.close()
    assert wire_format.written == 1
    assert len({request.body for request in server.requests}) == 1
    assert server.requests[0].headers["content-encoding"] == "gzip"


def test_a_request_in_flight_is_left_at_the_end(rigs: list[Shipper]) -> None:
    """The endpoint swallows: close comes back after a second, and the records are still pending (C19, C51)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        server.closing.wait(20)

    with raw_server(script) as server:
        rig, shipper = shipping(Collector(server.url).build(), rigs)
        rig.append(record(1))
        shipper.ensure_running()
        started = time.monotonic()
        assert shipper.close(2.0) is False
        assert time.monotonic() - started < 1.6
        assert shipper.health().pending == 1


def test_content_gives_way_when_a_record_is_too_big() -> None:
    """Without its content a record keeps names, times, joins and counts, and says how much was removed."""
    big = json.dumps({"role": "user", "text": "x" * 5000}).encode()
    end = RunEnd(event_id="e", timestamp="2026-01-01T00:00:00.000000Z", run_id="r", parent_run_id="p", output=Raw(big),
                 metadata=Raw(b'{"small":1}'), extra=Raw(big))  # fmt: skip
    smaller = decode(without_content(encode(end)) or b"")
    assert isinstance(smaller, RunEnd)
    assert (smaller.run_id, smaller.parent_run_id, bytes(smaller.metadata)) == ("r", "p", b'{"small":1}')
    assert f"{len(big)} bytes" in bytes(smaller.output).decode()
    assert isinstance(json.loads(bytes(smaller.extra)), dict)
    small = RunStart(event_id="e", timestamp="t", run_id="r", input=Raw(b"1"))
    assert without_content(encode(small)) is None
    assert without_content(b"nonsense") is None
    point = RunPoint(event_id="e", timestamp="t", run_id="r", label="l", data=Raw(b'{"a":"' + b"x" * 9999 + b'"}'))
    assert len(without_content(encode(point)) or b"") < 300
    assert without_content(encode(RunUpdate(event_id="e", timestamp="t", run_id="r"))) is None
