"""The front door: the public names are these, they are typed, and asking for them costs what it must and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

import spanloom

NAMES = [
    "Atlas",
    "Collector",
    "Health",
    "Local",
    "Lumen",
    "Lunary",
    "Otlp",
    "Run",
    "SettingsError",
    "SpanloomError",
    "UsageError",
    "Valmi",
    "Vluna",
    "action",
    "agent",
    "carry",
    "chain",
    "configure",
    "context",
    "current_run",
    "disabled",
    "embed",
    "extract",
    "feedback",
    "flush",
    "health",
    "inject",
    "instrument",
    "llm",
    "middleware",
    "outcome",
    "outgoing",
    "retriever",
    "shutdown",
    "start",
    "testing",
    "thread",
    "tool",
    "traced",
]


def test_the_public_names_are_pinned() -> None:
    """A name that comes or goes is a decision, not an accident."""
    assert sorted(spanloom.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(spanloom))


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    """Each name can be had, and has a docstring."""
    assert getattr(spanloom, name).__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """Like any module."""
    with pytest.raises(AttributeError, match="no attribute 'agnet'"):
        spanloom.agnet  # noqa: B018


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_heavy_and_starts_nothing() -> None:
    """C33: after importing every decorator, none of the heavy packages is loaded and no thread or file is open."""
    seen = run(
        "import os, sys, threading\n"
        "before = os.listdir('/proc/self/fd') if os.path.isdir('/proc/self/fd') else []\n"
        "import spanloom\n"
        "light = sorted(name for name in sys.modules if name.startswith('spanloom.'))\n"
        "from spanloom import agent, tool, llm, chain, embed, retriever, configure, context\n"
        "names = ('httpx', 'opentelemetry', 'sqlite3', 'rich', 'starlette', 'uvicorn')\n"
        "heavy = [name for name in names if name in sys.modules]\n"
        "after = os.listdir('/proc/self/fd') if os.path.isdir('/proc/self/fd') else []\n"
        "print(light, heavy, threading.active_count(), len(after) - len(before))\n"
    )
    assert seen.strip() == "[] [] 1 0"
