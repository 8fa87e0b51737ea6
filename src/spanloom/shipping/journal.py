"""The journal: every record of this process on disk before the call that made it returns.

Promise: `append` and `reject` never raise, never wait for a disk or a lock that its own thread may hold, and run no
user code; a record whose `append` has returned survives the death of the process by any signal, or is counted as
dropped with the reason. Nothing is opened, and no thread started, before the first record.

Theory of operation. *Flat combining*: an emitter puts its record into ``_pending`` and tries the lock. The winner
drains everything, its own and others', and looks again after the release, so nothing is left behind. A loser on another
thread waits a few milliseconds at most for its record to be drained (the interpreter took the winner off the processor
in the middle; it is rare). A loser that interrupted the winner on its own thread (signal handler, finaliser) returns at
once: the interrupted append drains its record too.

Draining copies each record into the active *body* (see `bodies`): a preallocated mapping, without giving the
interpreter lock away. `write(2)` of 2 KB gives it away and comes back after 5 ms (p99) beside one CPU-bound thread. The
keeper's thread lays a fresh mapping ready before the active one is full; should it be late, the drain makes one itself.
Where no file can be had, records go to bounded memory until it can, and the keeper brings them to disk then.

An exception can come out of any line here (Ctrl-C is raised by a signal handler, anywhere). A body's ``tail`` is
replaced in one store and names the item last written, so an item found again at the head of ``_pending`` is not written
twice. A lock left locked by such an exception is replaced (see `turns`).
"""

from __future__ import annotations

import logging
import os
import time
from _thread import LockType
from collections import deque
from collections.abc import Iterable
from typing import Literal

from ..native import allocate_lock, get_ident
from . import places
from . import segment as form
from .adopted_lane import AdoptedLane
from .adoption import Adoptions
from .bell import Bell, Sleeper, ring_sleepers
from .blame import is_ours
from .bodies import Body, FileBody, HeapBody, Item, MappedBody, Segment, in_memory
from .chain import Chain
from .cursor import Cursor
from .forks import renew_after_fork
from .keeper import Keeper
from .lanes import Takes
from .mapping import Mapping
from .open_runs import OpenRuns
from .parts import JournalState, Limits
from .position import Home
from .reasons import Reasons
from .turns import Turns
from .volume import Volume, is_dest_id

_RETRY_FIRST_SECONDS = 1.0
_RETRY_MOST_SECONDS = 30.0
_SAVING_SECONDS = 0.25
_log = logging.getLogger("spanloom")


class Journal(Chain, Turns):
    """A sink kept on disk. ``home`` is the directory that holds all of Spanloom's files, or None for memory only."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None,
        *,
        sync: Literal["process", "power"] = "process",
        limits: Limits = Limits(),  # noqa: B008 - frozen
        mappable: bool | None = None,
    ) -> None:
        self.root = os.path.join(os.path.realpath(os.fspath(home)), "journal") if home is not None else ""
        self.durable = sync == "power"
        self.limits = limits
        self._mappable = mappable
        self._begin()
        self.lanes: dict[str, Cursor] = {}
        self.owed: tuple[str, ...] | None = None
        self.adoptions = Adoptions(self)
        self.keeper = Keeper(self)
        renew_after_fork(self)

    def _begin(self) -> None:
        """Everything that a forked child must not share."""
        self.sleepers: list[Sleeper] = []
        self._pending: deque[Item] = deque()
        self._begin_turns()
        self._era = object()  # another one in a forked child, which may go on in the middle of a drain of its parent's
        self.retiring = allocate_lock()  # held by who deletes segments, and by the keeper while it saves one
        self._closed = False
        self.volume: Volume | None = None
        self.spare: tuple[Mapping, str] | None = None
        self.trouble: str | None = None
        self.retry_at_seconds = 0.0
        self._retry_seconds = _RETRY_FIRST_SECONDS
        self.oldest = self.active = Segment(_nothing(1), time.monotonic())
        self.open_runs = OpenRuns()
        self._refused = Reasons()
        self._rejected = Reasons()

    # --- the sink

    def append(self, payload: bytes) -> None:
        """Accept one record (see the module's promise)."""
        pending = self._pending
        pending.append((payload,))
        while pending:
            lock = self._lock
            if not lock.acquire(False):
                mine = self.turn_came()
                if mine is None:
                    return
                lock = mine
            if not self.is_current(lock):
                continue
            try:
                self._owner = get_ident()
                self._drain(pending)
            except BaseException:
                self._drain(pending)  # the host's, out of a signal handler; what others left to us comes first
                raise
            finally:
                self._owner = 0
                lock.release()
        if self.sleepers:
            ring_sleepers(self.sleepers)

    def drain_stragglers(self) -> None:
        """Write what appends left to the lock's holder, or an exception left: for the keeper, and after each hold."""
        while self._pending and (lock := self._lock).acquire(False):
            if self.is_current(lock):
                self._drain_locked(lock)

    def accepted_end(self, deadline: float) -> int | None:
        """The number after the last record whose append has returned; None when that cannot be told before the
        deadline (monotonic), because a drain goes on: one that the caller, a signal handler, interrupted."""
        while (lock := self.turn_came()) is None or not self.is_current(lock):
            if self._owner == get_ident() or time.monotonic() >= deadline:
                return None
        end = self._drain_locked(lock)
        self.drain_stragglers()
        return end

    def _drain_locked(self, lock: LockType) -> int:
        try:
            self._owner = get_ident()
            self._drain(self._pending)
            return self.active.end
        finally:
            self._owner = 0
            lock.release()
            ring_sleepers(self.sleepers)

    def reject(self, reason: str) -> None:
        """Count a record that was not made."""
        self._rejected.count(reason)

    def _drain(self, pending: deque[Item]) -> None:
        while pending:
            item = pending[0]
            body = self.active.body
            try:
                if body.tail[2] is item or body.put(item) or not self._make_room(item):
                    pending.popleft()
            except Exception as error:  # a named door: MemoryError and what nobody thought of; counted
                if not is_ours(error):
                    raise
                if not pending:
                    return  # forked in the middle, by a signal handler: all this is the parent's
                self._refuse(item, "out_of_memory" if isinstance(error, MemoryError) else "journal_error")
                pending.popleft()

    def _make_room(self, item: Item) -> bool:
        """See to it that the item can be put next time; False when it never can (then it is counted)."""
        era = self._era
        active = self.active
        if active.next is not None:  # an exception came between the two stores below
            self.active = active.next
            return True
        body = active.body
        if isinstance(body, (HeapBody, FileBody)) or body.limit == body.capacity:
            fresh = self._fresh_body(len(item[0]), active.end)
            if isinstance(fresh, str):
                self._refuse(item, fresh)
                return False
            following = Segment(fresh, time.monotonic())
            if self._era is not era:
                return False
            active.next = following
            self.active = following
            if isinstance(body, MappedBody) and body.untouched_by_keeper:
                body.let_go_of_pages()  # in a burst the keeper is many segments behind: 90 MB of 50,000 runs
        else:
            body.limit = body.capacity
        self.keeper.hurry()
        return True

    def _fresh_body(self, payload_bytes: int, first: int) -> Body | str:
        """A new body, or the reason why not."""
        era = self._era
        if self._closed:
            return "closed"
        limits = self.limits
        if payload_bytes > limits.record_bytes:
            return "too_large"
        if self._may_ask_disk():
            try:
                volume = self.opened_volume()
                if volume.mappable:
                    return self._fresh_mapping(volume, form.frame_size(payload_bytes) + form.HEADER_BYTES, first)
            except OSError as error:
                if not is_ours(error):
                    raise
                if self._era is not era:
                    return HeapBody(first, 0)  # the caller sees it too, and lets go
                self.degrade(error)
        if self.heap_bytes() + payload_bytes > limits.memory_bytes:
            return "memory_full"
        return HeapBody(first, limits.heap_segment_bytes)

    def _may_ask_disk(self) -> bool:
        """Whether a file is to be had, as far as is known; not from a disk that stalls, except one laid ready."""
        if not self.root or (self.trouble is not None and time.monotonic() < self.retry_at_seconds):
            return False
        return self.spare is not None or not self.keeper.stalls()

    def _fresh_mapping(self, volume: Volume, needed_bytes: int, first: int) -> Body:
        spare, self.spare = self.spare, None
        if spare is not None:
            if len(spare[0].memory) >= needed_bytes:
                body = volume.start(*spare, first)
                body.limit = max(body.limit, needed_bytes)
                return body
            self.spare = spare
        size = self.limits.first_segment_bytes if first == 1 else self.limits.segment_bytes
        body = volume.start(*volume.new_mapping(max(size, needed_bytes)), first)
        body.limit = max(body.limit, needed_bytes)
        return body

    def _refuse(self, item: Item, reason: str) -> None:
        self._refused.count(reason)
        for lane in list(self.lanes.values()):
            lane.lost_on_arrival(item[0], reason)

    # --- lanes

    def lane(self, dest_id: str, takes: Takes) -> Cursor:
        """The destination's own lane, from the oldest record still kept; the same one when asked again (then with the
        new ``takes``). Raises ValueError for an id that cannot be part of a file name."""
        known = self.lanes.get(dest_id)
        if known is not None:
            known.takes = takes
            return known
        if not is_dest_id(dest_id):
            raise ValueError(f"destination id {dest_id!r}: use 1 to 64 letters, digits, '-' and '_'")
        lane = Cursor(dest_id, takes, self.oldest, self._home(), Bell(self.sleepers))
        self.lanes[dest_id] = lane
        return lane

    def adopted_lane(self, dest_id: str) -> AdoptedLane:
        """The destination's second lane, over the journals of dead processes; its own lane must have been made."""
        return self.adoptions.lane(self.lanes[dest_id])

    def declare(self, dest_ids: Iterable[str]) -> None:
        """Say whom all records of this process are for, once that is known; from then on settled ones are deleted.
        Lanes of destinations that are no longer among them are closed."""
        self.owed = tuple(dest_ids)
        for gone in [dest_id for dest_id in self.lanes if dest_id not in self.owed]:
            del self.lanes[gone]
        if self.volume is not None:
            self.write_owed(self.volume)

    def write_owed(self, volume: Volume) -> None:
        """Write the declared destinations into a journal directory; failing only makes adopters ask everyone."""
        if self.owed is None:
            return
        try:
            volume.owe(self.owed)
        except OSError:
            pass

    def adopt(self) -> int:
        """Look for journals of dead processes now, on this thread; how many were taken over."""
        return self.adoptions.scan()

    def adopt_soon(self) -> None:
        """Let the keeper look, at most once a minute; for shippers, when they are sending anyway."""
        self.adoptions.ask()

    def adopt_before_end(self, timeout_seconds: float) -> None:
        """Look now, for a shipper that leaves and could deliver more; see `Adoptions.scan_before_end`."""
        if self.root:
            self.adoptions.scan_before_end(timeout_seconds)

    # --- what the keeper shares

    def opened_volume(self) -> Volume:
        """This process's directory, made at first need. Raises OSError."""
        if self.volume is None:
            era = self._era
            volume = Volume.make(self.root, mappable=self._mappable)
            if self._era is not era:
                raise OSError(10, "forked by a signal handler while making the journal")
            self.write_owed(volume)
            self.volume = volume
            for lane in list(self.lanes.values()):
                lane.home = self._home()
        return self.volume

    def _home(self) -> Home:
        return Home(self.root, self.volume.name if self.volume else "", self.durable)

    def degrade(self, error: OSError) -> None:
        """No file can be had: go on in memory, and try again later."""
        self.trouble = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        self.retry_at_seconds = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(_RETRY_MOST_SECONDS, self._retry_seconds * 2)

    def recovered(self) -> None:
        """Files can be had again."""
        self.trouble = None
        self._retry_seconds = _RETRY_FIRST_SECONDS

    def state(self) -> JournalState:
        """How it stands now."""
        heaps = [s.body for s in self.segments() if isinstance(s.body, HeapBody)]
        mode: Literal["disk", "background", "memory", "closed"] = "disk"
        if self._closed:
            mode = "closed"
        elif self.volume is not None and not self.volume.mappable and self.trouble is None:
            mode = "background"
        elif not self.root or self.trouble is not None or isinstance(self.active.body, HeapBody):
            mode = "memory"
        return JournalState(
            mode=mode,
            path=self.volume.path if self.volume else None,
            trouble=self.trouble,
            appended=self.active.end - 1,
            unsaved=sum(body.unsaved for body in heaps),
            kept_bytes=self.kept_bytes(),
            refused=self._refused.read(),
            rejected=self._rejected.read(),
            others_given_up=dict(self.adoptions.given_up),
        )

    # --- durability and the end

    def sync(self, timeout_seconds: float) -> bool:
        """Bring everything accepted so far to the disk: True when a power cut now would lose none of the records whose
        append returned before this call; False when that was not reached in time, or is not to be had."""
        return self.keeper.sync(timeout_seconds)

    def close(self, timeout_seconds: float = 1.0) -> None:
        """End: what is settled is deleted, what is not is left for the next process. Later records are counted as
        refused (``closed``). May be called twice."""
        if self._closed:
            return
        self._closed = True
        self.seal_active(timeout_seconds)
        if not self.keeper.stop(timeout_seconds):
            self._leave_to_the_next()
            return
        self.adoptions.release()
        volume, self.volume = self.volume, None
        if volume is None:
            return
        spare, self.spare = self.spare, None
        if spare is not None:
            places.remove(spare[1])
        saved = [lane.save(timeout_seconds=_SAVING_SECONDS) for lane in list(self.lanes.values())]
        if not all(saved):
            return  # a shipper waits for the disk; what it settled may be sent once more
        if self._nothing_left(volume):
            volume.remove()
        else:
            volume.release()

    def _leave_to_the_next(self) -> None:
        """The disk does not answer: as after a kill, the next process finds all that is there."""
        left = self.state().unsaved
        if left:
            _log.warning("spanloom: the disk does not answer: %d records that were only in memory are lost", left)

    def seal_active(self, timeout_seconds: float = 1.0) -> bool:
        """Put an end to the active segment; the next record makes a new one. False when the drain is busy that long."""
        lock = self._lock
        if self._owner == get_ident() or not lock.acquire(timeout=max(0.0, timeout_seconds)):
            return False
        if not self.is_current(lock):
            return False
        try:
            if self.active.next is None:
                end = Segment(_nothing(self.active.end), time.monotonic())
                self.active.next = end
                self.active = end
        finally:
            lock.release()
        self.drain_stragglers()
        return True

    def leave_volume(self, volume: Volume) -> None:
        """Our directory is gone or no longer ours: seal, and bring what we still have in mappings to memory, from where
        the keeper writes it into a new directory."""
        self.volume = self.spare = None
        volume.forget()
        for lane in list(self.lanes.values()):
            lane.home = self._home()
        self.seal_active()
        for segment in self.segments():
            body = segment.body
            if isinstance(body, MappedBody) and segment.next is not None:
                segment.body = in_memory(body)
            elif isinstance(body, HeapBody):
                body.file_lost()

    def _nothing_left(self, volume: Volume) -> bool:
        if self.owed is None or any(dest_id not in self.lanes for dest_id in self.owed):
            return False
        if not all(lane.finished() for lane in list(self.lanes.values())):
            return False
        for segment in self.segments():
            self.keeper.note_open_runs(segment, volume)
        return not len(self.open_runs)

    def reset_in_child(self) -> None:
        """After a fork: everything is the parent's; begin anew, lazily. Takes no lock, starts nothing, opens
        nothing."""
        volume = self.volume
        self._pending.clear()  # should the fork have come in the middle of a drain
        self._begin()
        if volume is not None:
            volume.forget()
        self.adoptions.reset_in_child()
        self.keeper.reset_in_child()
        for lane in self.lanes.values():
            lane.bell = Bell(self.sleepers)
            lane.restart(self.oldest, self._home())


def _nothing(first: int) -> FileBody:
    """A body without records or room."""
    return FileBody("", first, (0, first, None), 0)


Journal.holders = frozenset(
    holder.__code__ for holder in (Journal.append, Journal.drain_stragglers, Journal.accepted_end, Journal.seal_active)
)
