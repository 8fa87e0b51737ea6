"""What `spanloom journal ls|verify|replay|purge` stand on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from journal_cases import drain, end, everything, inherit, run

from spanloom.shipping import dead_letters, disposal, inspection
from spanloom.shipping.journal import Journal

DIE = """
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1", "d2"])
for number in range(10):
    journal.append(end(number))
lane.settle(lane.take(6, 1 << 20)[:5])
os.kill(os.getpid(), 9)
"""


def test_ls_tells_living_from_dead_and_counts_what_is_pending(tmp_path: Path) -> None:
    """Each journal is listed with its owner, its records and what each destination has not settled."""
    run(DIE, tmp_path, code=-9)
    journal = Journal(tmp_path)
    journal.append(end(99))
    dead, living = inspection.ls(tmp_path)
    assert (dead.alive, dead.records, dead.pending, dead.owed) == (False, 10, {"d1": 5, "d2": 10}, ("d1", "d2"))
    assert living.alive and living.records == 1 and living.pid is not None and living.owed is None
    journal.close()
    assert inspection.ls(tmp_path / "nowhere") == []


def test_verify_names_the_damaged(tmp_path: Path) -> None:
    """A flipped byte is found, and nothing is changed by looking."""
    run(DIE, tmp_path, code=-9)
    assert inspection.verify(tmp_path) == []
    (file,) = (tmp_path / "journal").glob("*/*.seg")
    data = bytearray(file.read_bytes())
    data[data.index(b"run-4")] = 0
    file.write_bytes(data)
    (found,) = inspection.verify(tmp_path)
    assert found.damaged_bytes > 0 and file.read_bytes() == data


def test_replay_sends_dead_letters_again(tmp_path: Path) -> None:
    """Dead letters come back to their destination through the next process, and their file is gone."""
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    journal.declare(["d1"])
    for number in range(3):
        journal.append(end(number))
    for entry in lane.take(3, 1 << 20):
        lane.dead_letter(entry, "422")
    journal.close()
    assert disposal.replay(tmp_path, "other") == 0
    assert disposal.replay(tmp_path) == 3
    assert inherit(tmp_path) == ["run-0.e", "run-1.e", "run-2.e"]
    assert disposal.replay(tmp_path) == 0 and inspection.ls(tmp_path) == []


def test_replay_leaves_what_is_for_others_and_what_cannot_be_read(tmp_path: Path) -> None:
    """A file with letters of two destinations and a line cut off: one destination's go, the others stay, and nothing of
    a process that goes on refusing meanwhile is lost."""
    root = inspection.root_of(tmp_path)
    for number in range(4):
        dead_letters.bury(root, "20260101T000000-1-ab", "d1", end(number), "422")
    (file,) = dead_letters.files(root)
    lines = Path(file).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"d1"', b'"d2"')
    Path(file).write_bytes(b"".join(lines) + b'{"reason": "422", "desti')
    assert disposal.replay(tmp_path, "d1") == 3
    assert inherit(tmp_path) == ["run-0.e", "run-2.e", "run-3.e"]
    dead_letters.bury(root, "20260101T000000-1-ab", "d1", end(9), "422")
    assert len(dead_letters.files(root)) == 2
    assert disposal.replay(tmp_path, "nobody") == 0
    assert disposal.replay(tmp_path) == 2
    assert inherit(tmp_path, "d2") == ["run-1.e"]
    assert inherit(tmp_path, "d1") == ["run-9.e"]
    (left,) = dead_letters.files(root)
    assert Path(left).read_bytes() == b'{"reason": "422", "desti\n'


def test_purge_spares_the_living_and_counts_what_goes(tmp_path: Path) -> None:
    """Purging deletes dead journals and says how many records were undelivered for whom, and how many refused why; what
    it would delete is the same; a living journal keeps every record."""
    run(DIE, tmp_path, code=-9)
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    journal.append(end(99))
    dead_letters.bury(inspection.root_of(tmp_path), "20260101T000000-1-ab", "d2", end(1), "http_422")
    wanted = disposal.Purged(1, 10, Counter({"d1": 5, "d2": 10}), Counter({("d2", "http_422"): 1}), 0)
    assert disposal.to_purge(tmp_path) == wanted
    assert len(inspection.ls(tmp_path)) == 2
    assert disposal.purge(tmp_path) == wanted
    assert disposal.purge(tmp_path) == disposal.Purged()
    assert [one.alive for one in inspection.ls(tmp_path)] == [True]
    assert drain(lane) == ["run-99.e"]
    journal.close()
