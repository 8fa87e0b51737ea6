"""`spanloom demo` as a user types it: on an empty home, without a network."""

from __future__ import annotations

import re
from pathlib import Path

from stored import run_program, tree


def test_the_demo_prints_the_tree_and_how_to_open_it_again(home: Path) -> None:
    """Thread, chat, agent, llm, tool, llm in that order with durations, tokens and the thumb; then the commands."""
    printed = run_program(home, "-m", "spanloom", "demo")
    above, below = printed.split("Open it again:")
    order = ["thread", "chat", "agent", "llm", "tool", "llm"]
    assert re.findall(r"(?m)^[^\w\n]*(thread|chat|agent|tool|llm)\b", above) == order
    for part in ("my-super-agent", "gpt-4o", "get_weather_forecast", "Great response!"):
        assert part in above
    assert len(re.findall(r"\d (?:us|ms|s)\b", above)) >= 5
    assert "tok" in above
    run_id = re.search(r"spanloom tree (\S+)", below)[1]
    assert "spanloom runs" in below and "spanloom serve" in below
    assert "\x1b" not in printed
    again = run_program(home, "-m", "spanloom", "tree", run_id)
    assert "get_weather_forecast" in again
    assert tree(home).one("chat").id == run_id


def test_the_demo_keeps_its_runs_to_itself(home: Path) -> None:
    """A key in the environment does not send the demo's runs anywhere: they are in the local store alone."""
    printed = run_program(
        home,
        "-m",
        "spanloom",
        "demo",
        LUNARY_PUBLIC_KEY="259d2d94-9446-478a-ae04-484de705b522",
        LUNARY_API_URL="http://127.0.0.1:9",
    )
    assert "get_weather_forecast" in printed
    assert tree(home).one("agent").row.run.name == "my-super-agent"
    assert not list(home.glob("journal/*/*.dlq"))
