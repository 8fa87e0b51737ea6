"""Emitting from where no lock may be waited for: signal handlers, finalisers, log handlers, hooks (C39-C43).

Must show 4. Each program counts what it saw return; the ledger must account for exactly that many records.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from support.balance import only, read
from support.children import Finished, child
from support.oracle import Oracle
from support.volume import volume

HEAD = """
import sys
import spanloom
from support.program import accepted, leaving, say, say_health
url = sys.argv[1]
spanloom.configure(destinations=[spanloom.Collector(url)])
returned = 0

def emit(mark):
    global returned
    with spanloom.tool(mark):
        pass

def close():
    say("flushed", spanloom.flush(timeout_seconds=240))
    say_health()
    leaving()
"""


def run(body: str, oracle: Oracle, home: Path, *arguments: str, timeout_seconds: float = 60) -> Finished:
    """Run HEAD and a body; everything must have been flushed and balance."""
    source = HEAD + textwrap.dedent(body)
    done = child(source, oracle.url, *arguments, home=home, timeout_seconds=timeout_seconds)
    assert done.lines("flushed") == ["True"]
    return done


def assert_exact(done: Finished, oracle: Oracle) -> None:
    """What the program counted as returned is what the ledger created and delivered, and what the oracle stored."""
    emitted = int(done.lines("emitted")[0])
    account = only(read(done.lines("health")[-1]))
    assert account["created"] == account["delivered"] == emitted * 2, account
    stored = [seen for seen in oracle.log.stored().values() if seen.event in ("start", "end")]
    assert len(stored) == emitted * 2
    oracle.log.assert_clean()
    print(f"{emitted} runs, exact")


def test_signal_handler_emits_at_500_hz(home: Path) -> None:
    """A handler that emits, asks and flushes interrupts the same at any bytecode, 500 times a second: exact (C39)."""
    body = """
    import itertools, signal, time
    seconds = float(sys.argv[2])
    in_handler = in_main = 0
    inside = False

    def handler(*_):
        global in_handler, inside
        if inside:
            return
        inside = True
        emit(f"signal-{in_handler}")
        in_handler += 1
        if in_handler % 4 == 0:
            spanloom.health()
            spanloom.flush(timeout_seconds=0)
        inside = False

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(50):
            emit(f"main-{in_main}")
            in_main += 1
        spanloom.health()
        spanloom.flush(timeout_seconds=0.01)
    signal.setitimer(signal.ITIMER_REAL, 0)
    say("signals", in_handler)
    say("emitted", in_handler + in_main)
    close()
    """
    seconds = volume(ci=10, full=60)
    with Oracle(keeps="ids") as oracle:
        done = run(body, oracle, home, str(seconds), timeout_seconds=seconds + 90)
        assert int(done.lines("signals")[0]) > seconds * 50
        assert_exact(done, oracle)


def test_finalisers_emit_at_gc_threshold_1(home: Path) -> None:
    """Cyclic garbage whose __del__ emits, with a collection at nearly every allocation: no hang, exact (C40)."""
    body = """
    import gc
    gc.set_threshold(1)
    dead = 0

    class Dying:
        def __init__(self):
            self.me = self
        def __del__(self):
            global dead
            emit(f"dying-{dead}")
            dead += 1

    count = int(sys.argv[2])
    for number in range(count):
        Dying()
        emit(f"main-{number}")
    gc.set_threshold(700, 10, 10)
    gc.collect()
    say("emitted", dead + count)
    close()
    """
    count = volume(ci=3000, full=100_000)
    with Oracle(keeps="ids") as oracle:
        done = run(body, oracle, home, str(count), timeout_seconds=60 + count / 200)
        assert_exact(done, oracle)


def test_a_log_handler_emits_while_we_log(home: Path) -> None:
    """A root handler at DEBUG that records each line, ours and httpx's too: no recursion, bounded noise (C41)."""
    body = """
    import logging
    emitted = 0

    class Recorder(logging.Handler):
        def emit(self, record):
            global emitted
            number, emitted = emitted, emitted + 1
            emit(f"log-{number}")

    logging.basicConfig(level=logging.DEBUG, handlers=[Recorder()])
    for number in range(300):
        logging.getLogger("host").debug("line %d", number)
    say("first flush", spanloom.flush(timeout_seconds=20))
    import time
    time.sleep(1.5)
    quiet_from = emitted
    time.sleep(1.5)
    say("idle", emitted - quiet_from)
    say("lines", emitted)
    close()
    """
    with Oracle() as oracle:
        done = run(body, oracle, home)
        assert int(done.lines("lines")[0]) <= 300 + 30, "what we log feeds on itself"
        assert done.lines("idle") == ["0"], "an upload makes a log line, which makes an upload"
        only(read(done.lines("health")[-1]))


@pytest.mark.parametrize("hook", ["settrace", "setprofile", "audit", "excepthook", "unraisable", "gc callbacks"])
def test_hooks_that_emit(home: Path, hook: str) -> None:
    """Recording inside the interpreter's own hooks neither recurses nor changes what they do (C40, C42)."""
    body = """
    import gc, threading
    hook = sys.argv[2]
    emitted = 0
    busy = False

    def record(*_):
        global emitted, busy
        if not busy and emitted < 500:
            busy = True
            emit(f"hook-{emitted}")
            emitted += 1
            busy = False
        return record

    def host_work():
        for number in range(50):
            compile("1", "x", "eval")
            [object() for _ in range(10)]

    if hook == "settrace":
        sys.settrace(record); host_work(); sys.settrace(None)
    elif hook == "setprofile":
        sys.setprofile(record); host_work(); sys.setprofile(None)
    elif hook == "audit":
        sys.addaudithook(lambda name, args: name == "compile" and record()); host_work()
    elif hook == "excepthook":
        threading.excepthook = record
        thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()
    elif hook == "unraisable":
        sys.unraisablehook = record
        class Bad:
            def __del__(self): raise ValueError
        Bad()
    else:
        gc.callbacks.append(record); [gc.collect() for _ in range(20)]; gc.callbacks.clear()
    busy = True
    say("emitted", emitted)
    close()
    """
    with Oracle(keeps="ids") as oracle:
        done = run(body, oracle, home, hook)
        assert int(done.lines("emitted")[0]) >= 1
        assert_exact(done, oracle)


def test_many_threads_emit_flush_and_ask(home: Path) -> None:
    """Threads that emit, flush and read health at once: the ledger is exact to the record (C43)."""
    body = """
    import threading
    threads, each = int(sys.argv[2]), int(sys.argv[3])

    def work(thread):
        for number in range(each):
            emit(f"t{thread}-{number}")
            if number % 97 == 0:
                spanloom.health()
            if number % 211 == 0:
                spanloom.flush(timeout_seconds=0.001)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    say("emitted", threads * each)
    close()
    """
    threads, each = volume(ci=16, full=64), volume(ci=300, full=2_000)
    with Oracle(keeps="ids") as oracle:
        done = run(body, oracle, home, str(threads), str(each), timeout_seconds=60 + threads * each / 400)
        assert_exact(done, oracle)


@pytest.mark.parametrize("interval", ["1e-6", "0.1"])
def test_the_interpreters_switch_interval(home: Path, interval: str) -> None:
    """Threads that change hands at every moment, or hardly ever: no deadlock, exact (C49)."""
    body = """
    import threading
    sys.setswitchinterval(float(sys.argv[2]))
    workers = [threading.Thread(target=lambda n=n: [emit(f"t{n}-{i}") for i in range(200)]) for n in range(8)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    sys.setswitchinterval(0.005)
    say("emitted", 1600)
    close()
    """
    with Oracle(keeps="ids") as oracle:
        assert_exact(run(body, oracle, home, interval), oracle)


def test_the_last_record_after_idleness_is_sent(home: Path) -> None:
    """No wake-up is lost: after each pause, however short, a single record goes out by itself (C43)."""
    body = """
    import random, time
    emitted = int(sys.argv[2])
    late = 0
    for number in range(emitted):
        emit(f"single-{number}")
        until = time.monotonic() + 20
        while next(iter(spanloom_counts())) and time.monotonic() < until:
            time.sleep(0.002)
        late += time.monotonic() >= until
        time.sleep(random.random() * 0.01)
    say("late", late)
    say("emitted", emitted)
    close()
    """
    counts = """
    from support.balance import plain
    def spanloom_counts():
        return [account["pending"] for account in plain(spanloom.health()).values()]
    """
    with Oracle(keeps="ids") as oracle:
        trials = volume(ci=6, full=300)
        done = run(textwrap.dedent(counts) + textwrap.dedent(body), oracle, home, str(trials),
                   timeout_seconds=60 + trials * 3)  # fmt: skip
        assert done.lines("late") == ["0"]
        assert_exact(done, oracle)
