"""The collector's routes, and the edge where every failure becomes JSON: ``{"message", "path"?}``.

    POST  /v1/runs/ingest           Lunary's events, and our own records (dialects.lunary)
    POST  /api/report               the same, by its old name; answers with the bare list of results
    GET   /v1/runs                  type, name, parentRunId, userId, status, tags, search; limit, page, sortField,
                                    sortDirection. All types unless one is named; "trace" is agents and chains on top
    GET   /v1/runs/{id}             one run;  /related  it and all below it, parents before children
    GET   /v1/runs/{id}/feedback    its merged feedback; PATCH merges thumb, comment, score, label into it
    GET   /v1/health                whether the store can be read

Promises: the store is called on worker threads, never on the event loop; a trailing slash does not matter; whatever is
sent, the answer is 4xx JSON that names it. Must never: show a traceback, or log a body or a credential.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import wire
from ..clock import Ids, iso
from ..errors import StoreError
from ..records import Feedback
from ..store import Incoming, RunDetail, RunFilter, Store
from ..store.reader import Order, Reader
from . import rest
from .body import Limits, Pending, Refused, check_headers, drain, read, worth_draining
from .intake import Access, Intake, Keyless, refusal_of

_T = TypeVar("_T")
_log = logging.getLogger("spanloom.collector")

MAX_PAGE_RUNS = 500
_ORDERS: dict[str, Order] = {"createdAt": "started", "duration": "duration", "tokens": "tokens", "cost": "cost"}
_STATUSES = {"started": "running", "success": "ok"}
_HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Collector:
    """What the routes share: the store from both sides, and the rules at the door."""

    def __init__(self, store: Store, reader: Reader, access: Access, limits: Limits) -> None:
        self.store, self.reader, self.access, self.limits = store, reader, access, limits
        self.intake = Intake(store, limits)
        self.pending = Pending(limits)
        self.ids = Ids()

    async def ingest(self, request: Request) -> Response:
        """POST /v1/runs/ingest and /api/report."""
        answer = await self._with_body(request, functools.partial(self._ingest, request))
        return _response(answer)

    def _ingest(self, request: Request, encoding: str, body: bytes) -> wire.Response:
        asked = wire.Request("POST", request.url.path, {}, body)
        return self.intake.take(asked, encoding, request.state.project, bare=request.scope["path"] == "/api/report")

    async def _with_body(self, request: Request, work: Callable[[str, bytes], _T]) -> _T:
        """Read the body within the limits, then work on it on a thread; its bytes count as pending until then."""
        chunks = request.stream()
        try:
            encoding = check_headers(request.headers, self.limits)
            body = await read(chunks, self.limits, self.pending)
        except ClientDisconnect:
            raise Refused(400, "the connection ended before the body did", close=True) from None
        except Refused as refused:
            if refused.status in (413, 415) and worth_draining(request.headers, self.limits):
                await drain(chunks, self.limits)
            raise
        try:
            return await anyio.to_thread.run_sync(work, encoding, body)
        finally:
            self.pending.give(len(body))

    async def runs(self, request: Request) -> Response:
        """GET /v1/runs."""
        query = request.query_params
        limit = _number(query, "limit", default=50, least=1, most=MAX_PAGE_RUNS)
        page = _number(query, "page", default=0, least=0, most=1_000_000)
        order = _choice(query, "sortField", _ORDERS, "received")
        descending = _choice(query, "sortDirection", {"asc": False, "desc": True}, True)
        wanted = _filter(query)

        def look() -> list[dict[str, Any]]:
            found = self.reader.runs(
                wanted, limit=limit, offset=page * limit, order=order, descending=descending,
                project=request.state.project,
            )  # fmt: skip
            return [rest.run_object(detail) for detail in self.reader.details(found.runs)]

        return _json({"page": page, "limit": limit, "data": await anyio.to_thread.run_sync(look)})

    async def run(self, request: Request) -> Response:
        """GET /v1/runs/{id}."""

        def look() -> dict[str, Any]:
            detail = self._known(request)
            return rest.run_object(detail, self.reader.feedback(detail.run.id, project=request.state.project))

        return _json(await anyio.to_thread.run_sync(look))

    async def related(self, request: Request) -> Response:
        """GET /v1/runs/{id}/related."""

        def look() -> list[dict[str, Any]]:
            self._known(request)
            found = self.reader.related(request.path_params["run_id"], project=request.state.project)
            return [rest.run_object(detail) for detail in self.reader.details(found)]

        return _json(await anyio.to_thread.run_sync(look))

    async def feedback(self, request: Request) -> Response:
        """GET /v1/runs/{id}/feedback."""

        def look() -> dict[str, Any] | None:
            run_id, project = request.path_params["run_id"], request.state.project
            detail = self.reader.run(run_id, project=project)
            if detail is not None:
                return detail.run.feedback or None
            entries = self.reader.feedback(run_id, project=project)  # it may have come before its run
            if not entries:
                raise _unknown(run_id)
            return rest.merged_feedback(entries)

        return _json(await anyio.to_thread.run_sync(look))

    async def give_feedback(self, request: Request) -> Response:
        """PATCH /v1/runs/{id}/feedback."""
        return _json(await self._with_body(request, functools.partial(self._give_feedback, request)))

    def _give_feedback(self, request: Request, encoding: str, body: bytes) -> dict[str, Any]:
        given = self.intake.read_feedback(body, encoding)
        detail = self._known(request)
        at_ns = time.time_ns()
        record = Feedback(event_id=self.ids.new(at_ns), timestamp=iso(at_ns), run_id=detail.run.id, feedback=given)
        self.store.write([Incoming(record, project=request.state.project)])
        return self._known(request).run.feedback

    async def health(self, request: Request) -> Response:
        """GET /v1/health."""
        stats = await anyio.to_thread.run_sync(self.reader.stats)
        return _json({"status": "ok", "runs": stats.runs, "events": stats.events, "sizeBytes": stats.size_bytes})

    def _known(self, request: Request) -> RunDetail:
        run_id = request.path_params["run_id"]
        detail = self.reader.run(run_id, project=request.state.project)
        if detail is None:
            raise _unknown(run_id)
        return detail


def _unknown(run_id: str) -> Refused:
    return Refused(404, f"there is no run {run_id[:100]!r}")


class _Edge:
    """Around everything: who is asking, then the answer, then whatever went wrong as JSON."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        path = scope["path"].rstrip("/")
        scope = {**scope, "path": path or "/"}
        started = False

        async def sending(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            request = Request(scope)
            if "transfer-encoding" in request.headers and "content-length" in request.headers:
                raise Refused(400, "content-length and transfer-encoding together say two lengths", close=True)
            request.state.project = self._access.project(request.headers)
            await self._app(scope, receive, sending)
        except Exception as error:  # the collector's edge: a named door
            if started:
                raise
            await _failure(error)(scope, receive, send)


def _failure(error: Exception) -> Response:
    """Any failure as JSON. What nobody foresaw is logged by type and place, without the message, which may hold
    what the client sent."""
    if isinstance(error, StoreError):
        error = refusal_of(error)
    if isinstance(error, HTTPException):
        error = Refused(error.status_code, error.detail)
    if not isinstance(error, Refused):
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
        _log.error("a request failed: %s at %s", type(error).__name__, where)
        error = Refused(500, "the collector failed on this request; its log says where", close=True)
    payload = {"message": error.message} if error.path is None else {"message": error.message, "path": error.path}
    response = _json(payload, error.status)
    if error.retry_after_seconds is not None:
        response.headers["retry-after"] = str(error.retry_after_seconds)
    if error.close:
        response.headers["connection"] = "close"
    return response


def create_app(
    store: Store,
    reader: Reader,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The ASGI application. ``routes`` are served behind the same door, after the collector's own."""
    access = access or Keyless()
    collector = Collector(store, reader, access, limits or Limits())
    app = Starlette(routes=[*_routes(collector), *routes], exception_handlers={HTTPException: _http_exception})
    app.router.redirect_slashes = False
    return _Edge(app, access)


def _routes(collector: Collector) -> list[Route]:
    def route(path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
        return Route(path, _guarded(endpoint), methods=list(methods))

    return [
        route("/v1/runs/ingest", collector.ingest, "POST"),
        route("/api/report", collector.ingest, "POST"),
        route("/v1/runs", collector.runs, "GET"),
        route("/v1/runs/{run_id}", collector.run, "GET"),
        route("/v1/runs/{run_id}/related", collector.related, "GET"),
        route("/v1/runs/{run_id}/feedback", collector.feedback, "GET"),
        route("/v1/runs/{run_id}/feedback", collector.give_feedback, "PATCH"),
        route("/v1/health", collector.health, "GET"),
    ]


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Failures become answers here, inside Starlette, which would log them with their message otherwise."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # the collector's edge: a named door
            return _failure(error)

    return guarded


async def _http_exception(request: Request, error: Exception) -> Response:
    response = _failure(error)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


def _json(payload: Any, status: int = 200) -> Response:
    body = msgspec.json.encode(payload)
    return Response(body, status, headers=_HEADERS, media_type="application/json")


def _response(answer: wire.Response) -> Response:
    return Response(answer.body, answer.status, headers={**answer.headers, **_HEADERS})


def _filter(query: Mapping[str, str]) -> RunFilter:
    kind = query.get("type") or None
    status = query.get("status") or None
    return RunFilter(
        type=None if kind == "trace" else kind,
        types=("agent", "chain") if kind == "trace" else None,
        top=kind == "trace",
        name=query.get("name") or None,
        user_id=query.get("userId") or None,
        parent_id=query.get("parentRunId") or None,
        status=_STATUSES.get(status, status) if status else None,
        tag=query.get("tags") or None,
        text=query.get("search") or None,
    )


def _number(query: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise Refused(400, f"{name} is {text[:40]!r}: give a number from {least} to {most}", path=f"$.{name}")
    return int(text)


def _choice(query: Mapping[str, str], name: str, choices: Mapping[str, _T], default: _T) -> _T:
    text = query.get(name, "")
    if not text:
        return default
    if text not in choices:
        raise Refused(400, f"{name} is {text[:40]!r}: give one of {', '.join(choices)}", path=f"$.{name}")
    return choices[text]
