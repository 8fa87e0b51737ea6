"""HTTP/1.1 with a deadline for the head of each request.

Promise: a connection that has not sent a whole head within `body.Limits.head_seconds` of opening, or of that head's
first byte, is closed, so that slow or silent strangers cannot use up the server's connections. (Idle connections
between requests have uvicorn's keep-alive time, bodies `body.Limits.body_seconds`.) What is no HTTP is answered 400,
in JSON.
Must never: touch a request whose head has arrived.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_NO_HTTP = b'{"message":"this is not an HTTP request that can be read"}'


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol over h11, which refuses ambiguous framing, with the deadline added."""

    def __init__(self, *arguments: Any, head_seconds: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_seconds = head_seconds
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._disarm()
        elif self._head_deadline is None:
            self._arm()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun and self._head_deadline is None and not self.transport.is_closing():
            self._arm()  # the beginning of the next head came with this request

    def _arm(self) -> None:
        self._head_deadline = self.loop.call_later(self._head_seconds, self._too_late)

    def _disarm(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _too_late(self) -> None:
        self._head_deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        headers = [
            ("content-type", "application/json"),
            ("connection", "close"),
            ("content-length", str(len(_NO_HTTP))),
        ]
        events = (h11.Response(status_code=400, headers=headers), h11.Data(data=_NO_HTTP), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()
