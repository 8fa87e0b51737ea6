"""What strangers send to a collector, each with what must come of it.

Promise: one table for the tests and for `benchmarks/attacks.py`. An attack raises AssertionError when it was answered
otherwise than it should be; those that hold connections open hold them until the block is left.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx

from .serving import Serving

_HEAD = b"POST /v1/runs/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_GZIP = {"content-type": "application/json", "content-encoding": "gzip"}
Attack = Callable[[Serving], Any]


def packed(body: bytes, times: int = 1) -> bytes:
    """gzip of ``body`` repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(body) for _ in range(times)) + packer.flush()


def end(number: int, size_bytes: int) -> bytes:
    """A good event with an output of this size."""
    text = b"x" * size_bytes
    return b'{"event":"end","runId":"r%d","timestamp":"2026-01-31T12:00:00Z","output":"%s"}' % (number, text)


def events(*items: bytes) -> bytes:
    """A body of these events."""
    return b'{"events":[' + b",".join(items) + b"]}"


def body_of(status: int, body: bytes, at_once: int = 1) -> Attack:
    """Post one compressed body, perhaps many times at once: the status, or 503 for those that are too many."""

    def attack(serving: Serving) -> None:
        def post(_: int) -> int:
            url = f"{serving.url}/v1/runs/ingest"
            return httpx.post(url, content=body, headers=_GZIP, timeout=120, trust_env=False).status_code

        with ThreadPoolExecutor(at_once) as pool:
            got = list(pool.map(post, range(at_once)))
        assert status in got and set(got) <= ({status, 503} if at_once > 1 else {status}), got

    return attack


def exchange(serving: Serving, request: bytes) -> bytes:
    """Send bytes as they are; all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", serving.port), timeout=60) as talking:
        answer = b""
        try:
            talking.sendall(request)
            while chunk := talking.recv(65536):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


def bytes_of(status: bytes, request: bytes) -> Attack:
    """Send bytes as they are: the first answer has this status, and nothing smuggled behind it is answered 200."""

    def attack(serving: Serving) -> None:
        answer = exchange(serving, request)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        assert answer.count(b"HTTP/1.1 200") <= status.count(b"200")

    return attack


@contextmanager
def held(serving: Serving, first: bytes, count: int) -> Iterator[list[socket.socket]]:
    """This many connections that have sent so much and then say nothing."""
    with ExitStack() as stack:
        talking = []
        for _ in range(count):
            one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            one.settimeout(30)
            one.connect(("127.0.0.1", serving.port))
            try:
                one.sendall(first)
            except OSError:  # cut off already, to make room
                pass
            talking.append(one)
        yield talking


BODIES: dict[str, Attack] = {
    "a bomb of 100 MB": body_of(413, packed(b" " * (1 << 20), 100)),
    "sixteen bombs at once": body_of(413, packed(b" " * (1 << 20), 100), at_once=16),
    "the largest good body": body_of(200, packed(events(*(end(number, 2000) for number in range(9_900))))),
    "sixteen large good bodies": body_of(200, packed(events(*(end(n, 2000) for n in range(2_200)))), at_once=16),
    "too many events": body_of(413, packed(events(*[b"{}"] * 20_000))),
    "300,000 keys": body_of(400, packed(events(b"{" + b",".join(b'"k%d":1' % n for n in range(299_000)) + b"}"))),
    "keys, sixteen at once": body_of(
        400, packed(events(b"{" + b",".join(b'"k%d":1' % n for n in range(299_000)) + b"}")), at_once=16
    ),
    "10,000,000 values": body_of(413, packed(events(b"[" + b"1," * 10_000_000 + b"1]"))),
    "one event of 23 MB, four bytes a letter": body_of(
        400, packed(events(end(1, 23 << 20).replace(b"x", "\U0001f600".encode(), 1)))
    ),
    "a key of 7 MB": body_of(400, packed(events(b'{"' + b"k" * (7 << 20) + b'":1}'))),
    "100,000 levels": body_of(400, packed(b"[" * 100_000)),
    "a number of 5,000 digits": body_of(400, packed(events(b'{"event":"end","runId":"a","output":' + b"9" * 5000))),
}  # fmt: skip

FRAMING: dict[str, Attack] = {
    "100 MB announced": bytes_of(b"413", _HEAD + b"Content-Length: 104857600\r\n\r\n{"),
    "a negative length": bytes_of(b"400", _HEAD + b"Content-Length: -1\r\n\r\n{}"),
    "two lengths": bytes_of(b"400", _HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "length and chunks": bytes_of(
        b"400", _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
        b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ),
    "a coding that is none": bytes_of(b"400", _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "a chunk that is no number": bytes_of(b"400", _HEAD + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n"),
    "a space before the colon": bytes_of(b"400", b"GET /v1/health HTTP/1.1\r\nHost : localhost\r\n\r\n"),
    "a folded header": bytes_of(b"421", b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n evil\r\n\r\n"),
    "a bare carriage return": bytes_of(b"400", b"GET /v1/health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n"),
    "two hosts": bytes_of(b"400", b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
    "another host by its target": bytes_of(b"421", b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "HTTP/1.0 without a host": bytes_of(b"421", b"GET /v1/health HTTP/1.0\r\n\r\n"),
    "HTTP/2 by prior knowledge": bytes_of(b"421", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "an endless head": bytes_of(b"400", b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000),
    "a thousand headers": bytes_of(b"431", b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    "an endless target": bytes_of(b"414", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "TLS": bytes_of(b"400", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
}  # fmt: skip

CROWDS: dict[str, tuple[bytes, int]] = {
    "2,000 silent connections": (b"", 2000),
    "2,000 half heads": (b"GET /v1/health HTTP/1.1\r\nHost: loc", 2000),
    "2,000 half bodies": (_HEAD + b'Content-Length: 1000\r\n\r\n{"events":[', 2000),
    "500 half bodies of 64 KB": (_HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * (64 << 10), 500),
}
