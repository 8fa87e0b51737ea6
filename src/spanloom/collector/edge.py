"""Around every request: who is asking, then the answer, then whatever went wrong in the mount's own words.

Theory of operation. In this order: ambiguous framing (400) and heads out of proportion (414, 431), the names this
server goes by (421, 403), the credential (401; 429 for whoever tries many), the route (404, 405), the route's own
refusals; each raises `Refused` and is said by `Mount.answer`. What nobody foresaw is 500 and one line in the log. Every
answer gets the security headers.

Promises: whatever is sent, an answer; after a failure in the middle of one the connection ends. Must never: show a
traceback, or log a body, a credential or a client's text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import MutableMapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import StoreError
from .access import Access, followed
from .attempts import Attempts
from .body import Limits, Refused
from .intake import refusal_of
from .mounts import Mount

_log = logging.getLogger("spanloom.collector")

# For data: a browser that is made to show an answer as a page shows nothing, runs nothing and is no frame of another.
HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "sandbox",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}  # fmt: skip
_USUAL = [(name.encode(), text.encode()) for name, text in HEADERS.items()]


class Edge:
    """An ASGI application around the router of all mounts."""

    def __init__(self, router: ASGIApp, access: Access, limits: Limits, mounts: Sequence[Mount]) -> None:
        self._router = router
        self._limits = limits
        self._attempts = Attempts()
        self._access = access
        self._mounts = sorted(mounts, key=lambda mount: -len(mount.prefix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"].rstrip("/") or "/"
        scope = {**scope, "path": path, "app": self}  # with "app" the router raises what it cannot serve
        mount = next((mount for mount in self._mounts if mount.covers(path)), None)
        started = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _with_usual(message["headers"])}
            await send(message)

        try:
            check_framing(scope, self._limits)
            request = Request(scope)
            linked = mount is not None and mount.linkable and followed(scope["method"], request.headers)
            self._access.admit(request.headers, linked=linked)
            if mount is None or not mount.own_credentials:
                request.state.project = self._access.project(request.headers)
            await self._router(scope, receive, sending)
        except Exception as error:  # the collector's edge: a named door
            answer = _answer(
                self._slowed(_refused(error), scope), mount
            )  # no name for the refusal here: it would keep this frame alive
            if not started:  # otherwise returning now ends the connection, which is all that can still be said
                await answer(scope, receive, sending)

    def _slowed(self, refused: Refused, scope: Scope) -> Refused:
        """The refusal, or that of one who has presented too many wrong keys."""
        if refused.status != 401:
            return refused
        client = scope.get("client")
        wait_seconds = self._attempts.wrong(client[0] if client else "")
        if wait_seconds is None:
            return refused
        slowed = Refused(429, "too many wrong keys from this address: wait, and send the right one")
        slowed.retry_after_seconds = math.ceil(wait_seconds)
        return slowed


def check_framing(scope: Scope, limits: Limits) -> None:
    """Raises Refused for a request that could be understood in two ways, or whose head is out of all proportion."""
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Refused(400, "content-length and transfer-encoding together say two lengths", close=True)
    if not scope["raw_path"].startswith(b"/"):
        raise Refused(421, "ask for a path on this server: no other server is asked from here", close=True)
    if len(scope["raw_path"]) + len(scope["query_string"]) > limits.max_target_bytes:
        raise Refused(414, f"path and query are longer than {limits.max_target_bytes} bytes", close=True)
    if len(names) > limits.max_headers:
        raise Refused(431, f"{len(names)} headers: send at most {limits.max_headers}", close=True)


def _with_usual(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in headers}
    return [*headers, *((name, text) for name, text in _USUAL if name not in given)]


def _answer(refused: Refused, mount: Mount | None) -> Response:
    response = (mount or Mount(lambda parts: ())).answer(refused)
    for name, text in refused.headers.items():
        response.headers[name] = text
    if refused.retry_after_seconds is not None:
        response.headers["retry-after"] = str(refused.retry_after_seconds)
    if refused.close:
        response.headers["connection"] = "close"
    return response


def _refused(error: Exception) -> Refused:
    """Any failure as a refusal. What nobody foresaw is logged by type and place, without the message, which may hold
    what the client sent."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StoreError):
        return refusal_of(error)
    if isinstance(error, HTTPException):
        refused = Refused(error.status_code, error.detail)
        refused.headers = dict(error.headers or {})
        return refused
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    _log.error("a request failed: %s at %s", type(error).__name__, where)
    return Refused(500, "the collector failed on this request; its log says where", close=True)
