"""``spanloom journal``: what waits on disk, said and dealt with; and ``spanloom serve`` from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from spanloom.cli import main
from support.oracle import Oracle

# A destination that cannot be reached, so that the records stay in the journal.
WAITING = """
import os, signal, spanloom
spanloom.configure(destinations=[spanloom.Collector("http://127.0.0.1:9")])
@spanloom.agent
def answer(question):
    return "42"
for _ in range(3):
    answer("life?")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("SPANLOOM_", "LUNARY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def waiting(home: Path) -> Path:
    """A home with the journal of a killed process that could deliver nothing."""
    subprocess.run([sys.executable, "-c", WAITING], timeout=60, check=False)
    return home


def typed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_what_waits_is_listed_and_sound(waiting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records, owner and destination of a dead process's journal; nothing is changed by looking."""
    for _ in range(2):
        code, printed, _ = typed(capsys, "journal", "ls")
        assert code == 0 and "6 records" in printed and "has ended" in printed and "pending: 6 for " in printed
        assert re.search(r"begun [\d.]+ \w+ ago, last change [\d.]+ \w+ ago;", printed)
    assert typed(capsys, "journal", "verify") == (0, "Everything can be read.\n", "")


def test_damage_is_said(waiting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes overwritten in the middle of a segment: exit code 1, and which journal (C76)."""
    (segment,) = waiting.glob("journal/*/*.seg")
    whole = segment.read_bytes()
    with segment.open("r+b") as file:
        file.seek(whole.index(b'{"event":"end"'))
        file.write(b"\xff" * 200)
    code, printed, _ = typed(capsys, "journal", "verify")
    assert code == 1 and "damaged bytes" in printed and segment.parent.name in printed


def test_nothing_is_deleted_without_yes(waiting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first attempt says exactly what would go, for whom; with --yes that is gone."""
    code, printed, complaint = typed(capsys, "journal", "purge")
    what = re.search(r"1 journals of ended processes with 6 records \(undelivered: 6 for [0-9a-f]{16}\)", complaint)
    assert (code, printed) == (1, "") and what and "--yes" in complaint
    assert typed(capsys, "journal", "purge", "--yes") == (0, f"Deleted {what[0]}.\n", "")
    assert "No journal is on disk" in typed(capsys, "journal", "ls")[1]
    assert "nothing to delete" in typed(capsys, "journal", "purge")[2]


REFUSED = """
import sys, spanloom
spanloom.configure(destinations=[spanloom.Collector(sys.argv[1])])
with spanloom.tool("wanted"):
    pass
with spanloom.tool("\\x1b[2Jpoison", input="POISON"):
    pass
assert spanloom.flush(timeout_seconds=30)
"""


def test_refused_records_are_shown_kept_and_delivered(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an endpoint refused is listed by reason and printed as JSON; ``--deliver`` to an endpoint that has been
    cured leaves nothing, and to one that has not leaves it refused."""
    with Oracle() as oracle:
        oracle.refuse_poison("POISON", 422)
        subprocess.run([sys.executable, "-c", REFUSED, oracle.url], timeout=60, check=True)
        assert re.search(r"refused: 1 for destination [0-9a-f]{16}: http_422", typed(capsys, "journal", "ls")[1])
        code, printed, _ = typed(capsys, "journal", "replay", "--print")
        assert code == 0 and "\x1b" not in printed
        (letter,) = map(json.loads, printed.splitlines())
        assert letter["reason"] == "http_422" and letter["record"]["name"] == "\x1b[2Jpoison"
        assert typed(capsys, "journal", "replay", "--print", "nobody") == (0, "", "")
        monkeypatch.setenv("SPANLOOM_DESTINATIONS", "collector")
        monkeypatch.setenv("SPANLOOM_COLLECTOR_URL", oracle.url)
        code, printed, _ = typed(capsys, "journal", "replay", "--deliver")
        assert (code, printed) == (1, "1 refused record tried again. Still waiting: nothing. Refused: 1.\n")
        oracle.recover()
        code, printed, _ = typed(capsys, "journal", "replay", "--deliver")
        assert (code, printed) == (0, "1 refused record tried again. Still waiting: nothing. Refused: 0.\n")
        assert sorted(oracle.log.names("start")) == ["\x1b[2Jpoison", "wanted"]
    assert "No journal is on disk" in typed(capsys, "journal", "ls")[1]


def test_nothing_to_replay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty home is fine for every subcommand."""
    assert "0 refused records" in typed(capsys, "journal", "replay")[1]
    assert typed(capsys, "journal", "replay", "--print") == (0, "", "")
    assert typed(capsys, "journal", "verify")[0] == 0
    assert "everything was delivered" in typed(capsys, "journal", "ls")[1]


def test_a_journal_in_memory_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing on disk to look at."""
    monkeypatch.setenv("SPANLOOM_JOURNAL", "none")
    code, _, complaint = typed(capsys, "journal", "ls")
    assert code == 1 and "in memory only" in complaint


def test_serve_listens_stores_and_ends(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An event posted to `spanloom serve --port 0` is in `spanloom runs`; SIGTERM ends it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "spanloom", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = re.search(r"http://\S+", server.stdout.readline())
        assert url is not None
        event = {"type": "llm", "event": "start", "runId": "r1", "name": "gpt-4o", "timestamp": "2026-01-01T00:00:00Z"}
        request = urllib.request.Request(
            f"{url[0]}/v1/runs/ingest", json.dumps({"events": [event]}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert server.returncode in (0, -signal.SIGTERM)  # the server ends well, then by the signal that it was sent
    code, printed, _ = typed(capsys, "runs", "--json")
    assert code == 0 and [run["name"] for run in json.loads(printed)] == ["gpt-4o"]
