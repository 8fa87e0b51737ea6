"""Leaving the program: how long the exit takes at each kind of endpoint, and that nothing is lost by it (C19-C23).

Must show 2. The bounds are those of a machine with a core to spare; a short run allows `SLACK` times as much, because
CI shares its cores, and `benchmarks/exit_delay.py` measures the delays themselves.
"""

from __future__ import annotations

import signal
import statistics
from pathlib import Path

import pytest

from support import toxic as toxics
from support.children import Child, child
from support.endpoints import HANGING_SECONDS, LEAVING_PROGRAM, STATES
from support.oracle import Oracle
from support.successor import succeed
from support.toxic import Toxic
from support.volume import FULL, volume

SLACK = 1.0 if FULL else 3.0


@pytest.mark.parametrize("journal", ["on", "off"])
@pytest.mark.parametrize("endpoint", STATES)
def test_exit_delay_and_delivery_by_the_next_process(home: Path, endpoint: str, journal: str) -> None:
    """The exit keeps its bound in every state; with a journal the next process delivers everything (C19)."""
    state = STATES[endpoint]
    marks: list[str] = []
    delays: list[float] = []
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        state.enter(oracle, toxic)
        for turn in range(volume(ci=3, full=20)):
            with Child(LEAVING_PROGRAM, toxic.url, f"turn{turn}", journal, home=home) as running:
                done = running.finish()
            assert done.returncode == 0, done.stderr
            # What memory alone held is lost at exit, and may be said in one line; a journal has nothing to say.
            assert len(done.stderr.splitlines()) <= (journal == "off"), done.stderr
            assert len(done.accepted) == 250
            assert done.exit_delay_seconds is not None
            marks += done.accepted
            delays.append(done.exit_delay_seconds)
        print(f"{endpoint}, journal {journal}: median {statistics.median(delays):.3f} s, worst {max(delays):.3f} s")
        assert max(delays) <= state.bound_seconds * SLACK
        state.leave(oracle, toxic)
        if journal == "on":
            succeed(home, toxic.url, oracle.log, marks)
        oracle.log.assert_clean()


@pytest.mark.parametrize("journal", ["on", "off"])
def test_a_slow_but_healthy_endpoint_is_waited_for(home: Path, journal: str) -> None:
    """While it answers, the exit goes on delivering, up to exit_timeout_seconds; here all of it gets through."""
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.latency(0.15))
        done = child(LEAVING_PROGRAM, toxic.url, "slow", journal, home=home)
        assert set(done.accepted) == oracle.log.names("end").keys()
        assert toxic.fired["latency"] >= 1
        oracle.log.assert_clean()


BRIEF = """
import sys
import spanloom
from support.program import accepted, leaving
spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool(sys.argv[2]):
    pass
accepted(sys.argv[2])
if sys.argv[3:]:
    spanloom.flush(timeout_seconds=10)
leaving()
"""


@pytest.mark.parametrize("flush", [(), ("flush",)], ids=["as it is", "flushed"])
def test_programs_that_live_briefly_deliver_what_their_predecessors_left(home: Path, flush: tuple[str, ...]) -> None:
    """Where every program ends after its first request, the backlog of an outage still gets through (C19, C78)."""
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.refuse())
        marks = [mark for turn in range(2) for mark in child(BRIEF, toxic.url, f"left{turn}", home=home).accepted]
        toxic.clear()
        for turn in range(2):
            marks += child(BRIEF, toxic.url, f"brief{turn}", *flush, home=home).accepted
        assert set(marks) == oracle.log.names("end").keys()
        assert not list((home / "journal").glob("2*"))
        oracle.log.assert_clean()


LONG = """
import os, signal, sys, threading, time
import spanloom
from support.program import accepted, leaving, say

url, way = sys.argv[1:]
spanloom.configure(destinations=[spanloom.Collector(url)])

def emit(prefix, count=100):
    for number in range(count):
        with spanloom.tool(f"{prefix}-{number}"):
            pass
        accepted(f"{prefix}-{number}")

emit("main")
def unhandled():
    raise ValueError("the program's own")
def late():
    time.sleep(0.2)
    emit("late")

if way == "exit in a thread":
    thread = threading.Thread(target=sys.exit, args=(0,)); thread.start(); thread.join()
elif way == "unhandled in a thread":
    threading.excepthook = lambda args: None
    thread = threading.Thread(target=unhandled); thread.start(); thread.join()
elif way == "main raises":
    sys.excepthook = lambda *_: None
    unhandled()
elif way == "os._exit":
    os._exit(0)
elif way == "abort":
    os.abort()
elif way == "thread outlives main":
    threading.Thread(target=late).start()
elif way == "after shutdown":
    spanloom.shutdown(); spanloom.shutdown()
    with spanloom.tool("after"): pass
    say("flushed", spanloom.flush(timeout_seconds=1))
elif way in ("SIGTERM", "SIGINT"):
    if way == "SIGINT":  # with records pending and the first upload still to be prepared
        sys.excepthook = lambda *_: None
    os.kill(os.getpid(), getattr(signal, way))
    time.sleep(5)
leaving()
"""
STATUS = {"main raises": 1, "abort": -signal.SIGABRT, "SIGTERM": -signal.SIGTERM, "SIGINT": -signal.SIGINT}


@pytest.mark.parametrize(
    "way",
    ["exit in a thread", "unhandled in a thread", "main raises", "os._exit", "abort", "SIGTERM", "SIGINT",
     "thread outlives main", "after shutdown"],
)  # fmt: skip
def test_every_way_out_keeps_what_was_accepted(home: Path, way: str) -> None:
    """However the program ends, its status is its own, it ends in time, and its records arrive (C20, C22, C34)."""
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        with Child(LONG, toxic.url, way, home=home, timeout_seconds=20) as running:
            done = running.finish()
        assert done.returncode == STATUS.get(way, 0), done.stderr
        assert "spanloom" not in done.stderr
        assert "Traceback" not in done.stderr
        expected = 200 if way == "thread outlives main" else 100
        assert len(done.accepted) == expected
        succeed(home, toxic.url, oracle.log, done.accepted)
        oracle.log.assert_clean()


def test_sigint_during_flush_is_the_users(home: Path) -> None:
    """Ctrl-C while flush() waits on a hanging endpoint raises KeyboardInterrupt there; a second one ends at once."""
    program = """
    import os, signal, sys
    import spanloom
    from support.program import accepted, leaving, say
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    with spanloom.tool("kept"):
        pass
    accepted("kept")
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        spanloom.flush(timeout_seconds=15)
    except KeyboardInterrupt:
        say("interrupted")
    leaving()
    """
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.blackhole())
        done = child(program, toxic.url, home=home)
        assert done.lines("interrupted") == [""]
        assert done.duration_seconds < 10
        toxic.clear()
        succeed(home, toxic.url, oracle.log, done.accepted)


@pytest.mark.parametrize("when", ["before", "after"])
def test_emitting_from_an_atexit_handler(home: Path, when: str) -> None:
    """The first record ever may be emitted at exit, before or after our own handler ran (C22, C23)."""
    program = """
    import atexit, sys
    url, when = sys.argv[1:]
    from support.program import accepted
    def emit():
        import spanloom
        with spanloom.tool(f"atexit-{when}"):
            pass
        accepted(f"atexit-{when}")
    if when == "after":
        atexit.register(emit)
    import spanloom
    spanloom.configure(destinations=[spanloom.Collector(url)])
    if when == "before":
        atexit.register(emit)
    """
    with Oracle() as oracle:
        done = child(program, oracle.url, when, home=home)
        assert done.accepted == [f"atexit-{when}"]
        succeed(home, oracle.url, oracle.log, done.accepted)
        oracle.log.assert_clean()


def test_a_resolver_that_never_answers_does_not_hold_the_exit(home: Path) -> None:
    """Exit while the shipper stands in getaddrinfo, which nothing can interrupt (C21)."""
    program = """
    import socket, sys, threading
    import spanloom
    from support.program import accepted, leaving, say
    entered = threading.Event()
    def stuck(*_, **__):
        entered.set()
        threading.Event().wait()
    socket.getaddrinfo = stuck
    spanloom.configure(destinations=[spanloom.Collector("https://collector.invalid")])
    with spanloom.tool("resolving"):
        pass
    accepted("resolving")
    say("entered", entered.wait(10))
    leaving()
    """
    done = child(program, home=home)
    assert done.lines("entered") == ["True"]
    assert done.exit_delay_seconds is not None
    assert done.exit_delay_seconds <= HANGING_SECONDS * SLACK
