"""Requests that continue their caller's trace: `Wsgi` and `Asgi` around an application.

    application = spanloom.middleware.Wsgi(application)
    app.add_middleware(spanloom.middleware.Asgi)             # Starlette, FastAPI

Promises: what the application answers, raises and streams is what it would be without; headers that do not parse are
as no headers. Headers say whose child a run is (W3C ``traceparent``, ``tracestate``) and for whom (``baggage``), and
nothing else. Must never: let a header decide where anything is sent, or under which key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextvars import Context, copy_context
from typing import Any

from .recording.propagation import extract

_NAMES = {"HTTP_TRACEPARENT": "traceparent", "HTTP_TRACESTATE": "tracestate", "HTTP_BAGGAGE": "baggage"}


class Wsgi:
    """A WSGI application (PEP 3333) whose runs continue the trace of each request."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {name: environ[key] for key, name in _NAMES.items() if key in environ}
        if not headers:
            return self.application(environ, start_response)
        # The body is made while the server reads it, so the whole request has a context of its own.
        context = copy_context()
        context.run(extract(headers).__enter__)
        return _Body(context, context.run(self.application, environ, start_response))


class _Body:
    """A response's body, made in the request's context, whichever thread reads it."""

    def __init__(self, context: Context, parts: Iterable[bytes]) -> None:
        self._context = context
        self._parts = parts
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._context.run(iter, self._parts)
        return self._context.run(next, self._iterator)

    def close(self) -> None:
        """The server is done with it."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            self._context.run(close)


class Asgi:
    """An ASGI application whose runs continue the trace of each request or connection."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        if scope.get("type") not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        with extract(scope.get("headers", ())):
            await self.app(scope, receive, send)
