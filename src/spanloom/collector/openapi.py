"""The collector's description of itself: ``GET /openapi.json`` (OpenAPI 3.1), kept by hand in ``openapi.json``.

Promise: every path of Lunary's mount is in it, and nothing that is not served (a test holds it). Mounts of other
formats are described by their vendors. Needs no key: it says nothing about what is stored.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .mounts import Mount, Parts


@cache
def document() -> bytes:
    """The document, as JSON."""
    return (files(__package__) / "openapi.json").read_bytes()


async def _serve(request: Request) -> Response:
    return Response(document(), media_type="application/json")


def _routes(parts: Parts) -> list[BaseRoute]:
    return [Route("/openapi.json", _serve, methods=["GET"])]


OPENAPI = Mount(_routes, prefix="/openapi.json", own_credentials=True)
