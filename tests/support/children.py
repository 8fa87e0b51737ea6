"""Runs Python source in a subprocess under a hard deadline, and keeps what it said.

    done = child('''
        import spanloom
        from support.program import accepted
        ...
    ''', home=home, destination=oracle.url)
    done.accepted        # the marks that the program saw return

Theory of operation. The program's standard output and error are files, not pipes: a process that is killed has said
what it said, a grandchild that keeps them open delays nobody, and the lines can be read while it runs. The first line
of the program has faulthandler answer SIGUSR2, so that whoever of the group is still there at the deadline is asked for
every thread's stack before it is killed. (Not ``faulthandler.dump_traceback_later``: a forked child that ends normally
then waits in the interpreter's finalisation for the timer's thread, which it does not have.) A hang is the child's
deadline passing, never a sleep in the test.

Promise: no process of the group is left behind. Never inherits SPANLOOM_* or vendors' settings from outside.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent

_ARM = "import faulthandler as _f, signal as _s; _f.register(_s.SIGUSR2, all_threads=True)\n"
_WARNINGS = "default,ignore:This process"  # from 3.12 os.fork() warns of threads, which is what is tested here
_OUTSIDE = ("SPANLOOM_", "LUNARY_", "OTEL_", "LUMEN_", "VALMI_", "VLUNA_", "ATLAS_", "TRACEPARENT", "PYTHON")


@dataclass(frozen=True)
class Finished:
    """How a program ended. ``returncode`` is negative for a signal, as in `subprocess`."""

    returncode: int
    stdout: str
    stderr: str
    duration_seconds: float
    exit_delay_seconds: float | None
    """From the program's own last word (`program.leaving`) to the end of its process; None if it never said it."""
    stragglers: int
    """How many processes of its group were still running when it had ended, and were killed."""

    def lines(self, word: str) -> list[str]:
        """What followed this word on the lines that begin with it."""
        return _after(word, self.stdout)

    @property
    def accepted(self) -> list[str]:
        """The marks that the program said it saw return."""
        return self.lines("accepted")

    def assert_clean(self) -> Finished:
        """Ended by itself with status 0, said nothing on standard error, left nobody behind."""
        assert self.returncode == 0, f"ended with {self.returncode}\n{self.stderr}\n{self.stdout[-2000:]}"
        assert self.stragglers == 0, f"a process of its group was still running\n{self.stderr}"
        assert self.stderr == "", self.stderr
        return self


class Child:
    """A program that runs. ``timeout_seconds`` is its hard deadline; the process dies with the block."""

    def __init__(
        self,
        source: str,
        *arguments: str,
        timeout_seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
        home: Path | None = None,
        python: str = sys.executable,
        wrapper: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="child-"))
        script = self._directory / "program.py"
        script.write_text(_ARM + textwrap.dedent(source))
        self._out, self._err = self._directory / "stdout", self._directory / "stderr"
        self._timeout_seconds = timeout_seconds
        self._started = time.monotonic()
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self.process = subprocess.Popen(
                [*wrapper, python, str(script), *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                cwd=cwd or self._directory, env=_environment(environment, home),
            )  # fmt: skip

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what is left of the group and remove what the program said."""
        self._kill_group()
        self.process.wait(timeout=10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def lines(self, word: str) -> list[str]:
        """What the program has said so far after this word."""
        return _after(word, self._out.read_text(errors="replace"))

    def wait_for(self, word: str, count: int = 1) -> list[str]:
        """Wait until it has said this word ``count`` times; AssertionError if it ends, or times out, before that."""
        self.wait_until(lambda: len(self.lines(word)) >= count, f"say {word!r}")
        return self.lines(word)

    def wait_until(self, holds: Callable[[], object], what: str, interval_seconds: float = 0.005) -> object:
        """Wait until this is true of the world, looking every so often, and give its value."""
        while True:
            ended = self.process.poll() is not None
            if value := holds():
                return value
            assert not ended, f"ended with {self.process.returncode} and did not {what}\n{self._err.read_text()}"
            if time.monotonic() > self._started + self._timeout_seconds:
                ask_for_stacks(self.process.pid)
                raise AssertionError(f"did not {what}\n{self._err.read_text(errors='replace')}")
            time.sleep(interval_seconds)

    def signal(self, number: int) -> None:
        """Send a signal to the program (to it alone, not to its children)."""
        self.process.send_signal(number)

    def kill(self) -> Finished:
        """SIGKILL at once; what it had said stands."""
        self.process.kill()
        return self.finish()

    def finish(self) -> Finished:
        """Wait for its end. AssertionError with all stacks when its deadline passes."""
        left = self._started + self._timeout_seconds - time.monotonic()
        try:
            returncode = self.process.wait(timeout=max(0.1, left))
        except subprocess.TimeoutExpired:
            ask_for_stacks(self.process.pid)
            self._kill_group()
            self.process.wait(timeout=10)
            stderr = self._err.read_text(errors="replace")
            raise AssertionError(f"hung for {self._timeout_seconds} s\n{stderr}") from None
        ended = time.monotonic()
        stragglers = self._kill_group()
        stderr = self._err.read_text(errors="replace")
        stdout = self._out.read_text(errors="replace")
        leaving = _after("leaving", stdout)
        delay = ended - float(leaving[-1]) if leaving else None
        return Finished(returncode, stdout, stderr, ended - self._started, delay, stragglers)

    def _others(self) -> list[int]:
        return [pid for pid in _running_in_group(self.process.pid) if pid != self.process.pid]

    def _kill_group(self) -> int:
        """Kill the program's whole process group; how many there were besides itself, zombies not counted."""
        others = self._others()
        grace = time.monotonic() + 2.0  # multiprocessing's own servers end when they see that their parent has
        while others and self.process.poll() is not None and time.monotonic() < grace:
            time.sleep(0.05)
            others = self._others()
        for pid in others:
            ask_for_stacks(pid)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        return len(others)


def ask_for_stacks(pid: int) -> None:
    """Have a program of ours, or a fork of one, write every thread's stack to its standard error."""
    try:
        os.kill(pid, signal.SIGUSR2)
    except OSError:
        return
    time.sleep(0.2)


def child(source: str, *arguments: str, **options: object) -> Finished:
    """Run a program to its end: see `Child` for the options. Asserts that it ended cleanly."""
    with Child(source, *arguments, **options) as running:  # type: ignore[arg-type]
        return running.finish().assert_clean()


def _after(word: str, text: str) -> list[str]:
    complete = text[: text.rfind("\n") + 1]
    return [line[len(word) :].strip() for line in complete.splitlines() if line == word or line.startswith(word + " ")]


def _running_in_group(group: int) -> list[int]:
    """The processes of a group that are no zombies; none where there is no /proc."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(status.parent.name), status.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(rest[2]) == group and rest[0] not in "ZX":
            found.append(pid)
    return found


def _environment(extra: Mapping[str, str] | None, home: Path | None) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_OUTSIDE)}
    clean.update(PYTHONPATH=str(TESTS), PYTHONDONTWRITEBYTECODE="1", PYTHONWARNINGS=_WARNINGS)
    clean["SPANLOOM_HOME"] = str(home) if home is not None else os.environ["SPANLOOM_HOME"]
    clean.update(extra or {})
    return clean
