"""The collector's application: Lunary's API, and everything else that is mounted beside it.

    POST  /v1/runs/ingest           Lunary's events, and our own records (dialects.lunary)
    POST  /api/report               the same, by its old name; answers with the bare list of results
    GET   /v1/runs                  type, name, parentRunId, userId, status, tags, search; limit, page, sortField,
                                    sortDirection. All types unless one is named; "trace" is agents and chains on top
    GET   /v1/runs/{id}             one run;  /related  it and all below it, parents before children
    GET   /v1/runs/{id}/feedback    its merged feedback; PATCH merges thumb, comment, score, label into it
    GET   /v1/health                whether the store can be read
    GET   /openapi.json             all of this, for programs

Promises: the store is called on worker threads, never on the event loop; a trailing slash does not matter; whatever is
sent, the answer is 4xx JSON that names it: ``{"message", "path"?}``. Must never: answer before the commit.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from .. import wire
from ..clock import iso
from ..records import Feedback
from ..store import Incoming, RunDetail, RunFilter, Store
from ..store.reader import Order, Reader
from . import rest
from .access import Access, Keyless
from .body import Limits, Pending, Refused
from .desk import Desk
from .disk import Disk
from .edge import Edge
from .intake import Intake
from .mounts import Mount, Parts, in_json, respond
from .openapi import OPENAPI
from .otlp_routes import OTLP_MOUNTS
from .usage_routes import USAGE_MOUNTS

_T = TypeVar("_T")

MAX_PAGE_RUNS = 500
_ORDERS: dict[str, Order] = {"createdAt": "started", "duration": "duration", "tokens": "tokens", "cost": "cost"}
_STATUSES = {"started": "running", "success": "ok"}


class _Lunary:
    """The handlers of Lunary's API, ours in its form."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.reader = parts.reader

    async def ingest(self, request: Request) -> Response:
        """POST /v1/runs/ingest and /api/report."""
        answer = await self.parts.with_body(request, functools.partial(self._ingest, request))
        return respond(answer)

    def _ingest(self, request: Request, encoding: str, body: bytes) -> wire.Response:
        asked = wire.Request("POST", request.url.path, {}, body)
        return self.parts.intake.take(
            asked, encoding, request.state.project, bare=request.scope["path"] == "/api/report"
        )

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

        return in_json({"page": page, "limit": limit, "data": await self.parts.on_thread(look)})

    async def run(self, request: Request) -> Response:
        """GET /v1/runs/{id}."""

        def look() -> dict[str, Any]:
            detail = self._known(request)
            return rest.run_object(detail, self.reader.feedback(detail.run.id, project=request.state.project))

        return in_json(await self.parts.on_thread(look))

    async def related(self, request: Request) -> Response:
        """GET /v1/runs/{id}/related."""

        def look() -> list[dict[str, Any]]:
            self._known(request)
            found = self.reader.related(request.path_params["run_id"], project=request.state.project)
            return [rest.run_object(detail) for detail in self.reader.details(found)]

        return in_json(await self.parts.on_thread(look))

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

        return in_json(await self.parts.on_thread(look))

    async def give_feedback(self, request: Request) -> Response:
        """PATCH /v1/runs/{id}/feedback."""
        return in_json(await self.parts.with_body(request, functools.partial(self._give_feedback, request)))

    def _give_feedback(self, request: Request, encoding: str, body: bytes) -> dict[str, Any]:
        given = self.parts.intake.read_feedback(body, encoding)
        detail = self._known(request)
        at_ns = time.time_ns()
        record = Feedback(
            event_id=self.parts.ids.new(at_ns), timestamp=iso(at_ns), run_id=detail.run.id, feedback=given
        )
        self.parts.store.write([Incoming(record, project=request.state.project)])
        return self._known(request).run.feedback

    async def health(self, request: Request) -> Response:
        """GET /v1/health."""
        stats = await self.parts.on_thread(self.reader.stats)
        return in_json({"status": "ok", "runs": stats.runs, "events": stats.events, "sizeBytes": stats.size_bytes})

    def _known(self, request: Request) -> RunDetail:
        run_id = request.path_params["run_id"]
        detail = self.reader.run(run_id, project=request.state.project)
        if detail is None:
            raise _unknown(run_id)
        return detail


def _unknown(run_id: str) -> Refused:
    return Refused(404, f"there is no run {run_id[:100]!r}")


def _lunary_routes(parts: Parts) -> list[BaseRoute]:
    lunary = _Lunary(parts)
    return [
        Route("/v1/runs/ingest", lunary.ingest, methods=["POST"]),
        Route("/api/report", lunary.ingest, methods=["POST"]),
        Route("/v1/runs", lunary.runs, methods=["GET"]),
        # An id may contain slashes, as %2F in the address, which the server hands on as slashes.
        Route("/v1/runs/{run_id:path}/related", lunary.related, methods=["GET"]),
        Route("/v1/runs/{run_id:path}/feedback", lunary.feedback, methods=["GET"]),
        Route("/v1/runs/{run_id:path}/feedback", lunary.give_feedback, methods=["PATCH"]),
        Route("/v1/runs/{run_id:path}", lunary.run, methods=["GET"]),
        Route("/v1/health", lunary.health, methods=["GET"]),
    ]


MOUNTS: tuple[Mount, ...] = (
    Mount(_lunary_routes),
    OPENAPI,
    *USAGE_MOUNTS,
    *OTLP_MOUNTS,
)
"""What every collector serves; other rooms (the viewer) are handed to `create_app` by whoever starts the server."""


def create_app(
    store: Store,
    reader: Reader,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    mounts: Sequence[Mount] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """The ASGI application. ``mounts`` are served behind the same door, after the collector's own."""
    access, limits = access or Keyless(), limits or Limits()
    parts = Parts(
        store, reader, access, limits, Intake(store, limits), Pending(limits), Desk(limits), Disk(store.path, limits),
        stopping,
    )  # fmt: skip
    served = [*MOUNTS, *mounts]
    router = Router([route for mount in served for route in mount.routes(parts)], redirect_slashes=False)
    return Edge(router, access, limits, served)


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
