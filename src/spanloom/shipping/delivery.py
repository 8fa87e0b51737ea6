"""Delivery: one batch after another from a destination's two lanes, and what each answer means for each record.

Promise: every record handed to `deliver` is settled, given up with a reason, or still in hand; nothing is given up
that a later attempt could deliver, unless others pass and it alone has failed five times. Never sleeps, owns no
thread: the shipper says when. The broad ``except`` in `send_one` is a named door: what a destination raises that is no
`DeliveryError` counts as a failure of the batch.

What an answer means:

    delivered            settled
    rejected             dead-lettered with the endpoint's reason (only counted when our own side rejects it)
    retry                stays first in its lane; after five equal answers, while others pass, dead-lettered; what was
                         not tried (an earlier request of its batch failed) waits without being counted
    split by 413         the batch halves in bytes and the size is remembered; one record too big loses its content
                         once, and is dead-lettered if that does not help
    split by 400, 422    halved until the poison is alone (see `hand`), which is dead-lettered
    no answer, 5xx       all stay. Five equal 5xx: halved likewise. A record alone must fail five times by itself, and
                         others must have passed since, before it counts as poison; if nothing else is at hand to show
                         that, one later record that depends on no other is sent ahead
    401 and its like     all stay; one probe every 30 s
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence

from .. import clock
from ..errors import DeliveryError
from ..records import LossReport, encode
from ..wire import Verdict
from .destination import NEVER_SENT, NOT_KEPT, Destination
from .hand import Hand, Item
from .ledger import Ledger, warn
from .retry import Pacing

_PATIENCE = 5
_OWN_TURNS = 3
_SAY_DEAD_EVERY_SECONDS = 60.0
_REFUSALS_IN_A_ROW = 10
"""So many records refused one by one, none accepted between them: then it is the endpoint, not the records."""


class Delivery:
    """The work of one shipper. All methods but the counters are for the thread that ships."""

    def __init__(self, destination: Destination, ledger: Ledger, hands: Sequence[Hand], pacing: Pacing) -> None:
        self.destination = destination
        self.ledger = ledger
        self.hands = tuple(hands)
        self.pacing = pacing
        self._ids = clock.Ids()
        self._takes_reports = destination.takes(b'{"event":"client_report",')
        self.clear(pacing)

    def clear(self, pacing: Pacing) -> None:
        """Begin anew (in a forked child)."""
        self.pacing = pacing
        self.max_bytes = self.destination.policy.max_bytes
        self.answers = 0
        """Requests that were answered, whatever the answer."""
        self.passes = 0
        """Batches of which at least one record was delivered."""
        self.slowest_answer_seconds = 0.0
        self.sent_at = float("-inf")
        self._turns = 0
        self._refusals = 0
        self._said_dead_at = float("-inf")
        self._ahead = False
        self._report: tuple[bytes, Counter[str]] | None = None
        for hand in self.hands:
            hand.clear()

    @property
    def heard(self) -> int:
        """Grows with every sign of life of the endpoint, also in the middle of a batch that makes many requests."""
        return self.answers + self.destination.answers

    def has_work(self) -> bool:
        """Whether there may be something to send, now or later."""
        return any(hand.items or hand.lane.waiting() for hand in self.hands)

    def fill(self) -> None:
        """Take what the next batches need; this also moves the lanes past what is not for this destination."""
        for hand in self.hands:
            hand.fill(self.destination.policy, self.max_bytes)

    def is_full(self) -> bool:
        """Whether a full batch waits, so that nothing is gained by waiting for more."""
        policy = self.destination.policy
        return any(len(hand.items) + hand.lane.waiting() >= policy.max_events or hand.suspects for hand in self.hands)

    def ready_at(self, *, hurried: bool) -> float:
        """The earliest moment, in monotonic seconds, at which the next batch may go out."""
        interval = self.destination.policy.min_interval_seconds
        held = [hand.not_before for hand in self.hands if hand.items]
        waiting = any(not hand.items and hand.lane.waiting() for hand in self.hands)
        free_at = 0.0 if waiting or not held else min(held)
        return max(self.pacing.next_at, self.sent_at + interval * (0.25 if hurried else 1.0), free_at)

    def send_one(self, deadline: float) -> bool:
        """Send the next batch and deal with the answer; False when there was nothing to send."""
        hand = self._next_hand()
        batch = self._next_batch(hand) if hand else []
        if hand is None or not batch:
            return False
        payloads = [item.payload for item in batch]
        report = self._report_payload()
        if report:
            payloads.append(report)
        started = time.monotonic()
        try:
            verdicts = self.destination.deliver(payloads, min(deadline, started + self._request_seconds))
        except DeliveryError as error:
            self._failed(hand, batch, error)
        except Exception as error:
            self._failed(hand, batch, _unexpected(error))
        else:
            self.slowest_answer_seconds = max(self.slowest_answer_seconds, time.monotonic() - started)
            if report and verdicts.pop().kind == "delivered":
                self._reported()
            self._answered(hand, batch, verdicts)
        self.sent_at = time.monotonic()
        self.ledger.requests += 1
        return True

    @property
    def _request_seconds(self) -> float:
        return self.destination.policy.request_seconds

    # --- what to send

    def _next_hand(self) -> Hand | None:
        """Own records first, and after three batches of them one of the adopted."""
        now = time.monotonic()
        for hand in self.hands:
            self._expire_doubtful(hand)
        self.fill()
        ready = [hand for hand in self.hands if hand.items and hand.not_before <= now]
        if not ready:
            return None
        if ready[0] is self.hands[0] and (len(ready) == 1 or self._turns < _OWN_TURNS):
            self._turns += 1
            return ready[0]
        self._turns = 0
        return ready[-1]

    def _next_batch(self, hand: Hand) -> list[Item]:
        batch = hand.batch(self.destination.policy, self.max_bytes)
        if batch and batch[0].alone >= _PATIENCE and not self._others_pass(batch[0]):
            self._ahead = not self._ahead
            if self._ahead:
                batch = hand.bystander(batch[0]) or batch
        if self.destination.policy.dedupe_seconds is not None:
            hand.lane.mark_attempted([item.entry for item in batch if item.doubtful_since is None])
        return batch

    def _expire_doubtful(self, hand: Hand) -> None:
        """What may have been stored long ago, without an answer, is not sent again after the endpoint has forgotten
        it: that would count it twice."""
        window = self.destination.policy.dedupe_seconds
        if window is None:
            return
        before = time.time() - window
        late = [item for item in hand.items if item.doubtful_since is not None and item.doubtful_since < before]
        for item in late:
            hand.lane.dead_letter(item.entry, "unanswered_too_long")
            self._say_dead("unanswered_too_long")
        hand.remove(late)

    # --- what became of it

    def _failed(self, hand: Hand, batch: list[Item], error: DeliveryError) -> None:
        """The batch as a whole met no answer, or one that speaks for all of it."""
        if error.answered:
            self.answers += 1
        doubtful = not error.answered and error.reason not in NEVER_SENT
        for place, item in enumerate(batch):
            item.failed(error.reason, self.passes, alone=len(batch) == 1)
            sent = error.in_doubt is None or place in error.in_doubt
            if doubtful and sent and item.doubtful_since is None:
                item.doubtful_since = time.time()
        self.pacing.failed(time.monotonic(), retry_after=error.retry_after_seconds, pause=error.pause)
        self.ledger.last_error = str(error)
        self.ledger.outage.failed(str(error), self.ledger.pending, at_once=error.pause)
        if not error.reason.startswith(("http_5", "unexpected_")) or batch[0].failures < _PATIENCE:
            return
        if len(batch) > 1:
            hand.refused(batch)
        elif batch[0].alone >= _PATIENCE and self._others_pass(batch[0]):
            self._bury(hand, batch[0], error.reason)

    def _answered(self, hand: Hand, batch: list[Item], verdicts: Sequence[Verdict]) -> None:
        self.answers += 1
        delivered = [item for item, verdict in zip(batch, verdicts, strict=True) if verdict.kind == "delivered"]
        put_off = [(item, verdict) for item, verdict in zip(batch, verdicts, strict=True) if verdict.kind == "retry"]
        if delivered:
            self._settle(hand, delivered, sum(verdict.duplicate for verdict in verdicts))
        for item, verdict in zip(batch, verdicts, strict=True):
            if verdict.kind == "rejected":
                self._reject(hand, item, verdict.reason)
        if len(put_off) == len(batch):
            self._not_taking(f"put the batch off: {put_off[0][1].reason}", pause=False)
        elif delivered or self._refusals < _REFUSALS_IN_A_ROW:
            self.pacing.succeeded(time.monotonic())
            self.ledger.outage.succeeded(self.ledger.pending)
        self._put_off(hand, put_off, alone=len(batch) == 1)
        split = [(item, verdict) for item, verdict in zip(batch, verdicts, strict=True) if verdict.kind == "split"]
        if split:
            self._split(hand, [item for item, _ in split], split[0][1].reason)

    def _settle(self, hand: Hand, delivered: list[Item], duplicates: int) -> None:
        self.passes += 1
        self._refusals = 0
        hand.lane.settle([item.entry for item in delivered])
        hand.remove(delivered)
        self.ledger.duplicates += duplicates
        self.ledger.shrunk += sum(item.payload is not item.entry.payload for item in delivered)
        self.ledger.last_success = time.time()

    def _reject(self, hand: Hand, item: Item, reason: str) -> None:
        if reason in NOT_KEPT:
            hand.lane.reject([item.entry], reason)
            hand.remove([item])
        else:
            self._bury(hand, item, reason)

    def _bury(self, hand: Hand, item: Item, reason: str) -> None:
        self.ledger.last_error = f"{self.destination.name} refused a record: {reason}"
        hand.lane.dead_letter(item.entry, self.ledger.reason(reason))
        hand.remove([item])
        self._say_dead(self.ledger.reason(reason))

    def _say_dead(self, reason: str) -> None:
        """One line in the log, at most once a minute: what is lost without a word is found out too late."""
        now = time.monotonic()
        if now - self._said_dead_at >= _SAY_DEAD_EVERY_SECONDS:
            self._said_dead_at = now
            warn("spanloom: %s does not take a record: %s. It is a dead letter now: `spanloom journal ls` lists them "
                 "(said at most once a minute).", self.destination.name, reason)  # fmt: skip

    def _put_off(self, hand: Hand, put_off: list[tuple[Item, Verdict]], *, alone: bool) -> None:
        """The endpoint took some and wants others later: those wait, in their order, for a moment."""
        for item, verdict in put_off:
            if verdict.doubtful and item.doubtful_since is None:
                item.doubtful_since = time.time()
            if verdict.untried:
                continue
            item.failed(verdict.reason, self.passes, alone=alone)
            if item.failures >= _PATIENCE and self._others_pass(item):
                self._bury(hand, item, verdict.reason)
        wait = max((verdict.retry_after_seconds or 0.0 for _, verdict in put_off), default=0.0)
        if wait:
            self.pacing.hold(time.monotonic(), wait)
        if put_off and hand.items:
            hand.not_before = time.monotonic() + self.pacing.pause_seconds(put_off[0][0].failures)

    def _split(self, hand: Hand, items: list[Item], reason: str) -> None:
        """Refused as a whole: too big, or with a poison among them."""
        too_big = reason == "http_413"
        if len(items) > 1 and too_big:
            self.max_bytes = max(1, min(self.max_bytes, sum(len(item.payload) for item in items)) // 2)
            return
        if len(items) > 1:
            hand.refused(items)
        elif too_big:
            self._shrink(hand, items[0])
        elif self._refusals < _REFUSALS_IN_A_ROW or self.destination.policy.refusals_are_final:
            self._refusals += 1
            self._bury(hand, items[0], reason)
        if self._refusals < _REFUSALS_IN_A_ROW:
            return
        if self.destination.policy.refusals_are_final:
            self._refusals = 0
            message = "%s refused %d records one by one, none accepted between them (%s): they are dead letters"
            warn(message, self.destination.name, _REFUSALS_IN_A_ROW, self.ledger.reason(reason))
        else:
            self._not_taking(f"refuses every record ({reason})", pause=True)

    def _shrink(self, hand: Hand, item: Item) -> None:
        """One record is too big by itself: without its content it may pass, once."""
        smaller = self.destination.shrink(item.payload) if item.payload is item.entry.payload else None
        if smaller is None:
            self._bury(hand, item, "too_large")
        else:
            item.payload = smaller

    def _not_taking(self, what: str, *, pause: bool) -> None:
        """The endpoint answers, and takes nothing."""
        self.ledger.last_error = f"{self.destination.name} {what}"
        self.pacing.failed(time.monotonic(), pause=pause)
        self.ledger.outage.failed(self.ledger.last_error, self.ledger.pending, at_once=pause)

    def _others_pass(self, item: Item) -> bool:
        return self.passes > item.passes_before

    # --- what it should know of our losses

    def _report_payload(self) -> bytes | None:
        """A loss report to go with the batch, for a destination that takes it. Made once and sent until it is
        acknowledged, under the same event id; what is lost meanwhile is for the next one."""
        if not self._takes_reports:
            return None
        if self._report is None:
            lost = self.ledger.unreported()
            if not lost:
                return None
            now_ns = time.time_ns()
            report = LossReport(
                event_id=self._ids.new(now_ns),
                timestamp=clock.iso(now_ns),
                destination=self.destination.name,
                lost=dict(lost),
                process=str(os.getpid()),
            )
            self._report = (encode(report), lost)
        return self._report[0]

    def _reported(self) -> None:
        if self._report is not None:
            self.ledger.reported(self._report[1])
            self._report = None


def _unexpected(error: Exception) -> DeliveryError:
    """A bug, ours or a destination's: named by type and place, without its text, which may quote content."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}" if frame else "?"
    kind = type(error).__name__
    return DeliveryError(f"unexpected {kind} at {place}", reason=f"unexpected_{kind}")
