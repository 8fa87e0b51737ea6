"""Several requests of one batch in flight at once, for endpoints that take one event a request.

Promises: at most `WIDTH` requests at a time, each on a connection of its own that is kept alive; every call that was
sent has its outcome when `send_all` returns, and nothing is in flight then; after the first failure no other is begun.
Must never: keep a thread between two batches, wait for a thread that has not begun a request, raise what a request
raised before the others have ended.

Theory of operation. The calls of a batch stand in a queue. The shipper's thread takes from it, and so do up to three
others that it starts for this batch alone; each sends one call at a time and writes down what came of it. A failure
closes the queue: what is in flight is waited for, because its outcome decides whether a record is in doubt, and the
rest is left. A thread that comes to life late finds the queue closed or empty and ends; where threads cannot be had, or
never run, the shipper's own sends everything, as it does for other endpoints.

Concurrency is for an endpoint that works. A batch after a failure, and the very first, begins with one request alone:
an endpoint in trouble is asked by one request at a time, and what `delivery` knows of failures (a batch that fails as
a whole, a poison that fails alone) holds here too. In a host whose threads are greenlets there is one at a time always.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from ..errors import DeliveryError
from ..native import Waiter, allocate_lock, has_greenlets, start_thread
from ..wire import Call, Verdict
from .transport import Transport

WIDTH = 4
"""Requests at once. Valmi lets an API key send 1,000 a minute: at 200 ms each, four at once are 1,200, one is 300."""

Outcome = list[Verdict] | Exception | None
"""A call's verdicts; what it raised; None when it was not sent."""
Send = Callable[[Call, Transport], list[Verdict]]


class InFlight:
    """The connections of one destination. One thread at a time calls it."""

    def __init__(self, transport: Transport, width: int = 1) -> None:
        self.width = width
        self.answers = 0
        """Requests that were answered, whatever the answer."""
        self._lines = [transport]
        self._trusted = False

    def forget(self) -> None:
        """In a forked child: no socket of the parent's is used."""
        for line in self._lines:
            line.forget()
        self._trusted = False

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        for line in self._lines:
            line.close()

    def send_all(self, calls: Sequence[Call], send: Send, deadline: float, *, ordered: bool) -> list[Outcome]:
        """One outcome for each call. ``ordered``: one after another. Otherwise a call is not begun either when the
        slowest one so far would not end before the deadline, so that none is cut off in the middle."""
        wide = not ordered and self.width > 1 and len(calls) > 1 and not has_greenlets()
        queue = _Queue(self, calls, deadline if wide else float("inf"))
        line = self._lines[0]
        if not wide:
            queue.work(line, send)
        elif self._trusted or queue.step(line, send):
            try:
                for other in self._others(min(self.width, queue.left())):
                    if not _started(queue, other, send):
                        break
                queue.work(line, send)
            finally:
                queue.land()
        self._trusted = not queue.failed
        return queue.outcomes

    def _others(self, width: int) -> list[Transport]:
        """The connections besides the first."""
        while len(self._lines) < width:
            self._lines.append(self._lines[0].another())
        return self._lines[1:width]


def _started(queue: _Queue, line: Transport, send: Send) -> bool:
    try:
        start_thread(queue.work, line, send)
    except RuntimeError:  # no more threads, or the interpreter is ending
        return False
    return True


class _Queue:
    """The calls of one batch, and what came of them."""

    def __init__(self, flights: InFlight, calls: Sequence[Call], deadline: float) -> None:
        self.outcomes: list[Outcome] = [None] * len(calls)
        self.failed = False
        self._flights = flights
        self._waiting = deque(enumerate(calls))
        self._deadline = deadline
        self._slowest_seconds = 0.0
        self._flying = 0
        self._lock = allocate_lock()
        self._landed = Waiter()

    def left(self) -> int:
        """How many have not been begun."""
        return len(self._waiting)

    def work(self, line: Transport, send: Send) -> None:
        """Send until there is nothing more to send."""
        while self.step(line, send):
            pass

    def step(self, line: Transport, send: Send) -> bool:
        """Send the next call; False when there is none, or it failed."""
        with self._lock:
            if self.failed or not self._waiting or self._too_late():
                return False
            number, call = self._waiting.popleft()
            self._flying += 1
        began = time.monotonic()
        outcome: Outcome = DeliveryError("the thread of a request ended", reason="network")
        try:
            outcome = send(call, line)
        except Exception as error:  # told to the shipper's thread, which counts it
            outcome = error
        finally:
            self.outcomes[number] = outcome
            with self._lock:
                self._flying -= 1
                self._flights.answers += isinstance(outcome, list) or getattr(outcome, "answered", False)
                self.failed |= not isinstance(outcome, list)
                self._slowest_seconds = max(self._slowest_seconds, time.monotonic() - began)
            self._landed.tell()
        return not self.failed

    def land(self) -> None:
        """Take no more, and wait for those in flight: each ends by its own deadline."""
        with self._lock:
            self._waiting.clear()
        while self._flying:
            self._landed.wait(0.5)

    def _too_late(self) -> bool:
        return bool(self._slowest_seconds) and time.monotonic() + self._slowest_seconds > self._deadline


def first_failure(outcomes: Sequence[Outcome]) -> DeliveryError | None:
    """What the failed ones say together, None when none failed: the first of them, or the first after which a record
    may be stored, with the longest wait that any asked for. Raises what is no `DeliveryError`."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    for failure in failures:
        if not isinstance(failure, DeliveryError):
            raise failure
    known = [failure for failure in failures if isinstance(failure, DeliveryError)]
    if not known:
        return None
    spokesman = next((failure for failure in known if not failure.answered), known[0])
    waits = [failure.retry_after_seconds for failure in known if failure.retry_after_seconds is not None]
    spokesman.retry_after_seconds = max(waits, default=None)
    return spokesman
