"""``spanloom exec``: the program is as without it, and its run says how it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stored import clean_environment, tree


def spanloom_exec(home: Path, *command: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "spanloom", "exec", *command]
    return subprocess.run(line, env=clean_environment(home), capture_output=True, timeout=60, check=False, **more)  # type: ignore[call-overload,no-any-return]


def test_output_input_and_status_are_the_programs(home: Path) -> None:
    """Bytes go through as they are, in both directions; the end of them is recorded; status 3 is an error."""
    program = (
        "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); "
        "sys.stderr.write('oops'); sys.exit(3)"
    )
    data = bytes(range(256)) * 200
    done = spanloom_exec(home, "--", sys.executable, "-c", program, input=data)
    assert (done.returncode, done.stdout, done.stderr) == (3, data, b"oops")
    run = tree(home)
    assert run.row.run.status == "error" and "exit status 3" in str(run.row.run.error_message)
    assert run.output["exit_status"] == 3 and run.output["output"].startswith("…")
    assert len(run.output["output"]) <= 8193


def test_arguments_are_passed_as_they_are(home: Path) -> None:
    """Options of the program are not ours, with or without the dashes."""
    done = spanloom_exec(home, "--name", "echo", "--", "printf", "%s|", "--name", "a b", "")
    assert (done.returncode, done.stdout) == (0, b"--name|a b||")
    assert tree(home).row.run.name == "echo"


@pytest.mark.parametrize(("command", "status"), [(["/nowhere/at/all"], 127), (["/tmp"], 126)])
def test_a_program_that_cannot_be_run(home: Path, command: list[str], status: int) -> None:
    """127 when there is none, 126 when it is none, as shells say it; the run is an error."""
    done = spanloom_exec(home, "--", *command)
    assert done.returncode == status and command[0].encode() in done.stderr
    assert tree(home).row.run.status == "error"


def test_no_command_is_said(home: Path) -> None:
    """Without a command: exit code 2, and how it is used."""
    done = spanloom_exec(home)
    assert done.returncode == 2 and b"spanloom exec -- python program.py" in done.stderr


def test_a_signal_goes_to_the_program(home: Path) -> None:
    """SIGTERM is the program's to answer; a program that dies of a signal gives 128 + N."""
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(7)); "
        "print('up', flush=True); time.sleep(30)"
    )
    line = [sys.executable, "-m", "spanloom", "exec", "--", sys.executable, "-c", program]
    with subprocess.Popen(line, env=clean_environment(home), stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"up\n"
        time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 7
    killed = spanloom_exec(home, "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert killed.returncode == 137
