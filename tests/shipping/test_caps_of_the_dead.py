"""What dead processes left, beyond the caps: the oldest goes first, what is given up is counted, empty room is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from journal_cases import drain, everything, inherit, run

from spanloom.shipping import caps
from spanloom.shipping.journal import Journal, Limits
from spanloom.shipping.lanes import Lane

DIE = """
journal = Journal(home, limits=Limits(first_segment_bytes=int(sys.argv[2]), segment_bytes=int(sys.argv[2])))
journal.declare(sys.argv[4:])
for number in range(int(sys.argv[3])):
    journal.append(end(number))
journal.sync(10)
os.kill(os.getpid(), signal.SIGKILL)
"""


def dead(home: Path, records: int, *dest_ids: str, segment_bytes: int = 16384) -> Path:
    """A process that was killed with so many records for these destinations; its journal."""
    before = set(journals(home))
    run(DIE, home, str(segment_bytes), str(records), *dest_ids, code=-9)
    (new,) = set(journals(home)) - before
    return new


def journals(home: Path) -> list[Path]:
    return sorted((home / "journal").glob("2*")) if (home / "journal").exists() else []


def holding(home: Path, total_bytes: int, age_seconds: float = 1e6) -> tuple[Journal, Lane]:
    """The next process, for destination d1, after it has brought everything under its caps; its lane of the dead."""
    journal = Journal(home, limits=Limits(total_bytes=total_bytes, age_seconds=age_seconds))
    journal.lane("d1", everything)
    lane = journal.adopted_lane("d1")
    journal.declare(["d1"])
    journal.opened_volume()
    caps.hold(journal)
    return journal, lane


def test_room_that_was_never_used_counts_for_nothing(tmp_path: Path) -> None:
    """Eight killed programs with a few records each in files of 1 MB: nothing goes, and the disk gets its room back
    (C82, C78)."""
    for _ in range(8):
        dead(tmp_path, 5, "d1", segment_bytes=1 << 20)
    assert caps.used_bytes(str(tmp_path / "journal")) > 8 << 20
    journal, lane = holding(tmp_path, total_bytes=1 << 20)
    assert caps.used_bytes(str(tmp_path / "journal")) < 1 << 20
    assert lane.counts().seen == 0, "nothing had to be given up, so nothing was adopted yet"
    journal.close()
    assert len(inherit(tmp_path)) == 8 * 5


def test_what_is_given_up_of_ours_is_counted_as_dropped(tmp_path: Path) -> None:
    """Beyond the cap the oldest of the dead go first, a segment at a time, and every record is in the account (C82)."""
    for number in range(4):
        dead(tmp_path, 400 + number, "d1")
    journal, lane = holding(tmp_path, total_bytes=100_000)
    counts = lane.counts()
    dropped = counts.dropped["journal_full"]
    assert counts.balance() == 0 and dropped == counts.seen - counts.pending > 400
    assert journal.state().others_given_up == {}
    while journal.adopt():
        drain(lane)
        journal.retire()
    drain(lane)
    counts = lane.counts()
    assert counts.seen == 400 + 401 + 402 + 403 and counts.pending == 0
    assert counts.delivered == counts.seen - dropped
    assert caps.used_bytes(str(tmp_path / "journal"), filled=True) < 100_000
    journal.close()


@pytest.mark.parametrize("also", [(), ("d1",)], ids=["theirs alone", "ours as well"])
def test_what_is_given_up_of_others_is_said(tmp_path: Path, also: tuple[str, ...]) -> None:
    """Records for a destination that this program does not have are counted beside the accounts (C82)."""
    dead(tmp_path, 700, "d2", *also)
    journal, lane = holding(tmp_path, total_bytes=70_000)
    assert caps.used_bytes(str(tmp_path / "journal"), filled=True) <= 70_000
    given_up = journal.state().others_given_up["journal_full"]
    assert 100 < given_up <= 700
    assert lane.counts().dropped == ({"journal_full": given_up} if also else {})
    assert lane.counts().balance() == 0
    journal.close()


def test_the_dead_expire_by_their_last_record(tmp_path: Path) -> None:
    """A journal is as old as its last record, however often somebody wrote down what is settled of it; what expires
    undelivered is counted (C82)."""
    old, new = dead(tmp_path, 60, "d1"), dead(tmp_path, 40, "d1")
    for segment in old.glob("*.seg"):
        os.utime(segment, (time.time() - 5000,) * 2)
    (old / "d1.cursor").write_text('{"next": 11, "open": [[3, null]], "done": false}')
    journal, lane = holding(tmp_path, total_bytes=1 << 30, age_seconds=3600)
    assert journals(tmp_path)[:1] == [new]
    counts = lane.counts()
    assert counts.dropped == {"expired": 51} and counts.seen == 51, "10 of 60 were delivered before, but for one"
    assert journal.adopt() == 1 and len(drain(lane)) == 40
    journal.close()


def test_the_living_are_left_alone(tmp_path: Path) -> None:
    """Another process's journal is neither cut nor given up while it lives, and the room that it laid out in advance
    costs the dead nothing (C79, C82)."""
    living = Journal(tmp_path, limits=Limits(first_segment_bytes=1 << 20))
    living.declare(["d1"])
    living.append(b'{"event":"end"}')
    dead(tmp_path, 40, "d1")
    journal, lane = holding(tmp_path, total_bytes=100_000)
    assert (lane.counts().seen, journal.state().others_given_up) == (0, {})
    caps.hold(journal)
    assert journal.adopt() == 1 and len(drain(lane)) == 40
    place = living.state().path
    assert place is not None and (Path(place) / "000001.seg").stat().st_size == 1 << 20
    journal.close()
    living.close()


def test_the_living_are_left_alone_beyond_every_cap(tmp_path: Path) -> None:
    """With nothing else to give up, the caps are passed rather than a living process robbed (C79)."""
    living = Journal(tmp_path)
    living.declare(["d1"])
    living.append(b'{"event":"end"}')
    journal, lane = holding(tmp_path, total_bytes=1, age_seconds=0.0)
    assert (lane.counts().seen, journal.state().others_given_up) == (0, {})
    assert living.state().path is not None and os.path.exists(living.state().path)
    journal.close()
    living.close()
