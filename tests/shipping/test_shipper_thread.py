"""The shipper's thread: started by need, asleep when idle, restarted when it dies, gone when closed."""

from __future__ import annotations

import _thread
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from ship_cases import AT_ONCE, Rig, Scripted, record, refuse, wait_until

from spanloom.errors import DeliveryError
from spanloom.shipping.destination import BatchPolicy
from spanloom.shipping.retry import RetryRules
from spanloom.shipping.shipper import Shipper
from spanloom.wire import DELIVERED, Verdict

CALM = RetryRules(first_seconds=0.01, longest_seconds=0.02, hurry_seconds=0.01, tokens=1e9)


def hanging(gate: threading.Event):
    """An endpoint that does not answer until the test lets it."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        gate.wait(20)
        return [DELIVERED] * len(payloads)

    return script


def threads_of(shipper: Shipper) -> int:
    """How many threads run this shipper's code."""

    def within(frame: object) -> bool:
        while frame is not None:
            if frame.f_locals.get("self") is shipper and frame.f_code.co_name == "_main":  # type: ignore[attr-defined]
                return True
            frame = frame.f_back  # type: ignore[attr-defined]
        return False

    return sum(within(frame) for frame in sys._current_frames().values())


def test_no_thread_before_the_first_record() -> None:
    """Making a shipper starts nothing; the first record does, once."""
    rig = Rig(Scripted())
    shipper = rig.shipper()
    assert not shipper.running and threads_of(shipper) == 0
    rig.append(record(1))
    for _ in range(50):
        shipper.ensure_running()
    assert wait_until(lambda: rig.destination.delivered == [record(1)])
    assert threads_of(shipper) == 1
    assert rig.destination.prepared == 1
    shipper.close(1.0)
    assert wait_until(lambda: threads_of(shipper) == 0)


def test_flush_is_true_when_everything_is_delivered() -> None:
    """flush returns True after the last record's acknowledgement, and at once when there is nothing."""
    rig = Rig(Scripted(policy=BatchPolicy(linger_seconds=30.0, age_seconds=30.0)))
    shipper = rig.shipper()
    assert shipper.flush(5.0) is True
    rig.append(*(record(number) for number in range(1000)))
    assert shipper.flush(20.0) is True  # although the batch would have lingered for 30 s
    assert len(rig.destination.delivered) == 1000
    assert shipper.health().pending == 0
    shipper.close(1.0)


def test_flush_is_false_when_the_time_is_over() -> None:
    """An endpoint that fails: flush gives up at its time, nothing is lost."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        raise DeliveryError("no", reason="refused")

    rig = Rig(Scripted(script), rules=CALM)
    shipper = rig.shipper()
    rig.append(record(1))
    assert shipper.flush(0.3) is False
    health = shipper.health()
    assert health.pending == 1 and health.state in ("retrying", "open") and health.last_error == "no"
    assert shipper.flush(-1.0) is False
    rig.destination.script = lambda payloads: [DELIVERED] * len(payloads)
    assert shipper.flush(10.0) is True
    shipper.close(1.0)


def test_flush_does_not_wait_for_an_endpoint_that_wants_a_person() -> None:
    """401: flush says False without waiting for a probe that comes in 30 s."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        raise refuse(401, pause=True)

    rig = Rig(Scripted(script), rules=RetryRules())
    shipper = rig.shipper()
    rig.append(record(1))
    assert shipper.flush(25.0) is False
    assert shipper.health().state == "paused"
    assert len(rig.destination.batches) == 1
    shipper.close(1.0)


def test_flush_does_not_wait_for_what_came_after_it() -> None:
    """A steady flow does not hold flush up: it waits for what was there when it was called."""
    rig = Rig(Scripted(policy=BatchPolicy(max_events=10, linger_seconds=0.01, age_seconds=0.01)))
    shipper = rig.shipper()
    stop = threading.Event()

    def flow() -> None:
        number = 0
        while not stop.wait(0.0005):
            rig.append(record(number))
            number += 1

    emitter = threading.Thread(target=flow)
    emitter.start()
    try:
        assert all(shipper.flush(10.0) for _ in range(20))
    finally:
        stop.set()
        emitter.join()
        shipper.close(2.0)


def test_an_idle_shipper_does_not_wake_up(tmp_path: Path) -> None:
    """With nothing to do the thread sleeps: its CPU time does not grow, and its stack stands in the lane's wait."""
    rig = Rig(Scripted(), tmp_path)
    shipper = rig.shipper()
    looks: list[int] = []
    fill = shipper._delivery.fill
    shipper._delivery.fill = lambda: (looks.append(1), fill())[1]  # type: ignore[method-assign]
    rig.append(record(1))
    assert shipper.flush(10.0)
    assert wait_until(lambda: bool(rig.journal.sleepers))
    time.sleep(0.3)
    before = len(looks)
    time.sleep(0.7)
    assert len(looks) == before
    rig.append(record(2))
    assert wait_until(lambda: rig.destination.delivered == [record(1), record(2)])
    shipper.close(1.0)
    rig.journal.close()


def test_no_wake_up_is_lost() -> None:
    """Records that come just as the thread falls asleep are delivered without another record's help (C43)."""
    rig = Rig(Scripted(policy=BatchPolicy(linger_seconds=0.0, age_seconds=0.0)))
    shipper = rig.shipper()
    for number in range(1500):
        rig.append(record(number))
        shipper.ensure_running()
        if number % 3 == 0:
            assert wait_until(lambda wanted=number + 1: len(rig.destination.delivered) >= wanted), number
    shipper.close(1.0)


@pytest.mark.parametrize("error", [SystemExit, MemoryError, KeyboardInterrupt, GeneratorExit])
def test_a_thread_that_dies_is_replaced_and_drops_nothing(error: type[BaseException]) -> None:
    """SystemExit and the like inside the thread: what it held goes back, another takes over (C36)."""
    deadly = [error]

    def script(payloads: list[bytes]) -> list[Verdict]:
        if deadly:
            raise deadly.pop()
        return [DELIVERED] * len(payloads)

    rig = Rig(Scripted(script))
    shipper = rig.shipper()
    rig.append(record(1), record(2))
    shipper.ensure_running()
    assert wait_until(lambda: len(rig.destination.delivered) == 2)  # no record and no flush is needed for that
    assert rig.destination.delivered == [record(1), record(2)]
    assert shipper.flush(10.0)
    health = shipper.health()
    # A MemoryError is an Exception: a failure of the batch, and no death.
    assert health.restarts == (0 if error is MemoryError else 1) and health.balance() == 0
    shipper.close(1.0)


def test_a_thread_that_dies_between_lane_and_hand_drops_nothing() -> None:
    """Records that were taken from the lane, and reached no hand before the thread died, are taken again (C36)."""
    rig = Rig(Scripted())
    shipper = rig.shipper()
    take, deadly = rig.own.take, [SystemExit]

    def dying(max_events: int, max_bytes: int):  # type: ignore[no-untyped-def]
        entries = take(max_events, max_bytes)
        if entries and deadly:
            raise deadly.pop()
        return entries

    rig.own.take = dying  # type: ignore[method-assign]
    rig.append(record(1), record(2))
    assert shipper.flush(10.0)
    assert rig.destination.delivered == [record(1), record(2)]
    assert shipper.health().restarts == 1
    shipper.close(1.0)


def test_a_thread_killed_from_outside_is_replaced() -> None:
    """An exception thrown into the thread while it waits (as debuggers and watchdogs do) is survived (C36)."""
    rig = Rig(Scripted())
    shipper = rig.shipper()
    rig.append(record(1))
    assert shipper.flush(10.0)
    ident = shipper._lives
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit)) == 1
    rig.append(record(2))  # wakes it, and it dies
    assert wait_until(lambda: len(rig.destination.delivered) == 2)
    assert shipper.flush(10.0)
    assert shipper.health().restarts == 1
    assert rig.destination.delivered == [record(1), record(2)]
    shipper.close(1.0)


def test_a_process_without_room_for_a_thread_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started, records stay pending, and a second later it is tried again (C38)."""
    real = _thread.start_new_thread
    rig = Rig(Scripted())
    stopped: list[int] = []
    shipper = rig.shipper(when_stopped=lambda: stopped.append(1))

    def none_left(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", none_left)  # RLIMIT_NPROC does not bind root
    rig.append(record(1))
    assert shipper.ensure_running() is False
    assert stopped == [1]
    monkeypatch.setattr(_thread, "start_new_thread", real)
    assert shipper.health().pending == 1
    assert shipper.flush(10.0) is True
    shipper.close(1.0)


def test_closing_delivers_what_is_left() -> None:
    """close sends everything that waits, without lingering, and ends the thread."""
    rig = Rig(Scripted(policy=BatchPolicy(max_events=50, linger_seconds=30.0, age_seconds=30.0)))
    shipper = rig.shipper()
    rig.append(*(record(number) for number in range(500)))
    shipper.ensure_running()
    assert shipper.close(5.0) is True
    assert len(rig.destination.delivered) == 500
    assert shipper.health().state == "closed"
    assert rig.destination.closed == 1
    assert shipper.ensure_running() is False
    assert shipper.close(5.0) is True
    assert shipper.flush(1.0) is True


def closing_seconds(shipper: Shipper, timeout_seconds: float = 2.0) -> float:
    started = time.monotonic()
    shipper.close(timeout_seconds)
    return time.monotonic() - started


def test_closing_leaves_a_hanging_endpoint_after_a_second() -> None:
    """An endpoint that has never answered is given a second, and no more (decision 13, C19)."""
    gate = threading.Event()
    rig = Rig(Scripted(hanging(gate)))
    shipper = rig.shipper()
    rig.append(record(1))
    shipper.ensure_running()
    assert wait_until(lambda: bool(rig.destination.batches))
    assert closing_seconds(shipper) < 1.5
    assert shipper.health().pending == 1
    gate.set()


def test_closing_leaves_a_failing_endpoint_at_once() -> None:
    """An endpoint that is known to fail gets one short chance (decision 13)."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        raise DeliveryError("refused", reason="refused")

    rig = Rig(Scripted(script), rules=RetryRules())
    shipper = rig.shipper()
    rig.append(record(1))
    assert shipper.flush(0.2) is False
    made = len(rig.destination.batches)
    assert closing_seconds(shipper) < 0.8
    assert len(rig.destination.batches) == made + 1
    assert shipper.health().pending == 1


def test_closing_waits_for_an_endpoint_that_answers() -> None:
    """Slow and well: everything is sent within the timeout, although it takes longer than a second (decision 13)."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        time.sleep(0.25)
        return [DELIVERED] * len(payloads)

    rig = Rig(Scripted(script, BatchPolicy(max_events=1)))
    shipper = rig.shipper()
    rig.append(*(record(number) for number in range(6)))
    assert shipper.close(10.0) is True
    assert len(rig.destination.delivered) == 6


def test_closing_respects_a_retry_after() -> None:
    """An endpoint that asked to be left alone for a minute is left alone at the end too."""

    def script(payloads: list[bytes]) -> list[Verdict]:
        raise refuse(503, retry_after_seconds=60.0)

    rig = Rig(Scripted(script), rules=RetryRules())
    shipper = rig.shipper()
    rig.append(record(1))
    assert shipper.flush(0.3) is False
    assert closing_seconds(shipper) < 0.8
    assert len(rig.destination.batches) == 1


def test_without_a_thread_the_caller_sends_at_the_end() -> None:
    """No thread ever ran: close sends on the caller's thread (C23)."""
    rig = Rig(Scripted())
    shipper = rig.shipper()
    rig.append(record(1), record(2))
    assert shipper.close(2.0) is True
    assert rig.destination.delivered == [record(1), record(2)]


def test_without_a_thread_an_endpoint_that_needs_a_lookup_is_left_to_the_journal(tmp_path: Path) -> None:
    """A name server cannot be given a deadline on the caller's thread: the next process sends; a journal in memory
    takes the risk, since there is no next process for it."""
    policy = BatchPolicy(inline_at_exit=False)
    kept, risked = Rig(Scripted(policy=policy), tmp_path), Rig(Scripted(policy=policy))
    kept.append(record(1))
    risked.append(record(1))
    assert kept.shipper().close(2.0) is False
    assert risked.shipper(durable=False).close(2.0) is True
    assert kept.destination.delivered == [] and risked.destination.delivered == [record(1)]
    kept.journal.close()


def test_a_thread_that_never_gets_to_run_is_replaced_by_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose threads never run (uwsgi without threads): close sends on the caller's thread, and the thread,
    should it come to life after all, does nothing (C28)."""
    started: list[tuple[object, tuple[int, float]]] = []
    monkeypatch.setattr(_thread, "start_new_thread", lambda run, arguments: started.append((run, arguments)) or 1)
    rig = Rig(Scripted())
    shipper = rig.shipper()
    rig.append(record(1))
    assert shipper.ensure_running() is True
    assert shipper.close(2.0) is True
    (late,) = [begun for begun in started if getattr(begun[0], "__self__", None) is shipper]
    late[0](*late[1])  # type: ignore[operator]
    assert rig.destination.delivered == [record(1)]


def test_one_log_line_when_an_outage_begins_and_one_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Twenty failed requests are two lines, with counts, from the shipper's thread."""
    failing = [20]

    def script(payloads: list[bytes]) -> list[Verdict]:
        if failing[0]:
            failing[0] -= 1
            raise DeliveryError("no answer", reason="timeout")
        return [DELIVERED] * len(payloads)

    caplog.set_level(logging.DEBUG, logger="spanloom")
    rig = Rig(Scripted(script), rules=AT_ONCE)
    shipper = rig.shipper()
    rig.append(record(1), record(2))
    assert shipper.flush(20.0)
    shipper.close(1.0)
    begun, ended = [each for each in caplog.records if each.name == "spanloom"]
    assert "no answer" in begun.getMessage() and "2 are kept" in begun.getMessage()
    assert "20 failed requests" in ended.getMessage()
    assert begun.thread != threading.get_ident()


def test_a_log_handler_that_flushes_does_not_hang_the_thread() -> None:
    """A host's handler that calls flush from inside our own log line gets an answer, not a deadlock (C41)."""
    answers: list[bool] = []

    class Flushing(logging.Handler):
        def emit(self, line: logging.LogRecord) -> None:
            answers.append(shipper.flush(30.0))

    failing = [3]

    def script(payloads: list[bytes]) -> list[Verdict]:
        if failing[0]:
            failing[0] -= 1
            raise DeliveryError("no answer", reason="timeout")
        return [DELIVERED] * len(payloads)

    rig = Rig(Scripted(script))
    shipper = rig.shipper()
    handler = Flushing()
    logging.getLogger("spanloom").addHandler(handler)
    try:
        rig.append(record(1))
        assert shipper.flush(10.0)
    finally:
        logging.getLogger("spanloom").removeHandler(handler)
        shipper.close(1.0)
    assert answers[0] is False


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_ships_its_own_and_the_parent_its_own() -> None:
    """fork with a live shipper: the child has a thread of its own at its first record, none of the parent's records,
    and has let go of the parent's sockets (C24)."""
    gate = threading.Event()
    rig = Rig(Scripted(hanging(gate)))
    shipper = rig.shipper()
    rig.append(record(1))
    shipper.ensure_running()
    assert wait_until(lambda: bool(rig.destination.batches))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(20)
            rig.destination.script = lambda payloads: [DELIVERED] * len(payloads)
            clean = not shipper.running and shipper.health().created == 0 and rig.destination.forgotten == 1
            rig.append(record(2))
            delivered = shipper.flush(10.0)
            code = 0 if clean and delivered and rig.destination.delivered == [record(2)] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    gate.set()
    assert shipper.flush(10.0)
    assert rig.destination.delivered == [record(1)]
    assert rig.destination.forgotten == 0
    shipper.close(1.0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_stopped_process_goes_on_where_it_was() -> None:
    """SIGSTOP and SIGCONT in the middle of shipping: everything arrives (C35)."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(30)
            rig = Rig(Scripted(policy=BatchPolicy(max_events=5, linger_seconds=0.01, age_seconds=0.01)))
            shipper = rig.shipper()
            for number in range(300):
                rig.append(record(number))
                shipper.ensure_running()
                time.sleep(0.002)
            code = 0 if shipper.flush(10.0) and len(rig.destination.delivered) == 300 else 2
        finally:
            os._exit(code)
    time.sleep(0.2)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_flush_is_true_only_when_what_was_there_is_delivered() -> None:
    """Asked at any moment of the shipper's work, and while others record: never True for a record that waits."""
    arrived: set[bytes] = set()

    def script(payloads: list[bytes]) -> list[Verdict]:
        arrived.update(payloads)
        return [DELIVERED] * len(payloads)

    rig = Rig(Scripted(script))
    shipper = rig.shipper()
    early: list[bytes] = []

    def work(first: int) -> None:
        for number in range(first, first + 1200):
            rig.append(mine := record(number))
            if not shipper.flush(20.0) or mine not in arrived:
                early.append(mine)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(10_000 * n,)) for n in range(1, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
        shipper.close(2.0)
    assert early == []
