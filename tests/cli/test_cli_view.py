"""`spanloom view` and `spanloom serve` as commands: they say where to look, and there it is."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from spanloom.cli import main
from spanloom.collector.keys import KeyRing
from spanloom.records import RunStart
from spanloom.store import Incoming, Store
from stored import clean_environment, end_of_program, run_program


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


def _two_projects(home: Path) -> Path:
    path = home / "runs.db"
    with Store(path) as store:
        for project in ("red", "blue"):
            at = "2026-11-01T12:00:00Z"
            record = RunStart(event_id=project, timestamp=at, run_id=f"run-of-{project}", type="agent")
            store.write([Incoming(record, project=project)])
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_view_shows_the_project_that_was_asked_for(home: Path) -> None:
    """By --project, else the first one where there is no default; `last` means the newest of that project."""
    path = _two_projects(home)
    for arguments, run_id in ((("--project", "red"), "run-of-red"), ((), "run-of-blue")):
        program, (line,) = served(home, "view", "last", "--no-browser", "--port", "0", "--store", str(path), *arguments)
        try:
            found = re.search(r"at (http://127\.0\.0\.1:\d+)/traces/([\w-]+) \(Ctrl-C", line)
            assert found and found[2] == run_id, line
            with urllib.request.urlopen(found[1] + "/view/runs", timeout=10) as answer:
                assert f'"id":"{run_id}"' in answer.read().decode()
        finally:
            assert ended(program) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_view_of_a_store_with_keys_asks_for_one(home: Path) -> None:
    """Whoever reaches the port of a store with keys needs one here too; --project would contradict it."""
    path = _two_projects(home)
    key = KeyRing(path).add("collector", "red")[1]["key"]
    program, (line,) = served(home, "view", "--no-browser", "--port", "0", "--store", str(path))
    try:
        found = re.search(r"at (http://127\.0\.0\.1:\d+)/ \(Ctrl-C", line)
        assert found, line
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(found[1] + "/view/runs", timeout=10)
        asked = urllib.request.Request(found[1] + "/view/runs", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert "run-of-red" in answer.read().decode()
    finally:
        assert ended(program) == 0
    refused = end_of_program(home, "-m", "spanloom", "view", "--store", path, "--project", "red")
    assert refused.returncode == 2 and "leave --project out" in refused.stderr


def test_a_project_that_is_not_there_is_said(home: Path) -> None:
    """With those that are."""
    done = end_of_program(home, "-m", "spanloom", "view", "--store", _two_projects(home), "--project", "green")
    assert done.returncode == 1 and "there are blue, red" in done.stderr


def test_only_the_server_needs_its_packages(home: Path) -> None:
    """Without the extra `serve`: an export is made, and `view` and `serve` say what to install."""
    path = _two_projects(home)
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('starlette', 'uvicorn', 'h11', 'anyio')));"
        "from spanloom.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    made = end_of_program(home, "-c", program, "export", "last", "--project", "red", "--store", path)
    assert made.returncode == 0, made.stderr
    assert "agent" in (home / made.stdout.strip()).read_text("utf-8")
    for command in ("view", "serve"):
        refused = end_of_program(home, "-c", program, command, "--store", path)
        assert refused.returncode == 3 and "pip install 'spanloom[serve]'" in refused.stderr, refused.stderr


def test_a_store_that_is_not_there_is_no_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`spanloom view --store` with a path typed wrong: said at once, nothing is served or made."""
    missing = tmp_path / "nowhere.db"
    assert main(["view", "--no-browser", "--store", str(missing)]) == 1
    assert f"there is no store at {missing}" in capsys.readouterr().err and not missing.exists()
