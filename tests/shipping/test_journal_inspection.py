"""What `spanloom journal ls|verify|replay|purge` stand on."""

from __future__ import annotations

from pathlib import Path

from journal_cases import drain, end, everything, inherit, run

from spanloom.shipping import inspection
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
    assert inspection.replay(tmp_path, "other") == 0
    assert inspection.replay(tmp_path) == 3
    assert inherit(tmp_path) == ["run-0.e", "run-1.e", "run-2.e"]
    assert inspection.replay(tmp_path) == 0 and inspection.ls(tmp_path) == []


def test_purge_spares_the_living(tmp_path: Path) -> None:
    """Purging deletes dead journals and counts them; a living one keeps every record."""
    run(DIE, tmp_path, code=-9)
    journal = Journal(tmp_path)
    lane = journal.lane("d1", everything)
    journal.append(end(99))
    assert inspection.purge(tmp_path) == 10
    assert [one.alive for one in inspection.ls(tmp_path)] == [True]
    assert drain(lane) == ["run-99.e"]
    journal.close()
