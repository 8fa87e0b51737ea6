"""Transport: one HTTP request out, one bounded answer back, within one deadline. The only door to httpx.

Theory of operation. httpx bounds each socket operation, not their sum: an endpoint that sends one byte before each
read timeout holds a request for ever, in its headers as well as in its body. So every connection's network stream is
wrapped: each read, write and handshake gets the lesser of its own timeout and what is left until the request's
deadline. The response is read raw and decompressed here, at most 1 MiB, so that a bomb costs what it may.

Promises: redirects are not followed, so a key goes where it was meant to and nowhere else; certificates are always
verified; what the environment says about proxies is obeyed, and a proxy setting that cannot be is an error, never a
way around it. No key appears in a repr, a log line or an exception. Tracing tools that watch httpx see nothing of us.
Raises `DeliveryError` only. Never sleeps, never retries, except once on a kept-alive connection that was closed under
the request.
"""

from __future__ import annotations

import codecs
import gzip
import logging
import os
import socket
import ssl
import sys
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import DeliveryError
from ..wire import Request, Response
from .importing import import_unseen

if TYPE_CHECKING:
    import httpx

RESPONSE_LIMIT_BYTES = 1 << 20
_WRITE_SLICE_BYTES = 1 << 16
_GZIP_FROM_BYTES = 1024
_QUIET_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks")

_ours: ContextVar[bool] = ContextVar("spanloom_sending", default=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds, for single socket operations; the whole request has the deadline that `Transport.send` gets."""

    connect: float = 3.0
    read: float = 10.0
    write: float = 10.0
    pool: float = 1.0


Sign = Callable[[Request, str], Mapping[str, str]]
"""Headers for one attempt at a request, from the request and its whole path on the server."""


class Transport:
    """Sends requests to one base URL, one at a time, on a connection of its own that it keeps alive."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        compress: bool = True,
        keep_alive: bool = True,
        sign: Sign | None = None,
    ) -> None:
        """``keep_alive`` False: a connection for each request, so that none is ever repeated on a new one by itself.
        ``sign`` gives the headers that authorize one attempt; it is asked again for every attempt."""
        self.base_url = base_url.rstrip("/")
        self.keep_alive = keep_alive
        self._sign = sign
        self.timeouts = timeouts
        self.compress = compress
        self._headers = dict(headers)
        self._client: httpx.Client | None = None
        self._tls: list[ssl.SSLContext] = []
        self._clock = _Deadline()
        self._gzipped: tuple[bytes, bytes] = (b"", b"")

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def another(self) -> Transport:
        """The like of this one, with a connection of its own, for another thread. The certificates, which cost 20 ms
        to load, are read once for both."""
        made = Transport(
            self.base_url, headers=self._headers, timeouts=self.timeouts, compress=self.compress,
            keep_alive=self.keep_alive, sign=self._sign,
        )  # fmt: skip
        made._tls = self._tls
        return made

    def prepare(self) -> None:
        """Import httpx and build the client: 90 to 160 ms the first time, nothing after."""
        if self._client is None:
            self._client = _client(self._headers, self.timeouts, self._clock, self._tls, keep_alive=self.keep_alive)

    def send(self, request: Request, deadline: float, *, compress: bool = True) -> Response:
        """The answer to one request, of any status. ``deadline`` is in monotonic seconds.

        Raises DeliveryError when there was no answer: its ``reason`` is one of refused, dns, tls, timeout, broken,
        proxy, unsendable, network.
        """
        with _silence():
            self._clock.at = deadline
            connections = self._clock.connections
            try:
                return self._exchange(request, deadline, compress)
            except DeliveryError as error:
                # A server may close a kept-alive connection just as we send on it; that says nothing about its health.
                reused = self._clock.connections == connections
                if error.reason != "broken" or not reused or time.monotonic() >= deadline:
                    raise
            return self._exchange(request, deadline, compress)

    def forget(self) -> None:
        """In a forked child: the parent's connection is not used, and our copy of its descriptor is closed, which
        says nothing to the peer. Called in the fork hook, before anyone can have put the number to another use."""
        streams, self._clock = list(self._clock.streams), _Deadline()
        self._client = None
        self._tls.clear()
        for stream in streams:
            stream.let_go()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            with _silence():
                client.close()

    def _exchange(self, request: Request, deadline: float, compress: bool) -> Response:
        _load_httpx()
        import httpx

        body, headers = request.body, dict(request.headers)
        if compress and self.compress and len(body) >= _GZIP_FROM_BYTES:
            body = self._compressed(body)
            headers["content-encoding"] = "gzip"
        if self._sign is not None:
            headers.update(self._sign(request, urlsplit(self.base_url).path + request.path))
        try:
            self.prepare()
            assert self._client is not None
            url = self.base_url + request.path
            with self._client.stream(request.method, url, headers=headers, content=body) as answer:
                return _read(answer, deadline)
        except DeliveryError:
            raise
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            message = f"{self.base_url} did not answer in time"
            raise DeliveryError(message, reason="timeout", in_doubt=()) from None
        except httpx.TimeoutException:
            raise DeliveryError(f"{self.base_url} did not answer in time", reason="timeout") from None
        except httpx.ConnectError as error:
            raise _not_connected(self.base_url, error) from None
        except (httpx.LocalProtocolError, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            # Its text may quote a header, which may hold the key.
            message = f"{self.base_url}: not a request that can be sent ({type(error).__name__}): check url and key"
            raise DeliveryError(message, reason="unsendable", pause=True) from None
        except httpx.ProxyError:
            raise DeliveryError(f"{self.base_url}: the proxy refused the connection", reason="proxy") from None
        except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError) as error:
            message = f"{self.base_url} broke the connection off ({type(error).__name__})"
            raise DeliveryError(message, reason="broken") from None
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            raise DeliveryError(f"{self.base_url}: {type(error).__name__}", reason="network") from None

    def _compressed(self, body: bytes) -> bytes:
        """Level 1 (11 ms a megabyte, a fifth of level 6), made once for a body however often it is sent."""
        if self._gzipped[0] is not body and self._gzipped[0] != body:
            self._gzipped = (body, gzip.compress(body, 1, mtime=0))
        return self._gzipped[1]


class _Deadline:
    """The deadline of the request in flight, which every stream of the client looks at; counts connections."""

    def __init__(self) -> None:
        self.at = 0.0
        self.connections = 0
        self.streams: weakref.WeakSet[_Stream] = weakref.WeakSet()

    def left(self, timeout: float | None) -> float:
        """The seconds that one socket operation may take; never 0, which would mean non-blocking."""
        rest = self.at - time.monotonic()
        return max(0.001, rest if timeout is None else min(timeout, rest))

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.at


def _load_httpx() -> None:
    """The package, without its command line program: that loads rich, which draws a number from the host's own
    `random` when it is loaded, and costs 38 ms of processor time."""
    there = "httpx" in sys.modules
    package = import_unseen("httpx", without="httpx._main")
    if not there and "httpx._main" not in sys.modules:
        package.main = _main  # type: ignore[attr-defined]


def _main(*args: Any, **kwargs: Any) -> Any:
    """What the host would have had as ``httpx.main``, loaded when it is called."""
    from httpx import _main as program

    return program.main(*args, **kwargs)


def _client(
    headers: Mapping[str, str], timeouts: Timeouts, clock: _Deadline, tls: list[ssl.SSLContext], *, keep_alive: bool
) -> httpx.Client:
    """``tls``: the context, once it is made, for all who share it."""
    _load_httpx()
    import httpx

    codecs.lookup("idna")  # which connecting would import, at the first request
    _quieten()
    try:
        if not tls:
            tls.append(httpx.create_ssl_context())
        client = httpx.Client(
            verify=tls[0],
            headers={"user-agent": "spanloom-python", "accept-encoding": "identity", **headers},
            follow_redirects=False,
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool
            ),
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=int(keep_alive), keepalive_expiry=30.0),
        )
    except (ValueError, TypeError, ImportError, OSError, httpx.InvalidURL) as error:
        message = (
            f"the proxy or certificate settings of the environment cannot be used ({type(error).__name__}): "
            "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE"
        )
        raise DeliveryError(message, reason="proxy", pause=True) from None
    _bound(client, clock)
    return client


def _bound(client: httpx.Client, clock: _Deadline) -> None:
    """Put the deadline under every connection that the client will make, proxied ones included.

    httpcore takes a network backend as a public argument; httpx has no way to hand one on, hence the private names.
    The tests that drip headers fail if a new version moves them.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend, clock)


class _Backend:
    """A network backend (httpcore's protocol) whose connections end at the deadline."""

    def __init__(self, inner: Any, clock: _Deadline) -> None:
        self._inner, self._clock = inner, clock

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _Stream:
        self._clock.connections += 1
        stream = self._inner.connect_tcp(host, port, timeout=self._clock.left(timeout), **options)
        return _Stream(stream, self._clock)

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> _Stream:
        self._clock.connections += 1
        stream = self._inner.connect_unix_socket(path, timeout=self._clock.left(timeout), **options)
        return _Stream(stream, self._clock)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream:
    """A network stream (httpcore's protocol) that raises httpcore's timeouts at the deadline.

    It also knows its socket again. A host that sweeps descriptors (daemons do) closes ours behind our back, and the
    number may be a file or a socket of the host's by the time we write or close: so each first looks whose it is.
    """

    def __init__(self, inner: Any, clock: _Deadline) -> None:
        self._inner, self._clock = inner, clock
        self._socket = inner.get_extra_info("socket")
        self._identity = _identity(self._socket)
        clock.streams.add(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._clock.over:
            import httpcore

            raise httpcore.ReadTimeout("deadline")
        data: bytes = self._inner.read(max_bytes, timeout=self._clock.left(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        import httpcore

        if not self._is_ours():
            raise httpcore.ReadError("the connection's descriptor was closed by someone else")
        view = memoryview(buffer)
        for start in range(0, len(view), _WRITE_SLICE_BYTES):
            if self._clock.over:
                raise httpcore.WriteTimeout("deadline")
            self._inner.write(bytes(view[start : start + _WRITE_SLICE_BYTES]), timeout=self._clock.left(timeout))

    def close(self) -> None:
        if self._is_ours():
            self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._clock.left(timeout)), self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def let_go(self) -> None:
        """Close the descriptor alone: no farewell on the wire, no lock, no warning of an unclosed socket."""
        if self._is_ours() and self._socket is not None:
            try:
                os.close(self._socket.detach())
            except OSError:
                pass

    def _is_ours(self) -> bool:
        """Whether the number still stands for our socket; if not, the socket object forgets it."""
        if self._identity is None or _identity(self._socket) == self._identity:
            return True
        self._socket.detach()
        return False


def _identity(sock: Any) -> tuple[int, int] | None:
    """Device and inode of a socket's descriptor; None when there is none."""
    try:
        stat = os.fstat(sock.fileno())
    except (AttributeError, OSError, ValueError):
        return None
    return stat.st_dev, stat.st_ino


def _read(answer: httpx.Response, deadline: float) -> Response:
    """Status, headers, and at most 1 MiB of body, decompressed; what lies beyond is left on the wire."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    encoding = headers.get("content-encoding", "identity").strip().lower()
    body = bytearray()
    for chunk in _decoded(answer.iter_raw(), encoding):
        body += chunk[: RESPONSE_LIMIT_BYTES - len(body)]
        if len(body) >= RESPONSE_LIMIT_BYTES:
            break
        if time.monotonic() >= deadline:
            raise DeliveryError("the answer did not end in time", reason="timeout")
    return Response(answer.status_code, headers, bytes(body))


def _decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Decompressed pieces, none of them beyond the limit. An encoding we never asked for yields nothing."""
    if encoding in ("identity", ""):
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for chunk in chunks:
        try:
            yield inflater.decompress(chunk, RESPONSE_LIMIT_BYTES)
        except zlib.error:
            raise DeliveryError("the answer's compression is broken", reason="broken") from None
        if inflater.eof or inflater.unconsumed_tail:
            return


_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""What the several OpenSSLs call an answer in plain HTTP."""


def _not_connected(base_url: str, error: BaseException) -> DeliveryError:
    """Which of the ways not to connect it was, from the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            message = f"{base_url} does not speak TLS ({cause.reason}): is its address one with http://?"
            return DeliveryError(message, reason="tls")
        if isinstance(cause, ssl.SSLError):
            message = f"{base_url}: its certificate or TLS version was not accepted ({cause.reason})"
            # A certificate that does not verify wants a person; a handshake that broke is the network's.
            return DeliveryError(message, reason="tls", pause=isinstance(cause, ssl.SSLCertVerificationError))
        if isinstance(cause, socket.gaierror):
            return DeliveryError(f"{base_url}: no such host ({cause.strerror})", reason="dns")
        if isinstance(cause, ConnectionRefusedError):
            return DeliveryError(f"{base_url} refused the connection: nobody listens there", reason="refused")
        cause = cause.__cause__ or cause.__context__
    return DeliveryError(f"{base_url}: no connection", reason="network")


class _NotOurs(logging.Filter):
    """Keeps the lines that httpx and httpcore write about our own requests out of the host's logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _ours.get()


_not_ours = _NotOurs()


def _quieten() -> None:
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).addFilter(_not_ours)  # adding it again changes nothing


@contextmanager
def _silence() -> Iterator[None]:
    """Nobody traces our own request: no span, no log line."""
    sending = _ours.set(True)
    telemetry = sys.modules.get("opentelemetry.context")  # only a host that has loaded it can have instrumented httpx
    token = None
    if telemetry is not None:
        token = telemetry.attach(_suppressed(telemetry))
    try:
        yield
    finally:
        if token is not None and telemetry is not None:
            telemetry.detach(token)
        _ours.reset(sending)


def _suppressed(telemetry: Any) -> Any:
    """The host's context with every key set by which instrumentations have been told to keep still."""
    context = telemetry.get_current()
    for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY"):
        key = getattr(telemetry, name, None)
        if key is not None:
            context = telemetry.set_value(key, True, context)
    return telemetry.set_value("suppress_instrumentation", True, context)
