"""A server of raw sockets: each connection is answered by a script, byte by byte, however wrong.

Promise: real sockets on 127.0.0.1, every one closed at the end, no thread outlives the block. Knows no HTTP beyond
reading one request.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request: the head as text, the body as bytes."""

    head: str
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case."""
        pairs = (line.split(":", 1) for line in self.head.split("\r\n")[1:] if ":" in line)
        return {name.strip().lower(): value.strip() for name, value in pairs}


@dataclass
class RawServer:
    """``script(connection, number)`` answers connection ``number`` (from 0); ``receive`` reads a request from it."""

    script: Callable[[RawServer, socket.socket, int], None]
    requests: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections: list[socket.socket] = []
        self.closing = threading.Event()
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, len(self.connections) - 1), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, EOFError), connection:
            self.script(self, connection, number)

    def receive(self, connection: socket.socket) -> Received:
        """Read one request; raises EOFError when the client is gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        request = Received(head.decode("latin-1"), b"")
        size = int(request.headers.get("content-length", 0))
        while len(body) < size:
            body += self._more(connection)
        request.body = body
        self.requests.append(request)
        return request

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        chunk = connection.recv(65536)
        if not chunk:
            raise EOFError
        return chunk

    def close(self) -> None:
        """Stop listening, break every connection off, and wait for the threads."""
        self.closing.set()
        for each in (self.listener, *self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self.threads:
            thread.join(5.0)


@contextlib.contextmanager
def raw_server(script: Callable[[RawServer, socket.socket, int], None]) -> Iterator[RawServer]:
    """A running server for the length of a block."""
    server = RawServer(script)
    try:
        yield server
    finally:
        server.close()


def reply(body: bytes = b"{}", status: str = "200 OK", headers: str = "") -> bytes:
    """An ordinary response with its length."""
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode("latin-1") + body


def answering(*replies: bytes) -> Callable[[RawServer, socket.socket, int], None]:
    """A script that answers request after request on a kept-alive connection; the last reply repeats."""

    def script(server: RawServer, connection: socket.socket, _: int) -> None:
        while True:
            server.receive(connection)
            connection.sendall(replies[min(len(server.requests), len(replies)) - 1])

    return script
