"""JSON Lines out and in, and pruning, as a person types them."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from test_cli_commands import AGENT, CHAT, WEATHER

from spanloom.cli import main
from spanloom.cli.amounts import age_seconds, size_bytes
from spanloom.cli.plain import plain_run
from spanloom.records import Feedback, Outcome, RunEnd, RunStart
from spanloom.store import Incoming, Reader, Store

NOW = "2026-11-01T12:00:00.000000Z"
RAW = b'{"event": "end",\n "runId": "x", "odd": [1.50]}'


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A store with the weather, a run that was received in another form, feedback by key, outcomes, and odd texts."""
    path = tmp_path / "full.db"
    odd = 'a "b" \u2028 \U0001f600 \x1b[31m'
    with Store(path) as store:
        store.write([Incoming(record) for record in WEATHER])
        store.write([
            Incoming(RunStart(event_id="x.s", timestamp=NOW, run_id="x", type="tool", name=odd, key="order-1",
                              input=Raw(json.dumps({"n": 2**53, "f": 1.5, "t": odd}).encode()))),
            Incoming(RunEnd(event_id="x.e", timestamp=NOW, run_id="x", type="tool"), raw=RAW),
            Incoming(Feedback(event_id="k", timestamp=NOW, key="order-1", feedback=Raw(b'{"thumb":"down"}'))),
            Incoming(Outcome(event_id="o", timestamp=NOW, name="resolved", idempotency_key="o", run_id="x")),
            Incoming(Outcome(event_id="o2", timestamp=NOW, name="resolved", idempotency_key="o2")),
            Incoming(RunStart(event_id="y.s", timestamp=NOW, run_id="y"), project="elsewhere"),
        ])  # fmt: skip
    return path


def everything(path: Path) -> list[Any]:
    """All that can be read of a store, but for when it arrived."""
    with Reader(path) as reader:
        runs = [plain_run(run) | {"received_at": None} for run in reader.runs(limit=1000, descending=False).runs]
        events = [[(item.kind, json.loads(item.raw)) for item in reader.events(run["id"])] for run in runs]
        usage = [(row.name, row.idempotency_key, row.run_id) for row in reader.usage_events()]
        return [runs, events, usage, [reader.feedback(run["id"])[0].feedback for run in runs if run["feedback"]]]


def lines_of(text: str) -> list[Any]:
    """Not by splitlines, which also splits at U+2028."""
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_all_out_and_in_again_is_the_same(full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole project by way of a file: the same runs, feedback, outcomes and events as received; then nothing new."""
    lines, copy = tmp_path / "all.jsonl", tmp_path / "copy.db"
    assert main(["export", "--all", "--jsonl", "-o", str(lines), "--store", str(full), "--project", "default"]) == 0
    assert lines.stat().st_mode & 0o777 == 0o600
    assert "16 records in" in capsys.readouterr().out
    assert main(["import", str(lines), "--store", str(copy)]) == 0
    assert "16 records imported, 0 were there already" in capsys.readouterr().out
    assert everything(copy) == everything(full)
    assert main(["import", str(lines), "--store", str(copy)]) == 0
    assert "0 records imported, 16 were there already" in capsys.readouterr().out
    assert main(["export", "--all", "--jsonl", "--store", str(copy)]) == 0
    assert capsys.readouterr().out.encode() == lines.read_bytes()


def test_one_trace_takes_all_that_is_its_own(full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From any run of it: every run of the exchange, its feedback by id and by key, its outcomes; nothing else."""
    assert main(["export", AGENT, "--jsonl", "--store", str(full), "--project", "default"]) == 0
    records = lines_of(capsys.readouterr().out)
    assert len(records) == len(WEATHER)
    assert {record.get("runId") for record in records if record["event"] == "feedback"} == {CHAT}
    assert main(["export", "x", "--jsonl", "--store", str(full), "--project", "default"]) == 0
    records = lines_of(capsys.readouterr().out)
    assert [(record["event"], record["eventId"]) for record in records] == [
        ("start", "x.s"), ("end", "x.e"), ("feedback", "k"), ("outcome", "o"),
    ]  # fmt: skip
    assert records[1]["asReceived"] == {"event": "end", "runId": "x", "odd": [1.5]}


def test_what_cannot_be_read_is_named_and_the_rest_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of noise among good ones: each is named by its number, exit code 1; escapes do not reach the terminal."""
    lines, store = tmp_path / "some.jsonl.gz", tmp_path / "s.db"
    good = b'{"event":"start","type":"llm","runId":"r%d","timestamp":"2026-01-31T12:00:00Z"}'
    bad = [
        b"[1]",
        b"{",
        b'{"event":"start","runId":"b","type":"llm","timestamp":"\\u001b[31mnever"}',
        b"\xff\xfe",
        b"{}x",
    ]
    lines.write_bytes(gzip.compress(b"\n".join([good % 1, *bad, b"", good % 2])))
    assert main(["import", str(lines), "--store", str(store), "--project", "p"]) == 1
    said = capsys.readouterr()
    assert "2 records imported, 0 were there already, 5 lines could not be read" in said.out
    assert [line.split(":")[0] for line in said.err.splitlines()] == [f"line {number}" for number in range(2, 7)]
    assert "\x1b" not in said.err
    with Reader(store) as reader:
        assert {run.id for run in reader.runs(project="p").runs} == {"r1", "r2"}


def test_a_damaged_or_missing_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was whole before the damage is kept."""
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b'{"event":"start"}\n' * 1000)[:-20])
    for name in (cut, tmp_path / "none.jsonl", tmp_path):
        assert main(["import", str(name), "--store", str(tmp_path / "s.db")]) == 1
        assert "cannot read" in capsys.readouterr().err


def test_prune_says_what_went(full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By age and by size; the rest stays; a store that is not there is not made."""
    assert main(["prune", "--max-age", "1d", "--store", str(full)]) == 0
    assert "0 runs and 0 events removed" in capsys.readouterr().out
    assert main(["prune", "--max-size", "1", "--store", str(full)]) == 0
    assert "8 runs and " in capsys.readouterr().out
    with Reader(full) as reader:
        assert reader.stats().events == 0
    assert main(["prune", "--store", str(tmp_path / "none.db")]) == 1
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("text", ["30", "d", "-1d", "0h", "1y", "", "1d1h"])
def test_ages_and_sizes_are_understood_or_refused(text: str) -> None:
    """A unit is needed for an age; nothing is guessed."""
    assert (age_seconds("1.5h"), age_seconds("4w"), size_bytes("10GB"), size_bytes("1.5 k")) == (
        5400, 4 * 7 * 86400, 10_000_000_000, 1500,
    )  # fmt: skip
    with pytest.raises(argparse.ArgumentTypeError):
        age_seconds(text)
    for size in ("", "0", "-1", "1XB", "GB"):
        with pytest.raises(argparse.ArgumentTypeError):
            size_bytes(size)


def test_doctor_sees_a_damaged_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page in the middle is noise: doctor says so and what to do, and leaves the file as it is (S22)."""
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path))
    path = tmp_path / "local.db"
    with Store(path) as store:
        store.write([
            Incoming(RunStart(event_id=f"{n}.s", timestamp=NOW, run_id=str(n), input=Raw(b'"%s"' % (b"x" * 900))))
            for n in range(500)
        ])  # fmt: skip
    main(["doctor"])
    assert "pages of it are damaged" not in capsys.readouterr().out
    content = bytearray(path.read_bytes())
    content[8192 * 30 : 8192 * 40] = b"\xa5" * 81920
    path.write_bytes(content)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "pages of it are damaged" in said or "malformed" in said
    assert path.read_bytes() == content
