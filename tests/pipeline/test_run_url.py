"""`run.url`: where a run can be looked at, when it goes to somewhere that shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from spanloom.cli.pages import mounts
from spanloom.collector.server import Running
from stored import clean_environment

_PROGRAM = """
import spanloom
{configure}

@spanloom.agent
def answer(question):
    return question.upper()

_, run = spanloom.traced(answer, "hi")
spanloom.flush(10)
print(run.id, run.url)
with spanloom.disabled():
    print(spanloom.current_run().url)
"""


def printed(home: Path, configure: str, **environment: str) -> list[str]:
    """What the program says of its run."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(configure=configure)], env=clean_environment(home, **environment),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_a_run_that_goes_to_a_collector_is_shown_there(home: Path, tmp_path: Path) -> None:
    """The address opens the page, and the page's data has the run."""
    with Running(tmp_path / "runs.db", mounts=mounts()) as server:
        run_id, url, inert = printed(home, "", SPANLOOM_COLLECTOR_URL=server.url)
        assert url == f"{server.url}/traces/{run_id}"
        assert inert == "None"
        with httpx.Client(timeout=20, trust_env=False) as client:
            assert "<title>Spanloom</title>" in client.get(url).text
            assert client.get(f"{server.url}/view/trace", params={"id": run_id}).json()["tree"]["size"] == 1


@pytest.mark.parametrize("configure", ["", "spanloom.configure(destinations=[spanloom.Local()])"])
def test_a_run_that_nobody_serves_has_no_address(home: Path, configure: str) -> None:
    """The embedded store has pages only while `spanloom view` runs."""
    assert printed(home, configure)[1:] == ["None", "None"]
