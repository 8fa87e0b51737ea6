"""The keeper: one thread per journal that does what an emitter must not wait for.

Promise: it lays the next mapping ready, writes checksums and syncs behind the writer, brings memory to disk when there
is one again, notices a deleted directory or a lost lock, holds the caps, adopts, and says in the log what changed.
While nothing is recorded it does not wake up. It never raises; what fails is tried again or degrades the journal.

Theory of operation. The thread sleeps on a `Bell`. The first record after a pause rings it; it then rests for
`_BEAT_SECONDS` (so that a burst costs one beat), works, and goes on until a beat finds nothing new. `hurry` cuts the
rest short: a spare is wanted, or someone waits for a sync. Without a thread (none could be started) nothing is lost:
the drain makes its own mappings, and `sync` and `stop` do a beat on the caller's thread.

A disk may stall for half a minute. What waits for it here is marked (`_disk`): emitters ask `stalls` before they would
ask the disk themselves, and `stop` leaves everything as it is for the next process.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ..native import allocate_lock, breathe, get_ident, start_thread, wait_for
from . import caps, places
from .bell import Bell
from .bodies import FileBody, HeapBody, MappedBody, Segment, in_memory
from .parts import Shared
from .volume import OPEN_RUNS, Volume

_BEAT_SECONDS = 0.5
_BEHIND_SECONDS = 0.04
"""Between beats where records reach the disk by the keeper only: with the write itself, 50 ms."""
_STALL_SECONDS = 1.0
"""A healthy disk lays a file in 4 ms and syncs one in 40; on a disk that others use too, either can take 0.3 s."""
_CAPS_SECONDS = 60.0
_STRETCH_BYTES = 256 * 1024
"""Of checksums, 0.5 ms: then whoever waits for the interpreter has it."""

_log = logging.getLogger("spanloom")
_log.addHandler(logging.NullHandler())


class _Asked:
    """Somebody waits for all records before the number ``end`` to be on the disk; ``granted`` says that they are."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.granted = False
        self.done = allocate_lock()
        self.done.acquire(False)


class Keeper:
    """See the module's theory of operation."""

    def __init__(self, journal: Shared) -> None:
        self._journal = journal
        self._begin()

    def _begin(self) -> None:
        self._bell = Bell(self._journal.sleepers)
        self._working = allocate_lock()
        self._starting = allocate_lock()
        self._thread: int | None = None
        self._stopping = False
        self._ended = allocate_lock()
        self._ended.acquire(False)
        self._waiting: deque[_Asked] = deque()
        self._seen = self._noted = 1
        self._said: tuple[str, bytes] | None = None  # what stands in which OPEN_RUNS
        self._mark: Segment = self._journal.oldest
        self._next_caps_seconds = 0.0
        self._others_bytes = 0
        self._spoken: str | None = None
        self._asked_disk_at: float | None = None  # since when the thread has been waiting for it
        self._names_synced = False  # whether the files that the last beat synced can be found after a power cut

    def reset_in_child(self) -> None:
        """After a fork: no thread, nothing asked."""
        self._begin()

    # --- what others ask

    def hurry(self) -> None:
        """Room was made, or is wanted: see to it without resting. Starts the thread at the first call."""
        if self._thread is None:
            self._start()
        self._bell.wake()

    def sync(self, timeout_seconds: float) -> bool:
        """See `Journal.sync`."""
        deadline = time.monotonic() + timeout_seconds
        end = self._journal.accepted_end(deadline)
        if end is None:
            return False
        asked = _Asked(end)
        self._waiting.append(asked)  # a beat that begins from here on syncs all that was there, names included
        if self._thread is None:
            self._beat_here(timeout_seconds)
        else:
            self._bell.wake()
            wait_for(asked.done, deadline - time.monotonic())
        return asked.granted

    def stalls(self) -> bool:
        """Whether the disk has kept the thread waiting for so long that nobody else had better ask it for anything."""
        since = self._asked_disk_at
        return since is not None and time.monotonic() - since > _STALL_SECONDS

    def stop(self, timeout_seconds: float) -> bool:
        """One last beat, by the thread if there is one, and its end; False when the disk kept it from that in time."""
        deadline = time.monotonic() + timeout_seconds
        self._stopping = True
        if self._thread is not None and self._thread != get_ident():
            self._bell.wake()
            if wait_for(self._ended, timeout_seconds):
                return True
        # No thread, or one that does not come to run (at the interpreter's end, under uWSGI).
        return self._beat_here(max(0.0, deadline - time.monotonic()) + 0.05)

    def note_open_runs(self, segment: Segment, volume: Volume) -> None:
        """Before a segment goes: remember the runs that it opened and nobody closed, on disk."""
        runs = self._journal.open_runs
        self._noted = max(self._noted, segment.first)  # what is missing before was lost
        offset = 0
        try:
            while self._noted < segment.end and (frames := segment.body.read(self._noted, offset, 512, 1 << 20)):
                for frame in frames:
                    runs.feed(frame.payload)
                self._noted, offset = frames[-1].sequence + 1, frames[-1].end
            said = (volume.path, runs.dump())
            if said != self._said and (said[1] != b"[]" or self._said):
                places.replace_file(os.path.join(volume.path, OPEN_RUNS), said[1])
                self._said = said
        except OSError:
            pass  # such runs stay open in the viewer, should this process be killed

    def _note(self, sequence: int, payload: bytes) -> None:
        """Look at a record that is in our hands anyway, so that `note_open_runs` need not read it again. Only in order:
        what follows a gap is read when the gap is gone."""
        if sequence == self._noted:
            self._journal.open_runs.feed(payload)
            self._noted = sequence + 1

    # --- the thread

    def _start(self) -> None:
        if self._stopping or not self._starting.acquire(False):
            return
        try:
            self._thread = start_thread(self._run)
        except RuntimeError:
            self._starting.release()  # at the interpreter's end, or at a limit: tried again at the next segment

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._bell.wait(self._patience_seconds(), self._has_work)
                if not self._stopping and not self._waiting and not self._wants_spare():
                    self._bell.rest(self._rest_seconds())
                self._beat_here(None)
            self._beat_here(None)  # what was recorded until it was told to stop
        finally:
            self._ended.release()

    def _has_work(self) -> bool:
        return self._journal.active.end != self._seen or bool(self._waiting) or self._journal.adoptions.asked

    def _rest_seconds(self) -> float:
        volume = self._journal.volume
        return _BEHIND_SECONDS if volume is not None and not volume.mappable else _BEAT_SECONDS

    def _patience_seconds(self) -> float | None:
        """None, unless records are in memory that belong on disk: then until the next try."""
        journal = self._journal
        if journal.trouble is None or not journal.root or not journal.heap_bytes():
            return None
        return max(0.05, journal.retry_at_seconds - time.monotonic())

    def _beat_here(self, timeout_seconds: float | None) -> bool:
        """One beat on the calling thread, unless one goes on elsewhere for longer than the timeout."""
        if not self._working.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            return False
        waiting = list(self._waiting)
        try:
            self._beat()
            for asked in waiting:
                asked.granted = self._synced_through(asked.end)
        except Exception:  # a named door: the keeper's loop; the next beat tries again
            _log.debug("spanloom: the journal's keeper failed", exc_info=True)
        finally:
            self._working.release()
            for asked in waiting:
                try:
                    self._waiting.remove(asked)
                    asked.done.release()
                except (ValueError, RuntimeError):
                    pass  # released by another beat
        return True

    def _beat(self) -> None:
        journal = self._journal
        journal.drain_stragglers()
        self._seen = journal.active.end
        if journal.root:
            self._guard_place()
            self._lay_spare()
            self._bring_to_disk()
        journal.retire()
        self._hold_caps()
        if not self._stopping:  # nobody would deliver what it finds
            journal.adoptions.scan_if_asked()
        self._speak()

    # --- the parts of a beat

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """What happens in the block waits for the disk."""
        self._asked_disk_at = time.monotonic()
        try:
            yield
        finally:
            self._asked_disk_at = None

    def _hold_caps(self) -> None:
        """Look at all files once a minute, and whenever our own growth may have passed the cap."""
        journal = self._journal
        if journal.volume is None:
            return
        now = time.monotonic()
        if now >= self._next_caps_seconds or journal.kept_bytes() + self._others_bytes > journal.limits.total_bytes:
            self._next_caps_seconds = now + _CAPS_SECONDS
            self._others_bytes = caps.hold(journal)

    def _guard_place(self) -> None:
        """If our directory is gone, replaced or taken, leave it and save what is still in our hands elsewhere."""
        journal = self._journal
        volume = journal.volume
        if volume is None:
            return
        for segment in self._unfinished():
            if isinstance(segment.body, MappedBody):
                segment.body.swept()
        if journal.spare is not None:
            journal.spare[0].swept()
        if volume.in_place() and volume.holds_lock():
            return
        journal.leave_volume(volume)

    def _wants_spare(self) -> bool:
        journal = self._journal
        body = journal.active.body
        full = isinstance(body, MappedBody) and body.limit == body.capacity
        return full and journal.spare is None and journal.trouble is None

    def _lay_spare(self) -> None:
        journal = self._journal
        volume = journal.volume
        if volume is None or not volume.mappable or self._stopping or not self._wants_spare():
            return
        try:
            with self._disk():
                mapping, path = volume.new_mapping(journal.limits.segment_bytes)
                mapping.touch()
        except OSError:
            return  # the drain will try, and degrade the journal
        journal.spare = (mapping, path)

    def _unfinished(self) -> list[Segment]:
        """Segments that are not yet sealed files on disk, oldest first."""
        oldest = self._journal.oldest
        if self._mark.first < oldest.first:
            self._mark = oldest
        while isinstance(self._mark.body, FileBody) and self._mark.next is not None:
            self._mark = self._mark.next
        found = [self._mark]
        while (following := found[-1].next) is not None:
            found.append(following)
        return found

    def _bring_to_disk(self) -> None:
        journal = self._journal
        segments = self._unfinished()
        heap = any(isinstance(segment.body, HeapBody) for segment in segments)
        if journal.trouble is not None and time.monotonic() < journal.retry_at_seconds and not self._stopping:
            return
        # Nobody deletes a segment while it is saved: saving would bring back to life what is settled and gone.
        if not journal.retiring.acquire(timeout=1.0):
            return
        try:
            self._save_all(heap)
        except OSError as error:
            journal.degrade(error)
        finally:
            journal.retiring.release()

    def _save_all(self, heap: bool) -> None:
        journal = self._journal
        durable = self._durable
        self._names_synced = False
        if heap:
            volume = journal.opened_volume()
            journal.recovered()
            for segment in self._unfinished():
                self._save(segment, durable)
            if volume.mappable and isinstance(journal.active.body, HeapBody):
                journal.seal_active()  # from the next record on, straight to disk
        for segment in self._unfinished():
            self._save(segment, durable)
        if journal.volume is not None:
            if durable:
                with self._disk():
                    journal.volume.sync_names()
                self._names_synced = True
            journal.recovered()

    @property
    def _durable(self) -> bool:
        return self._journal.durable or bool(self._waiting)

    def _save(self, segment: Segment, durable: bool) -> None:
        body, sealed = segment.body, segment.next is not None  # in this order: sealed or not, it is this body
        if isinstance(body, MappedBody):
            if body.synced_end == body.tail[1] and not sealed:
                return
            while body.check_behind(self._note, _STRETCH_BYTES):
                self._lay_spare()  # the writer may be faster than we are
                breathe()
            try:
                with self._disk():
                    body.synced()
            except OSError:
                self._rewrite(segment, body)
                return
            if sealed:
                segment.body = FileBody(body.path, body.first, body.tail, body.capacity)
        elif isinstance(body, HeapBody):
            volume = self._journal.opened_volume()
            durable = durable or sealed
            if body.unsaved or (durable and body.synced_end < body.tail[1]):
                here = body.path if body.path and os.path.dirname(body.path) == volume.path else volume.new_path()
                with self._disk():
                    body.spill(here, time.time_ns() // 1000, durable=durable)
            if sealed and body.path:
                segment.body = FileBody(body.path, body.first, body.tail, body.spilled_bytes)

    def _rewrite(self, segment: Segment, body: MappedBody) -> None:
        """A failed sync may have lost pages and says so once only: never sync that file again, write a new one."""
        journal = self._journal
        volume = journal.opened_volume()
        if segment.next is None and not journal.seal_active():
            return
        copy = in_memory(body)
        copy.spill(volume.new_path(), time.time_ns() // 1000, durable=True)
        assert copy.path is not None
        segment.body = FileBody(copy.path, copy.first, copy.tail, copy.spilled_bytes)
        if body.in_place():
            places.remove(body.path)

    def _synced_through(self, end: int) -> bool:
        """Whether every record before the number ``end`` is on the disk, or settled and gone."""
        if self._journal.oldest.first >= end:
            return True
        for segment in self._unfinished():
            if segment.first < end and segment.body.synced_end < min(end, segment.end):
                return False
        return self._names_synced

    def _speak(self) -> None:
        """One line when trouble begins, one when it ends."""
        trouble = self._journal.trouble
        if trouble and not self._spoken:
            _log.warning("spanloom: the journal goes on in memory, because it cannot be written (%s)", trouble)
        elif self._spoken and not trouble:
            _log.warning("spanloom: the journal is on disk again")
        self._spoken = trouble
