"""The shipper: one thread that carries one destination's records from the journal to the endpoint.

Theory of operation. There is one thread class and one thread per destination, started by the first record (or flush)
and not before. It loops: sleep until a record comes, wait a moment for company, send a batch (`delivery`), repeat; an
idle shipper sleeps in its lane's `wait` without a timeout and costs nothing. Everything else acts on it by setting a
plain attribute and calling `wake`, which no lock can block:

    flush       puts a waiter into ``_waiters``; while there is one, the thread does not linger, and cuts backoffs short
    close       sets ``_closing``; the thread sends what it has, stops at the first failure, and ends
    fork        in the child every object is replaced; the parent's thread, sockets and records stay the parent's

A thread that dies, of whatever (``SystemExit``, ``MemoryError``, a bug), returns what it held to the lanes and starts
its successor, which rests the longer the more died before it; deaths are counted. `_main` is therefore a named door
for a broad ``except``. Where no thread can be had, the next record or flush tries again.

The end of the process. The thread is told first, for every destination, and waited for second. How long depends on the
endpoint: known to be failing, 0.25 s; not known to answer, 0.7 s, so that the whole exit takes less than 1 s;
answering, until all is sent, up to the timeout. A request in flight is abandoned with its thread; its records are still
in the journal. No thread is started then, because Python may refuse it; where none ever ran, the caller's thread sends,
if the destination keeps deadlines there or the records would be lost.

Must never: take a lock on the path of a record, start a thread at import or in a forked child, raise into the host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ..native import Waiter, allocate_lock, get_ident, start_thread
from .delivery import Delivery
from .destination import Destination
from .forks import renew_after_fork
from .hand import Hand
from .importing import unforked
from .lanes import Lane, OwnLane
from .ledger import DestinationHealth, Ledger, warn
from .retry import Pacing, RetryRules

_FAILING_PATIENCE_SECONDS = 0.25
_UNKNOWN_PATIENCE_SECONDS = 0.7
_SLOW_FACTOR = 3.0
"""An endpoint may take this many times its slowest answer before it counts as hanging."""
_LONGEST_RESTART_SECONDS = 30.0


class Shipper:
    """Ships one destination's records. Any thread may call its methods; none of them raises."""

    def __init__(
        self,
        destination: Destination,
        own: OwnLane,
        adopted: Lane | None = None,
        *,
        durable: bool = True,
        after_batch: Callable[[], None] = lambda: None,
        before_end: Callable[[float], None] = lambda seconds: None,
        when_stopped: Callable[[], None] = lambda: None,
        rules: RetryRules | None = None,
    ) -> None:
        """``durable``: the lanes outlive the process. ``after_batch`` is called on the shipper's thread after each
        request, for the journal's housekeeping; ``before_end`` there too, when at the end of the process all is sent,
        the endpoint takes records, and so many seconds are left to find more. ``when_stopped`` is called when there is
        no thread although there should be one (it could not be started; in a forked child), so that the next record
        starts one; it may be called in a fork hook or a signal handler."""
        self.destination = destination
        self.ledger = Ledger(destination.name, own, adopted)
        self.durable = durable
        self.running = False
        """Whether the thread lives; read by emitters, who call `ensure_running` when it does not."""
        self._own = own
        self._hands = [Hand(own)] if adopted is None else [Hand(own), Hand(adopted)]
        self._after_batch = after_batch
        self._before_end = before_end
        self._when_stopped = when_stopped
        self._rules = rules or RetryRules()
        self._delivery = Delivery(destination, self.ledger, self._hands, Pacing(self._rules))
        self._generation = 0
        self._following: Destination | None = None
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        """Everything that a forked child must have anew."""
        self.running = False
        self._generation += 1
        self._gate = allocate_lock()
        self._pid = os.getpid()
        self._waiters: list[Waiter] = []
        self._closing = False
        self._close_began = 0.0
        self._close_deadline = float("inf")
        self._heard_at_close = 0
        self._lives = 0  # the thread's ident, once it runs
        self._deaths = 0
        self._start_after = 0.0

    # --- called by anyone

    def ensure_running(self) -> bool:
        """Start the thread if there is none; whether there is one now. Never blocks; for every emit that finds
        ``running`` false, so also in signal handlers."""
        if self.running or self._closing:
            return self.running
        if not self._gate.acquire(False):
            return True  # someone else is starting it
        try:
            if not self.running and time.monotonic() >= self._start_after:
                self.running = True
                self._start(0.0)
        finally:
            self._gate.release()
        if not self.running:
            self._when_stopped()
        return self.running

    def _start(self, rest_seconds: float) -> None:
        try:
            start_thread(self._main, self._generation, rest_seconds)
        except RuntimeError:  # no more threads (RLIMIT_NPROC), or the interpreter is ending
            self.running = False
            self._start_after = time.monotonic() + 1.0

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until every record accepted so far is delivered or given up; False when the time is over first, or when
        the endpoint refuses until a person acts."""
        target = self._own.last
        if self._reached(target) or self._closing or get_ident() == self._lives:
            return self._reached(target)
        deadline = time.monotonic() + max(0.0, timeout_seconds)
        waiter = Waiter()  # of this call alone, so that a signal handler's flush never takes its word
        self._waiters.append(waiter)
        try:
            while not self._reached(target):
                self.ensure_running()
                self._own.wake()
                left = deadline - time.monotonic()
                pacing = self._delivery.pacing
                refused = pacing.state == "paused" and pacing.next_at > deadline
                if left <= 0 or (refused and self._following is None):
                    return self._reached(target)
                waiter.wait(min(left, 0.5))
            return True
        finally:
            self._waiters.remove(waiter)

    def use(self, destination: Destination) -> None:
        """Go on with the same endpoint under other settings (a corrected key, another ``meter``), from the next request
        on. What is known of its health is forgotten."""
        self._following = destination
        self._own.wake()

    def begin_close(self, timeout_seconds: float) -> None:
        """Tell the thread to send what it has and to end; returns at once. First for all shippers, then `finish_close`
        for each, so that their times do not add up."""
        if not self._closing:
            self._heard_at_close = self._delivery.heard
            self._close_began = time.monotonic()
            self._close_deadline = self._close_began + max(0.0, timeout_seconds)
            self._closing = True
            self._own.wake()

    def finish_close(self) -> bool:
        """Wait for the end as long as it deserves; whether nothing is pending any more."""
        for _ in range(25):  # just started; in a host whose threads never run, a quarter of a second is lost
            if self.running and not self._lives:
                time.sleep(0.01)
        if not self._lives and (self.destination.policy.inline_at_exit or not self.durable):
            self._ship_here()
        waiter = Waiter()
        self._waiters.append(waiter)
        while self.running and self._lives:
            left = self._patience() - time.monotonic()
            if left <= 0:
                break
            waiter.wait(min(left, 0.05))
        self._waiters.remove(waiter)
        return self.ledger.pending() == 0

    def close(self, timeout_seconds: float) -> bool:
        """`begin_close` and `finish_close`."""
        self.begin_close(timeout_seconds)
        return self.finish_close()

    @property
    def passes(self) -> bool:
        """Whether the endpoint takes records, as far as is known."""
        return self._delivery.pacing.state == "closed" and self._delivery.passes > 0

    def health(self) -> DestinationHealth:
        """The destination's account and condition."""
        state = self._delivery.pacing.state
        return self.ledger.health("closed" if self._closing else "ok" if state == "closed" else state)

    def reset_in_child(self) -> None:
        """In a forked child: replace everything, touch nothing of the parent's. Takes no lock, starts no thread."""
        self._begin()
        self._delivery.clear(Pacing(self._rules))
        self.ledger.clear()
        self.destination.forget()
        self._when_stopped()

    # --- what flush and close wait for

    def _reached(self, target: int) -> bool:
        """Whether every record of the own lane up to this position is terminal. By positions, not by counts: of two
        counts that are read one after the other, the second has moved on."""
        return self._own.floor > target or self._own.finished()

    def _patience(self) -> float:
        """The moment, in monotonic seconds, at which the end of the process stops waiting for this endpoint."""
        delivery = self._delivery
        if delivery.pacing.state != "closed":
            return min(self._close_deadline, self._close_began + _FAILING_PATIENCE_SECONDS)
        if delivery.heard > self._heard_at_close:
            return self._close_deadline
        patience = max(_UNKNOWN_PATIENCE_SECONDS, _SLOW_FACTOR * delivery.slowest_answer_seconds)
        return min(self._close_deadline, self._close_began + patience)

    # --- the thread

    def _main(self, generation: int, rest_seconds: float) -> None:
        if generation != self._generation:
            return
        self._lives = get_ident()
        died = False
        try:
            if rest_seconds:
                self._own.rest(rest_seconds)
            self._ship(generation)
        except BaseException as error:
            died = True
            self._died(error)
        if generation == self._generation:
            self._lives = 0
            if died and not self._closing:
                self._start(min(_LONGEST_RESTART_SECONDS, 0.05 * 2.0 ** min(self._deaths, 30)))
            else:
                self.running = False
            if not self.running and not self._closing:
                self._when_stopped()
            self._tell()

    def _died(self, error: BaseException) -> None:
        self.ledger.restarts += 1
        self._deaths += 1
        self.ledger.last_error = f"the shipper's thread died of {type(error).__name__}"
        for hand in self._hands:
            hand.give_back()

    def _ship(self, generation: int) -> None:
        """Until closed: sleep, gather, send."""
        self._prepare()
        while generation == self._generation:
            self._change()
            if self._closing:
                self._ship_the_rest(generation)
                return
            if not self._delivery.has_work():
                self._own.wait(None)
                if not self._hurried:
                    self._own.rest(self.destination.policy.linger_seconds)
                self._delivery.fill()
            elif not self._rests():
                self._send(float("inf"))

    def _change(self) -> None:
        """Put the destination that `use` named into the place of the one before."""
        following, self._following = self._following, None
        if following is not None:
            before, self.destination = self.destination, following
            self._delivery.destination = following
            self._delivery.pacing = Pacing(self._rules)
            before.close()
            self._prepare()

    def _prepare(self) -> None:
        """Import and build while the first records gather; what fails here fails again, and is counted, in deliver."""
        try:
            with unforked():
                self.destination.prepare()
        except Exception:
            pass

    @property
    def _hurried(self) -> bool:
        return bool(self._waiters) or self._closing

    def _rests(self) -> bool:
        """Rest if it is too early to send; whether it did, so that the loop looks around again."""
        hurried, now = self._hurried, time.monotonic()
        delivery = self._delivery
        if hurried and delivery.pacing.state in ("retrying", "open"):
            delivery.pacing.hurry(now)
        too_early = delivery.ready_at(hurried=hurried) - now
        if too_early > 0:
            self._own.rest(too_early)
            return True
        if hurried or delivery.is_full():
            return False
        company = delivery.sent_at + self.destination.policy.age_seconds - now
        return company > 0 and self._own.rest(company)

    def _send(self, deadline: float) -> bool:
        sent = self._delivery.send_one(deadline)
        if sent:
            self._deaths = 0
            self._after_batch()
        else:
            self._own.rest(0.05)  # what waits is not for us, or not yet
        self._tell()
        return sent

    def _tell(self) -> None:
        for waiter in list(self._waiters):
            waiter.tell()

    # --- the end

    def _ship_the_rest(self, generation: int) -> None:
        """Send what there is, until the first failure or the deadline; an endpoint known to fail gets one short
        chance, unless it asked to be left alone."""
        self._change()
        delivery = self._delivery
        deadline = self._close_deadline
        if delivery.pacing.state != "closed":
            if not delivery.pacing.may_try_at_exit(time.monotonic()):
                return self._leave()
            deadline = min(deadline, self._close_began + _FAILING_PATIENCE_SECONDS)
            if time.monotonic() >= deadline or not self._send(deadline):
                return self._leave()
        self._ship_what_there_is(generation)
        left = self._close_deadline - time.monotonic()
        if self.passes and left > 0:
            self._before_end(left)
            self._ship_what_there_is(generation)
        return self._leave()

    def _ship_what_there_is(self, generation: int) -> None:
        delivery = self._delivery
        while generation == self._generation and delivery.has_work() and delivery.pacing.state == "closed":
            now = time.monotonic()
            ready_at = delivery.ready_at(hurried=True)
            if max(now, ready_at) >= self._close_deadline:
                break
            if ready_at > now:
                self._own.rest(ready_at - now)
            else:
                self._send(self._close_deadline)

    def _leave(self) -> None:
        """Return what is still in hand to the lanes, from which the journal keeps it."""
        for hand in self._hands:
            hand.give_back()
        pending = self.ledger.pending()
        if pending and self.ledger.outage.began_at is None:
            kept = "kept for the next process" if self.durable else "lost: they were in memory only"
            warn("spanloom: %s: %d records were not delivered before the end; they are %s.",
                 self.destination.name, pending, kept)  # fmt: skip
        self.destination.close()

    def _ship_here(self) -> None:
        """No thread ever ran: send on the caller's. A thread that comes to life after all finds itself outdated."""
        self._generation += 1
        self.running = False
        self._change()
        if not self._delivery.has_work():
            return
        try:
            patience = self._patience()
            self._close_deadline, deadline = patience, self._close_deadline
            if self._send(patience) and self._delivery.pacing.state == "closed":
                self._close_deadline = deadline
            self._ship_the_rest(self._generation)
        except Exception as error:
            self._died(error)
