"""Which runs a journal has opened and not closed: the quick look at a record's head says what reading it says."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanloom.records import RunEnd, RunPoint, RunStart, RunUpdate, TokenUsage, decode, encode
from spanloom.shipping import open_runs
from spanloom.shipping.open_runs import OpenRuns

_IDS = ["a", "b", "c", 'q"uote', "back\\slash", "ünï", "new\nline", ',"runId":"a"']
_steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "end", "update", "point"]),
        st.sampled_from(_IDS) | st.integers(0, 600).map(str),
        st.integers(0, 59),
        st.booleans(),
    ),
    max_size=60,
)


def _record(kind: str, run: str, second: int, large: bool) -> RunStart | RunEnd | RunUpdate | RunPoint:
    at = f"2026-03-01T12:00:{second:02d}.000000Z"
    content = msgspec.Raw(
        b'{"runId":"inside","eventId":"inside"%b}' % (b',"x":"' + b"x" * 5000 + b'"' if large else b"")
    )
    if kind == "start":
        return RunStart(event_id=f"{run}.s", timestamp=at, run_id=run, type="llm", input=content)
    if kind == "end":
        return RunEnd(event_id=f"{run}.e", timestamp=at, run_id=run, type="llm", output=content)
    if kind == "update":
        usage = TokenUsage(prompt=second)
        return RunUpdate(event_id=f"{run}.u", timestamp=at, run_id=run, tokens_usage=usage)
    return RunPoint(event_id=f"{run}.p", timestamp=at, run_id=run, label="moment", data=content)


@settings(max_examples=200, deadline=None)
@given(_steps)
def test_it_knows_what_a_plain_reading_knows(steps: list[tuple[str, str, int, bool]]) -> None:
    """Starts, ends, updates and others in any order, of ids with and without escapes: the open runs, their usage and
    the last moment are those of a dictionary."""
    runs = OpenRuns()
    known: dict[str, int | None] = {}
    last = ""
    for step in steps:
        kind, run, second, _ = step
        record = _record(*step)
        runs.feed(encode(record))
        if kind == "start":
            known[run] = None
        elif kind == "end":
            known.pop(run, None)
        elif kind == "update" and run in known:
            known[run] = second
        if kind != "point":
            last = max(last, record.timestamp)
    told = [decode(payload) for payload in runs.epitaphs()]
    assert all(isinstance(end, RunEnd) and end.status == "killed" for end in told)
    assert {end.run_id: end.tokens_usage and end.tokens_usage.prompt for end in told} == known  # type: ignore[union-attr]
    assert len(runs) == len(known)
    assert runs.last_timestamp == last


@settings(max_examples=200, deadline=None)
@given(_steps, st.integers(0, 60), st.integers(0, 60))
@example(steps=[("start", "a", 0, False), ("end", "a", 1, False)], noted=1, kept=0)
def test_what_was_noted_may_be_met_again(steps: list[tuple[str, str, int, bool]], noted: int, kept: int) -> None:
    """A process killed between noting its open runs and deleting the segment leaves both: its successor, which reads
    the note and then records that the note knows, closes those runs only that one reading of all leaves open (C74)."""
    noted = min(noted, len(steps))
    kept = min(kept, noted)
    payloads = [encode(_record(*step)) for step in steps]
    before, after, plain = OpenRuns(), OpenRuns(), OpenRuns()
    for payload in payloads[:noted]:
        before.feed(payload)
    after.load(before.dump())
    for payload in payloads[kept:]:
        after.feed(payload)
    for payload in [*payloads[:noted], *payloads[kept:]]:
        plain.feed(payload)
        len(plain)  # reads it at once
    assert {decode(one).run_id for one in after.epitaphs()} == {decode(one).run_id for one in plain.epitaphs()}  # type: ignore[union-attr]


def test_no_content_is_kept_of_a_run_that_stays_open() -> None:
    """After so many others, or when it is large, nothing of a start but its envelope is left in memory or on disk."""
    runs = OpenRuns()
    for number in range(open_runs._FRESH):
        start = RunStart(
            event_id=f"{number}.s", timestamp="2026-03-01T12:00:00.000000Z", run_id=str(number), type="llm",
            input=msgspec.Raw(b'"a secret plan"'),
        )  # fmt: skip
        runs.feed(encode(start))
    assert not runs._fresh
    assert b"secret" not in runs.dump() and len(runs) == open_runs._FRESH
    large = RunStart(
        event_id="l.s", timestamp="2026-03-01T12:00:00.000000Z", run_id="l", type="llm",
        input=msgspec.Raw(b'"%b"' % (b"secret " * 1000)),
    )  # fmt: skip
    runs.feed(encode(large))
    assert not runs._fresh and len(runs) == open_runs._FRESH + 1


def test_damaged_records_are_passed_over() -> None:
    """What cannot be read says nothing, and takes nothing with it."""
    runs = OpenRuns()
    runs.feed(b'{"event":"start","eventId":"a.s","timestamp":"2026-03-01T12:00:00.000000Z","runId":"a","type":')
    runs.feed(b'{"event":"start"')
    runs.feed(b"")
    assert len(runs) == 0 and runs.epitaphs() == []


def test_beyond_so_many_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of open runs is bounded; those left out are counted."""
    monkeypatch.setattr(open_runs, "MAX_OPEN", 10)
    runs = OpenRuns()
    for number in range(25):
        runs.feed(encode(_record("start", str(number), 0, False)))
    assert len(runs) == 10 and runs.forgotten == 15
    assert {decode(payload).run_id for payload in runs.epitaphs()} == {str(n) for n in range(15, 25)}  # type: ignore[union-attr]
