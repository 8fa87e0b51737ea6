"""The wiring: what is recorded finds its destination, however late that is named, and the program leaves in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import spanloom
from spanloom import agent

@agent
def answer(question):
    return question.upper()
"""


def run(home: Path, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, with a home of its own and nothing else in its environment."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", _RUN + program],
        env={**kept, "SPANLOOM_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stored(home: Path) -> list[dict[str, object]]:
    """The runs in the embedded store, as the command line shows them."""
    command = [sys.executable, "-m", "spanloom", "runs", "--json", "--limit", "1000"]
    done = subprocess.run(
        command, env={**os.environ, "SPANLOOM_HOME": str(home)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def names(home: Path) -> list[object]:
    """The names of the stored runs."""
    return [entry["name"] for entry in stored(home)]


def test_with_nothing_configured_runs_are_in_the_embedded_store_after_the_exit(tmp_path: Path) -> None:
    """No flush, no configure, no environment: the exit delivers, and says nothing."""
    done = run(tmp_path, "answer('hi')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert names(tmp_path) == ["answer"]


def test_flush_is_true_when_everything_is_delivered(tmp_path: Path) -> None:
    """And the account says where it went."""
    done = run(
        tmp_path,
        "answer('hi'); print(spanloom.flush()); h = spanloom.health()['local']\n"
        "print(h.created, h.delivered, h.pending, h.balance())",
    )
    assert done.stdout.split() == ["True", "2", "2", "0", "0"], done.stderr


def test_flush_before_anything_was_recorded_is_true(tmp_path: Path) -> None:
    """There is nothing to deliver, and nothing is opened for it."""
    done = run(tmp_path, "print(spanloom.flush(), spanloom.health().state, spanloom.shutdown())")
    assert done.stdout.split() == ["True", "idle", "None"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_records_nothing_leaves_nothing(tmp_path: Path) -> None:
    """C33: importing, decorating and configuring open no file and start no thread."""
    done = run(tmp_path, "import threading; spanloom.configure(sample=0.5); print(threading.active_count())")
    assert done.stdout.strip() == "1", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_recorded_before_configure_is_delivered_after_it(tmp_path: Path) -> None:
    """The destination that comes late begins at the oldest record kept."""
    other = tmp_path / "other.db"
    done = run(
        tmp_path,
        f"answer('early'); spanloom.configure(destinations=[spanloom.Local({str(other)!r})]); answer('late')\n"
        "print(spanloom.flush(), spanloom.health()['local'].delivered)",
    )
    assert done.stdout.split() == ["True", "4"], done.stderr
    assert other.exists()


def test_two_destinations_of_one_kind_have_names_and_accounts_of_their_own(tmp_path: Path) -> None:
    """``health`` is by name; the second is numbered."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    done = run(
        tmp_path,
        f"spanloom.configure(destinations=[spanloom.Local({str(one)!r}), spanloom.Local({str(two)!r})])\n"
        "answer('hi'); print(spanloom.flush(), sorted(spanloom.health().destinations))",
    )
    assert done.stdout.strip() == "True ['local', 'local-2']", done.stderr
    assert one.exists() and two.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("destinations=[spanloom.Collector('ftp://x')]", "give an address that begins with http://"),
        ("destinations=[spanloom.Lunary('')]", "public_key='') is empty"),
        ("destinations=['lunary']", "'lunary' in destinations is a name: make one, such as spanloom.Lunary(...)"),
        ("destinations=['sk-secret']", "str in destinations is no destination: use one of Atlas, Collector"),
        ("destinations=[spanloom.Local]", "Local in destinations is a class: make one, such as spanloom.Local(...)"),
        ("destinations=[spanloom.Local(7)]", "give a file's path"),
        ("sample=7", "give a number from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_one_warning_and_with_strict_an_exception(
    tmp_path: Path, arguments: str, words: str
) -> None:
    """C18: recording goes on without it, or the call raises; both say the value and the cure."""
    mild = run(tmp_path, f"import logging; logging.basicConfig()\nspanloom.configure({arguments}); print(answer('x'))")
    assert mild.stdout.strip() == "X", mild.stderr
    warnings = [line for line in mild.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1 and words in warnings[0]
    strict = run(tmp_path, f"spanloom.configure({arguments}, strict=True)")
    assert strict.returncode == 1
    assert "SettingsError" in strict.stderr and words in strict.stderr


def test_a_bad_destination_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    """One is left out, the other gets everything."""
    done = run(
        tmp_path,
        "spanloom.configure(destinations=[spanloom.Collector('nowhere'), spanloom.Local()])\n"
        "answer('hi'); print(spanloom.flush(), sorted(spanloom.health().destinations))",
    )
    assert done.stdout.strip() == "True ['local']", done.stderr
    assert names(tmp_path) == ["answer"]


def test_switched_off_by_the_environment_nothing_is_recorded(tmp_path: Path) -> None:
    """SPANLOOM_ENABLED=0, read at the first call and not at the import."""
    done = run(tmp_path, "print(answer('hi'), spanloom.health().state)", SPANLOOM_ENABLED="0")
    assert done.stdout.split() == ["HI", "idle"], done.stderr
    assert not (tmp_path / "local.db").exists()


def test_the_environment_is_read_at_the_first_record(tmp_path: Path) -> None:
    """A program that loads its settings into the environment after the import is understood."""
    done = run(tmp_path, "import os; os.environ['SPANLOOM_CAPTURE_CONTENT'] = '0'; answer('a secret of mine')")
    assert done.returncode == 0, done.stderr
    assert "a secret of mine" not in (tmp_path / "local.db").read_bytes().decode("latin-1")
    assert names(tmp_path) == ["answer"]


def test_shutdown_twice_and_recording_afterwards_harm_nobody(tmp_path: Path) -> None:
    """C34: the calls still return; what comes too late is counted as closed; configure opens again."""
    done = run(
        tmp_path,
        "answer('a'); spanloom.shutdown(); spanloom.shutdown(); print(answer('b'), spanloom.flush(1))\n"
        "print(spanloom.health()['local'].dropped.by_reason)\n"
        "spanloom.configure(); print(answer('c'), spanloom.flush())",
    )
    assert done.stdout.splitlines()[0].startswith("B")
    assert "closed" in done.stdout.splitlines()[1]
    assert done.stdout.splitlines()[2] == "C True", done.stderr
    assert names(tmp_path) == ["answer", "answer"]


def test_a_forked_child_delivers_its_own_runs(tmp_path: Path) -> None:
    """C24, C25: parent and child each deliver what they recorded, once."""
    done = run(
        tmp_path,
        "import os\nanswer('parent'); spanloom.flush()\npid = os.fork()\n"
        "if pid == 0:\n    answer('child'); spanloom.flush(); os._exit(0)\n"
        "os.waitpid(pid, 0); answer('parent again')",
    )
    assert done.returncode == 0, done.stderr
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_delivers_without_a_flush(tmp_path: Path, method: str) -> None:
    """C30: such children leave by os._exit; what they recorded is stored all the same."""
    (tmp_path / "program.py").write_text(
        _RUN + "import multiprocessing\nif __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    child = context.Process(target=answer, args=('child',)); child.start(); child.join(30)\n"
        "    assert child.exitcode == 0\n"
    )
    home = tmp_path / "home"
    environment = {**os.environ, "SPANLOOM_HOME": str(home)}
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert names(home) == ["answer"]


def test_a_killed_process_is_in_the_store_after_the_next_command(tmp_path: Path) -> None:
    """SIGKILL straight after the call returned; the run that was still open is closed as killed."""
    program = (
        "import os, signal\n@agent\ndef outer():\n    answer('inner'); os.kill(os.getpid(), signal.SIGKILL)\nouter()"
    )
    assert run(tmp_path, program).returncode == -9
    found = {entry["name"]: entry["status"] for entry in stored(tmp_path)}
    assert found == {"answer": "ok", "outer": "killed"}


def test_a_handler_that_flushes_while_destinations_are_named(tmp_path: Path) -> None:
    """A flush in a signal handler in the middle of `configure` neither waits for it nor decides instead of it (C39)."""
    program = """
import signal, sys
answer("hi")

class Slow:
    problems = ()
    def build(self):
        signal.raise_signal(signal.SIGALRM)
        return spanloom.Local(sys.argv[0] + ".db").build()

signal.signal(signal.SIGALRM, lambda *_: spanloom.flush(timeout_seconds=0.1))
signal.alarm(20)  # should it hang: the handler's own deadline is not reached then
spanloom.configure(destinations=[Slow()])
signal.alarm(0)
print(list(spanloom.health().destinations), [d.created for d in spanloom.health().destinations.values()])
"""
    file = tmp_path / "program.py"
    file.write_text(_RUN + program)
    done = subprocess.run(
        [sys.executable, str(file)], env={**os.environ, "SPANLOOM_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("['local'] [2]\n", "")
    assert not (tmp_path / "local.db").exists(), "the handler decided for the default"
