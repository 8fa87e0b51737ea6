"""Everything that is mounted stands behind the same door."""

from __future__ import annotations

import logging

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from spanloom.collector.body import Refused
from spanloom.collector.edge import HEADERS
from spanloom.collector.mounts import Mount, Parts, in_json
from spanloom.collector.server import Running


def odd_routes(parts: Parts) -> list[BaseRoute]:
    async def echo(request: Request) -> Response:
        size_bytes = await parts.with_body(request, lambda encoding, body: len(body), media={"application/odd"})
        return in_json({"size": size_bytes, "project": getattr(request.state, "project", None)})

    async def page(request: Request) -> Response:
        return PlainTextResponse("hello", headers={"Content-Security-Policy": "default-src 'self'"})

    async def broken(request: Request) -> Response:
        raise ZeroDivisionError("a secret")

    async def missing(request: Request) -> Response:
        raise HTTPException(404, "no such thing")

    async def breaks_off(request: Request) -> Response:
        async def parts_of_it():  # type: ignore[no-untyped-def]
            yield b"a"
            raise ZeroDivisionError("a secret")

        return StreamingResponse(parts_of_it())

    return [
        Route("/odd/echo", echo, methods=["POST"]),
        Route("/odd/page", page),
        Route("/odd/broken", broken),
        Route("/odd/missing", missing),
        Route("/odd/breaks-off", breaks_off),
    ]


def in_odd_words(refused: Refused) -> Response:
    return in_json({"odd": refused.message}, refused.status)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    mount = Mount(odd_routes, prefix="/odd", answer=in_odd_words, own_credentials=True)
    with (
        Running(tmp_path_factory.mktemp("odd") / "runs.db", mounts=[mount]) as running,
        httpx.Client(base_url=running.url, timeout=20, trust_env=False) as client,
    ):
        yield client


def test_a_mount_reads_bodies_and_speaks_its_own_words(odd: httpx.Client) -> None:
    """Its content types, its refusals; outside its prefix the collector's words stand."""
    answer = odd.post("/odd/echo", content=b"12345", headers={"content-type": "application/odd"})
    assert answer.json() == {"size": 5, "project": None}
    assert "odd" in odd.post("/odd/echo", content=b"1", headers={"content-type": "text/plain"}).json()
    assert (odd.get("/odd/missing").status_code, odd.get("/odd/missing").json()) == (404, {"odd": "no such thing"})
    assert odd.get("/odd/nothing").json() == {"odd": "Not Found"}
    assert odd.get("/oddities").json() == {"message": "Not Found"}
    wrong = odd.get("/odd/echo")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_every_answer_has_the_security_headers(odd: httpx.Client) -> None:
    """Answers and refusals alike; what a route says itself stands."""
    for path in ("/v1/health", "/v1/nothing", "/odd/missing", "/odd/broken"):
        answer = odd.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert odd.get("/odd/page").headers.get_list("content-security-policy") == ["default-src 'self'"]


def test_no_mount_is_reached_by_another_name(odd: httpx.Client) -> None:
    """The names are checked for those with credentials of their own too (S15)."""
    answer = odd.get("/odd/page", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert "odd" in answer.json()


def test_what_nobody_foresaw_is_told_to_the_log_without_its_message(
    odd: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """500 for the client, type and place for the log; the exception's text may be a client's secret (S35)."""
    with caplog.at_level(logging.ERROR):
        answer = odd.get("/odd/broken")
        with pytest.raises(httpx.RemoteProtocolError):
            odd.get("/odd/breaks-off")
    assert answer.status_code == 500
    assert "a secret" not in answer.text + caplog.text
    assert caplog.text.count("ZeroDivisionError at ") == 2
