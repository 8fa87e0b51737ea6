"""The commands as a person types them: what they print, in which width, and how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import Raw

from spanloom.cli import main
from spanloom.records import Chat, ErrorInfo, Feedback, RunEnd, RunPoint, RunStart, TokenUsage
from spanloom.store import Incoming, Store

THREAD, CHAT, AGENT, LLM1, TOOL, LLM2 = (f"0199c82c-c000-7000-800{n}-00000000000{n}" for n in range(6))
BOMB = "\x1b]0;owned\x07\x1b[31mred\x1b[0m [bold]not markup[/bold] :smile:"


def iso(seconds: float) -> str:
    return f"2026-11-01T12:00:{seconds:09.6f}Z"


def opened(run_id: str, kind: str, name: str, parent: str, seconds: float, given: object, **more: object) -> RunStart:
    return RunStart(event_id=f"{run_id}.s", timestamp=iso(seconds), run_id=run_id, type=kind, name=name,
                    parent_run_id=parent, root_run_id=CHAT, input=Raw(json.dumps(given).encode()), **more)  # type: ignore[arg-type]  # fmt: skip


def closed(run_id: str, kind: str, name: str, parent: str, seconds: float, given: object, **more: object) -> RunEnd:
    return RunEnd(event_id=f"{run_id}.e", timestamp=iso(seconds), run_id=run_id, type=kind, name=name,
                  parent_run_id=parent, root_run_id=CHAT, output=Raw(json.dumps(given).encode()), **more)  # type: ignore[arg-type]  # fmt: skip


def said(number: int, seconds: float, role: str, content: str) -> Chat:
    return Chat(event_id=f"m{number}", timestamp=iso(seconds), run_id=CHAT, parent_run_id=THREAD, root_run_id=CHAT,
                message=Raw(json.dumps({"role": role, "content": content}).encode()), user_id="ada")  # fmt: skip


ANSWER = "The weather in Boston is sunny with a temperature of 72 degrees."
WEATHER = [
    said(1, 0, "user", "What's the weather in Boston?"),
    opened(AGENT, "agent", "my-super-agent", CHAT, 1, "What's the weather in Boston?"),
    opened(LLM1, "llm", "gpt-4o", AGENT, 2, [{"role": "user", "content": "What's the weather in Boston?"}]),
    closed(LLM1, "llm", "gpt-4o", AGENT, 5, {"role": "assistant", "content": "One moment.", "tool_calls": [
        {"function": {"name": "get_weather_forecast", "arguments": '{"city": "Boston"}'}}]},
        tokens_usage=TokenUsage(prompt=50, completion=20), model="gpt-4o"),
    opened(TOOL, "tool", "get_weather_forecast", AGENT, 6, {"city": "Boston"}),
    closed(TOOL, "tool", "get_weather_forecast", AGENT, 6.012, {"temperature": 72}),
    opened(LLM2, "llm", "gpt-4o", AGENT, 11, "again"),
    closed(LLM2, "llm", "gpt-4o", AGENT, 15, {"role": "assistant", "content": ANSWER},
           tokens_usage=TokenUsage(prompt=90, completion=30), model="gpt-4o"),
    closed(AGENT, "agent", "my-super-agent", CHAT, 20, ANSWER),
    said(2, 25, "assistant", ANSWER),
    Feedback(event_id="f", timestamp=iso(26), run_id=CHAT, feedback=Raw(b'{"thumb":"up","comment":"Great response!"}')),
]  # fmt: skip

DRAWN = """\
thread 0199c82c-c000-7000-8000-000000000000                            Σ 190 tok
└─ chat · ada                                            25.0 s        Σ 190 tok
   │ user       What's the weather in Boston?
   │ assistant  The weather in Boston is sunny with a temperature of 72 degrees.
   │ feedback   thumb up, "Great response!"
   └─ agent my-super-agent                               19.0 s        Σ 190 tok
      │ in   What's the weather in Boston?
      │ out  The weather in Boston is sunny with a temperature of 72 degrees.
      ├─ llm gpt-4o                                       3.0 s      50 + 20 tok
      │    in   What's the weather in Boston?
      │    out  → get_weather_forecast(city="Boston") One moment.
      ├─ tool get_weather_forecast                        12 ms
      │    in   city="Boston"
      │    out  temperature=72
      └─ llm gpt-4o                                       4.0 s      90 + 30 tok
           in   again
           out  The weather in Boston is sunny with a temperature of 72 degrees.

6 runs · 190 tokens · $0.00085
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, 80 columns, no terminal."""
    for name in [name for name in os.environ if name.startswith(("SPANLOOM_", "LUNARY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path / "home"


@pytest.fixture
def weather(home: Path) -> Path:
    """A home whose store has the weather agent's conversation."""
    return fill(home, *WEATHER)


def fill(home: Path, *records: object) -> Path:
    with Store(home / "local.db") as store:
        store.write([Incoming(record) for record in records])  # type: ignore[arg-type]
    return home


def typed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one command."""
    try:
        code = main(arguments)
    except SystemExit as left:  # argparse
        code = int(left.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_tree_of_the_weather_agent(weather: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thread, chat, agent, llm, tool, llm: to the character, in 80 columns."""
    for asked in ("last", CHAT, LLM2, "00000000003", "0199c82c-c000-7000-8002"):
        assert typed(capsys, "tree", asked) == (0, DRAWN, "")


def test_a_narrow_and_a_wide_terminal(
    weather: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is wider than the terminal; every run keeps its line, its duration and its tokens."""
    for columns in (44, 60, 100, 250):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, printed, _ = typed(capsys, "tree")
        assert max(map(len, printed.splitlines())) <= min(columns, 120)
        assert printed.count("tok\n") == 5 and "12 ms" in printed and "25.0 s" in printed
        _, printed, _ = typed(capsys, "runs")
        assert max(map(len, printed.splitlines())) <= columns or columns < 80
        assert all(run_id[-8:] in printed for run_id in (AGENT, TOOL, LLM1))


def test_a_deep_tree_keeps_its_names(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred levels down there is still room for a name: the guides give way."""
    fill(home, *(RunStart(event_id=f"{n}", timestamp=iso(n / 10), run_id=f"r{n}", type="chain", name=f"level{n}",
                          parent_run_id=f"r{n - 1}" if n else None) for n in range(100)))  # fmt: skip
    _, printed, _ = typed(capsys, "tree", "r7")
    assert all(f"chain level{n} " in printed for n in range(100))
    assert max(map(len, printed.splitlines())) <= 80


def test_a_tree_in_full(weather: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole contents over several lines, and the ids."""
    _, printed, _ = typed(capsys, "tree", "--full")
    assert '"name": "get_weather_forecast"' in printed and LLM1 in printed and "…" not in printed


def test_a_tree_as_json(weather: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nested runs with plain values; every field always there."""
    code, printed, _ = typed(capsys, "tree", "--json")
    (thread,) = json.loads(printed)
    (chat,) = thread["children"]
    (agent,) = chat["children"]
    assert code == 0 and [child["type"] for child in agent["children"]] == ["llm", "tool", "llm"]
    assert agent["children"][1]["input"] == {"city": "Boston"} and agent["output"] == ANSWER
    assert agent["children"][0]["tokens"]["total"] == 70 and agent["children"][0]["duration_us"] == 3_000_000
    assert chat["feedback"] == {"thumb": "up", "comment": "Great response!"} and chat["user_id"] == "ada"
    assert [entry["message"]["role"] for entry in chat["messages"]] == ["user", "assistant"]
    assert set(thread) == set(agent) and thread["started_at"] == iso(0)


def test_runs_in_a_table(weather: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first; type, name, user, duration, tokens, status, feedback and the end of the id."""
    code, printed, _ = typed(capsys, "runs")
    heading, *rows = printed.splitlines()
    assert code == 0
    assert heading.split() == ["when", "type", "name", "user", "took", "tokens", "status", "feedback", "id"]
    assert [row.split()[1] if ":" not in row.split()[1] else row.split()[2] for row in rows] == [
        "llm", "tool", "llm", "agent", "thread", "chat",
    ]  # fmt: skip
    assert "4.0 s" in rows[0] and "120" in rows[0] and rows[0].endswith(LLM2[-8:])
    assert "ada" in rows[-1] and " up " in rows[-1] and " ok " in rows[-1]


def test_runs_by_conditions(weather: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each condition narrows the list; --limit says that there are more; --search builds its index by itself."""

    def listed(*arguments: str) -> list[str]:
        return [run["id"] for run in json.loads(typed(capsys, "runs", "--json", *arguments)[1])]

    assert listed("--type", "tool") == [TOOL]
    assert listed("--name", "my-super-agent") == [AGENT]
    assert listed("--user", "ada") == [THREAD, CHAT]
    assert listed("--thumb", "up") == [CHAT] == listed("--top")
    assert listed("--model", "gpt-4o") == [LLM2, LLM1] == listed("--type", "llm", "--status", "ok")
    assert listed("--search", "temperature degrees") == [LLM2, AGENT, CHAT]
    assert listed("--since", "2026-11-01T12:00:06Z") == [LLM2, TOOL]
    assert listed("--since", "1m") == [] and len(listed("--limit", "2")) == 2
    assert listed("--status", "error") == []
    assert "No run is like that" in typed(capsys, "runs", "--status", "error")[1]
    assert "--limit" in typed(capsys, "runs", "--limit", "2")[1]


def test_an_empty_store_says_what_to_do_next(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No store at all, and one without runs: a hint, and no file is made by looking."""
    code, printed, _ = typed(capsys, "runs")
    assert code == 0 and "spanloom demo" in printed
    assert typed(capsys, "runs", "--json") == (0, "[]\n", "")
    code, printed, complaint = typed(capsys, "tree")
    assert (code, printed) == (1, "") and "spanloom demo" in complaint
    fill(home)
    Store(home / "local.db").open().close()
    assert "spanloom demo" in typed(capsys, "runs")[1]
    assert typed(capsys, "tree")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said_on_stderr"),
    [
        (("tree", "nosuchrun"), 1, "no run whose id begins or ends with 'nosuchrun'"),
        (("tree", "0199c82c"), 1, "means several runs"),
        (("runs", "--limit", "0"), 2, "give a number above 0"),
        (("runs", "--since", "yesterday"), 2, "give 30m, 6h, 2d"),
        (("runs", "--status", "fine"), 2, "invalid choice"),
        (("runs", "--store", "/nowhere/at.all"), 1, "there is no store at /nowhere/at.all"),
        (("runs", "--project", "other"), 1, "no project 'other'"),
        (("serve", "--port", "99999"), 2, "give a number from 0 to 65535"),
        (("dance",), 2, "invalid choice"),
        ((), 2, "required"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_a_code(
    weather: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said_on_stderr: str
) -> None:
    """On stderr, with the cure, without a traceback; the codes are documented in `spanloom --help`."""
    ended, printed, complaint = typed(capsys, *arguments)
    assert (ended, printed) == (code, "") and said_on_stderr in complaint and "Traceback" not in complaint


def test_hostile_content_is_shown_and_not_obeyed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, markup and emoji codes in every field of a run, in every view."""
    hostile = opened("evil\x1b[2J", BOMB, BOMB, "gone", 1, {BOMB: BOMB}, user_id=BOMB, tags=[BOMB])
    error, bomb = ErrorInfo(message=BOMB, stack=BOMB, type=BOMB), Raw(json.dumps({"comment": BOMB, BOMB: 1}).encode())
    fill(
        home, hostile, closed("evil\x1b[2J", BOMB, BOMB, "gone", 2, BOMB, status="error", error=error, model=BOMB),
        RunPoint(event_id="p", timestamp=iso(1.5), run_id="evil\x1b[2J", label=BOMB, data=bomb),
        Feedback(event_id="f", timestamp=iso(3), run_id="evil\x1b[2J", feedback=bomb),
    )  # fmt: skip
    for arguments in (("tree",), ("tree", "--full"), ("runs",), ("tree", "--json"), ("runs", "--json")):
        code, printed, _ = typed(capsys, *arguments)
        assert code == 0 and not set(printed) & {"\x1b", "\x07", "\x9b"}, arguments
    assert "[bold]not markup[/bold] :smile:" in typed(capsys, "tree", "--full")[1]


def test_errors_and_moments_stand_in_the_tree(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed run says so on its line and below it; in full with its stack."""
    error = ErrorInfo(message="quota\nexceeded", stack="Traceback\n  line 1", type="RateLimit")
    fill(home, opened("r", "llm", "m", "gone", 1, "x"),
         closed("r", "llm", "m", "gone", 2, None, status="error", error=error),
         RunPoint(event_id="p", timestamp=iso(1.5), run_id="r", label="retry", data=Raw(b'{"attempt":2}')))  # fmt: skip
    _, printed, _ = typed(capsys, "tree")
    assert "error    1.0 s" in printed and "error  RateLimit: quota exceeded" in printed
    assert "event  retry attempt=2" in printed and "its parent has not arrived" in printed and "1 error" in printed
    assert "  line 1" in typed(capsys, "tree", "--full")[1]


def test_doctor_shows_the_state_and_no_secret(
    weather: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, home, settings, what cannot be reached; keys and passwords never; exit code 1 if something is wrong."""
    code, printed, _ = typed(capsys, "doctor")
    assert code == 0 and str(weather) in printed and "6 runs" in printed and "Nothing is wrong" in printed
    monkeypatch.setenv("LUNARY_PUBLIC_KEY", "canary-key")
    monkeypatch.setenv("LUNARY_API_URL", "http://user:canary-password@127.0.0.1:9")
    monkeypatch.setenv("SPANLOOM_SAMPLE", "7")
    code, printed, _ = typed(capsys, "doctor")
    assert code == 1 and "canary" not in printed
    assert "cannot be reached" in printed and "SPANLOOM_SAMPLE='7'" in printed and "public_key is set" in printed


def test_doctor_examines_the_store_it_is_given(
    weather: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--store``: that file, such as a collector's; one that is not there is wrong, not empty."""
    given = tmp_path / "other.db"
    code, printed, _ = typed(capsys, "doctor", "--store", str(given))
    assert code == 1 and f"there is none at {given}" in printed
    shutil.copy(weather / "local.db", given)
    code, printed, _ = typed(capsys, "doctor", "--store", str(given))
    assert code == 0 and f"store        {given}" in printed and "6 runs" in printed


@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True), (None, True)])
def test_no_color_takes_the_colours_and_leaves_bold(value: str | None, coloured: bool, weather: Path) -> None:
    """In a real terminal: with NO_COLOR set to anything but nothing, bold and dim are the only attributes."""
    environment = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"SPANLOOM_HOME": str(weather), "TERM": "xterm-256color"} | (
        {} if value is None else {"NO_COLOR": value}
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "spanloom", "tree"], stdout=theirs, env=environment) as child:
        os.close(theirs)
        printed = b""
        try:
            while more := os.read(ours, 65536):
                printed += more
        except OSError:  # how a terminal without a writer ends
            pass
        assert child.wait(60) == 0
    os.close(ours)
    numbers = {number for style in re.findall(rb"\x1b\[([0-9;]*)m", printed) for number in style.split(b";")}
    assert b"1" in numbers and bool(numbers - {b"0", b"1", b"2", b""}) == coloured


def spanloom(home: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "SPANLOOM_HOME": str(home), "COLUMNS": "80"}
    extra = more.pop("env", {})
    return subprocess.run([sys.executable, "-m", "spanloom", *arguments], capture_output=True, timeout=60, check=False,
                          env={**environment, **extra}, **more)  # type: ignore[call-overload, dict-item, no-any-return]  # fmt: skip


def test_in_a_pipe_there_is_no_colour_and_in_ascii_no_crash(weather: Path) -> None:
    """The same words whatever the encoding; a character that cannot be shown is no error."""
    piped = spanloom(weather, "tree", env={"PYTHONIOENCODING": "utf-8"})
    assert piped.returncode == 0 and piped.stdout.decode() == DRAWN and piped.stderr == b""
    plain = spanloom(weather, "tree", env={"PYTHONIOENCODING": "ascii"})
    assert plain.returncode == 0 and plain.stdout.isascii()
    assert b"`- chat - ada" in plain.stdout and b"> get_weather_forecast" in plain.stdout


def test_a_reader_that_has_seen_enough_is_no_error(weather: Path) -> None:
    """`spanloom runs | head -1` ends quietly."""
    fill(weather, *(RunStart(event_id=f"{n}", timestamp=iso(1), run_id=f"r{n}", type="llm") for n in range(3000)))
    command = f"{sys.executable} -m spanloom runs --limit 3000 --json | head -1"
    environment = {**os.environ, "SPANLOOM_HOME": str(weather)}
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False, env=environment)
    assert done.stdout == b"[\n" and done.stderr == b""


KILLED = """
import os, signal, spanloom
@spanloom.agent
def answer(question):
    return "42"
answer("life?")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_programs_runs_are_in_the_next_list(home: Path) -> None:
    """SIGKILL straight after a decorated call returned: `spanloom runs` takes its journal in first."""
    environment = {**os.environ, "SPANLOOM_HOME": str(home)}
    dead = subprocess.run([sys.executable, "-c", KILLED], env=environment, timeout=60, check=False)
    assert dead.returncode == -signal.SIGKILL
    (run,) = json.loads(spanloom(home, "runs", "--json").stdout)
    assert (run["type"], run["name"], run["status"]) == ("agent", "answer", "ok")


def test_the_version_is_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`spanloom --version`."""
    code, printed, _ = typed(capsys, "--version")
    assert code == 0 and printed.startswith("spanloom 0.")


@pytest.mark.parametrize("command", ["runs", "tree", "usage", "prune", "export"])
def test_a_store_that_is_none(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """S22: a damaged file is named, left as it is, and the cure is one that a person at a terminal can apply."""
    path = tmp_path / "damaged.db"
    path.write_bytes(b"no database at all " * 300)
    assert main([command, "--store", str(path)]) == 1
    said_to_be_wrong = capsys.readouterr().err
    assert str(path) in said_to_be_wrong and "spanloom serve" in said_to_be_wrong
    assert "=" not in said_to_be_wrong and path.read_bytes() == b"no database at all " * 300
