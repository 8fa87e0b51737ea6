"""Whoever presents many wrong keys is slowed down; the right key always opens (S08, S09)."""

from __future__ import annotations

from pathlib import Path

import httpx

from spanloom.collector.attempts import Attempts
from spanloom.collector.keys import Keyed, KeyRing
from spanloom.collector.server import Running


def test_wrong_keys_are_slowed_down_and_the_right_one_is_not(tmp_path: Path) -> None:
    """After twenty it is 429 with a time to wait; from the same address, the right key goes on working."""
    ring = KeyRing(tmp_path / "s.db")
    _, given = ring.add("collector")
    with (
        Running(tmp_path / "s.db", access=Keyed(ring)) as running,
        httpx.Client(base_url=running.url, timeout=20, trust_env=False) as client,
    ):
        got = [client.get("/v1/runs", headers={"authorization": f"Bearer {n}"}) for n in range(40)]
        assert [answer.status_code for answer in got[:20]] == [401] * 20
        assert {answer.status_code for answer in got} == {401, 429}
        slowed = next(answer for answer in got if answer.status_code == 429)
        assert int(slowed.headers["retry-after"]) >= 1
        assert client.get("/v1/runs", headers={"authorization": f"Bearer {given['key']}"}).status_code == 200


def test_what_is_remembered_is_bounded() -> None:
    """Ten thousand addresses do not fill the memory; each still has its own tries."""
    attempts = Attempts()
    for number in range(10_000):
        assert attempts.wrong(f"10.0.{number // 250}.{number % 250}") is None
    assert len(attempts._spent) == 4096
    assert [attempts.wrong("192.0.2.1") for _ in range(20)] == [None] * 20
    assert attempts.wrong("192.0.2.1") is not None
    assert attempts.wrong("192.0.2.2") is None
