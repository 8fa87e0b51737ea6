"""The runner itself: it sees hangs, signals, noise and stragglers, and believes only what a program said."""

from __future__ import annotations

import signal

import pytest

from support.children import Child, child


def test_a_clean_program_says_what_was_accepted_and_when_it_left() -> None:
    """Marks come back in order, and the exit delay is the time from the last word to the end of the process."""
    done = child(
        """
        import atexit, time
        from support.program import accepted, leaving
        atexit.register(time.sleep, 0.2)
        accepted("one"); accepted("two")
        leaving()
        """
    )
    assert done.accepted == ["one", "two"]
    assert done.exit_delay_seconds is not None
    assert 0.2 <= done.exit_delay_seconds < 5


def test_a_hang_is_seen_with_its_stack() -> None:
    """A program past its deadline fails the test and shows where it stood."""
    with pytest.raises(AssertionError, match=r"hung(.|\n)*in stand_still"):
        child("import time\ndef stand_still(): time.sleep(60)\nstand_still()", timeout_seconds=0.5)


def test_a_hang_in_a_forked_child_is_seen_with_its_stack() -> None:
    """So does a forked child that hangs, whether its parent waits for it or has gone."""
    source = "import os, time\ndef stand_still(): time.sleep(60)\nif os.fork() == 0: stand_still()\n"
    with pytest.raises(AssertionError, match=r"hung(.|\n)*in stand_still"):
        child(source + "os.wait()", timeout_seconds=0.5)
    with pytest.raises(AssertionError, match=r"in stand_still"):
        child(source)


def test_a_hung_child_is_reaped_and_counted() -> None:
    """`wait_for_children` tells who ended well, badly, or not at all, and shows where those stood."""
    with Child(
        """
        import os, time
        from support.program import say, wait_for_children
        pids = []
        for end in (lambda: os._exit(0), lambda: os._exit(1), lambda: time.sleep(60)):
            pid = os.fork()
            if not pid:
                end()
            pids.append(pid)
        say("ends", wait_for_children(pids, 0.5))
        """
    ) as running:
        done = running.finish()
    assert done.lines("ends") == ["{'well': 1, 'badly': 1, 'hung': 1}"]
    assert "program.py" in done.stderr


def test_noise_status_and_stragglers_fail() -> None:
    """Something on standard error, a status, or a process left behind is not clean."""
    with pytest.raises(AssertionError, match="noise"):
        child("import sys; print('noise', file=sys.stderr)")
    with pytest.raises(AssertionError, match="ended with 3"):
        child("raise SystemExit(3)")
    with pytest.raises(AssertionError, match="still running"):
        child("import os, time\nif os.fork() == 0: time.sleep(20)")


def test_what_a_killed_program_had_said_stands() -> None:
    """SIGKILL at a moment: the lines before it are all there, the end is the signal's."""
    with Child("import time\nfrom support.program import accepted\naccepted('x'); time.sleep(30)") as running:
        running.wait_for("accepted")
        done = running.kill()
    assert done.returncode == -signal.SIGKILL
    assert done.accepted == ["x"]


def test_waiting_for_a_program_that_ended_fails() -> None:
    """A word that can never come is no reason to wait."""
    with Child("pass") as running, pytest.raises(AssertionError, match="did not say 'never'"):
        running.wait_for("never")


def test_settings_from_outside_do_not_reach_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own keys and settings never take part in a test."""
    monkeypatch.setenv("LUNARY_PUBLIC_KEY", "theirs")
    done = child("import os; print('keys', [n for n in os.environ if n.startswith(('LUNARY', 'OTEL'))])")
    assert done.lines("keys") == ["[]"]
