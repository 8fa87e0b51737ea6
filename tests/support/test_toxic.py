"""The proxy itself: each fault happens on the socket, is counted, and ends when it is cleared."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from support import toxic as toxics
from support.oracle import Oracle
from support.toxic import Toxic

BODY = b'{"events": [{"event": "start", "runId": "a", "timestamp": "2026-01-01T00:00:00Z"}]}'


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle() as running:
        yield running


@pytest.fixture
def toxic(oracle: Oracle) -> Iterator[Toxic]:
    with Toxic(oracle.port) as running:
        yield running


def post(toxic: Toxic, timeout_seconds: float = 5.0) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", toxic.port, timeout=timeout_seconds)
    try:
        connection.request("POST", "/v1/runs/ingest", BODY)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_healthy_passes_requests_on(toxic: Toxic) -> None:
    """Without a fault it is only a proxy, and nothing has fired."""
    assert post(toxic) == 200
    assert not toxic.fired


def test_refuse_and_recover_on_the_same_port(toxic: Toxic) -> None:
    """A refused connect is ECONNREFUSED at once; after clear() the same port answers again."""
    toxic.use(toxics.refuse())
    with pytest.raises(ConnectionRefusedError):
        post(toxic)
    toxic.clear()
    assert post(toxic) == 200


def test_blackhole_accepts_and_says_nothing(toxic: Toxic) -> None:
    """The connect succeeds, no byte comes back."""
    toxic.use(toxics.blackhole())
    with pytest.raises(TimeoutError):
        post(toxic, 0.2)
    assert toxic.fired["blackhole"] == 1


def test_blackhole_silences_a_connection_that_is_open(toxic: Toxic) -> None:
    """Switching at run time reaches a kept-alive connection; clearing resets it, because its bytes are gone."""
    connection = http.client.HTTPConnection("127.0.0.1", toxic.port, timeout=0.3)
    connection.request("POST", "/v1/runs/ingest", BODY)
    connection.getresponse().read()
    toxic.use(toxics.blackhole())
    connection.request("POST", "/v1/runs/ingest", BODY)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    toxic.clear()
    assert connection.sock is not None
    with pytest.raises(ConnectionResetError):
        connection.sock.recv(1)
    connection.close()


def test_no_accept_lets_a_connect_hang(toxic: Toxic) -> None:
    """With the listen queue full a SYN gets no answer."""
    toxic.use(toxics.no_accept())
    with socket.socket() as probe:
        probe.settimeout(0.3)
        with pytest.raises(TimeoutError):
            probe.connect(("127.0.0.1", toxic.port))
    toxic.clear()
    assert post(toxic) == 200


def test_drop_response_commits_and_resets(oracle: Oracle, toxic: Toxic) -> None:
    """The server has the event, the client has an error: a lost acknowledgement, as often as asked."""
    before = len(oracle.log.exchanges())
    toxic.use(toxics.drop_response(times=2))
    for _ in range(2):
        with pytest.raises(ConnectionError):
            post(toxic)
    assert post(toxic) == 200
    assert toxic.fired["drop_response"] == 2
    assert len(oracle.log.exchanges()) == before + 3


def test_reset_after_keeps_the_request_from_the_server(oracle: Oracle, toxic: Toxic) -> None:
    """RST in the middle of a request: neither end completes it."""
    before = len(oracle.log.exchanges())
    toxic.use(toxics.reset_after(50, times=1))
    with pytest.raises(ConnectionError):
        post(toxic)
    assert toxic.fired["reset_after"] == 1
    assert len(oracle.log.exchanges()) == before
    assert post(toxic) == 200


def test_half_close_ends_without_an_answer(toxic: Toxic) -> None:
    """FIN instead of a response."""
    toxic.use(toxics.half_close(times=1))
    with pytest.raises(http.client.RemoteDisconnected):
        post(toxic)
    assert toxic.fired["half_close"] == 1


def test_truncate_and_corrupt_break_the_response(toxic: Toxic) -> None:
    """A response that stops early, and one that is no HTTP."""
    toxic.use(toxics.truncate_response(150, times=1))
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, http.client.BadStatusLine)):
        post(toxic)
    toxic.use(toxics.corrupt(times=1))
    with pytest.raises(http.client.BadStatusLine):
        post(toxic)
    assert toxic.fired == {"truncate_response": 1, "corrupt": 1}


def test_slow_drip_gives_a_byte_at_a_time_until_cleared(toxic: Toxic) -> None:
    """At one byte a second hardly anything has come after a moment; cleared, the rest comes at once."""
    toxic.use(toxics.slow_drip(1))
    with socket.create_connection(("127.0.0.1", toxic.port), timeout=5) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(1000) == b"H"
        toxic.clear()
        rest = b""
        while not rest.endswith(b"{}"):
            rest += raw.recv(1000)
    assert rest.startswith(b"TTP/1.1 200")
    assert toxic.fired["slow_drip"] >= 1


@pytest.mark.parametrize("fault", [toxics.latency(0.05), toxics.bandwidth(100_000)], ids=lambda fault: fault.kind)
def test_slowness_changes_nothing_but_time(toxic: Toxic, fault: toxics.Fault) -> None:
    """Latency and bandwidth let everything through."""
    toxic.use(fault)
    assert post(toxic) == 200
    assert toxic.fired[fault.kind] >= 1
