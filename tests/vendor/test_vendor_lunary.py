"""The public ``lunary`` package, in an environment of its own, pointed at our collector."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanloom.collector.server import Running
from vendor import environments

PROGRAM = Path(__file__).parent / "lunary_program.py"
QUESTION = "What's the weather in Boston?"


@pytest.fixture(scope="module")
def vendor_python() -> Path:
    """The Python that has the vendor's package."""
    return environments.python_for_test("lunary")


def test_the_vendors_sdk_is_stored_and_readable(vendor_python: Path, tmp_path: Path) -> None:
    """Agents, tools, threads, errors and feedback, as its users write them, arrive in one tree."""
    with Running(tmp_path / "runs.db") as collector:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("LUNARY", "SPANLOOM"))}
        environment |= {"LUNARY_API_URL": collector.url, "LUNARY_PUBLIC_KEY": "259d2d94-9446-478a-ae04-484de705b522"}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        ran = subprocess.run(
            [str(vendor_python), str(PROGRAM)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        assert "Error sending" not in ran.stderr
        said = json.loads(ran.stdout.splitlines()[-1])
        with httpx.Client(base_url=collector.url, timeout=20, trust_env=False) as client:
            check(client, said)


def check(client: httpx.Client, said: dict[str, Any]) -> None:
    """What the program did, read back over the public API."""
    tree = client.get(f"/v1/runs/{said['thread']}/related").json()
    found = {(run["type"], run["name"]): run for run in tree}
    assert set(found) == {
        ("thread", None), ("chat", None), ("agent", "my-super-agent"), ("tool", "get_weather_forecast"),
        ("tool", "broken"),
    }  # fmt: skip
    chat, agent = found["chat", None], found["agent", "my-super-agent"]
    forecast, broken = found["tool", "get_weather_forecast"], found["tool", "broken"]
    assert chat["id"] == said["chat"]
    assert chat["input"][0]["content"] == QUESTION
    assert chat["output"][0]["content"] == said["reply"]
    assert chat["feedback"] == {"thumb": "up", "comment": "Great response!"}
    assert chat["tags"] == ["support"]
    assert chat["user"]["externalId"] == "u1"
    assert chat["user"]["props"] == {"plan": "pro"}
    assert (agent["parentRunId"], agent["status"], agent["output"]) == (chat["id"], "success", said["reply"])
    assert (agent["input"], agent["tags"], agent["runtime"]) == (QUESTION, ["vendor"], "lunary-py")
    assert (forecast["parentRunId"], forecast["input"]) == (agent["id"], "Boston")
    assert forecast["output"] == {"city": "Boston", "temperature": 72, "weather": "sunny"}
    assert (broken["status"], broken["error"]["message"]) == ("error", "no such city")
    assert client.get(f"/v1/runs/{said['chat']}/feedback").json()["thumb"] == "up"
    assert client.get("/v1/runs", params={"type": "thread"}).json()["data"][0]["id"] == said["thread"]
