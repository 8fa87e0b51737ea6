"""What the collector takes, what it refuses, and that it acknowledges only what it has."""

from __future__ import annotations

import gzip
import json
import socket
import sqlite3
import threading
import uuid
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanloom import records
from spanloom.collector.body import Limits, Refused, inflate
from spanloom.collector.server import Running
from spanloom.records import Action, LossReport, RunEnd, RunPoint, RunStart, RunUpdate, TokenUsage

NOW = "2026-01-31T12:00:00.000000Z"
JSON = {"content-type": "application/json"}


def event(run_id: str = "", **fields: Any) -> dict[str, Any]:
    run_id = run_id or str(uuid.uuid4())
    return {"event": "start", "type": "llm", "runId": run_id, "timestamp": "2026-01-31T12:00:00Z", **fields}


def post(client: httpx.Client, *events: Any, path: str = "/v1/runs/ingest") -> httpx.Response:
    return client.post(path, json={"events": list(events)})


def raw_exchange(port: int, request: bytes) -> bytes:
    """Send bytes as they are and read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as talking:
        talking.sendall(request)
        answer = b""
        while chunk := talking.recv(65536):
            answer += chunk
        return answer


def alive(client: httpx.Client) -> None:
    """After any fault a good batch is taken as ever."""
    assert post(client, event()).status_code == 200


def test_a_replay_is_a_duplicate(client: httpx.Client) -> None:
    """The same events again change nothing and are answered as successes that say so (S25)."""
    batch = [event("r1"), event("r1", event="end", output="x"), {"event": "feedback", "runId": "r1", "feedback": {}}]
    assert post(client, *batch).json() == {"results": [{"id": "r1", "success": True}] * 3}
    again = post(client, *batch).json()
    assert again == {"results": [{"id": "r1", "success": True, "duplicate": True}] * 3}
    assert len(client.get("/v1/runs").json()["data"]) == 1


def test_the_same_event_from_many_clients_at_once_is_one(collector: Running) -> None:
    """Sixteen threads send one event: one of them is new, the others are duplicates (S25)."""
    answers: list[dict[str, Any]] = []

    def send() -> None:
        with httpx.Client(base_url=collector.url, timeout=20, trust_env=False) as client:
            answers.append(post(client, event("race")).json()["results"][0])

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 16
    assert sum("duplicate" not in answer for answer in answers) == 1


def test_duplicate_chats_are_one_message(client: httpx.Client) -> None:
    """Lunary appends a chat that is sent again; here content and time tell that it is the same."""
    hello = event("c1", event="chat", type="thread", parentRunId="t1", message={"role": "user", "content": "hi"})
    later = {**hello, "timestamp": "2026-01-31T12:00:09Z"}
    for _ in range(2):
        post(client, hello, later)
    assert client.get("/v1/runs/c1").json()["messagesCount"] == 2


def test_our_own_records_are_taken_unchanged(client: httpx.Client) -> None:
    """Every kind of record, by `Collector`'s envelope; the results name each by its event id."""
    own = [
        RunStart(event_id="r.s", timestamp=NOW, run_id="r", type="llm", customer="c1", key="order-1"),
        RunUpdate(event_id="r.u1", timestamp=NOW, run_id="r", tokens_usage=TokenUsage(1, 2)),
        RunPoint(event_id="r.p1", timestamp=NOW, run_id="r", label="retry"),
        RunEnd(event_id="r.e", timestamp=NOW, run_id="r", type="llm", status="cancelled"),
        Action(event_id="a1", timestamp=NOW, name="llm_call", idempotency_key="k1", customer="c1"),
        LossReport(event_id="l1", timestamp=NOW, destination="collector", lost={"full": 2}),
    ]
    body = b'{"events":[' + b",".join(map(records.encode, own)) + b"]}"
    answer = client.post("/v1/runs/ingest", content=body, headers=JSON)
    assert [(item["eventId"], item["success"]) for item in answer.json()["results"]] == [
        (record.event_id, True) for record in own
    ]
    run = client.get("/v1/runs/r").json()
    assert (run["status"], run["customer"], run["key"], run["tokens"]["total"]) == ("cancelled", "c1", "order-1", 3)


def test_a_malformed_event_is_named_and_its_neighbours_are_kept(client: httpx.Client) -> None:
    """4xx with the path of what is wrong, and a result for each event."""
    answer = post(client, event("a"), event("b"), event("c"), event("d", timestamp="soon"), event("e"))
    assert answer.status_code == 400
    assert answer.json()["path"] == "$.events[3].timestamp"
    assert [item["success"] for item in answer.json()["results"]] == [True, True, True, False, True]
    assert {run["id"] for run in client.get("/v1/runs").json()["data"]} == {"a", "b", "c", "e"}


@pytest.mark.parametrize(
    ("body", "path"),
    [(b"", "$"), (b"{", "$"), (b"{}", "$.events"), (b'{"events":NaN}', "$"), (b'{"events":"\xff"}', "$"),
     (b"[" * 50_000, "$"), (b'{"events":[{"event":"end","runId":"a","output":1e999}]}', "$.events[0]"),
     (b'{"events":[{"event":"end","runId":"a","output":' + b"[" * 900 + b"]" * 900 + b"}]}", "$.events[0]")],
)  # fmt: skip
def test_what_is_not_json_is_refused_by_name(standing_client: httpx.Client, body: bytes, path: str) -> None:
    """Always 400 with JSON that says what and where, and the server goes on (S01, S02)."""
    answer = standing_client.post("/v1/runs/ingest", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["path"] == path
    assert answer.json()["message"]
    alive(standing_client)


def test_the_old_route_answers_with_the_bare_list(client: httpx.Client) -> None:
    """/api/report is the first SDKs' address; a trailing slash does not matter anywhere."""
    assert post(client, event("a"), path="/api/report").json() == [{"id": "a", "success": True}]
    assert post(client, event("b"), path="/v1/runs/ingest/").status_code == 200
    assert client.get("/v1/runs/a/").json()["id"] == "a"


@pytest.mark.parametrize("credential", [None, "Bearer 0x0", "", "Basic \u00e9", "x" * 8000])
def test_without_keys_any_credential_is_accepted(standing_client: httpx.Client, credential: str | None) -> None:
    """A program that has a vendor's key set need not unset it (decision 34)."""
    headers = {} if credential is None else {"authorization": credential.encode("latin-1")}
    assert standing_client.post("/v1/runs/ingest", json={"events": [event()]}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
)
def test_only_json_is_taken(standing_client: httpx.Client, content_type: str) -> None:
    """415, which also keeps out what a foreign page's form can send (S07)."""
    answer = standing_client.post("/v1/runs/ingest", content=b'{"events":[]}', headers={"content-type": content_type})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421), ({"host": "127.0.0.1.evil.example"}, 421), ({"host": "localhost."}, 421),
        ({"host": "evil.localhost"}, 421), ({"host": "evil-127.0.0.1"}, 421),
        ({"host": ""}, 421), ({"host": "127.0.0.1:80:80"}, 421), ({"host": "localhost:evil"}, 421),
        ({"host": "127.0.0.1:1"}, 200), ({"host": "LOCALHOST"}, 200), ({"host": "[::1]:8321"}, 200),
        ({"x-forwarded-host": "evil.example"}, 200),
        ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403), ({"origin": "http://[bad"}, 403),
        ({"origin": "file://localhost"}, 403), ({"origin": "http://127.0.0.1:5173"}, 403),
        ({"origin": "http://localhost:8321", "host": "localhost:8321"}, 200),
        ({"origin": "http://localhost:8321", "host": "127.0.0.1:8321"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403), ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "same-site"}, 403), ({"sec-fetch-site": "none"}, 200),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/runs", "/v1/health", "/nowhere"])
def test_other_sites_pages_are_kept_out(
    standing_client: httpx.Client, headers: dict[str, str], status: int, path: str
) -> None:
    """A name that was rebound to this machine, or a foreign origin, is refused on every route (S15, S16)."""
    expected = 404 if (path, status) == ("/nowhere", 200) else status
    answer = standing_client.get(path, headers=headers)
    assert answer.status_code == expected
    assert answer.headers["content-type"] == "application/json"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/runs/ingest/x/y", 404), ("DELETE", "/v1/runs", 405),
     ("OPTIONS", "/v1/runs/ingest", 405), ("TRACE", "/v1/runs", 405), ("GET", "/api/report", 405),
     ("HEAD", "/v1/runs", 200), ("GET", "/v1/runs/%2e%2e%2fetc", 404), ("GET", "/v1/runs/%00", 404)],
)  # fmt: skip
def test_the_edges_of_http_answer_json(standing_client: httpx.Client, method: str, path: str, status: int) -> None:
    """Unknown routes and methods, odd ids (S40)."""
    answer = standing_client.request(method, path)
    assert answer.status_code == status
    if method != "HEAD":
        assert answer.json()["message"]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "identity"])
def test_compressed_bodies_are_read(client: httpx.Client, encoding: str) -> None:
    """gzip (of several members too), deflate, and none."""
    body = json.dumps({"events": [event("a")]}).encode()
    packed = {"deflate": zlib.compress(body), "identity": body}.get(
        encoding, gzip.compress(body[:9]) + gzip.compress(body[9:])
    )
    answer = client.post("/v1/runs/ingest", content=packed, headers={**JSON, "content-encoding": encoding})
    assert answer.status_code == 200


def test_damaged_gzip_is_refused(client: httpx.Client) -> None:
    """A body that is cut, changed, followed by something else, or no gzip is 400, and nothing is stored (S03)."""
    body = gzip.compress(json.dumps({"events": [event("a")]}).encode())
    headers = {**JSON, "content-encoding": "gzip"}
    for bad in (body[:-1], b"", body + b"x", body[:10] + b"\0\0" + body[12:], b'{"events":[]}'):
        assert client.post("/v1/runs/ingest", content=bad, headers=headers).status_code == 400
    assert client.get("/v1/runs").json()["data"] == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body_is_whole_or_refused(encoding: str) -> None:
    """At every cut, 400; whole, the same bytes (S03)."""
    plain = json.dumps({"events": [event("a")]}).encode()
    packed = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    assert inflate(packed, encoding, Limits()) == plain
    for cut in range(len(packed)):
        with pytest.raises(Refused) as refused:
            inflate(packed[:cut], encoding, Limits())
        assert refused.value.status == 400


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip;q=1", "bogus"])
def test_other_encodings_are_refused(standing_client: httpx.Client, encoding: str) -> None:
    """415, so that a client falls back to none (S03)."""
    answer = standing_client.post("/v1/runs/ingest", content=b"{}", headers={**JSON, "content-encoding": encoding})
    assert answer.status_code == 415


def test_a_bomb_is_refused_at_the_cap(client: httpx.Client) -> None:
    """100 MB in 100 KB: 413, inflated no further than the cap (S04)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(100)) + packer.flush()
    answer = client.post("/v1/runs/ingest", content=bomb, headers={**JSON, "content-encoding": "gzip"})
    assert answer.status_code == 413
    alive(client)


def test_a_body_past_the_cap_is_refused(client: httpx.Client) -> None:
    """413 by its length, and by its bytes when it comes in chunks without one (S05)."""
    large = b" " * (21 << 20)
    assert client.post("/v1/runs/ingest", content=large, headers=JSON).status_code == 413
    chunks = (large[: 1 << 20] for _ in range(21))
    assert client.post("/v1/runs/ingest", content=chunks, headers=JSON).status_code == 413
    alive(client)


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: -1", b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 1e3",
     b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked\r\nContent-Length: 3",
     b"Transfer-Encoding: gzip"],
)  # fmt: skip
def test_ambiguous_framing_ends_the_connection(collector: Running, client: httpx.Client, framing: bytes) -> None:
    """A length that lies, twice or with chunks, is answered 4xx and the connection closed (S05)."""
    head = b"POST /v1/runs/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = raw_exchange(collector.port, head + framing + b"\r\nConnection: close\r\n\r\nabc\r\n0\r\n\r\n")
    assert answer.split(b" ", 2)[1][:1] in (b"4", b"5")
    assert answer.split(b" ", 2)[1] != b"500"
    alive(client)


def test_a_client_that_leaves_early_harms_nobody(collector: Running, client: httpx.Client) -> None:
    """Half a body and gone: nothing is stored, the next request is served (S32)."""
    head = b"POST /v1/runs/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", collector.port), timeout=20) as talking:
            talking.sendall(head + b'Content-Length: 1000\r\n\r\n{"events":[')
    alive(client)
    assert len(client.get("/v1/runs").json()["data"]) == 1


def test_a_flood_is_refused_instead_of_kept(tmp_path: Path) -> None:
    """Past the bytes that may be pending: 503 with Retry-After, not an acceptance that is dropped (S31)."""
    limits = Limits(max_pending_bytes=1000)
    with (
        Running(tmp_path / "runs.db", limits=limits) as collector,
        httpx.Client(base_url=collector.url, timeout=20, trust_env=False) as client,
    ):
        answer = post(client, event(input="x" * 2000))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        alive(client)


def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    """A body that does not arrive within its time is answered 408 and its connection closed (S06)."""
    with Running(tmp_path / "runs.db", limits=Limits(body_seconds=0.2)) as collector:
        head = b"POST /v1/runs/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer = raw_exchange(collector.port, head + b"Content-Length: 1000\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_what_the_store_cannot_write_is_not_acknowledged(tmp_path: Path) -> None:
    """While another program holds the file the answer is 503 with Retry-After; later the same batch is new (S21)."""
    with (
        Running(tmp_path / "runs.db", busy_seconds=0.2) as collector,
        httpx.Client(base_url=collector.url, timeout=20, trust_env=False) as client,
    ):
        alive(client)
        holder = sqlite3.connect(collector.store.path, isolation_level=None)
        try:
            holder.execute("begin exclusive")
            refused = post(client, event("held"))
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert "busy" in refused.json()["message"]
        finally:
            holder.rollback()
            holder.close()
        assert post(client, event("held")).json() == {"results": [{"id": "held", "success": True}]}


def test_acknowledged_events_are_in_the_file(collector: Running, client: httpx.Client) -> None:
    """A reader of its own sees them as soon as the answer is there."""
    post(client, event("seen"))
    with sqlite3.connect(f"file:{collector.store.path}?mode=ro", uri=True) as reading:
        assert reading.execute("select count(*) from runs where run_id = 'seen'").fetchone() == (1,)
    reading.close()
