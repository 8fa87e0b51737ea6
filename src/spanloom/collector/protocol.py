"""HTTP/1.1 for a server that strangers may reach: every wait for a client has an end, and so has their number.

Theory of operation. uvicorn's protocol over h11 refuses ambiguous framing; what is added here is time and room. A
connection *owes* us something while its head or body is incomplete. One that has not sent a whole head within
`Limits.head_seconds` of opening, or of that head's first byte, is closed; so is one that does not read its answer for
`Limits.write_seconds`. (Idle connections between requests have uvicorn's keep-alive time, bodies `body.read`.) When
`Limits.max_connections` are open, a new one takes the place of the one that has owed for longest, so that two thousand
silent strangers keep nobody out; when none owes anything, the new one is told to come back (503).

Promise: what is no HTTP is answered 400, in JSON. Must never: touch a request that is being worked on.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .body import Limits

# Not uvicorn's own, which warns once for each stranger that speaks no HTTP: a way to fill a disk.
_log = logging.getLogger("spanloom.collector.http")
_log.setLevel(logging.ERROR)
_NO_HTTP = b'{"message":"this is not an HTTP request that can be read"}'
_FULL = b'{"message":"too many connections: send it again later"}'


class Crowd:
    """The connections that owe us something, the oldest debt first."""

    def __init__(self) -> None:
        self._owing: dict[StrictProtocol, None] = {}

    def add(self, one: StrictProtocol) -> None:
        self._owing[one] = None

    def discard(self, one: StrictProtocol) -> None:
        self._owing.pop(one, None)

    def make_room(self) -> bool:
        """Cut off whoever has owed for longest; False when nobody owes anything."""
        for one in self._owing:
            self.discard(one)
            one.transport.abort()
            return True
        return False


class StrictProtocol(H11Protocol):
    """uvicorn's protocol with deadlines, and a place in the crowd."""

    def __init__(self, *arguments: Any, limits: Limits, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _log
        self._limits = limits
        self._crowd = crowd
        self._head_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        full = len(self.connections) >= self._limits.max_connections and not self._crowd.make_room()
        super().connection_made(transport)
        if full:
            self._end_with(503, _FULL)
            return
        self._arm()
        self._crowd.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.resume_writing()
        self._crowd.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._disarm()
        elif self._head_deadline is None:
            self._arm()
        self._note_debt()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        begun = self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]
        if begun and self._head_deadline is None and not self.transport.is_closing():
            self._arm()  # the beginning of the next head came with this request
        self._note_debt()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_deadline is None:
            self._write_deadline = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _note_debt(self) -> None:
        if self.transport.is_closing() or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._crowd.discard(self)
        else:
            self._crowd.add(self)  # one that owed already keeps its place

    def _arm(self) -> None:
        self._head_deadline = self.loop.call_later(self._limits.head_seconds, self._too_late)

    def _disarm(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _too_late(self) -> None:
        self._head_deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._end_with(400, _NO_HTTP)

    def _end_with(self, status: int, body: bytes) -> None:
        headers = [
            ("content-type", "application/json"),
            ("connection", "close"),
            ("content-length", str(len(body))),
        ]
        if status == 503:
            headers.append(("retry-after", "1"))
        try:
            events = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        except h11.LocalProtocolError:  # an answer to an earlier request is under way: there is nothing left to say
            pass
        self.transport.close()
