"""`Lumen(...).query` against the collector as a server, in both generations of the interface."""

from __future__ import annotations

import time
from datetime import date, datetime, timezone
from pathlib import Path

from msgspec.structs import replace

from spanloom.collector.server import Running
from spanloom.records import Action, decode, encode
from spanloom.shipping.usage_destinations import Lumen

_DAY = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def _events(count: int) -> list[bytes]:
    """Actions of one customer, one a minute from noon on."""
    made = Action(event_id="", timestamp="", name="lookup", customer="mine", value=1, idempotency_key="")
    return [
        encode(
            replace(
                made,
                event_id=f"00000000-0000-7000-8000-{number:012d}",
                idempotency_key=f"key-{number}",
                timestamp=f"2026-11-01T{12 + number // 60:02d}:{number % 60:02d}:00.000000Z",
            )
        )
        for number in range(count)
    ]


def test_a_customer_of_yours_has_more_rows_than_a_page(tmp_path: Path) -> None:
    """450 events of an external customer, of which the newer pages give 200 at a time: a query has as many as it asks
    for, each once; bounds are inclusive in both generations."""
    events = _events(450)
    assert isinstance(decode(events[0]), Action)
    with Running(tmp_path / "runs.db") as collector:
        url = f"http://127.0.0.1:{collector.port}/lumen"
        theirs, ours = Lumen("any", url=url, customers="external"), Lumen("any", url=url)
        destination = theirs.build()
        for first in range(0, 450, 100):
            verdicts = destination.deliver(events[first : first + 100], time.monotonic() + 20)
            assert {verdict.kind for verdict in verdicts} == {"delivered"}
        destination.close()
        rows = theirs.query(customer="mine")
        assert len(rows) == 450 and len({row["idempotencyKey"] for row in rows}) == 450
        assert len(theirs.query(customer="mine", limit=250)) == 250
        assert theirs.query(customer="mine", limit=250) == rows[:250]
        for asked in (theirs, ours):
            assert len(asked.query(customer="mine", start=date(2026, 11, 1), end=date(2026, 11, 1))) == 450
            assert len(asked.query(customer="mine", start=_DAY, end=_DAY)) == 1
            assert asked.query(customer="mine", start="2026-11-02") == []
            assert len(asked.query(customer="mine", end="2026-11-01T12:01:00Z")) == 2
