"""Appends from where no lock may be taken: signal handlers, finalisers, forked children, many threads."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from journal_cases import FULL, inherit, run

SECONDS = 60 if FULL else 2

COUNT_ALL = """
def check(journal, lane, made):
    assert journal.sync(20)
    counts = lane.counts()
    found = Counter(drain(lane, 500))
    refused = sum(journal.state().refused.values())
    assert counts.balance() == 0
    assert counts.seen == made, (counts, made)
    assert len(found) == made - refused and set(found.values()) <= {1}, (len(found), made)
    say(refused)
"""


def test_a_signal_handler_that_appends_at_500_hz(tmp_path: Path) -> None:
    """A handler that appends interrupts appends, takes, settles and syncs: nothing hangs, every record is there once
    (C39)."""
    body = (
        "from collections import Counter\n"
        + COUNT_ALL
        + """
seconds = float(sys.argv[2])
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
made = [0, 0]
inside = False
def handler(*_):
    global inside
    if inside: return
    inside = True
    journal.append(end(10**7 + made[1])); made[1] += 1
    journal.append(end(10**7 + made[1])); made[1] += 1
    inside = False
out = Counter()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
until = time.monotonic() + seconds
while time.monotonic() < until:
    for _ in range(200):
        journal.append(end(made[0])); made[0] += 1
    entries = lane.take(500, 1 << 20)
    lane.counts(); journal.state()
    lane.settle(entries); journal.retire()
    out.update(ids(entries))
    if made[0] % 4000 == 0: journal.sync(1)
signal.setitimer(signal.ITIMER_REAL, 0)
out.update(drain(lane))
counts = lane.counts()
assert made[1] > 100 * seconds, made
assert counts.seen == counts.delivered == sum(made) == len(out), (counts, made, len(out))
assert set(out.values()) == {1}
journal.close()
say("fine")
"""
    )
    assert run(body, tmp_path, str(min(SECONDS, 45))) == ["fine"]


def test_finalisers_that_append_at_every_collection(tmp_path: Path) -> None:
    """`__del__` and collector callbacks append with a threshold of 1: nothing hangs, counts exact (C40)."""
    body = (
        "from collections import Counter\n"
        + COUNT_ALL
        + """
objects = int(sys.argv[2])
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
made = [0]
class Dying:
    def __init__(self): self.me = self
    def __del__(self):
        n = made[0]; made[0] += 1
        journal.append(end(n))
gc.set_threshold(1)
for _ in range(objects):
    Dying()
    n = made[0]; made[0] += 1
    journal.append(end(n))
gc.set_threshold(700)
gc.collect()
check(journal, lane, made[0])
journal.close()
"""
    )
    assert run(body, tmp_path, str(200_000 if FULL else 2_000)) == ["0"]


def test_exceptions_out_of_signal_handlers_lose_nothing_that_was_accepted(tmp_path: Path) -> None:
    """A handler that raises in the middle of appends, anywhere, leaves the journal working; every append that
    returned is there, none twice (C20, C39)."""
    body = """
from collections import Counter
seconds = float(sys.argv[2])
journal = Journal(home, limits=SMALL._replace() if hasattr(SMALL, "_replace") else SMALL)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
class Stop(Exception): pass
sys.unraisablehook = lambda *_: None  # some are raised inside finalisers, the interpreter's own too
armed = False
def handler(*_):
    global armed
    if armed:
        armed = False  # a second one would come out of the except clause
        raise Stop
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0013)
returned, raised, number = [], 0, 0
until = time.monotonic() + seconds
while time.monotonic() < until:
    record = end(number); number += 1
    try:
        armed = True
        journal.append(record)
        armed = False
        returned.append(f"run-{number - 1}.e")
    except Stop:
        armed = False
        raised += 1
signal.setitimer(signal.ITIMER_REAL, 0)
journal.append(end(number)); returned.append(f"run-{number}.e")
found = Counter(drain(lane, 500))
assert raised > 50, raised
missing = [one for one in returned if one not in found]
assert not missing, (len(missing), missing[:5], raised, journal.state())
assert set(found.values()) == {1}, found.most_common(3)
assert lane.counts().balance() == 0
journal.close()
say("fine")
"""
    assert run(body, tmp_path, str(min(SECONDS, 30))) == ["fine"]


def test_many_threads_at_once(tmp_path: Path) -> None:
    """16 threads append while one ships: every record is delivered once and the counts are exact (C43)."""
    body = """
from collections import Counter
journal = Journal(home, limits=Limits(segment_bytes=65536))
lane = journal.lane("d1", everything)
journal.declare(["d1"])
sys.setswitchinterval(1e-5)
each = int(sys.argv[2])
def work(offset):
    for number in range(each):
        journal.append(end(offset * each + number))
threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
for thread in threads: thread.start()
found = Counter()
while len(found) < 16 * each:
    lane.wait(None)
    entries = lane.take(300, 1 << 20)
    lane.settle(entries)
    found.update(ids(entries))
    journal.retire()
for thread in threads: thread.join()
counts = lane.counts()
assert counts.seen == counts.delivered == 16 * each and set(found.values()) == {1}, counts
journal.close()
assert os.listdir(home + "/journal") == []
say("fine")
"""
    assert run(body, tmp_path, str(20_000 if FULL else 500)) == ["fine"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks_while_threads_append(tmp_path: Path) -> None:
    """Children forked while two threads emit record into journals of their own; no hang, nothing lost or doubled
    (C24)."""
    body = """
forks = int(sys.argv[2])
journal = Journal(home)
lane = journal.lane("d1", everything)
journal.declare(["d1"])
stop = False
made = [0, 0]
def work(which):
    while not stop:
        journal.append(end(which * 10**6 + made[which])); made[which] += 1
        time.sleep(0.0002)
threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
for thread in threads: thread.start()
for n in range(forks):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        assert lane.counts().seen == 0
        for k in range(3):
            journal.append(end(10**7 + n * 10 + k))
        assert lane.counts().seen == 3, lane.counts()
        if n % 3 == 0:
            grandchild = os.fork()
            if grandchild == 0:
                journal.append(end(10**7 + n * 10 + 5)); os._exit(0)
            assert os.waitpid(grandchild, 0)[1] == 0
        if n % 2:
            journal.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for thread in threads: thread.join()
say(f"{made[0]} {made[1]}")
os.kill(os.getpid(), 9)
"""
    forks = 300 if FULL else 30
    (line,) = run(body, tmp_path, str(forks), code=-9)
    first, second = map(int, line.split())
    found = Counter(inherit(tmp_path))
    wanted = {f"run-{n}.e" for n in range(first)} | {f"run-{10**6 + n}.e" for n in range(second)}
    for n in range(forks):
        wanted |= {f"run-{10**7 + n * 10 + k}.e" for k in range(3)}
        if n % 3 == 0:
            wanted.add(f"run-{10**7 + n * 10 + 5}.e")
    assert set(found) == wanted and set(found.values()) == {1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_childs_lock_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """A forked child that sleeps on does not keep the dead parent's journal from being adopted (C79)."""
    body = """
journal = Journal(home)
journal.append(end(1))
if os.fork() == 0:
    sys.stdout.flush(); os.close(1); os.close(2); time.sleep(8); os._exit(0)
os.kill(os.getpid(), 9)
"""
    run(body, tmp_path, code=-9)
    assert inherit(tmp_path) == ["run-1.e"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_inside_a_signal_handler_inside_an_append(tmp_path: Path) -> None:
    """A handler forks in the middle of appends: parent and child both go on, each with its own records (C25)."""
    body = """
journal = Journal(home)
made, born, parent, inside = [0], [0], os.getpid(), False
def handler(*_):
    global inside
    if born[0] >= 40 or inside or os.getpid() != parent: return
    inside = True
    born[0] += 1
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        made.append("child")
    else:
        os.waitpid(pid, 0)
    inside = False
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while born[0] < 40 and len(made) == 1:
    journal.append(end(made[0])); made[0] += 1
if len(made) > 1:
    journal.append(end(10**7 + born[0]))
    os._exit(0)
signal.setitimer(signal.ITIMER_REAL, 0)
assert journal.state().mode == "disk" and not journal.state().refused, journal.state()
say(made[0])
os.kill(os.getpid(), 9)
"""
    (made,) = run(body, tmp_path, code=-9)
    found = Counter(inherit(tmp_path))
    wanted = {f"run-{n}.e" for n in range(int(made))} | {f"run-{10**7 + n}.e" for n in range(1, 41)}
    assert wanted <= set(found) and set(found) - wanted == set()
    assert {one for one, times in found.items() if times > 1} <= {f"run-{n}.e" for n in range(int(made))}


def test_a_fork_while_the_kernel_is_asked_moves_nothing_under_the_parent(tmp_path: Path) -> None:
    """A signal handler may fork while a file of the kernel is read, and the child reads on: the parent still gets all
    of it (with a shared position it took its own disk for one that cannot be mapped) (C25)."""
    body = """
from spanloom.shipping import places
wanted = (places.file_system(home), places.this_process().text())
assert wanted[0], "this test needs a file system with a name"
parent, forks = os.getpid(), 0
def every_step(frame, event, _):
    global forks
    if event == "line" and os.getpid() == parent:
        forks += 1
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
    return every_step
def entered(frame, event, _):
    return every_step if frame.f_code.co_filename == places.__file__ else None
def asked():
    sys.settrace(entered)
    try:
        return places.file_system(home), places.this_process().text()
    finally:
        sys.settrace(None)
        if os.getpid() != parent:
            os._exit(0)
assert asked() == wanted
assert forks > 30, forks
say("fine")
"""
    assert run(body, tmp_path) == ["fine"]
