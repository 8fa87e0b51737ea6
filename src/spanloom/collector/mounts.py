"""What is mounted on the collector: its own routes and those of other rooms, all in one form.

    def _routes(parts: Parts) -> list[Route]:
        async def take(request: Request) -> Response:
            answer = await parts.with_body(request, work)          # work(encoding, body) runs on a thread
            return respond(answer)                                 # a wire.Response as Starlette's
        return [Route("/valmi/v1/events", take, methods=["POST"])]

    VALMI = Mount(_routes, prefix="/valmi/v1", answer=refusal_in_valmi_words)

`app.create_app` takes mounts; its own stand in `app.MOUNTS`. A route reads ``request.state.project`` and raises
`Refused` for what it does not do; everything else that it raises is answered by the edge. Nothing else is needed:
names, framing, credentials, body limits, security headers and failures are seen to for every mount alike.

A room that may not import this one (the viewer) offers a function ``routes(parts)``, raises Starlette's HTTPException,
and is wrapped in a `Mount` by whoever starts the server.

Promises: the store is called on worker threads, never on the event loop (`Parts.on_thread`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .. import wire
from ..clock import Ids
from ..store import Store
from ..store.reader import Reader
from .access import Access
from .body import JSON_ONLY, Limits, Pending, Refused, check_headers, drain, read, worth_draining
from .desk import Desk
from .disk import Disk
from .intake import Intake

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a mount may use: the store from both sides, and the rules at the door. ``stopping`` says that the server
    wants to end, so that an answer without an end (the live tail) ends too."""

    store: Store
    reader: Reader
    access: Access
    limits: Limits
    intake: Intake
    pending: Pending
    desk: Desk
    disk: Disk
    stopping: Callable[[], bool] = lambda: False
    ids: Ids = field(default_factory=Ids)

    async def with_body(
        self, request: Request, work: Callable[[str, bytes], _T], media: Collection[str] = JSON_ONLY
    ) -> _T:
        """Read the body within the limits, then ``work(encoding, body)`` on a thread; `body.inflate` decodes it.

        ``media`` are the content types that are read. Raises Refused. The body counts as pending until the work ends.
        """
        chunks = request.stream()
        try:
            encoding = check_headers(request.headers, self.limits, media)
            self.disk.check()
            body = await read(chunks, self.limits, self.pending)
        except ClientDisconnect:
            raise Refused(400, "the connection ended before the body did", close=True) from None
        except Refused as refused:
            if refused.status in (413, 415, 507) and worth_draining(request.headers, self.limits):
                await drain(chunks, self.limits)
            raise
        try:
            return await self.desk.work(work, encoding, body)
        finally:
            self.pending.give(len(body))

    async def on_thread(self, work: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        """Ask the store something on a worker thread. Raises Refused (503) when too many wait already."""
        return await self.desk.read(functools.partial(work, *arguments, **named))


def refusal(refused: Refused) -> Response:
    """A refusal in the collector's own words: ``{"message", "path"?}``."""
    payload = {"message": refused.message}
    if refused.path is not None:
        payload["path"] = refused.path
    return in_json(payload, refused.status)


@dataclass(frozen=True, slots=True)
class Mount:
    """What is served, and how its failures are said.

    ``routes`` makes the routes, with whole paths. ``prefix`` tells which requests belong here (the longest match
    decides; "/" is that path alone); ``answer`` says a refusal in the format's own words. With ``own_credentials`` the
    edge asks for none and ``request.state.project`` is not set: the routes see to it. ``linkable`` is for what holds no
    data: there links of other sites may lead. A header that a route sets
    itself (such as the pages' content security policy) wins over the edge's usual one.
    """

    routes: Callable[[Parts], Sequence[BaseRoute]]
    prefix: str = ""
    answer: Callable[[Refused], Response] = refusal
    own_credentials: bool = False
    linkable: bool = False

    def covers(self, path: str) -> bool:
        """Whether a request for this path belongs to this mount."""
        return path == self.prefix or (self.prefix != "/" and path.startswith(f"{self.prefix}/"))


def in_json(payload: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(payload), status, media_type="application/json")


def respond(answer: wire.Response) -> Response:
    """A dialect's answer as Starlette's."""
    return Response(answer.body, answer.status, headers=dict(answer.headers))
