"""``POST /v1/traces`` and ``/v1/logs``: OTLP from any exporter, protobuf or JSON, answered in the request's encoding.

Promises: 200 after the commit, with ``partial_success`` for what was refused; a span that is sent again changes
nothing; every failure is a ``google.rpc.Status`` with a status that exporters understand (a full disk is 503, so that
they keep their spans). Must never: answer 500 to what a stranger wrote.
"""

from __future__ import annotations

import functools

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import wire
from ..dialects import otlp
from ..errors import WireError
from .body import Refused, inflate
from .mounts import Mount, Parts, respond

MEDIA = frozenset({otlp.PROTOBUF, otlp.JSON})


def _routes(parts: Parts) -> list[BaseRoute]:
    async def take(request: Request) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            answer = await parts.with_body(request, functools.partial(_take, parts, request), media=MEDIA)
        except Refused as refused:
            answer = _said(refused, media)
            if refused.close:
                answer.headers["connection"] = "close"
            if refused.retry_after_seconds is not None:
                answer.headers["retry-after"] = str(refused.retry_after_seconds)
        return respond(answer)

    return [Route(path, take, methods=["POST"]) for path in (otlp.TRACES_PATH, otlp.LOGS_PATH)]


def _take(parts: Parts, request: Request, encoding: str, body: bytes) -> wire.Response:
    """Read, store, answer. Raises Refused. Blocks."""
    headers = {"content-type": request.headers.get("content-type", "")}
    asked = wire.Request("POST", request.url.path, headers, inflate(body, encoding, parts.limits))
    try:
        received = otlp.read_request(asked)
    except WireError as error:
        raise Refused(error.status_hint, str(error)) from None
    return otlp.write_reply(asked, parts.intake.store_each(received, request.state.project))


def _said(refused: Refused, media: str = otlp.JSON) -> wire.Response:
    """A refusal in OTLP's words. 507 is none of the statuses that an exporter tries again."""
    return otlp.write_error(media, 503 if refused.status == 507 else refused.status, refused.message)


def _answer(refused: Refused) -> Response:
    return respond(_said(refused))


OTLP_MOUNTS: tuple[Mount, ...] = (
    Mount(_routes, prefix=otlp.TRACES_PATH, answer=_answer),
    Mount(lambda parts: (), prefix=otlp.LOGS_PATH, answer=_answer),
)
