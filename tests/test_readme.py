"""The README is true: each of its programs runs, and what it says is recorded is in the store."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from spanloom.store.reader import Reader
from stored import Node, clean_environment, run_program, tree, trees

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def programs() -> dict[str, str]:
    """Every fenced Python block by the heading above it; a second one below the same heading has ``2`` added."""
    found: dict[str, str] = {}
    heading = ""
    for match in re.finditer(r"^#+ ([^\n]+)$|^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found[heading if heading not in found else f"{heading} 2"] = match[2]
    return found


def check_recording(home: Path, printed: str) -> None:
    agent = tree(home)
    assert agent.shape() == ["agent librarian", "tool search", "llm gpt-4o"]
    assert printed == "On page 2.\n" == agent.output + "\n"
    assert agent.input == "Where are the whales?"
    assert agent.row.run.tags == ["books"]
    assert {node.row.run.user_id for node in agent} == {"ada"}
    assert {node.row.run.customer for node in agent} == {"acme"}
    assert agent.one("tool").input == {"query": "Where are the whales?", "limit": 3}
    assert agent.one("llm").tokens == (24, 5)
    assert agent.one("llm").params == {"temperature": 0}


def check_streams(home: Path, printed: str) -> None:
    call = tree(home)
    assert printed == "Streaming works."
    assert call.output == {"role": "assistant", "content": "Streaming works."}
    assert call.tokens == (9, 3)
    assert call.row.run.first_item_us is not None


def check_conversations(home: Path, printed: str) -> None:
    thread = tree(home)
    assert thread.id == "thread-with-ada"
    (chat,) = thread.children
    assert chat.id == printed.strip()
    assert [message["content"] for message in chat.messages] == ["What's the weather?", "Sunny."]
    assert chat.shape() == ["chat", "agent answer"]
    assert chat.row.run.feedback == {"thumb": "up", "comment": "Great response!"}


def check_feedback(home: Path, printed: str) -> None:
    ada, grace = trees(home)
    assert (ada.input, ada.row.run.feedback) == ("Ada", {"thumb": "up", "comment": "Bought it", "score": 0.9})
    assert (grace.input, grace.row.run.feedback) == ("Grace", {"thumb": "down"})


def check_threads(home: Path, printed: str) -> None:
    agent = tree(home)
    assert agent.shape() == ["agent read_book", *["tool read"] * 4]


def check_configuration(home: Path, printed: str) -> None:
    agent = tree(home)
    assert agent.row.run.service == "librarian"
    assert "created" in printed


def check_metering(home: Path, printed: str) -> None:
    agent = tree(home)
    assert agent.shape() == ["agent resolve", "llm gpt-4o"]
    assert agent.one("llm").tokens == (1000, 200)
    with Reader(home / "local.db") as reader:
        (outcome,) = reader.usage_events()
    assert (outcome.name, outcome.idempotency_key, outcome.customer) == ("ticket_resolved", "ticket-42", "acme")


def check_opentelemetry(home: Path, printed: str) -> None:
    agent = tree(home)
    assert (agent.shape(), agent.output) == ("agent greet", "Hello Ada")


def check_privacy(home: Path, printed: str) -> None:
    order = tree(home)
    assert order.input["customer"] == "[a customer]"
    assert order.output == "ordered for [a customer]"
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"[a customer]" in kept
    assert b"Lovelace" not in kept
    assert b"sk-abcdef" not in kept


def check_nothing_sent(home: Path, printed: str) -> None:
    assert trees(home) == []


CHECKS: dict[str, Callable[[Path, str], None]] = {
    "Recording": check_recording,
    "Streams": check_streams,
    "Conversations": check_conversations,
    "Feedback": check_feedback,
    "Threads and processes": check_threads,
    "Configuration": check_configuration,
    "Metering and outcomes": check_metering,
    "OpenTelemetry": check_opentelemetry,
    "Privacy": check_privacy,
    "Your own tests": check_nothing_sent,
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_program_of_the_readme_does_what_it_says(name: str, home: Path) -> None:
    """Run by itself in an empty home, and checked by what it printed and what is stored."""
    program = home.parent / "program.py"
    program.write_text(programs()[name], "utf-8")
    CHECKS[name](home, run_program(home, program))


def test_the_fixture_in_the_readme_works(home: Path) -> None:
    """The README's test passes under pytest with the plugin that comes with the package, and fails for a wrong name."""
    test = home.parent / "test_greeting.py"
    test.write_text(programs()["Your own tests 2"], "utf-8")
    pytest_run = ("-m", "pytest", "-q", "-p", "no:cacheprovider", test)
    assert "1 passed" in run_program(home, *pytest_run)
    test.write_text(programs()["Your own tests 2"].replace('== "Hello Ada"', '== "Hello Eve"'), "utf-8")
    with pytest.raises(AssertionError, match="1 failed"):
        run_program(home, *pytest_run)


def test_every_program_of_the_readme_is_run() -> None:
    """No Python block stands in the README that nobody runs."""
    assert set(programs()) == {*CHECKS, "Your own tests 2"}


def test_the_tree_in_the_readme_is_what_the_demo_prints(home: Path) -> None:
    """Apart from ids and durations, the text in the README is the demo's output."""
    shown = re.search(r"^```text\n(thread .*?)^```$", README, re.MULTILINE | re.DOTALL)[1]
    printed = run_program(home, "-m", "spanloom", "demo", COLUMNS="80")
    assert without_ids_and_times(shown) in without_ids_and_times(printed)


def without_ids_and_times(text: str) -> str:
    """The text with each id and each duration replaced, and with single spaces: a column is as wide as its widest."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    return re.sub(r" +", " ", re.sub(r"\b\d+(\.\d+)? (us|ms|s)\b", "TIME", text))


def test_the_collector_of_the_readme_takes_what_an_example_sends(home: Path, tmp_path: Path) -> None:
    """`spanloom serve` in one process, the weather agent in another: its tree is in the collector's store, once, and is
    served again over HTTP."""
    assert "SPANLOOM_COLLECTOR_URL=http://127.0.0.1:8321 python examples/weather_agent.py" in README
    store = tmp_path / "collected.db"
    with subprocess.Popen(
        [sys.executable, "-m", "spanloom", "serve", "--port", "0", "--store", store],
        env=clean_environment(home),
        stdout=subprocess.PIPE,
        text=True,
    ) as serving:
        try:
            url = re.search(r"http://\S+", serving.stdout.readline())[0]
            run_program(home, ROOT / "examples" / "weather_agent.py", SPANLOOM_COLLECTOR_URL=url)
            asked = httpx.get(f"{url}/v1/runs", params={"type": "llm"}, timeout=10, trust_env=False).json()
        finally:
            serving.terminate()
            serving.wait(10)
    assert [run["name"] for run in asked["data"]] == ["gpt-4o", "gpt-4o"]
    with Reader(store) as reader:
        (root,) = reader.tree(reader.latest()).roots
    order = ["thread", "chat", "agent my-super-agent", "llm gpt-4o", "tool get_weather_forecast", "llm gpt-4o"]
    assert [" ".join(filter(None, (node.row.run.type, node.row.run.name))) for node in Node(root)] == order
    assert trees(home) == []


def test_the_readme_and_ci_use_the_same_test_command() -> None:
    """What the README tells a newcomer to type is what CI types."""
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest" in README
    assert "pip\" install -q '.[test]'" in ci and "-m pytest" in ci
    assert "python -m venv .venv && .venv/bin/pip install '.[serve]' && .venv/bin/spanloom demo" in README
