"""The transport against real sockets that behave, misbehave, drip, flood and vanish."""

from __future__ import annotations

import gzip
import logging
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from raw_server import RawServer, answering, raw_server, reply

from spanloom.errors import DeliveryError
from spanloom.shipping.transport import RESPONSE_LIMIT_BYTES, Timeouts, Transport
from spanloom.wire import Request, Response

KEY = "canary-key-5f1e"
Script = Callable[[RawServer, socket.socket, int], None]


def transport(url: str, **options: object) -> Transport:
    return Transport(url, headers={"authorization": f"Bearer {KEY}"}, timeouts=Timeouts(), **options)  # type: ignore[arg-type]


def send(url: str, body: bytes = b"{}", seconds: float = 5.0) -> Response:
    sender = transport(url)
    try:
        return sender.send(Request("POST", "/v1/runs/ingest", {}, body), time.monotonic() + seconds)
    finally:
        sender.close()


def failure(url: str, body: bytes = b"{}", seconds: float = 5.0) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(url, body, seconds)
    assert KEY not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def then_silence(data: bytes) -> Script:
    """Reads the request, sends these bytes, and then nothing more."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        connection.sendall(data)
        server.closing.wait(20)

    return script


def dripping(data: bytes) -> Script:
    """A byte every 50 ms, so that no single read ever times out."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        for byte in data * 100:
            connection.sendall(bytes([byte]))
            if server.closing.wait(0.05):
                return

    return script


def test_a_request_carries_key_and_body_and_the_answer_comes_back() -> None:
    """Method, path, key, own user agent and body arrive; status, headers and body return."""
    with raw_server(answering(reply(b'{"results":[]}', headers="X-Thing: Seven\r\n"))) as server:
        answer = send(server.url + "/base/", b'{"events":[]}')
    (request,) = server.requests
    assert request.head.startswith("POST /base/v1/runs/ingest HTTP/1.1")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("spanloom")
    assert request.body == b'{"events":[]}'
    assert (answer.status, answer.body, answer.headers["x-thing"]) == (200, b'{"results":[]}', "Seven")


def test_bodies_are_compressed_and_connections_kept() -> None:
    """A body of a kilobyte and more goes out as gzip; two requests share one connection; a small body goes as it is."""
    body = b'{"events":[' + b'{"a":1},' * 500 + b"{}]}"
    with raw_server(answering(reply())) as server:
        sender = transport(server.url)
        deadline = time.monotonic() + 5
        for each in (body, body, b"{}"):
            sender.send(Request("POST", "/x", {"content-type": "application/json"}, each), deadline)
        sender.close()
    first, second, small = server.requests
    assert first.headers["content-encoding"] == "gzip"
    assert gzip.decompress(first.body) == body
    assert first.body == second.body
    assert "content-encoding" not in small.headers
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 200 OK\r\nx-header: yes\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"],
    ids=["headers", "body"],
)
def test_a_dripping_answer_ends_at_the_deadline(data: bytes) -> None:
    """One byte at a time, in the headers or in the body, never outlives the request's deadline (C52)."""
    script = dripping(data) if b"length" not in data else drip_after(data)
    with raw_server(script) as server:
        started = time.monotonic()
        assert failure(server.url, seconds=0.6).reason == "timeout"
        assert time.monotonic() - started < 4.0


def drip_after(head: bytes) -> Script:
    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        connection.sendall(head)
        while not server.closing.wait(0.05):
            connection.sendall(b"x")

    return script


def test_endless_informational_answers_end_at_the_deadline() -> None:
    """A server that says 100 Continue for ever is cut off (C59)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        while not server.closing.wait(0.01):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with raw_server(script) as server:
        assert failure(server.url, seconds=0.6).reason == "timeout"


def test_a_server_that_never_reads_ends_at_the_deadline() -> None:
    """A connection that is accepted and never read from does not hold a large upload (C51, C52)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.closing.wait(20)

    body = bytes(range(256)) * 64 * 1024  # 16 MiB, more than the socket buffers hold
    with raw_server(script) as server:
        sender = transport(server.url, compress=False)
        with pytest.raises(DeliveryError) as caught:
            sender.send(Request("POST", "/", {}, body), time.monotonic() + 0.6)
        sender.close()
    assert caught.value.reason == "timeout"


def test_a_full_listen_queue_ends_at_the_deadline() -> None:
    """A connect that nobody completes ends at the deadline, though its own timeout is longer (C51)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            assert failure(f"http://127.0.0.1:{listener.getsockname()[1]}", seconds=0.6).reason == "timeout"
        finally:
            for filler in fillers:
                filler.close()


def test_a_refused_connection_says_so() -> None:
    """Nobody listens: the reason is `refused`, and not a pause."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(f"http://127.0.0.1:{port}")
    assert (error.reason, error.pause) == ("refused", False)
    assert "nobody listens" in str(error)


def test_an_unknown_host_says_so() -> None:
    """A name that does not resolve has the reason `dns` (C56)."""
    assert failure("http://nowhere.invalid").reason in ("dns", "timeout")


def test_a_reset_says_broken() -> None:
    """RST in the middle of the exchange is `broken`, to be tried again (C53)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_server(script) as server:
        assert failure(server.url).reason == "broken"
        assert len(server.requests) == 1  # a first request is not resent by itself


def test_a_kept_connection_that_was_closed_is_replaced_unseen() -> None:
    """The server closes an idle connection as we send: one transparent resend on a new one (C55)."""

    def script(server: RawServer, connection: socket.socket, number: int) -> None:
        server.receive(connection)
        connection.sendall(reply())
        if number == 0:
            server.receive(connection)  # the second request arrives, and is answered by closing
            return
        server.receive(connection)
        connection.sendall(reply())

    with raw_server(script) as server:
        sender = transport(server.url)
        deadline = time.monotonic() + 5
        assert sender.send(Request("POST", "/", {}, b"1"), deadline).status == 200
        assert sender.send(Request("POST", "/", {}, b"2"), deadline).status == 200
        sender.close()
    assert [request.body for request in server.requests] == [b"1", b"2", b"2"]


def test_a_redirect_is_not_followed() -> None:
    """A redirect is an answer like another; the key goes nowhere else (C60)."""
    with raw_server(answering(reply())) as elsewhere:
        location = f"Location: {elsewhere.url}/\r\n"
        with raw_server(answering(reply(b"", "307 Temporary Redirect", location))) as server:
            assert send(server.url).status == 307
        assert elsewhere.requests == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_cut_at_a_mebibyte(encoding: str) -> None:
    """A compressed answer of 200 MB gives one MiB, whatever its compression (C59)."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    bomb = b"".join(squeeze.compress(b"\0" * (1 << 20)) for _ in range(200)) + squeeze.flush()
    with raw_server(answering(reply(bomb, headers=f"content-encoding: {encoding}\r\n"))) as server:
        answer = send(server.url)
    assert len(answer.body) == RESPONSE_LIMIT_BYTES


def test_an_endless_answer_is_cut_at_a_mebibyte() -> None:
    """Endless chunks are read up to one MiB, and the connection is closed (C59)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"y" * 0x10000 + b"\r\n")

    with raw_server(script) as server:
        assert len(send(server.url).body) == RESPONSE_LIMIT_BYTES


def test_a_compressed_answer_is_read() -> None:
    """An answer in gzip is decompressed, although we ask for none; one in an unknown encoding counts as empty."""
    body = gzip.compress(b'{"results":[]}')
    with raw_server(answering(reply(body, headers="content-encoding: gzip\r\n"))) as server:
        assert send(server.url).body == b'{"results":[]}'
    with raw_server(answering(reply(b"???", headers="content-encoding: br\r\n"))) as server:
        assert send(server.url).body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"<html>502</html>",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(20_000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\noops",
        b"",
    ],
    ids=["no-http", "bad-chunk", "20k-headers", "short-body", "bad-gzip", "nothing"],
)
def test_an_answer_that_is_no_answer_is_broken(data: bytes) -> None:
    """Garbage, floods of headers, bodies cut short: `broken`, never another exception (C59, C61)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        connection.sendall(data)

    with raw_server(script) as server:
        assert failure(server.url).reason == "broken"


def test_an_early_413_is_read_although_the_body_was_not() -> None:
    """The server answers 413 and closes before it has read the body: the status counts, not the broken pipe (C61)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        connection.recv(1000)
        connection.sendall(reply(b"", "413 Payload Too Large", "connection: close\r\n"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):  # reads on a little, so that the answer is not lost to a reset
            if server.closing.wait(0.001):
                return

    with raw_server(script) as server:
        sender = transport(server.url, compress=False)
        assert sender.send(Request("POST", "/", {}, b"z" * (4 << 20)), time.monotonic() + 5).status == 413
        sender.close()


def test_http_1_0_and_closing_servers_are_served() -> None:
    """HTTP/1.0 with a body up to the end of the connection, each time anew (C61)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")

    with raw_server(script) as server:
        sender = transport(server.url)
        deadline = time.monotonic() + 5
        assert [sender.send(Request("POST", "/", {}, b"1"), deadline).body for _ in range(3)] == [b"{}"] * 3
        sender.close()
    assert len(server.connections) == 3


def test_a_key_that_is_no_header_pauses_and_is_not_quoted() -> None:
    """A key with a line break cannot be sent; the error says so without it (C89, C92)."""
    with raw_server(answering(reply())) as server:
        sender = Transport(server.url, headers={"authorization": f"Bearer {KEY}\r\nx: y"}, timeouts=Timeouts())
        with pytest.raises(DeliveryError) as caught:
            sender.send(Request("POST", "/", {}, b"{}"), time.monotonic() + 5)
        sender.close()
    assert (caught.value.reason, caught.value.pause) == ("unsendable", True)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_broken_proxy_setting_is_an_error_and_no_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed proxy in the environment pauses with the names of the variables; nothing goes out directly (C58)."""
    with raw_server(answering(reply())) as server:
        monkeypatch.setenv("ALL_PROXY", "foo://127.0.0.1:1")
        monkeypatch.delenv("NO_PROXY", raising=False)
        error = failure(server.url)
    assert (error.reason, error.pause) == ("proxy", True)
    assert "ALL_PROXY" in str(error)
    assert server.requests == []


def test_a_proxied_connection_has_the_deadline_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that drips is cut off like an endpoint that does."""
    with raw_server(dripping(b"HTTP/1.1 200 OK\r\nx-header: yes\r\n")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert failure("http://spanloom.invalid", seconds=0.6).reason == "timeout"
        assert proxy.requests[0].head.startswith("POST http://spanloom.invalid/")


def test_the_hosts_log_hears_nothing_of_our_requests(caplog: pytest.LogCaptureFixture) -> None:
    """httpx and httpcore log each request at DEBUG and INFO: not ours, and still everybody else's (C41, C89)."""
    import httpx

    caplog.set_level(logging.DEBUG)
    with raw_server(answering(reply())) as server:
        send(server.url)
        assert [record for record in caplog.records if record.name.startswith("http")] == []
        httpx.get(server.url)
    assert [record for record in caplog.records if record.name == "httpx"]


def test_no_span_is_made_of_our_requests() -> None:
    """While a request is out, OpenTelemetry's context tells every instrumentation to keep still (C95)."""
    from opentelemetry import context

    seen: list[object] = []

    class Watching(Transport):
        def _exchange(self, request: Request, deadline: float, compress: bool) -> Response:
            seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
            seen.append(context.get_value("suppress_instrumentation"))
            return super()._exchange(request, deadline, compress)

    with raw_server(answering(reply())) as server:
        sender = Watching(server.url, headers={}, timeouts=Timeouts())
        sender.send(Request("POST", "/", {}, b"{}"), time.monotonic() + 5)
        sender.close()
    assert seen == [True, True]
    assert context.get_value("suppress_instrumentation") is None


def test_no_key_shows_in_a_repr() -> None:
    """Neither the transport nor a request shows what its headers hold (C89)."""
    request = Request("POST", "/", {"authorization": KEY}, KEY.encode())
    assert KEY not in repr(transport("http://127.0.0.1:1")) + repr(request)


def sole_stream(sender: Transport) -> int:
    """The descriptor of the one connection that is kept."""
    (stream,) = [each for each in sender._clock.streams if each._socket.fileno() >= 0]
    descriptor: int = stream._socket.fileno()
    return descriptor


def test_a_descriptor_that_became_the_hosts_is_left_alone(tmp_path: Path) -> None:
    """A sweep of descriptors closes our socket, and the host's file gets its number: we neither write into it nor close
    it, and the request goes out on a new connection (C26)."""
    with raw_server(answering(reply())) as server:
        sender = transport(server.url)
        sender.send(Request("POST", "/", {}, b"1"), time.monotonic() + 5)
        number = sole_stream(sender)
        with open(tmp_path / "hosts", "wb") as file:
            os.dup2(file.fileno(), number)  # closes ours and takes its number
            assert sender.send(Request("POST", "/", {}, b"2"), time.monotonic() + 5).status == 200
            sender.close()
            os.write(number, b"the host's own")
            os.close(number)
        assert (tmp_path / "hosts").read_bytes() == b"the host's own"
    assert [request.body for request in server.requests] == [b"1", b"2"]


def test_a_descriptor_that_was_only_closed_is_replaced() -> None:
    """A sweep without reuse: one new connection, no failure (C26)."""
    with raw_server(answering(reply())) as server:
        sender = transport(server.url)
        sender.send(Request("POST", "/", {}, b"1"), time.monotonic() + 5)
        os.close(sole_stream(sender))
        assert sender.send(Request("POST", "/", {}, b"2"), time.monotonic() + 5).status == 200
        sender.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_lets_go_of_the_connection_and_the_parent_keeps_it() -> None:
    """The child closes its copy of the descriptor and says nothing on it; the parent goes on, on the same connection
    (C24)."""
    with raw_server(answering(reply())) as server:
        sender = transport(server.url)
        sender.send(Request("POST", "/", {}, b"1"), time.monotonic() + 5)
        number = sole_stream(sender)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sender.forget()
                try:
                    os.fstat(number)
                except OSError:
                    code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert sender.send(Request("POST", "/", {}, b"2"), time.monotonic() + 5).status == 200
        sender.close()
    assert len(server.connections) == 1
