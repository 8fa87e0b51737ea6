"""The journal as a sink, and a lane over it: nothing lost, everything counted, nothing left behind."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from journal_cases import SMALL, drain, end, everything, ids, inherit, run, start

from spanloom.shipping.journal import Journal
from spanloom.shipping.lanes import Lane

ONE_OF_THREE = (b'{"event":"start","eventId":"run-3', b'{"event":"start","eventId":"run-1')


def test_a_new_journal_touches_nothing(tmp_path: Path) -> None:
    """Making a journal opens no file and makes no directory (C33)."""
    journal = Journal(tmp_path / "home")
    journal.lane("d1", everything)
    journal.close()
    assert not (tmp_path / "home").exists()


def test_a_record_is_in_a_file_when_the_call_returns(tmp_path: Path) -> None:
    """The bytes of an appended record can be read from a file in the journal's directory at once."""
    journal = Journal(tmp_path)
    journal.append(start(1))
    state = journal.state()
    assert state.mode == "disk" and state.appended == 1 and state.path is not None
    assert start(1) in b"".join(file.read_bytes() for file in Path(state.path).glob("*.seg"))
    journal.close()


def test_files_and_directories_are_private(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600 whatever the umask (C93)."""
    before = os.umask(0)
    try:
        journal = Journal(tmp_path / "h", limits=SMALL)
        lane = journal.lane("d1", everything)
        journal.declare(["d1"])
        for number in range(200):
            journal.append(start(number, 200))
        entries = lane.take(10, 1 << 20)
        lane.dead_letter(entries[0], "refused")
        lane.settle(entries[1:])
        assert journal.sync(10)
        for folder, _, files in os.walk(tmp_path / "h" / "journal"):
            assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
            for file in files:
                assert stat.S_IMODE(os.stat(os.path.join(folder, file)).st_mode) == 0o600, file
        journal.close()
    finally:
        os.umask(before)


def test_a_lane_is_first_in_first_out_over_many_segments(tmp_path: Path) -> None:
    """Records come out in the order they went in, across segments, and the counts add up at every step."""
    journal = Journal(tmp_path, limits=SMALL)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    wanted = []
    for number in range(600):
        journal.append(start(number, number % 300))
        wanted.append(f"run-{number}.s")
    assert journal.sync(10)
    assert lane.counts().pending == 600
    assert drain(lane, 37) == wanted
    counts = lane.counts()
    assert (counts.seen, counts.delivered, counts.pending, counts.balance()) == (600, 600, 0, 0)
    journal.retire()
    assert len(list(Path(journal.state().path or "").glob("*.seg"))) <= 2
    journal.close()


def test_take_respects_its_limits_but_always_gives_one(tmp_path: Path) -> None:
    """A batch ends at the count or the bytes asked for; a record larger than the bytes comes alone."""
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    for number in range(10):
        journal.append(start(number, 1000))
    assert len(lane.take(3, 1 << 20)) == 3
    assert len(lane.take(100, 1)) == 1
    assert 2 <= len(lane.take(100, 2500)) <= 3
    journal.close()


def test_what_a_destination_does_not_take_is_neither_seen_nor_pending(tmp_path: Path) -> None:
    """Counts of a choosy destination hold its own records only, whether asked before or after taking."""
    journal = Journal(tmp_path, limits=SMALL)
    lane = journal.lane("d1", lambda payload: payload.startswith(ONE_OF_THREE))
    journal.declare(["d1"])
    for number in range(90):
        journal.append(start(number))
    wanted = sum(str(number)[0] in "13" for number in range(90))
    assert lane.counts().seen == lane.counts().pending == wanted
    assert len(drain(lane)) == wanted
    assert lane.counts().delivered == wanted and lane.counts().balance() == 0
    assert lane.waiting() == 0 and lane.finished()
    journal.close()
    assert not list((tmp_path / "journal").glob("2*")) or inherit(tmp_path)


def test_each_end_has_its_own_count(tmp_path: Path) -> None:
    """Delivered, rejected, dropped, dead-lettered and pending are counted apart and sum to seen."""
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    for number in range(6):
        journal.append(start(number))
    entries = lane.take(5, 1 << 20)
    lane.settle([entries[3]])
    lane.reject([entries[0]], "key_unsupported")
    lane.drop([entries[1]], "too_old")
    lane.dead_letter(entries[2], "400")
    lane.settle([entries[3]])  # twice: ignored
    counts = lane.counts()
    assert (counts.seen, counts.delivered, counts.pending, counts.balance()) == (6, 1, 2, 0)
    assert (counts.rejected, counts.dropped, counts.dead_lettered) == (
        {"key_unsupported": 1},
        {"too_old": 1},
        {"400": 1},
    )
    (letters,) = (tmp_path / "journal" / "dead-letters").iterdir()
    line = json.loads(letters.read_text())
    assert line["reason"] == "400" and line["record"]["eventId"] == "run-2.s"
    journal.close()


def test_what_is_given_back_comes_again_first_and_in_order(tmp_path: Path) -> None:
    """Entries given back, one by one or all, are taken again before anything newer."""
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    for number in range(6):
        journal.append(start(number))
    entries = lane.take(4, 1 << 20)
    lane.give_back([entries[2], entries[1]])
    assert ids(lane.take(1, 1 << 20)) == ["run-1.s"]
    lane.give_back()
    assert ids(lane.take(10, 1 << 20)) == [f"run-{number}.s" for number in range(6)]
    assert lane.counts().balance() == 0
    journal.close()


def test_a_late_destination_starts_at_the_oldest_record(tmp_path: Path) -> None:
    """Records made before any destination was known are delivered to one that comes late (decision 1)."""
    journal = Journal(tmp_path, limits=SMALL)
    for number in range(300):
        journal.append(start(number))
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    assert len(drain(lane)) == 300
    assert len(drain(journal.lane("d2", everything))) > 0
    journal.close()


def test_nothing_is_left_after_a_settled_end(tmp_path: Path) -> None:
    """When every destination has settled everything and no run is open, close removes the directory."""
    journal = Journal(tmp_path)
    lanes = [journal.lane(name, everything) for name in ("d1", "d2")]
    journal.declare(["d1", "d2"])
    for record in (start(1), end(1)):
        journal.append(record)
    for lane in lanes:
        drain(lane)
    journal.close()
    assert list((tmp_path / "journal").iterdir()) == []


def test_what_is_pending_at_the_end_is_the_next_ones(tmp_path: Path) -> None:
    """Unsettled records survive a close, and only they."""
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(5):
        journal.append(start(number))
        journal.append(end(number))
    lane.settle(lane.take(10, 1 << 20)[1:4])
    journal.close()
    assert inherit(tmp_path) == ["run-0.s", *[f"run-{n}.{which}" for n in (2, 3, 4) for which in "se"]]
    assert inherit(tmp_path) == []


def test_records_after_close_are_refused_and_counted(tmp_path: Path) -> None:
    """After close an append is counted under ``closed`` and the identity still holds (C34)."""
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    journal.append(start(1))
    journal.close()
    journal.close()
    journal.append(start(2))
    assert journal.state().refused == {"closed": 1}
    counts = lane.counts()
    assert counts.dropped == {"closed": 1} and counts.seen == 2 and counts.balance() == 0


def test_a_record_larger_than_a_segment_gets_its_own(tmp_path: Path) -> None:
    """An oversized record is kept in a segment of its own; one beyond the limit is refused as too large."""
    journal = Journal(tmp_path, limits=SMALL)
    lane = journal.lane("d1", everything)
    journal.append(start(1))
    journal.append(start(2, 100_000))
    journal.append(start(3))
    assert drain(lane) == ["run-1.s", "run-2.s", "run-3.s"]
    journal.append(start(4, SMALL.record_bytes))
    assert journal.state().refused == {"too_large": 1} and lane.counts().balance() == 0
    journal.close()


def test_memory_only(tmp_path: Path) -> None:
    """Without a home the same lanes work, bounded, and what did not fit is counted."""
    journal = Journal(None, limits=SMALL)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(300):
        journal.append(start(number, 200))
    refused = journal.state().refused["memory_full"]
    counts = lane.counts()
    assert journal.state().mode == "memory" and counts.dropped == {"memory_full": refused} and counts.balance() == 0
    assert len(drain(lane)) == 300 - refused > 50
    journal.retire()
    journal.append(start(999))
    assert drain(lane) == ["run-999.s"]
    journal.close()


def test_rejections_are_counted_by_reason() -> None:
    """`reject` counts what was never made."""
    journal = Journal(None)
    for reason in ("encode", "encode", "limit"):
        journal.reject(reason)
    assert journal.state().rejected == {"encode": 2, "limit": 1}


def test_attempts_survive_the_process(tmp_path: Path) -> None:
    """What was marked attempted before a request is known as attempted after a kill (decision 6)."""
    body = """
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
for number in range(3):
    journal.append(end(number))
lane.mark_attempted(lane.take(2, 1 << 20))
os.kill(os.getpid(), 9)
"""
    run(body, tmp_path, code=-9)
    journal = Journal(tmp_path)
    own: Lane = journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    assert journal.adopt() == 1
    entries = lane.take(10, 1 << 20)
    assert [entry.attempted_at is not None for entry in entries] == [True, True, False]
    assert own.counts().seen == 0 and lane.counts().seen == 3
    journal.close()


def test_waiting_ends_with_a_record_a_wake_or_the_time() -> None:
    """`wait` returns True for a record and for a wake, False at its end; `rest` heeds only a wake."""
    journal = Journal(None)
    lane = journal.lane("d1", everything)
    assert lane.wait(0.01) is False
    journal.append(start(1))
    assert lane.wait(None) is True
    assert lane.rest(0.01) is False
    lane.wake()
    assert lane.rest(30) is True
    lane.take(1, 1)
    lane.wake()
    assert lane.wait(None) is True


def test_the_oldest_pending_record_has_an_age() -> None:
    """Lag is the age of the oldest record that is not terminal."""
    journal = Journal(None)
    lane = journal.lane("d1", everything)
    assert lane.oldest_pending_seconds() is None
    journal.append(start(1))
    age = lane.oldest_pending_seconds()
    assert age is not None and age > 0
    entries = lane.take(1, 1)
    assert (lane.oldest_pending_seconds() or 0) >= age
    lane.settle(entries)
    assert lane.oldest_pending_seconds() is None


def test_a_destination_id_must_be_a_file_name(tmp_path: Path) -> None:
    """An id that could leave the directory is refused with the cure."""
    with pytest.raises(ValueError, match="use 1 to 64"):
        Journal(tmp_path).lane("../x", everything)


def test_caps_drop_the_oldest_and_count_exactly(tmp_path: Path) -> None:
    """Beyond the cap the oldest sealed segments go, counted; never more than a segment above it (C82)."""
    limits = type(SMALL)(first_segment_bytes=8192, segment_bytes=16384, total_bytes=65536)
    journal = Journal(tmp_path, limits=limits)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(2000):
        journal.append(end(number))
        if number % 50 == 0:
            assert journal.sync(10)
    assert journal.sync(10)
    counts = lane.counts()
    dropped = counts.dropped.pop("journal_full")
    assert dropped > 300 and counts.seen == 2000 and counts.pending == 2000 - dropped and not counts.dropped
    size = sum(file.stat().st_size for file in (tmp_path / "journal").rglob("*") if file.is_file())
    assert size <= 65536 + 4 * 16384
    assert drain(lane) == [f"run-{number}.e" for number in range(dropped, 2000)]
    assert lane.counts().balance() == 0
    journal.close()
