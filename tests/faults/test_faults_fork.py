"""Forks of every kind: no hang, nothing lost, nothing twice, and no file of the host's ever written into (C24-C30).

Must show 3. A mark that a forked child said it accepted is delivered by that child, by its parent's process, or by the
next one; the test does not care which, only that it is there once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support import toxic as toxics
from support.balance import only, read
from support.children import Child, child
from support.oracle import Oracle
from support.successor import succeed
from support.toxic import Toxic
from support.volume import volume

STORM = """
import itertools, os, random, sys, threading, time
import spanloom
from support.program import accepted, leaving, say, say_health, wait_for_children

url, forks = sys.argv[1], int(sys.argv[2])
spanloom.configure(destinations=[spanloom.Collector(url)])
going = True
allowed = 0  # runs of each thread: enough to be at it at the next fork, and no more than can be delivered meanwhile

def emit(thread):
    for number in itertools.count():
        while number >= allowed:
            if not going:
                return
            time.sleep(0.0005)
        mark = f"parent-{thread}-{number}"
        with spanloom.tool(mark):
            pass
        accepted(mark)

threads = [threading.Thread(target=emit, args=(n,)) for n in range(2)]
for thread in threads:
    thread.start()
ends = {"well": 0, "badly": 0, "hung": 0}
children = []
for fork in range(forks):
    allowed += 150
    time.sleep(random.random() * 0.005)
    pid = os.fork()
    if not pid:
        for number in range(3):
            with spanloom.tool(f"child-{fork}-{number}"):
                pass
            accepted(f"child-{fork}-{number}")
        if fork % 3 == 0:
            spanloom.flush(timeout_seconds=5)
        os._exit(0) if fork % 2 else sys.exit(0)
    children.append(pid)
    if len(children) == 4 or fork == forks - 1:
        for end, count in wait_for_children(children, 30).items():
            ends[end] += count
        children.clear()
going = False
for thread in threads:
    thread.join()
say("ends", ends)
say("flushed", spanloom.flush(timeout_seconds=60))
say_health()
leaving()
"""


def test_forks_while_two_threads_emit(home: Path) -> None:
    """No child hangs, whatever the emitting threads held at the fork; all marks arrive once (C24)."""
    forks = volume(ci=50, full=1000)
    with Oracle(keeps="ids") as oracle:
        done = child(STORM, oracle.url, str(forks), home=home, timeout_seconds=60 + forks)
        assert done.lines("ends") == [str({"well": forks, "badly": 0, "hung": 0})]
        assert len([mark for mark in done.accepted if mark.startswith("child")]) == forks * 3
        assert done.lines("flushed") == ["True"]
        only(read(done.lines("health")[-1]))
        succeed(home, oracle.url, oracle.log, done.accepted, timeout_seconds=120 + forks)
        oracle.log.assert_clean()
        print(f"{forks} forks, {len(done.accepted)} runs accepted")


def test_records_pending_at_a_fork_are_delivered_once(home: Path) -> None:
    """What waits when the process forks stays the parent's: ten children, and each record arrives once (C24)."""
    program = """
    import os, sys
    import spanloom
    from support.program import accepted, say, say_health, wait_for_children
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    for number in range(200):
        with spanloom.tool(f"pending-{number}"):
            pass
        accepted(f"pending-{number}")
    pids = []
    for fork in range(10):
        pid = os.fork()
        if not pid:
            with spanloom.tool(f"child-{fork}"):
                pass
            accepted(f"child-{fork}")
            spanloom.flush(timeout_seconds=10)
            sys.exit(0)
        pids.append(pid)
    say("ends", wait_for_children(pids, 30)["well"])
    say("flushed", spanloom.flush(timeout_seconds=20))
    say_health()
    """
    with Oracle() as oracle:
        done = child(program, oracle.url, home=home, timeout_seconds=60)
        assert done.lines("ends") == ["10"]
        only(read(done.lines("health")[-1]))
        succeed(home, oracle.url, oracle.log, done.accepted)
        oracle.log.assert_clean()
        assert oracle.log.resent() == []


def test_a_run_open_at_a_fork_is_ended_by_one_process(home: Path) -> None:
    """A child that leaves the block it was forked in does not end its parent's run; its own runs hang below (C25)."""
    program = """
    import os, sys
    import spanloom
    from support.program import accepted, say, wait_for_children
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    with spanloom.agent("outer"):
        pid = os.fork()
        with spanloom.tool("child" if not pid else "parent"):
            pass
        accepted("child" if not pid else "parent")
    if pid:
        accepted("outer")
        wait_for_children([pid], 20)
    spanloom.flush(timeout_seconds=10)
    """
    with Oracle() as oracle:
        done = child(program, oracle.url, home=home)
        succeed(home, oracle.url, oracle.log, done.accepted)
        # Two processes deliver, each in its own order: the child may come before the parent's run that it hangs below.
        assert oracle.log.visible_duplicates() == oracle.log.altered() == []
        starts = {seen.name: seen for seen in oracle.log.stored().values() if seen.event == "start"}
        assert starts["child"].parent == starts["parent"].parent == starts["outer"].run_id
        assert oracle.log.names("end")["outer"] == 1


@pytest.mark.parametrize("kind", ["double fork", "fork in a thread", "fork in a child", "fork before configure"])
def test_forks_of_every_descent(home: Path, kind: str) -> None:
    """Grandchildren, daemons and forks from threads record and deliver as any process does (C25, C32)."""
    program = """
    import os, sys, threading
    import spanloom
    from support.program import accepted, say, wait_for_children
    url, kind = sys.argv[1:]

    def configure():
        spanloom.configure(destinations=[spanloom.Collector(url)])

    def emit(mark):
        with spanloom.tool(mark):
            pass
        accepted(mark)

    def forked(work):
        pid = os.fork()
        if not pid:
            work()
            spanloom.flush(timeout_seconds=10)
            os._exit(0)
        return wait_for_children([pid], 20)["well"]

    def daemon():
        os.setsid()
        emit("first")
        forked(lambda: emit("second"))

    if kind != "fork before configure":
        configure()
        emit("parent")
    if kind == "double fork":
        said = forked(daemon)
    elif kind == "fork in a thread":
        results = []
        thread = threading.Thread(target=lambda: results.append(forked(lambda: emit("child"))))
        thread.start(); thread.join()
        said = results[0]
    elif kind == "fork in a child":
        said = forked(lambda: (emit("child"), forked(lambda: emit("grandchild"))))
    else:
        said = forked(lambda: (configure(), emit("child")))
        configure()
        emit("parent")
    say("well", said)
    """
    with Oracle() as oracle:
        done = child(program, oracle.url, kind, home=home)
        assert done.lines("well") == ["1"]
        succeed(home, oracle.url, oracle.log, done.accepted)
        oracle.log.assert_clean()


POOL = """
import concurrent.futures, multiprocessing, sys
import spanloom
from support.program import accepted, say, say_health

@spanloom.tool
def work(mark):
    return mark

def task(mark):
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    with spanloom.tool(mark):
        pass
    accepted(mark)
    return mark

if __name__ == "__main__":
    url, method = sys.argv[1:]
    spanloom.configure(destinations=[spanloom.Collector(url)])
    with spanloom.tool("parent"):
        pass
    accepted("parent")
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        say("done", len(list(pool.map(task, [f"task-{n}" for n in range(20)]))))
        say("decorated", list(pool.map(work, ["pickled"])))
    say("flushed", spanloom.flush(timeout_seconds=20))
    say_health()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pools(home: Path, method: str) -> None:
    """ProcessPoolExecutor over each start method: workers end, marks arrive, decorated functions travel (C30)."""
    with Oracle() as oracle:
        done = child(POOL, oracle.url, method, home=home, timeout_seconds=60)
        assert done.lines("done") == ["20"]
        assert done.lines("decorated") == ["['pickled']"]
        only(read(done.lines("health")[-1]))
        succeed(home, oracle.url, oracle.log, done.accepted)
        oracle.log.assert_clean()


@pytest.mark.parametrize("when", ["before the first record", "in mid-life"])
def test_a_descriptor_sweep_harms_nobody(home: Path, tmp_path: Path, when: str) -> None:
    """A library that closes every descriptor, whose numbers the host's own files then bear: untouched (C26)."""
    program = """
    import os, sys
    import spanloom
    from support.program import accepted, say, say_health
    url, when, directory = sys.argv[1:]
    spanloom.configure(destinations=[spanloom.Collector(url)])

    def emit(prefix, count=400):
        for number in range(count):
            with spanloom.tool(f"{prefix}-{number}", input="x" * 3000):
                pass
            accepted(f"{prefix}-{number}")

    if when == "in mid-life":
        emit("before")
        spanloom.flush(timeout_seconds=10)
    os.closerange(3, 256)
    theirs = []
    for number in range(30):
        fd = os.open(os.path.join(directory, f"host-{number}"), os.O_RDWR | os.O_CREAT, 0o600)
        os.write(fd, b"theirs")
        theirs.append(fd)
    emit("after")
    say("flushed", spanloom.flush(timeout_seconds=20))
    say("files", all(os.pread(fd, 100, 0) == b"theirs" for fd in theirs))
    say("kinds", all(os.path.samestat(os.fstat(fd), os.stat(os.path.join(directory, f"host-{n}")))
                     for n, fd in enumerate(theirs)))
    say_health()
    """
    host = tmp_path / "host"
    host.mkdir()
    with Oracle(keeps="ids") as oracle:
        done = child(program, oracle.url, when, str(host), home=home, timeout_seconds=60)
        assert done.lines("files") == done.lines("kinds") == ["True"]
        assert {path.read_bytes() for path in host.iterdir()} == {b"theirs"}
        only(read(done.lines("health")[-1]))
        succeed(home, oracle.url, oracle.log, done.accepted)
        oracle.log.assert_clean()


GUNICORN = """
import os
import spanloom
from support.program import accepted
spanloom.configure(destinations=[spanloom.Collector(os.environ["ORACLE"])])
with spanloom.tool("preloaded"):
    pass
accepted("preloaded")

def app(environ, start_response):
    mark = environ["QUERY_STRING"]
    with spanloom.tool(mark):
        pass
    accepted(mark)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

if __name__ == "__main__":
    import sys
    from gunicorn.app.base import BaseApplication
    class Server(BaseApplication):
        def load_config(self):
            for name, value in dict(bind="127.0.0.1:0", workers=2, preload_app=True, worker_class=sys.argv[1],
                                    threads=2, loglevel="error", max_requests=15,
                                    when_ready=ready, graceful_timeout=5).items():
                self.cfg.set(name, value)
        def load(self):
            return app
    def ready(server):
        os.write(1, b"port %d\\n" % server.LISTENERS[0].sock.getsockname()[1])
    Server().run()
"""


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_gunicorn_with_preload(home: Path, worker: str) -> None:
    """Workers forked from a master that has recorded already, recycled and stopped: all requests seen (C27)."""
    pytest.importorskip("gunicorn")
    if worker == "gevent":
        pytest.importorskip("gevent")
    import http.client
    import signal

    with Oracle() as oracle:
        server = Child(
            GUNICORN, worker, home=home, timeout_seconds=60, environment={"ORACLE": oracle.url, "GUNICORN_CMD_ARGS": ""}
        )
        with server:
            port = int(server.wait_for("port")[0])
            served = failed = 0
            for number in range(volume(ci=60, full=600)):
                assert failed < 5, f"the workers do not answer\n{server.lines('accepted')}"
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                try:
                    connection.request("GET", f"/?request-{number}", headers={"Connection": "close"})
                    served += connection.getresponse().read() == b"ok"
                except (OSError, http.client.HTTPException):
                    failed += 1
                    continue  # a recycled worker may take a connection with it; what counts is what it accepted
                finally:
                    connection.close()
            server.signal(signal.SIGTERM)
            done = server.finish()
        assert served > number * 0.8
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        succeed(home, oracle.url, oracle.log, done.accepted)
        oracle.log.assert_clean()


@pytest.mark.parametrize("patched", ["before", "after", "never"])
def test_gevent(home: Path, patched: str) -> None:
    """Under gevent, patched before or after our import or not at all, all arrives and the hub goes on beating (C29)."""
    pytest.importorskip("gevent")
    program = """
    import sys
    url, patched = sys.argv[1:]
    import gevent.monkey
    if patched == "before":
        gevent.monkey.patch_all()
    import spanloom
    if patched == "after":
        gevent.monkey.patch_all()
    import gevent
    from support.program import accepted, say, say_health
    beats = 0
    def beat():
        global beats
        while True:
            gevent.sleep(0.01)
            beats += 1
    heart = gevent.spawn(beat)
    spanloom.configure(destinations=[spanloom.Collector(url)])
    def emit(greenlet):
        for number in range(50):
            with spanloom.tool(f"green-{greenlet}-{number}"):
                gevent.sleep(0)
            accepted(f"green-{greenlet}-{number}")
    gevent.joinall([gevent.spawn(emit, n) for n in range(4)])
    gevent.sleep(0.3)
    say("flushed", spanloom.flush(timeout_seconds=20))
    say("beats", beats)
    heart.kill()
    say_health()
    """
    with Oracle() as oracle:
        done = child(program, oracle.url, patched, home=home, timeout_seconds=60)
        assert done.lines("flushed") == ["True"]
        assert int(done.lines("beats")[0]) >= 5
        assert len(done.accepted) == 200
        only(read(done.lines("health")[-1]))
        assert set(done.accepted) <= oracle.log.names("end").keys()
        oracle.log.assert_clean()


def test_threads_that_never_run(home: Path) -> None:
    """A server that starts without threads (uwsgi's default): nothing hangs, and the next process delivers (C28).

    A thread that is started and never runs is made by replacing `_thread.start_new_thread` in the program.
    """
    program = """
    import _thread, sys, threading
    real = _thread.start_new_thread
    frozen = []
    def never(function, args, kwargs=None):
        frozen.append(function)
        return 1
    _thread.start_new_thread = never
    threading._start_new_thread = never
    if hasattr(threading, "_start_joinable_thread"):
        threading._start_joinable_thread = lambda function, **_: frozen.append(function) or real(lambda: None, ())
    threading.Thread.start = lambda self: frozen.append(self)
    import spanloom
    from support.program import accepted, leaving, say
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    for number in range(50):
        with spanloom.tool(f"threadless-{number}"):
            pass
        accepted(f"threadless-{number}")
    spanloom.flush(timeout_seconds=3)
    leaving()
    """
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.latency(0.01))
        with Child(program, toxic.url, home=home) as running:
            done = running.finish()
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.accepted) == 50
        succeed(home, toxic.url, oracle.log, done.accepted)
        oracle.log.assert_clean()
