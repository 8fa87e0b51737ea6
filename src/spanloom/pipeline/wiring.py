"""What stands behind the recorder in one process: a journal, and a shipper for each destination.

Theory of operation. A `Wiring` begins with a journal and no destinations. They are *decided* when the program or the
environment names them; where nobody does, at the first flush, at exit, or 5 s after the first record, for the embedded
store. Records do not wait for that: they are in the journal, and each destination begins at the oldest one kept.

Promises: a destination that cannot be built is one warning and the others go on; nothing here raises except for
``strict`` settings. Must never: start a thread for a program that records nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ..errors import SettingsError
from ..native import allocate_rlock, sleep, start_thread
from ..settings import Settings
from ..shipping.destination import Destination
from ..shipping.forks import renew_after_fork
from ..shipping.journal import Journal
from ..shipping.ledger import Count, Health
from ..shipping.shipper import Shipper
from . import naming
from .local import Local

_UNDECIDED_SECONDS = 5.0

_log = logging.getLogger("spanloom")


class Wiring:
    """The journal and the shippers of this process, by settings. Raises SettingsError only for ``strict`` ones."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = Journal(settings.journal_home, sync=settings.journal_sync)
        self.shippers: dict[str, Shipper] = {}
        self._named: dict[str, Any] = {}  # by dest_id, what the user wrote
        self.problems: tuple[str, ...] = ()
        self.decided = False
        self.reset_in_child()
        renew_after_fork(self)

    def reset_in_child(self) -> None:
        """In a forked child: whoever was naming destinations in the parent does not go on here."""
        self._naming_lock = allocate_rlock()
        self._naming = False

    def use(self, settings: Settings) -> None:
        """Go on with other settings. Records that are waiting stay, and so do destinations that are named again."""
        self.settings = settings
        self.problems = settings.problems
        if settings.destinations is not None:
            self._ship_to(settings.destinations)
        if settings.strict and self.problems:
            raise SettingsError("; ".join(self.problems))
        for problem in self.problems:
            _log.warning("spanloom: %s", problem)

    def keeps_journal_of(self, settings: Settings) -> bool:
        """Whether these settings can go on with the journal that is there."""
        return (settings.journal_home, settings.journal_sync) == (
            self.settings.journal_home,
            self.settings.journal_sync,
        )

    def decide_soon(self) -> None:
        """Unless someone names destinations within 5 s, it is the embedded store."""
        if not self.decided:
            try:
                start_thread(self._decide_later)
            except RuntimeError:  # no thread to be had, or the interpreter is going: flush and exit decide
                pass

    def decide(self) -> None:
        """Name the embedded store now, if nobody has named anything else."""
        with self._naming_lock:
            if not self.decided and not self._naming:  # naming: a signal handler flushes in the middle of `configure`
                self._ship_to((Local(),))

    def flush(self, timeout_seconds: float) -> bool:
        """Deliver everything; False when something was still pending at the end of the time. With ``journal_sync`` as
        "power" the journal is brought to the disk first; what could not be is known to the journal's state, and is no
        reason to say False of records that were delivered."""
        deadline = time.monotonic() + timeout_seconds
        if not self.journal.state().appended:
            return True
        self.decide()
        if self.settings.journal_sync == "power":
            self.journal.sync(timeout_seconds)
        flushed = [shipper.flush(deadline - time.monotonic()) for shipper in self.shippers.values()]  # each, to the end
        return all(flushed)

    def drain(self, timeout_seconds: float) -> bool:
        """Deliver what was adopted from dead processes; whether nothing is left of it."""
        deadline = time.monotonic() + timeout_seconds
        pending = True
        while pending and time.monotonic() < deadline:
            for shipper in self.shippers.values():
                shipper.ensure_running()
            time.sleep(0.01)
            pending = any(shipper.ledger.pending() for shipper in self.shippers.values())
        return not pending

    def close(self, timeout_seconds: float) -> None:
        """Deliver what can be delivered in the time, leave the rest to the journal, and end."""
        deadline = time.monotonic() + timeout_seconds
        if self.journal.state().appended:
            self.decide()
        for shipper in self.shippers.values():
            shipper.begin_close(timeout_seconds)
        for shipper in self.shippers.values():
            shipper.finish_close()
        self.journal.close(max(0.05, deadline - time.monotonic()))

    def health(self) -> Health:
        """The account of every destination, exact at this moment."""
        state = self.journal.state()
        place = state.path or "not needed yet"
        kept = {"disk": place, "background": f"{place} (written within 50 ms)"}.get(state.mode, "in memory")
        return Health(
            destinations={shipper.ledger.name: shipper.health() for shipper in self.shippers.values()},
            not_recorded=Count({**state.rejected, **({} if self.shippers else state.refused)}),
            journal="; ".join(filter(None, (kept, state.trouble, _given_up(state.others_given_up)))),
            problems=self.problems,
        )

    def _decide_later(self) -> None:
        sleep(_UNDECIDED_SECONDS)
        try:
            self.decide()
        except Exception as error:  # a named door: a thread of ours, with nobody to raise to; flush and exit try again
            _log.warning("spanloom: the embedded store cannot be used: %r", error)

    def _ship_to(self, named: Iterable[Any]) -> None:
        with self._naming_lock:
            self._naming = True
            try:
                self._replace_shippers(self._built(named))
                self.decided = True
            finally:
                self._naming = False
        self.await_records()

    def _replace_shippers(self, built: dict[str, tuple[Destination, Any]]) -> None:
        for gone in [dest_id for dest_id in self.shippers if dest_id not in built]:
            self.shippers.pop(gone).close(0.0)
        for dest_id, (destination, named) in built.items():
            if dest_id not in self.shippers:
                self.shippers[dest_id] = self._shipper(destination)
            elif named != self._named.get(dest_id):  # another key, or other options
                self.journal.lane(dest_id, destination.takes)
                self.shippers[dest_id].use(destination)
            self._named[dest_id] = named
        self.journal.declare(list(built))

    def run_url(self, run_id: str) -> str | None:
        """Where a run can be looked at: on the pages of the first collector that it goes to; None when to none."""
        for shipper in self.shippers.values():
            base = getattr(shipper.destination, "pages_url", None)
            if base is not None and run_id:
                return f"{base.rstrip('/')}/traces/{quote(run_id, safe='')}"
        return None

    def await_records(self) -> None:
        """Have every shipper's thread started by the next record; now, when some are waiting already."""
        waiting = self.journal.state().appended > 0
        for shipper in self.shippers.values():
            if not waiting or not shipper.ensure_running():
                self.journal.sleepers.append(_Starter(shipper))

    def _shipper(self, destination: Destination) -> Shipper:
        journal = self.journal
        own = journal.lane(destination.dest_id, destination.takes)
        adopted = journal.adopted_lane(destination.dest_id)

        def after_batch() -> None:
            journal.retire()
            if shipper.passes:  # who cannot deliver its own has no use for others'
                journal.adopt_soon()

        def when_stopped() -> None:
            journal.sleepers.append(_Starter(shipper))

        shipper = Shipper(
            destination, own, adopted,
            durable=bool(journal.root), after_batch=after_batch, before_end=journal.adopt_before_end,
            when_stopped=when_stopped,
        )  # fmt: skip
        return shipper

    def _built(self, named: Iterable[Any]) -> dict[str, tuple[Destination, Any]]:
        """By dest_id, each destination and what it was made from."""
        built: dict[str, tuple[Destination, Any]] = {}
        for item in named:
            try:
                chosen = naming.made(item)
                if isinstance(chosen, type) or not callable(getattr(chosen, "build", None)):
                    raise SettingsError(naming.no_destination(chosen))
                destination = chosen.build()
                self.problems += chosen.problems
            except SettingsError as error:
                self.problems += (str(error),)
                continue
            names = [other.name for other, _ in built.values()]
            first = built.setdefault(destination.dest_id, (destination, chosen))
            if first[0] is destination and destination.name in names:
                destination.name = f"{destination.name}-{len(names) + 1}"
            elif first[1] != chosen:
                kind = type(chosen).__name__
                self.problems += (f"two {kind} destinations lead to the same place: only the first is used",)
        return built


def _given_up(others: Mapping[str, int]) -> str:
    """A sentence about what had to go although another program's destination was still to get it."""
    parts = ", ".join(f"{reason} {number}" for reason, number in sorted(others.items()) if number)
    return f"records of ended processes for destinations not configured here, given up: {parts}" if parts else ""


class _Starter:
    """Lies among the journal's sleepers in the place of a shipper whose thread has yet to be started."""

    def __init__(self, shipper: Shipper) -> None:
        self._shipper = shipper

    def ring(self) -> None:
        """A record has come."""
        self._shipper.ensure_running()
