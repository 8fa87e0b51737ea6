"""A destination's place in a journal: what was handed out, what is settled, what is lost, and nothing in between.

Promise: `counts` is exact at any moment; a settled record is not handed out again, in this process or (if the disk
took the position) in the next; never raises for reasons of disk.

Theory of operation. Everything before the *place* (segment, sequence number, offset) has been handed out or passed
over, and is terminal unless it stands in ``_hand`` (sequence number -> where it lies). The lowest number in hand, or
else the place, is the *floor*: what lies below it, the journal may delete. A second place, ``_counted``, runs ahead of
the first when someone asks for `counts`, so that each record is looked at once for counting and once for taking.

The position is saved after each change as a small JSON file, replaced at once::

    {"next": 41, "open": [[38, null], [40, 1760000000.5]], "done": false}

Losing it costs redelivery, which the records' event ids make harmless. Of what is in ``open``, the second value is when
the record was marked attempted.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from ..clock import parse_iso_us
from ..native import allocate_rlock
from . import dead_letters
from .bell import Bell
from .bodies import MappedBody, Segment
from .lanes import Entry, LaneCounts, Takes
from .open_runs import timestamp_of
from .position import Home, Position, save_position
from .segment import Frame

_SCAN_BYTES = 32 << 20
"""What one `take` looks through at most for a destination that takes little."""
_CHUNK_EVENTS = 256
_CHUNK_BYTES = 256 * 1024


class _Place(NamedTuple):
    """Up to where a walk has come: ``offset`` holds for ``body`` only (0: look it up)."""

    segment: Segment
    sequence: int
    offset: int
    body: object


class _Held(NamedTuple):
    """Where a record in hand lies, and when it was attempted."""

    segment: Segment
    attempted_at: float | None


class Cursor:
    """A `lanes.Lane` over one journal. ``start`` is the oldest segment still kept, ``saved`` a position to go on
    from."""

    def __init__(
        self, dest_id: str, takes: Takes, start: Segment, home: Home, bell: Bell, saved: Position | None = None
    ) -> None:
        self.dest_id = dest_id
        self.takes = takes
        self.home = home
        self.bell = bell
        self._lock = allocate_rlock()  # a signal handler may ask for counts while its own thread counts
        self._saving = allocate_rlock()  # held while the position is written; taken before the other one
        self._saved = saved or Position()
        self._reopen = dict(self._saved.open)
        self._clear(start)

    def _clear(self, start: Segment) -> None:
        self._take = self._counted = _Place(start, start.first, 0, start.body)
        self._hand: dict[int, _Held] = {}
        self._returned: deque[Entry] = deque()
        self._ahead: dict[Segment, int] = {}
        self._walking = False
        self._seen = self._delivered = 0
        self._rejected: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()  # written by the thread that drains the journal, and by no other

    def restart(self, start: Segment, home: Home) -> None:
        """Begin anew on another journal with nothing counted (in a forked child)."""
        self._lock, self._saving = allocate_rlock(), allocate_rlock()
        self._saved = Position()
        self._reopen = {}
        self.home = home
        self.bell.renew()
        self._clear(start)

    # --- what a shipper does

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """See `lanes.Lane.take`."""
        with self._lock:
            try:
                self._walking = True
                return self._taken(max_events, max_bytes)
            finally:
                self._walking = False

    def _taken(self, max_events: int, max_bytes: int) -> list[Entry]:
        entries: list[Entry] = []
        size = scanned = 0
        while self._returned and len(entries) < max_events and (not entries or size < max_bytes):
            entries.append(self._returned.popleft())
            size += len(entries[-1].payload)
        while len(entries) < max_events and (not entries or size < max_bytes) and scanned < _SCAN_BYTES:
            self._take, frames = self._advance(
                self._take, max_events - len(entries), max(1, max_bytes - size), taking=True
            )
            if not frames:
                break
            if self._is_new(frames):
                scanned += sum([len(frame.payload) for frame in frames])
                handed = self._hand_out_new(frames)
                entries += handed
                size += sum([len(entry.payload) for entry in handed])
                continue
            for frame in frames:
                scanned += len(frame.payload)
                if self._meet(frame):
                    entries.append(self._hand_out(frame))
                    size += len(frame.payload)
        return entries

    def _is_new(self, frames: list[Frame]) -> bool:
        """Whether these follow what has been counted, with none missing and none known from before: the usual case."""
        first, last = frames[0].sequence, frames[-1].sequence
        return first == self._counted.sequence and first >= self._saved.next and last - first + 1 == len(frames)

    def _hand_out_new(self, frames: list[Frame]) -> list[Entry]:
        """What `_meet` and `_hand_out` would do for each of these, at a quarter of the price."""
        segment, last = self._take.segment, frames[-1]
        passed = _Place(segment, last.sequence + 1, last.end, segment.body)
        held, takes = _Held(segment, None), self.takes
        handed = [Entry(frame.sequence, frame.payload, None, self) for frame in frames if takes(frame.payload)]
        hand = {entry.position: held for entry in handed}
        self._seen += len(handed)
        self._counted = self._take = passed
        self._hand.update(hand)
        return handed

    def settle(self, entries: Iterable[Entry]) -> None:
        """See `lanes.Lane.settle`."""
        with self._lock:
            hand = self._hand
            held = len(hand)
            for entry in entries:
                hand.pop(entry.position, None)
            self._delivered += held - len(hand)
        self.save()

    def reject(self, entries: Iterable[Entry], reason: str) -> None:
        """See `lanes.Lane.reject`."""
        self._end(entries, self._rejected, reason)

    def drop(self, entries: Iterable[Entry], reason: str) -> None:
        """See `lanes.Lane.drop`."""
        self._end(entries, self._dropped, reason)

    def dead_letter(self, entry: Entry, reason: str) -> None:
        """See `lanes.Lane.dead_letter`."""
        with self._lock:
            if entry.position not in self._hand:
                return
        if not self.home.root:
            self._end([entry], self._dropped, reason)  # a journal in memory has nowhere to put it aside
            return
        try:
            dead_letters.bury(self.home.root, self.home.name, self.dest_id, entry.payload, reason)
        except OSError:
            self._end([entry], self._dropped, "dead_letter_unwritable")
            return
        self._end([entry], self._dead, reason)

    def give_back(self, entries: Iterable[Entry] | None = None) -> None:
        """See `lanes.Lane.give_back`."""
        with self._lock:
            if entries is None:
                known = {entry.position for entry in self._returned}
                lost = [number for number in self._hand if number not in known]
                back = list(self._returned) + [found for number in lost if (found := self._found_again(number))]
            else:
                back = list(self._returned) + [entry for entry in entries if entry.position in self._hand]
            unique = {entry.position: entry for entry in back}
            self._returned = deque(unique[number] for number in sorted(unique))
            if self._returned:
                self.bell.ring()

    def mark_attempted(self, entries: Iterable[Entry]) -> None:
        """See `lanes.Lane.mark_attempted`."""
        now = _wall_seconds()
        with self._lock:
            for entry in entries:
                held = self._hand.get(entry.position)
                if held is not None and held.attempted_at is None:
                    self._hand[entry.position] = held._replace(attempted_at=now)
        self.save()

    def counts(self, *, ahead: bool = True) -> LaneCounts:
        """See `lanes.Lane.counts`."""
        with self._lock:
            if ahead:
                self._count_ahead()
            lost = Counter(dict(self._lost))
            return LaneCounts(
                seen=self._seen + sum(lost.values()),
                delivered=self._delivered,
                pending=len(self._hand) + sum(self._ahead.values()),
                rejected=dict(self._rejected),
                dropped=dict(self._dropped + lost),
                dead_lettered=dict(self._dead),
            )

    def waiting(self) -> int:
        """See `lanes.Lane.waiting`."""
        return max(0, self.last + 1 - self._take.sequence) + len(self._returned)

    def oldest_pending_seconds(self) -> float | None:
        """See `lanes.Lane.oldest_pending_seconds`."""
        with self._lock:
            # First, so that the walk meets nothing uncounted; where that cannot be, there is no telling.
            payload = self._oldest_payload() if self._count_ahead() else None
        stamp = timestamp_of(payload) if payload else None
        try:
            return max(0.0, _wall_seconds() - parse_iso_us(stamp) / 1e6) if stamp else None
        except ValueError:
            return None

    def wait(self, timeout_seconds: float | None) -> bool:
        """See `lanes.Lane.wait`."""
        return self.bell.wait(timeout_seconds, self.ready)

    def rest(self, seconds: float) -> bool:
        """See `lanes.Lane.rest`."""
        return self.bell.rest(seconds)

    def wake(self) -> None:
        """See `lanes.Lane.wake`."""
        self.bell.wake()

    # --- what the journal asks

    def ready(self) -> bool:
        """Whether `take` may have something; takes no lock."""
        place = self._take
        return bool(self._returned) or place.segment.next is not None or place.segment.end > place.sequence

    @property
    def last(self) -> int:
        """See `lanes.OwnLane.last`; takes no lock."""
        segment = self._take.segment
        while segment.next is not None:
            segment = segment.next
        return segment.end - 1

    @property
    def floor(self) -> int:
        """See `lanes.OwnLane.floor`."""
        with self._lock:
            return min(self._hand, default=self._take.sequence)

    def finished(self) -> bool:
        """See `lanes.OwnLane.finished`."""
        with self._lock:
            if self._hand or self._ahead:
                return False  # a flush asks this with every batch
            return self._count_ahead(first_only=True) and not self._ahead

    def lost_on_arrival(self, payload: bytes, reason: str) -> None:
        """Count a record that the journal could not keep. Only the thread that drains the journal calls this."""
        if self.takes(payload):
            self._lost[reason] += 1

    def lose(self, segment: Segment, reason: str) -> int:
        """Give up what has not been handed out of the oldest segment, which is about to go; how many those were."""
        with self._lock:
            self._take, _ = self._advance(self._take, 1, 1, taking=True)
            self._counted, _ = self._advance(self._counted, 1, 1, taking=False)
            if self._take.segment is not segment or segment.next is None:
                return 0
            while self._counted.segment is segment and self._count_step():
                pass
            lost = self._ahead.pop(segment, 0)
            if lost:
                self._dropped[reason] += lost
            self._take = _start_of(segment.next)
            if self._counted.segment is segment:
                self._counted = self._take
        self.save()
        return lost

    def save(self, *, done: bool = False, timeout_seconds: float = -1) -> bool:
        """Write the position down; ``done`` when nothing of a sealed journal is left for this destination. Others may
        ask and take meanwhile: a disk can stall. False when another thread was at it for all of the timeout."""
        if not self.home.name:
            return True
        if not self._saving.acquire(timeout=timeout_seconds):
            return False
        try:
            with self._lock:
                held = [(number, held.attempted_at) for number, held in sorted(self._hand.items())]
                later = [(n, at) for n, at in self._saved.open if n >= self._take.sequence]
                behind = max(self._take.sequence, self._saved.next)
            save_position(self.home, self.dest_id, Position(next=behind, open=held + later, done=done))
        finally:
            self._saving.release()
        return True

    # --- walking

    def _advance(self, place: _Place, events: int, size: int, *, taking: bool) -> tuple[_Place, list[Frame]]:
        """The next records from a place, and the place moved to the segment that holds them."""
        while True:
            after = place.segment.next  # before the tail: once there is a next one, the tail stands still
            body = place.segment.body
            if place.sequence < body.tail[1]:
                frames = self._read(place, events, size)
                if frames or after is None:
                    return place, frames
            if after is None:
                return place, []
            self._count_gap(after.first)
            if taking and (missing := self._ahead.pop(place.segment, 0)):
                self._dropped["journal_damaged"] += missing  # counted once, unreadable now
            if isinstance(body, MappedBody):
                body.let_go_of_pages()  # reading a long backlog brought them all in
            place = _start_of(after)

    @staticmethod
    def _read(place: _Place, events: int, size: int) -> list[Frame]:
        body = place.segment.body
        at = place.offset if place.body is body else 0
        try:
            return body.read(place.sequence, at, min(events, _CHUNK_EVENTS), min(size, _CHUNK_BYTES))
        except OSError:
            return []  # its records are counted as missing when the walk leaves the segment

    def _count_gap(self, until: int) -> None:
        """Sequence numbers that nobody will ever read: seen, and lost."""
        start = self._counted.sequence
        if until > start:
            gap = max(0, until - max(start, self._saved.next)) + sum(start <= n < until for n in self._reopen)
            self._counted = self._counted._replace(sequence=until, offset=0)
            if gap:
                self._seen += gap
                self._dropped["journal_damaged"] += gap

    def _meet(self, frame: Frame, *, taking: bool = True) -> bool:
        """Move past a record, counting it if this is the first time; whether it is for us and not yet terminal."""
        number = frame.sequence
        terminal = number < self._saved.next and number not in self._reopen
        wanted = not terminal and self.takes(frame.payload)
        place = self._take if taking else self._counted
        passed = _Place(place.segment, number + 1, frame.end, place.segment.body)
        if number >= self._counted.sequence:
            self._count_gap(number)
            self._seen += wanted
            self._counted = passed
            if wanted:
                self._ahead[place.segment] = self._ahead.get(place.segment, 0) + 1
        if taking:
            self._take = passed
        return wanted

    def _hand_out(self, frame: Frame) -> Entry:
        segment = self._take.segment
        left = self._ahead.get(segment, 0) - 1
        if left > 0:
            self._ahead[segment] = left
        else:
            self._ahead.pop(segment, None)
        attempted_at = self._reopen.get(frame.sequence)
        self._hand[frame.sequence] = _Held(segment, attempted_at)
        return Entry(frame.sequence, frame.payload, attempted_at, self)

    def _count_step(self) -> bool:
        """Count one chunk that has not been taken yet; False at the end."""
        place, frames = self._advance(self._counted, _CHUNK_EVENTS, _CHUNK_BYTES, taking=False)
        self._counted = place
        for frame in frames:
            self._meet(frame, taking=False)
        return bool(frames)

    def _count_ahead(self, *, first_only: bool = False) -> bool:
        """Count what has not been taken yet, or only until there is something. False, with nothing done, for a signal
        handler or a finaliser that came in the middle of a walk of its own thread: what it counted would be counted
        again."""
        if self._walking:
            return False
        try:
            self._walking = True
            while self._count_step() and not (first_only and self._ahead):
                pass
        finally:
            self._walking = False
        return True

    # --- what is in hand

    def _end(self, entries: Iterable[Entry], under: Counter[str], reason: str) -> None:
        with self._lock:
            for entry in entries:
                if self._hand.pop(entry.position, None) is not None:
                    under[reason] += 1
        self.save()

    def _found_again(self, number: int) -> Entry | None:
        """Read a record in hand once more; when it is gone, it is dropped."""
        held = self._hand[number]
        try:
            frames = held.segment.body.read(number, 0, 1, 1)
        except OSError:
            frames = []
        if frames and frames[0].sequence == number:
            return Entry(number, frames[0].payload, held.attempted_at, self)
        del self._hand[number]
        self._dropped["journal_damaged"] += 1
        return None

    def _oldest_payload(self) -> bytes | None:
        if self._returned:
            return self._returned[0].payload
        if self._hand and (found := self._found_again(min(self._hand))):
            return found.payload
        place = self._take
        while True:
            place, frames = self._advance(place, _CHUNK_EVENTS, _CHUNK_BYTES, taking=False)
            for frame in frames:
                terminal = frame.sequence < self._saved.next and frame.sequence not in self._reopen
                if not terminal and self.takes(frame.payload):
                    return frame.payload
                place = _Place(place.segment, frame.sequence + 1, frame.end, place.segment.body)
            if not frames:
                return None


def _start_of(segment: Segment) -> _Place:
    return _Place(segment, segment.first, 0, segment.body)


def _wall_seconds() -> float:
    return time.time()
