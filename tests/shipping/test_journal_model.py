"""The journal against a model of it: appends, takes, settlements, syncs and restarts in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from journal_cases import FULL, SMALL, end, everything, ids

from spanloom.shipping.adopted_lane import AdoptedLane
from spanloom.shipping.cursor import Cursor
from spanloom.shipping.journal import Journal
from spanloom.shipping.lanes import Entry

ANSWERS = ["settle", "reject", "drop", "dead_letter", "give_back", "mark_attempted"]


class JournalModel(RuleBasedStateMachine):
    """One destination; ``left`` is what must still come out, in order per process."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.made = 0
        self.left: set[str] = set()
        self.settled: set[str] = set()
        self.hand: list[Entry] = []
        self._open()

    def _open(self) -> None:
        self.journal = Journal(self.home, limits=SMALL)
        self.own: Cursor = self.journal.lane("d1", everything)
        self.adopted: AdoptedLane = self.journal.adopted_lane("d1")
        self.journal.declare(["d1"])

    @rule(count=st.integers(1, 60))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.journal.append(end(self.made))
            self.left.add(f"run-{self.made}.e")
            self.made += 1

    @rule(events=st.integers(1, 40), size=st.integers(1, 5000), adopted=st.booleans())
    def take(self, events: int, size: int, adopted: bool) -> None:
        entries = (self.adopted if adopted else self.own).take(events, size)
        assert len(entries) <= events
        assert not set(ids(entries)) & set(ids(self.hand))
        self.hand += entries

    @precondition(lambda self: self.hand)
    @rule(data=st.data(), how=st.sampled_from(ANSWERS))
    def answer(self, data: st.DataObject, how: str) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.hand), unique_by=id, max_size=20))
        for entry in chosen:
            lane: Cursor | AdoptedLane = self.own if entry.source is self.own else self.adopted
            if how in ("reject", "drop"):
                getattr(lane, how)([entry], "reason")
            elif how == "dead_letter":
                lane.dead_letter(entry, "reason")
            else:
                getattr(lane, how)([entry])
            if how != "mark_attempted":
                self.hand.remove(entry)
            if how not in ("mark_attempted", "give_back"):
                (name,) = ids([entry])
                assert name in self.left and name not in self.settled
                self.left.discard(name)
                self.settled.add(name)

    @rule()
    def give_all_back(self) -> None:
        self.own.give_back()
        self.adopted.give_back()
        self.hand = []

    @rule()
    def sync_and_retire(self) -> None:
        assert self.journal.sync(10)
        self.journal.retire()

    @rule()
    def adopt(self) -> None:
        self.journal.adopt()

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.hand = []
        self._open()
        self.journal.adopt()

    @invariant()
    def counts_add_up(self) -> None:
        own, adopted = self.own.counts(), self.adopted.counts()
        assert own.balance() == 0 and adopted.balance() == 0
        assert own.pending + adopted.pending == len(self.left)

    def teardown(self) -> None:
        self.restart()
        for lane in (self.adopted, self.own):
            while entries := lane.take(100, 1 << 20):
                for name in ids(entries):
                    assert name not in self.settled
                    self.left.remove(name)
                lane.settle(entries)
        assert not self.left
        self.journal.close()
        kept = [one.name for one in (self.home / "journal").glob("2*")] if (self.home / "journal").exists() else []
        assert kept == []
        shutil.rmtree(self.home)


JournalModel.TestCase.settings = settings(
    max_examples=400 if FULL else 25, stateful_step_count=40 if FULL else 20, deadline=None
)
TestJournalModel = JournalModel.TestCase
TestJournalModel.__doc__ = "Whatever happens in whatever order, nothing is lost, doubled, or miscounted."
