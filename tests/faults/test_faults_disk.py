"""A disk that is full, read-only, failing, limited, or taken away while the program runs (C72, C73, C77, C32).

Must show 7. The host never notices: each program's own result, status and standard error are as without a fault; the
counts are exact; and when the disk is well again the journal is used again without being asked to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import toxic as toxics
from support.balance import only, read
from support.children import Child
from support.oracle import Oracle
from support.successor import succeed
from support.toxic import Toxic

PROGRAM = """
import os, resource, sys, time
import spanloom
from support.host_guard import host_guard
from support.program import accepted, leaving, say, say_health

url, step, limit, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

def emit(prefix, count=150):
    for number in range(count):
        with spanloom.tool(f"{prefix}-{number}", input="x" * 5000):
            pass
        accepted(f"{prefix}-{number}")

def until(name):
    say("reached", name)
    while not os.path.exists(f"{step}.{name}"):
        time.sleep(0.005)

with host_guard() as host:
    spanloom.configure(destinations=[spanloom.Collector(url)], journal_sync=mode)
    emit("well")
    until("broken")
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    emit("during", 400)
    say_health("during")
    until("cured")
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    time.sleep(float(os.environ.get("REST", "0.2")))
    emit("after")
    until("network")
    say("flushed", spanloom.flush(timeout_seconds=30))
    say_health()
host.assert_silent(logs_allowed=6)
leaving()
"""
OVERRIDE = "-dac_override,-dac_read_search"
MORTAL = ("setpriv", "--inh-caps", OVERRIDE, "--bounding-set", OVERRIDE)
"""Runs root without its right to pass over permissions."""
PIPED = ("bash", "-c", 'set -o pipefail; "$@" | cat', "bash")
"""Gives a program a standard output that is no file, so that no limit of file sizes applies to it."""


class Course:
    """One program through its steps: well, disk broken, disk cured, network there; and what must hold at the end."""

    def __init__(self, home: Path, tmp_path: Path, *, limit_bytes: int = 0, mode: str = "process",
                 wrapper: tuple[str, ...] = ()) -> None:  # fmt: skip
        self.home = home
        self.step = tmp_path / "step"
        self.oracle = Oracle(keeps="ids")
        self.toxic = Toxic(self.oracle.port)
        self.toxic.use(toxics.refuse())  # so that everything depends on the journal
        self.child = Child(
            PROGRAM, self.toxic.url, str(self.step), str(limit_bytes), mode,
            home=home, timeout_seconds=60, wrapper=wrapper,
        )  # fmt: skip

    def __enter__(self) -> Course:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.close()
        self.toxic.close()
        self.oracle.close()

    def reach(self, name: str) -> None:
        self.child.wait_until(lambda: name in self.child.lines("reached"), f"reach {name!r}")

    def go(self, name: str) -> None:
        self.step.with_name(f"step.{name}").touch()

    def broken(self) -> None:
        """The disk is broken now; let the program meet that."""
        self.go("broken")
        self.reach("cured")

    def cured(self) -> None:
        """The disk is well; let the program go on and then give it the network."""
        self.go("cured")
        self.reach("network")
        self.toxic.clear()
        self.go("network")

    def finish(self, *, loses: bool = False, only_of: str = "") -> None:
        """All arrived, the counts are exact, the host never noticed. ``loses``: some may be dropped, if counted;
        ``only_of``: none but of this phase."""
        done = self.child.finish().assert_clean()
        account = only(read(done.lines("health")[-1]))
        assert done.lines("flushed") == ["True"]
        assert len(done.accepted) == 700
        assert account["created"] == 1400, account
        if loses:
            assert account["delivered"] + account["dropped"] + account["rejected"] == 1400, account
            lasting = {mark for mark in done.accepted if only_of and not mark.startswith(only_of)}
            assert lasting <= self.oracle.log.names("end").keys()
        else:
            assert account["delivered"] == 1400, account
            assert set(done.accepted) == self.oracle.log.names("end").keys()
        stored = [seen for seen in self.oracle.log.stored().values() if seen.event in ("start", "end")]
        assert len(stored) == account["delivered"]
        self.oracle.log.assert_clean()


def journal_files(home: Path) -> list[Path]:
    return [path for path in (home / "journal").rglob("*") if path.is_file()]


def test_directory_deleted_while_running(home: Path, tmp_path: Path) -> None:
    """rm -rf of all that we keep: recording goes on, into a new directory; what stood in the deleted files alone is
    lost and counted, and nothing that came after (C77)."""
    with Course(home, tmp_path) as course:
        course.reach("broken")
        assert journal_files(home)
        shutil.rmtree(home / "journal")
        course.broken()
        course.cured()
        course.finish(loses=True, only_of="well")


def test_directory_replaced_by_a_symlink(home: Path, tmp_path: Path) -> None:
    """A symlink in the journal's place is not followed: nothing is ever written where it points (C77, C93)."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Course(home, tmp_path) as course:
        course.reach("broken")
        shutil.rmtree(home / "journal")
        (home / "journal").symlink_to(elsewhere)
        course.broken()
        (home / "journal").unlink()
        course.cured()
        course.finish(loses=True, only_of="well")
    assert list(elsewhere.iterdir()) == []


def test_directory_made_read_only(home: Path, tmp_path: Path) -> None:
    """Permissions taken away while running: what has no place on disk is kept in memory (C72)."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv")
    with Course(home, tmp_path, wrapper=MORTAL if os.geteuid() == 0 else ()) as course:
        course.reach("broken")
        for directory in [home, home / "journal", *(home / "journal").iterdir()]:
            directory.chmod(0o500)
        course.broken()
        for directory in [home, home / "journal", *(home / "journal").iterdir()]:
            directory.chmod(0o700)
        course.cured()
        course.finish()


def test_rlimit_fsize(home: Path, tmp_path: Path) -> None:
    """No file may grow (EFBIG, SIGXFSZ): degrades, then recovers when the limit is lifted (C72)."""
    with Course(home, tmp_path, limit_bytes=4096, wrapper=PIPED) as course:
        course.reach("broken")
        course.broken()
        course.cured()
        course.finish()


def _tmpfs(home: Path, size: str) -> tuple[str, ...]:
    """A wrapper that gives the program a file system of its own for its home, with a filler to empty it by."""
    script = f'mount -t tmpfs -o size={size},mode=0700 none "{home}" && exec "$@"'
    return ("unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh")


def _can_mount(home: Path) -> bool:
    try:
        probe = subprocess.run([*_tmpfs(home, "1m"), "true"], capture_output=True, timeout=10, check=False)
    except OSError:
        return False
    return probe.returncode == 0


@pytest.mark.parametrize("mode", ["process", "power"])
def test_disk_full(home: Path, tmp_path: Path, mode: str) -> None:
    """A file system of 6 MB fills up while the endpoint is away: exact counts, no SIGBUS, recovery (C72)."""
    if not _can_mount(home):
        pytest.skip("this user cannot mount a tmpfs")
    with Course(home, tmp_path, mode=mode, wrapper=_tmpfs(home, "6m")) as course:
        course.reach("broken")
        inside = Path(f"/proc/{course.child.process.pid}/root{home}")
        filler = inside / "filler"
        with filler.open("wb") as full:
            try:
                while full.write(b"x" * 65536):
                    full.flush()
            except OSError:
                pass
        assert os.statvfs(inside).f_bavail == 0
        course.broken()
        filler.unlink()
        course.cured()
        course.finish(loses=True)


@pytest.mark.parametrize("mode", ["process", "power"])
def test_eio_on_fsync(home: Path, tmp_path: Path, mode: str) -> None:
    """Every fsync fails with EIO (injected by strace): a page that failed is never trusted, nothing is lost (C73)."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    trace = tmp_path / "strace"
    calls = "fsync,fdatasync,msync,sync_file_range"
    wrapper = (strace, "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO")
    with Course(home, tmp_path, mode=mode, wrapper=wrapper) as course:
        course.reach("broken")
        course.child.wait_until(lambda: "INJECTED" in trace.read_text(), "call fsync", 0.1)
        course.broken()
        course.cured()
        course.finish()


@pytest.mark.parametrize("obstacle", ["a file", "a symlink", "missing", "unset"])
def test_a_home_that_is_no_home(home: Path, tmp_path: Path, obstacle: str) -> None:
    """SPANLOOM_HOME is a file, a dangling symlink, missing, or there is no home at all: recording works (C32)."""
    path = tmp_path / "odd"
    if obstacle == "a file":
        path.write_text("theirs")
    elif obstacle == "a symlink":
        path.symlink_to(tmp_path / "nowhere")
    environment = {"HOME": "", "XDG_DATA_HOME": "", "SPANLOOM_HOME": ""} if obstacle == "unset" else {}
    program = """
    import sys
    import spanloom
    from support.program import accepted, say, say_health
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    for number in range(20):
        with spanloom.tool(f"mark-{number}"):
            pass
        accepted(f"mark-{number}")
    say("flushed", spanloom.flush(timeout_seconds=20))
    say_health()
    """
    with Oracle() as oracle:
        with Child(program, oracle.url, home=path, environment=environment) as running:
            done = running.finish()
        assert done.returncode == 0
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 1, done.stderr
        assert set(done.accepted) == oracle.log.names("end").keys()
        assert only(read(done.lines("health")[-1]))["delivered"] == 40
    if obstacle == "a file":
        assert path.read_text() == "theirs"


def test_corrupt_and_foreign_files_cost_only_themselves(home: Path, tmp_path: Path) -> None:
    """Bits turned over in a dead process's segment: the records before and after it arrive, none is invented (C76)."""
    program = """
    import os, signal, sys
    import spanloom
    from support.program import accepted
    spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
    for number in range(200):
        with spanloom.tool(f"mark-{number}", input="x" * 300):
            pass
        accepted(f"mark-{number}")
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with Oracle() as oracle, Toxic(oracle.port) as toxic:
        toxic.use(toxics.refuse())
        with Child(program, toxic.url, home=home) as running:
            done = running.finish()
        assert len(done.accepted) == 200
        segment = max(journal_files(home), key=lambda path: path.read_bytes().count(b"mark-"))
        data = bytearray(segment.read_bytes())
        at = data.find(b"mark-100")
        assert at > 0
        data[at - 40 : at + 40] = bytes(byte ^ 0x55 for byte in data[at - 40 : at + 40])
        segment.write_bytes(data)
        (segment.parent / "stranger.txt").write_text("not ours")
        toxic.clear()
        intact = {mark for mark in done.accepted if mark not in ("mark-99", "mark-100", "mark-101")}
        succeed(home, toxic.url, oracle.log, intact, events=("start",))
        assert not oracle.log.altered()
        assert not oracle.log.visible_duplicates()
        known = set(done.accepted)
        assert all(name in known or name.startswith("successor") for name in oracle.log.names("end"))
