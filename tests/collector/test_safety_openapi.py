"""The collector's description of itself is true, and nothing that it allows or forbids makes the server fail."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from spanloom.collector.access import Keyless
from spanloom.collector.app import MOUNTS, create_app
from spanloom.collector.body import Limits
from spanloom.collector.openapi import document
from spanloom.collector.server import Running
from spanloom.store import Reader, Store

DOCUMENT: dict[str, Any] = json.loads(document())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schemathesis.openapi.media_type("application/x-protobuf", st.binary())
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with Running(tmp_path_factory.mktemp("openapi") / "runs.db") as running:
        for run_id in ("r", "0"):
            events = [
                {"event": "start", "runId": run_id, "type": "llm", "input": "x"},
                {"event": "end", "runId": run_id},
            ]
            assert httpx.post(f"{running.url}/v1/runs/ingest", json={"events": events}, trust_env=False).is_success
        yield running


@schema.parametrize()
@settings(
    max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip
def test_nothing_makes_it_fail(case: schemathesis.Case, standing: Running) -> None:
    """What the document allows, and what it forbids, made by Schemathesis: no 5xx, and each answer is one that the
    document names, in the form that it gives (S01)."""
    case.call_and_validate(base_url=standing.url, checks=CHECKS)


def test_every_route_is_described(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The paths and methods of the document are those that are served, and no other."""
    with Store(tmp_path / "s.db") as store:
        edge: Any = create_app(store, Reader(tmp_path / "s.db"), access=Keyless(), limits=Limits())
        served = {
            (route.path.replace(":path}", "}"), method)
            for route in edge._router.routes
            for method in route.methods - {"HEAD"}
            if re.match(r"/v1/(runs|health|traces|logs)|/api/|/openapi", route.path)
        }
    described = {(path, method.upper()) for path, said in DOCUMENT["paths"].items() for method in said}
    assert described == served
    assert len(MOUNTS) >= 2


def test_the_document_is_served(standing: Running) -> None:
    """As it stands in the package, to whoever may ask at all."""
    answer = httpx.get(f"{standing.url}/openapi.json", trust_env=False)
    assert answer.json() == DOCUMENT
    assert (
        httpx.get(f"{standing.url}/openapi.json", headers={"host": "evil.example"}, trust_env=False).status_code == 421
    )
