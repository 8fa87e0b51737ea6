"""`spanloom view` and `spanloom serve` as commands: they say where to look, and there it is."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from stored import clean_environment, run_program


def served(home: Path, *arguments: str, lines: int = 1) -> tuple[subprocess.Popen[str], list[str]]:
    """A command that serves, and the first lines that it prints."""
    program = subprocess.Popen(
        [sys.executable, "-m", "spanloom", *arguments], env=clean_environment(home), stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    return program, [program.stdout.readline() for _ in range(lines)]


def ended(program: subprocess.Popen[str]) -> int:
    """Interrupt it, as Ctrl-C does; its exit code."""
    try:
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=20)
        return program.returncode
    finally:
        program.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_view_shows_what_was_recorded_here(home: Path) -> None:
    """What the demo recorded, at the address that is printed; the run that was asked for has its own."""
    run_program(home, "-m", "spanloom", "demo")
    program, (line,) = served(home, "view", "last", "--no-browser", "--port", "0")
    try:
        found = re.search(r"at (http://127\.0\.0\.1:\d+)(/traces/[\w-]+) \(Ctrl-C", line)
        assert found, line
        with urllib.request.urlopen(found[1] + found[2], timeout=10) as answer:
            assert "<title>Spanloom</title>" in answer.read().decode()
        with urllib.request.urlopen(found[1] + "/view/runs", timeout=10) as answer:
            assert "What's the weather in Boston?" in answer.read().decode()
    finally:
        assert ended(program) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_serve_says_where_the_viewer_is(home: Path) -> None:
    """Collector and viewer share one address."""
    program, lines = served(home, "serve", "--port", "0", lines=2)
    try:
        found = re.fullmatch(r"open (http://127\.0\.0\.1:\d+) to see the runs\n", lines[1])
        assert found, lines
        with urllib.request.urlopen(found[1], timeout=10) as answer:
            assert "<title>Spanloom</title>" in answer.read().decode()
    finally:
        assert ended(program) == 0


def test_a_run_that_is_not_there_is_said(home: Path) -> None:
    """Before anything is served."""
    done = subprocess.run(
        [sys.executable, "-m", "spanloom", "view", "nobody"], env=clean_environment(home), capture_output=True,
        text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nothing has been recorded yet" in done.stderr
