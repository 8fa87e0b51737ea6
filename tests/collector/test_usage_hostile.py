"""What strangers send to the usage mounts: answered in the dialect's own JSON, never 500, and no neighbour suffers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanloom.collector.server import Running

VLUNA = {"x-realm-id": "r1", "x-principal-id": "acme", "x-user-id": "u1"}
PATHS = (
    "/vluna/mgt/v1/events", "/vluna/mgt/v1/events/batch", "/valmi/v1/actions", "/valmi/v1/outcomes", "/atlas",
    "/atlas/external/event", "/lumen/v1/events", "/lumen/v1/events/batch", "/lumen/v1/events/backfill",
)  # fmt: skip
FIELDS = (
    "event_key", "semantic_kind", "event_type", "occurred_at", "payload", "labels", "subject_ref", "agent_key",
    "action_type", "outcome_type", "metadata", "timestamp", "value", "customerId", "extCustomerId", "eventName",
    "generatedAt", "idempotencyKey", "userId", "data", "eventValue", "eventString", "eventTimestamp", "properties",
)  # fmt: skip
LIKELY = st.sampled_from(
    ["outcome", "activity", "x", "", "\x00", "a" * 300, "2026-01-01T00:00:00Z", "2026-01-01",
    "9999-12-31T23:59:59-23:59",
     "0001-01-01T00:00:00+14:00", 1, -1, 0.5, 10**30, -(10**400), True, None, [], {}, {"idempotency_key": 3}]
)  # fmt: skip
VALUES = st.recursive(
    LIKELY | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=len(FIELDS))
BODIES = (
    EVENTS | st.lists(EVENTS, max_size=3) | st.fixed_dictionaries({"events": VALUES | st.lists(EVENTS, max_size=3)})
)


def answered(answer: httpx.Response) -> Any:
    """The answer's JSON, once it is seen to be no failure of the server's."""
    assert answer.status_code < 500, (answer.status_code, answer.text)
    assert answer.headers["content-type"].startswith("application/json")
    return answer.json()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"3", b'"x"', b"[[]]", b"\xff\xfe{}", b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"eventName": NaN}', b'{"eventValue": 1e999}', b'{"eventName": "\\ud800"}', b'{"events": {"a": 1}}',
        b'{"customerId": 1' + b"0" * 5_000 + b"}",
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)  # fmt: skip
def test_no_body_is_a_failure(standing_client: httpx.Client, path: str, body: bytes) -> None:
    """Cut off, nested without end, no UTF-8, no object, not a number: 4xx that says something (S25, S36)."""
    headers = {**VLUNA, "idempotency-key": "k", "content-type": "application/json"}
    answer = standing_client.post(path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500 and len(json.dumps(answered(answer))) < 2_000


@given(path=st.sampled_from(PATHS), body=BODIES, key=st.none() | st.sampled_from(["k", "a" * 400, ""]))
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_event_is_a_failure(standing_client: httpx.Client, path: str, body: Any, key: str | None) -> None:
    """Whatever stands in the documented fields, it is taken or refused, with a list's items told one by one."""
    headers = VLUNA if key is None else {**VLUNA, "idempotency-key": key}
    answered(standing_client.post(path, json=body, headers=headers))


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1", "limit=x", "limit=" + "9" * 400, "limit=0", "offset=99999999999999999999", "offset=-3",
        "startDate=now",
        "endDate=9999-99-99", "endDate=9999-12-31", "startDate=0001-01-01",
        "startTime=0001-01-01T00:00:00%2B14:00", "eventName=%FF%00", "customerId=%00", "a=b&a=c",
        "extCustomerId=x&customerId=y", "limit=1&limit=2", "%", "idempotencyKey=" + "k" * 2_000,
    ],
)  # fmt: skip
def test_no_query_is_a_failure(standing_client: httpx.Client, query: str) -> None:
    """Lumen's query with numbers, times and names that are none."""
    answered(standing_client.get(f"/lumen/v1/events?{query}"))


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "path", [*PATHS, "/valmi/v1/", "/vluna/mgt/v1/../../lumen", "/lumen/v1/events/%00", "/atlas/x/y"]
)
def test_no_method_or_path_is_a_failure(standing_client: httpx.Client, method: str, path: str) -> None:
    """A route that is not there is not there, and changes nothing."""
    assert standing_client.request(method, path, headers=VLUNA).status_code < 500


def lumen(number: int) -> dict[str, Any]:
    return {"eventName": "x", "customerId": "c", "eventValue": 1, "idempotencyKey": f"k{number}"}


def vluna(number: int) -> dict[str, Any]:
    return {
        "semantic_kind": "activity",
        "event_type": "x",
        "occurred_at": "2026-01-01T00:00:00Z",
        "payload": {"n": number},
    }


def atlas(number: int) -> dict[str, Any]:
    return {"eventName": "x", "customerId": "c", "generatedAt": "2026-01-01T00:00:00Z", "data": {"n": number}}


@pytest.mark.parametrize(
    ("path", "made", "wrapped", "refused", "taken"),
    [
        ("/vluna/mgt/v1/events/batch", vluna, True, 422, 207),
        ("/lumen/v1/events/batch", lumen, True, 400, 202),
        ("/atlas/external/event", atlas, False, 413, 200),
    ],
)
def test_a_batch_over_the_limit_is_refused_whole(
    collector: Running, client: httpx.Client, path: str, made: Any, wrapped: bool, refused: int, taken: int
) -> None:
    """1001 events: refused with the limit, nothing stored; 1000 are taken, every one once."""
    events = [made(number) for number in range(1001)]
    for count, status in ((1001, refused), (1000, taken)):
        body = {"events": events[:count]} if wrapped else events[:count]
        answer = client.post(path, json=body, headers={**VLUNA, "idempotency-key": f"k{count}"})
        assert answer.status_code == status
        if count == 1001:
            assert "1000" in answer.text and collector.reader.usage_events() == []
    assert len(collector.reader.usage_events(limit=5_000)) == 1_000


def test_one_wrong_event_spoils_no_neighbour(collector: Running, client: httpx.Client) -> None:
    """Lumen's batch names the wrong ones by index and stores the others; out of order and twice makes no difference."""
    late = {**lumen(2), "eventTimestamp": "2020-01-01T00:00:00Z"}
    wrong = {**lumen(3), "eventTimestamp": "2026-01-01T00:00:00"}
    answer = client.post("/lumen/v1/events/batch", json={"events": [lumen(1), wrong, late, lumen(1)]})
    assert answer.status_code == 202
    said = answer.json()
    assert (said["accepted"], said["rejected"], said["message"]) == (3, 1, "Batch received. Processed 2 new events.")
    assert said["errors"][0]["index"] == 1 and "zone" in said["errors"][0]["error"]
    assert sorted(row.idempotency_key for row in collector.reader.usage_events()) == ["k1", "k2"]
