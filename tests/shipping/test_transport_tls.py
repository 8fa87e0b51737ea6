"""The transport over TLS: certificates are verified, always, and the deadline holds inside the encryption too."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from raw_server import RawServer, raw_server, reply

from spanloom.errors import DeliveryError
from spanloom.shipping.transport import Timeouts, Transport
from spanloom.wire import Request, Response

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=spanloom test",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder


def encrypted(folder: Path, *, silent: bool = False):  # type: ignore[no-untyped-def]
    """Answers 200 over TLS, or drips a header byte by byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            while True:
                server.receive(tls)
                if not silent:
                    tls.sendall(reply())
                    continue
                while not server.closing.wait(0.05):
                    tls.sendall(b"H")

    return script


def send(server: RawServer, seconds: float = 5.0) -> Response:
    sender = Transport(f"https://127.0.0.1:{server.port}", headers={}, timeouts=Timeouts())
    try:
        return sender.send(Request("POST", "/", {}, b"{}"), time.monotonic() + seconds)
    finally:
        sender.close()


def test_a_certificate_that_does_not_verify_pauses(certificate: Path) -> None:
    """Self-signed: nothing is sent, a person is needed, and there is no way around it (C57)."""
    with raw_server(encrypted(certificate)) as server:
        with pytest.raises(DeliveryError) as caught:
            send(server)
        assert server.requests == []
    assert (caught.value.reason, caught.value.pause) == ("tls", True)
    assert "certificate" in str(caught.value)


def test_a_certificate_that_the_user_trusts_is_accepted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE names the authority, as everywhere."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with raw_server(encrypted(certificate)) as server:
        assert send(server).status == 200


def test_the_deadline_holds_inside_the_encryption(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dripping header over TLS ends at the deadline like any other (C52)."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with raw_server(encrypted(certificate, silent=True)) as server:
        with pytest.raises(DeliveryError) as caught:
            send(server, seconds=0.8)
        assert len(server.requests) == 1
    assert caught.value.reason == "timeout"


def test_a_handshake_that_nobody_answers_ends_at_the_deadline() -> None:
    """The server accepts and stays silent (C21, C51)."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.closing.wait(20)

    with raw_server(script) as server, pytest.raises(DeliveryError) as caught:
        send(server, seconds=0.6)
    assert caught.value.reason == "timeout"


def test_a_server_that_speaks_no_tls_says_tls() -> None:
    """Plain HTTP behind an https:// address: the reason is `tls`, and it is tried again."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        connection.recv(1000)
        connection.sendall(reply())

    with raw_server(script) as server, pytest.raises(DeliveryError) as caught:
        send(server)
    assert (caught.value.reason, caught.value.pause) == ("tls", False)


def test_a_missing_certificate_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE names nothing: a pause that names the variable, never an unverified connection (C57)."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        server.receive(connection)

    with raw_server(script) as server, pytest.raises(DeliveryError) as caught:
        send(server)
    assert caught.value.pause and server.requests == []


def test_https_for_an_http_address_says_so() -> None:
    """A server that answers the handshake in plain HTTP: the message asks whether http:// was meant."""

    def plain(server: RawServer, connection: socket.socket, _: int) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with raw_server(plain) as server:
        transport = Transport(server.url.replace("http://", "https://"), headers={}, timeouts=Timeouts())
        with pytest.raises(DeliveryError, match=r"does not speak TLS .*is its address one with http://") as caught:
            transport.send(Request("POST", "/"), time.monotonic() + 10)
        transport.close()
    assert caught.value.reason == "tls" and not caught.value.pause
