"""The viewer's routes: pages, files, data, live tail and export.

    GET  / /traces/{id} /threads /threads/{id} /feedback /usage /delivery /health /diff      the page
    GET  /assets/{path}                                                                      its files
    GET  /view/runs, /view/trace/{id}, /view/run/{id}, /view/events/{id}, /view/threads, /view/thread/{id},
         /view/feedback, /view/usage, /view/delivery, /view/health                           its data, JSON
    GET  /view/live                                                                          server-sent events
    GET  /export/{id}                                                                        one HTML file to keep

Promises: every GET changes nothing; the store is asked on worker threads; what cannot be answered is 4xx or 503 as
``{"message"}``. Must never: let anything but its own files run in the page (see _POLICY).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ..errors import StoreError
from ..store import Reader
from . import answers, assets, export
from .asking import BadQuestion
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
_PAGES = ("/", "/threads", "/feedback", "/usage", "/delivery", "/health", "/diff")

Answer = Callable[[Reader, Request], Any]


def page_path(run_id: str) -> str:
    """Where a run is shown: the path below the server's address."""
    return f"/traces/{quote(run_id, safe='')}"


def routes(reader: Reader, stopping: Callable[[], bool] = lambda: False) -> list[BaseRoute]:
    """All routes over one store. ``request.state.project`` says whose runs a request may see; ``stopping`` ends the
    live tails when it becomes true."""
    live = Live(reader, stopping)

    async def follow(request: Request) -> Response:
        if live.full:
            return _json({"message": "too many pages are following: close one"}, 503)
        headers = {**_SAFE, "cache-control": "no-store"}
        return StreamingResponse(live.stream(request.state.project), media_type="text/event-stream", headers=headers)

    def data(path: str, answer: Answer) -> Route:
        return Route(path, _answering(reader, answer), methods=["GET"])

    return [
        *(Route(path, _page, methods=["GET"]) for path in _PAGES),
        Route("/traces/{id:path}", _page, methods=["GET"]),
        Route("/threads/{id:path}", _page, methods=["GET"]),
        Route("/assets/{path:path}", _asset, methods=["GET"]),
        Route("/view/live", follow, methods=["GET"]),
        data("/view/runs", lambda reader, asked: answers.runs(reader, asked.query_params, _project(asked))),
        data("/view/trace/{id:path}", _trace),
        data("/view/run/{id:path}", lambda reader, asked: answers.run(reader, _id(asked), _project(asked))),
        data("/view/events/{id:path}", lambda reader, asked: answers.events(reader, _id(asked), _project(asked))),
        data("/view/threads", lambda reader, asked: answers.threads(reader, asked.query_params, _project(asked))),
        data("/view/thread/{id:path}", _thread),
        data("/view/feedback", lambda reader, asked: answers.feedback(reader, asked.query_params, _project(asked))),
        data("/view/usage", lambda reader, asked: answers.usage(reader, asked.query_params, _project(asked))),
        data("/view/delivery", lambda reader, asked: answers.delivery(reader, _project(asked))),
        data("/view/health", lambda reader, asked: answers.health(reader, _project(asked))),
        Route("/export/{id:path}", _exporting(reader), methods=["GET"]),
    ]


def _trace(reader: Reader, asked: Request) -> Any:
    return answers.trace(reader, _id(asked), asked.query_params, _project(asked))


def _thread(reader: Reader, asked: Request) -> Any:
    return answers.thread(reader, _id(asked), asked.query_params, _project(asked))


def _id(asked: Request) -> str:
    return str(asked.path_params["id"])


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


def _answering(reader: Reader, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """A route that asks the store on a worker thread; what is not there is a 404."""

    async def respond(request: Request) -> Response:
        try:
            found = await anyio.to_thread.run_sync(functools.partial(_encoded, answer, reader, request))
        except BadQuestion as error:
            return _json({"message": str(error)}, 400)
        except StoreError as error:
            return _refusal(error)
        return _json({"message": "nothing of this id has arrived"}, 404) if found is None else _bytes(found)

    return respond


def _encoded(answer: Answer, reader: Reader, request: Request) -> bytes | None:
    found = answer(reader, request)
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
