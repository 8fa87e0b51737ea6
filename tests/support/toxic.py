"""A TCP proxy that breaks connections on purpose: refuse, swallow, delay, cut, reset, drip, and lose the answer.

    with Toxic(oracle.port) as toxic:
        toxic.use(drop_response(times=3))
        ...                                   # a program sends to toxic.url
        assert toxic.fired["drop_response"] == 3

Theory of operation. One event loop in a thread of its own carries every connection as two pumps, one for each way.
The fault in force is read at each connection and again at each chunk, so that `use` and `clear` act at once, also on
connections that are open. A fault counts in `fired` when it has done its harm, not when it was asked for; a test that
asserts on that count cannot pass because nothing was injected. A fault with ``times`` turns itself off after that many.

Promise: faults happen on real sockets, between a program and a server that both know nothing of it. Never alters
bytes unless asked to, never outlives its block.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

_CHUNK_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


@dataclass(frozen=True)
class Fault:
    """One way to go wrong. Made by the functions below; ``amount`` is in the unit that the function names."""

    kind: str
    amount: float = 0.0
    times: int | None = None
    every: int = 1
    """Does its harm at each n-th opportunity, beginning with the first."""


HEALTHY = Fault("healthy")


def refuse() -> Fault:
    """Connections are refused (ECONNREFUSED); open ones are reset."""
    return Fault("refuse")


def no_accept() -> Fault:
    """The listen queue is full: SYNs are dropped, a connect hangs."""
    return Fault("no_accept")


def blackhole() -> Fault:
    """Connections are accepted, nothing is ever read or answered; open ones go silent."""
    return Fault("blackhole")


def latency(seconds: float) -> Fault:
    """Each chunk, both ways, comes this much later."""
    return Fault("latency", seconds)


def bandwidth(bytes_per_second: float) -> Fault:
    """Requests pass no faster than this."""
    return Fault("bandwidth", bytes_per_second)


def slow_drip(bytes_per_second: float = 1.0) -> Fault:
    """Responses come a byte at a time, this many in a second."""
    return Fault("slow_drip", bytes_per_second)


def reset_after(request_bytes: int, times: int | None = None) -> Fault:
    """RST to both ends once this many bytes of a connection's requests have passed."""
    return Fault("reset_after", request_bytes, times)


def half_close(times: int | None = None) -> Fault:
    """FIN to the client as soon as its request has come; the request is not passed on, nothing is answered."""
    return Fault("half_close", 0, times)


def truncate_response(response_bytes: int, times: int | None = None) -> Fault:
    """The response ends after this many bytes."""
    return Fault("truncate_response", response_bytes, times)


def drop_response(times: int | None = None, every: int = 1) -> Fault:
    """The request is passed on and answered; the answer is thrown away and the client gets RST (a lost ack)."""
    return Fault("drop_response", 0, times, every)


def corrupt(times: int | None = None) -> Fault:
    """The bits of each response are turned over, but for the ends of lines: noise that a reader tries to read."""
    return Fault("corrupt", 0, times)


class Toxic:
    """A proxy on a free port of 127.0.0.1 before the server at ``upstream_port``. Starts healthy."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.fired: Counter[str] = Counter()
        self.connections = 0
        self._fault = HEALTHY
        self._left: int | None = None
        self._chances = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fillers: list[socket.socket] = []
        self._server: asyncio.Server | None = None
        self._idle_socket: socket.socket | None = None
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="toxic", daemon=True)
        self._thread.start()
        self.port = 0
        self._call(self._listen())
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Toxic:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def use(self, fault: Fault) -> None:
        """Put this fault in force, for open connections too."""
        self._call(self._use(fault))

    def clear(self) -> None:
        """Be a healthy proxy from now on. Connections that a fault has silenced are reset."""
        self._call(self._use(HEALTHY))

    def cut(self) -> None:
        """Reset every open connection, once."""
        self._call(self._cut())

    def close(self) -> None:
        """Reset what is open, stop listening, end the thread."""
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    # The listening end.

    async def _use(self, fault: Fault) -> None:
        before, self._fault, self._left = self._fault, fault, fault.times
        self._chances = 0
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.kind in ("refuse", "no_accept"):
            await self._stop_listening(backlog_full=fault.kind == "no_accept")
            await self._cut()
        elif before.kind in ("refuse", "no_accept"):
            await self._listen()
        elif before.kind == "blackhole":
            await self._cut()

    async def _listen(self) -> None:
        self._release()
        self._server = await asyncio.start_server(self._accept, sock=_bound(self.port), limit=_CHUNK_BYTES, backlog=128)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self, backlog_full: bool) -> None:
        """Keep the port, so that nobody else gets it, without accepting there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._release()
        self._idle_socket = _bound(self.port)
        if not backlog_full:
            return
        self._idle_socket.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def _release(self) -> None:
        for held in [*self._fillers, *([self._idle_socket] if self._idle_socket else [])]:
            held.close()
        self._fillers.clear()
        self._idle_socket = None

    async def _cut(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        self._release()
        await self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._connection(reader, writer)
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    # One connection.

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._fault.kind == "blackhole":
            await self._silence()
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        self._open.add(upstream_writer)
        ways = [
            asyncio.ensure_future(self._requests(reader, upstream_writer, writer)),
            asyncio.ensure_future(self._responses(upstream_reader, writer, upstream_writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(upstream_writer)
            upstream_writer.transport.abort()

    async def _silence(self) -> None:
        """Answer nothing while the fault stays in force."""
        self.fired["blackhole"] += 1
        while self._fault.kind == "blackhole":
            await self._changed.wait()
        raise ConnectionResetError

    async def _requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        passed = 0
        while chunk := await source.read(_CHUNK_BYTES):
            fault = self._fault
            if fault.kind == "blackhole":
                await self._silence()
            elif fault.kind == "half_close" and self._fires(fault):
                back.write_eof()
                await asyncio.sleep(0.05)
                return
            elif fault.kind == "reset_after" and passed + len(chunk) >= fault.amount and self._fires(fault):
                sink.write(chunk[: max(0, int(fault.amount) - passed)])
                await sink.drain()
                _reset(sink)
                _reset(back)
                return
            elif fault.kind == "latency":
                self._fires(fault)
                await asyncio.sleep(fault.amount)
            elif fault.kind == "bandwidth":
                self._fires(fault)
                await self._trickle(chunk, sink, max(1, int(fault.amount / 10)), 0.1, "bandwidth")
                chunk = b""
            passed += len(chunk)
            sink.write(chunk)
            await sink.drain()

    async def _responses(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            fault = self._fault
            if fault.kind == "blackhole":
                await self._silence()
            elif fault.kind == "drop_response" and self._fires(fault):
                _reset(sink)
                return
            elif fault.kind == "truncate_response" and self._fires(fault):
                sink.write(chunk[: int(fault.amount)])
                await sink.drain()
                sink.write_eof()
                await asyncio.sleep(0.05)
                return
            elif fault.kind == "corrupt" and self._fires(fault):
                chunk = bytes(byte if byte in b"\r\n" else byte ^ 0xFF for byte in chunk)
            elif fault.kind == "latency":
                await asyncio.sleep(fault.amount)
            elif fault.kind == "slow_drip":
                self._fires(fault)
                await self._trickle(chunk, sink, 1, 1 / fault.amount, "slow_drip")
                continue
            sink.write(chunk)
            await sink.drain()

    async def _trickle(
        self, chunk: bytes, sink: asyncio.StreamWriter, step_bytes: int, pause_seconds: float, kind: str
    ) -> None:
        """Pass a chunk in steps, for as long as the fault stays in force; then the rest at once."""
        at = 0
        while at < len(chunk):
            step = step_bytes if self._fault.kind == kind else len(chunk)
            sink.write(chunk[at : at + step])
            await sink.drain()
            at += step
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause_seconds)

    def _fires(self, fault: Fault) -> bool:
        """Whether the fault does its harm now; counts that it does."""
        self._chances += 1
        if (self._chances - 1) % fault.every:
            return False
        if self._left is not None:
            if self._left <= 0:
                return False
            self._left -= 1
        self.fired[fault.kind] += 1
        return True


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN; what was not sent is thrown away."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
