"""A vendor's endpoint for usage events, by the server's end of a dialect: what it counted, and what it was sent.

    with UsageServer(lumen) as server:
        ...                                    # a destination sends to server.url
    server.counted                             # {idempotency key: record}, each counted once
    server.requests                            # every request as it came, in order

Theory of operation. Requests are read with the dialect's ``read_request`` and answered with its ``write_reply``, which
is the contract of `spanloom.dialects.usage`; events are counted once by idempotency key, before the answer is written,
so that an answer that is lost has been counted. `answer_with` scripts what comes before that: a status and headers
for the next requests, or a function. `hold` makes it slow: a function that each request waits for before it is looked
at, many at a time; `most_at_once` is how many there were.

Promise: real sockets on 127.0.0.1, kept alive like a vendor's, gone when the block is left.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from spanloom.dialects import Result, vluna
from spanloom.errors import WireError
from spanloom.wire import Request, Response

Script = Callable[[Request], "Response | None"]


class UsageServer:
    """``secret``: for Vluna, signatures are verified with it."""

    def __init__(self, dialect: Any, mount: str = "", secret: bytes = b"") -> None:
        self.dialect = dialect
        self.mount = mount
        self.secret = secret
        self.requests: list[Request] = []
        self.connections = 0
        self.most_at_once = 0
        self.hold: Callable[[Request], object] = lambda _: None
        self._inside = 0
        self.counted: dict[str, Any] = {}
        self.seen: Counter[str] = Counter()
        self._scripts: deque[Script] = deque()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{mount}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> UsageServer:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def answer_with(self, *scripts: Script | Response) -> None:
        """The next requests are answered so, one each; a script that returns None lets the request through."""
        for script in scripts:
            self._scripts.append((lambda _, answer=script: answer) if isinstance(script, Response) else script)

    def answer(self, request: Request) -> Response:
        """What one request gets."""
        with self._lock:
            self.requests.append(request)
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        try:
            self.hold(request)
            return self._answer(request)
        finally:
            with self._lock:
                self._inside -= 1

    def _answer(self, request: Request) -> Response:
        with self._lock:
            if self._scripts:
                scripted = self._scripts.popleft()(request)
                if scripted is not None:
                    return scripted
            try:
                if self.secret:
                    vluna.verify(request, lambda key_id: self.secret)
                return self._take_in(request)
            except WireError as error:
                return self.dialect.write_error(error.status_hint, str(error))  # type: ignore[no-any-return]

    def _take_in(self, request: Request) -> Response:
        intake = self.dialect.read_request(request)
        results = []
        for item in intake.items:
            if item.record is None:
                result = Result(item.index, item.id, malformed=True, reason=item.reason, path=item.path)
            else:
                key = item.record.idempotency_key
                result = Result(item.index, item.id, duplicate=key in self.counted, event_id=item.record.event_id)
                self.seen[key] += 1
                self.counted.setdefault(key, item.record)
            results.append(result)
        return self.dialect.write_reply(intake, results)  # type: ignore[no-any-return]


def _handler(server: UsageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            server.connections += 1

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Request(self.command, self.path, headers, body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET = _any

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the other side broke off, as proxies that misbehave do
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            """Nothing on standard error."""

    return Handler
