"""The viewer's routes: pages, files, data, live tail and export.

    GET  / /traces/{id} /threads /threads/{id} /feedback /usage /delivery /health /diff      the page
    GET  /assets/{path}                                                                      its files
    GET  /view/projects, /view/runs, /view/trace?id=, /view/run?id=, /view/events?id=, /view/threads, /view/thread?id=,
         /view/feedback, /view/usage, /view/delivery, /view/health                           its data, JSON
    GET  /view/live                                                                          server-sent events
    GET  /view/export?id=                                                                    one HTML file to keep

Promises: every GET changes nothing; the store is asked on worker threads; what cannot be answered is 4xx or 503 as
``{"message"}``. Must never: let anything but its own files run in the page (see _POLICY).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import StoreError
from ..store import Reader
from . import answers, assets, export
from .addresses import PAGES
from .asking import BadQuestion, number
from .live import Live

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Parts(Protocol):
    """What these routes need of the server that they are mounted on: the store to read, and whether it is stopping."""

    @property
    def reader(self) -> Reader:
        """The store."""

    @property
    def stopping(self) -> Callable[[], bool]:
        """Whether the server wants to end."""


def pages(parts: Parts) -> list[BaseRoute]:
    """The page and its files."""
    return [
        *(Route(path, _page, methods=["GET"]) for path in PAGES if path not in ("/traces", "/assets")),
        Route("/traces/{id:path}", _page, methods=["GET"]),
        Route("/threads/{id:path}", _page, methods=["GET"]),
        Route("/assets/{path:path}", _asset, methods=["GET"]),
    ]


def data(parts: Parts, *, choose: bool = False) -> list[BaseRoute]:
    """What the pages show. ``request.state.project`` says whose runs a request may see; ``choose``: the pages are told
    the names of all projects, of which they may ask for any (`collector.access.Owner`)."""
    reader, live = parts.reader, Live(parts.reader, parts.stopping)

    async def follow(request: Request) -> Response:
        if live.full:
            return _json({"message": "too many pages are following: close one"}, 503)
        headers = {**_SAFE, "cache-control": "no-store"}
        try:
            since_us = number(request.query_params, "since_us")
        except BadQuestion as error:
            return _json({"message": str(error)}, 400)
        return StreamingResponse(
            live.stream(_project(request), since_us), media_type="text/event-stream", headers=headers
        )

    def by_query(path: str, answer: Callable[[Reader, Mapping[str, str], str], Any]) -> Route:
        return route(path, lambda asked: answer(reader, asked.query_params, _project(asked)))

    def by_id(path: str, answer: Callable[[Reader, str, Mapping[str, str], str], Any]) -> Route:
        return route(path, lambda asked: answer(reader, _id(asked), asked.query_params, _project(asked)))

    def route(path: str, answer: Callable[[Request], Any]) -> Route:
        return Route(path, _answering(answer), methods=["GET"])

    return [
        Route("/view/live", follow, methods=["GET"]),
        route("/view/projects", lambda asked: answers.projects(reader, _project(asked), choose)),
        by_query("/view/runs", answers.runs),
        by_query("/view/threads", answers.threads),
        by_query("/view/feedback", answers.feedback),
        by_query("/view/usage", answers.usage),
        by_query("/view/delivery", answers.delivery),
        by_query("/view/health", answers.health),
        by_id("/view/trace", answers.trace),
        by_id("/view/thread", answers.thread),
        by_id("/view/run", answers.run),
        by_id("/view/events", answers.events),
        Route("/view/export", _exporting(reader), methods=["GET"]),
    ]


def _id(asked: Request) -> str:
    """The run or thread that is asked for. It stands in the query, because an id may contain and end with slashes."""
    return asked.query_params.get("id", "")


def _project(asked: Request) -> str:
    return str(asked.state.project)


async def _page(request: Request) -> Response:
    body = assets.manifest()["index.html"]
    headers = {**_SAFE, "content-security-policy": _POLICY, "cache-control": "no-cache"}
    return Response(body.body, headers=headers, media_type=body.media_type)


async def _asset(request: Request) -> Response:
    found = assets.manifest().get(request.path_params["path"])
    if found is None:
        return _json({"message": "there is no such file"}, 404)
    headers = {**_SAFE, "etag": found.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)


def _answering(answer: Callable[[Request], Any]) -> Callable[[Request], Awaitable[Response]]:
    """A route that asks the store on a worker thread; what is not there is a 404."""

    async def respond(request: Request) -> Response:
        try:
            found = await anyio.to_thread.run_sync(functools.partial(_encoded, answer, request))
        except BadQuestion as error:
            return _json({"message": str(error)}, 400)
        except StoreError as error:
            return _refusal(error)
        return _json({"message": "nothing of this id has arrived"}, 404) if found is None else _bytes(found)

    return respond


def _encoded(answer: Callable[[Request], Any], request: Request) -> bytes | None:
    found = answer(request)
    return None if found is None else msgspec.json.encode(found)


def _refusal(error: StoreError) -> Response:
    if error.reason == "missing":
        return _json({"message": "nothing has been recorded yet", "empty": True}, 404)
    if error.reason == "timeout":
        return _json({"message": "this took too long: narrow it by time, type or status"}, 503)
    return _json({"message": f"the store cannot be read now ({error.reason}): try again"}, 503)


def _exporting(reader: Reader) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        def make() -> str | None:
            tree = reader.tree(_id(request), whole_thread=False, max_runs=export.MOST_RUNS, project=_project(request))
            return export.page(tree) if tree.roots else None

        try:
            made = await anyio.to_thread.run_sync(make)
        except StoreError as error:
            return _refusal(error)
        if made is None:
            return _json({"message": "nothing of this id has arrived"}, 404)
        headers = {**_SAFE, "content-security-policy": export.POLICY, "cache-control": "no-store",
                   "content-disposition": f'attachment; filename="{export.filename(_id(request))}"'}  # fmt: skip
        return Response(made, headers=headers, media_type="text/html; charset=utf-8")

    return respond


def _json(payload: Any, status: int = 200) -> Response:
    return _bytes(msgspec.json.encode(payload), status)


def _bytes(body: bytes, status: int = 200) -> Response:
    return Response(body, status, headers={**_SAFE, "cache-control": "no-store"}, media_type="application/json")
