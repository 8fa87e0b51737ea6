"""What ``spanloom demo`` does: run the weather agent against the scripted model, keep its runs, show them.

Promises: works without a network, a key or any configuration, and leaves the runs in the local store. Never sends
them anywhere else, whatever destinations the environment names.
"""

from __future__ import annotations

from collections.abc import Callable

import spanloom

from . import weather
from .model_server import ModelServer

_LATENCY_SECONDS = 0.05  # so that the durations in the tree are to be seen


def run_demo(show_tree: Callable[[str], object], say: Callable[[str], object] = print) -> int:
    """Run the demo; returns the exit code (int): 0, or 1 when the runs did not reach the store.

    ``show_tree`` draws the tree of a run id, ``say`` prints a line: both are the terminal's.
    """
    spanloom.configure(destinations=[spanloom.Local()])
    with ModelServer(latency_seconds=_LATENCY_SECONDS) as model:
        exchange = weather.converse(model.base_url)
    say(f"user       {weather.QUESTION}")
    say(f"assistant  {exchange.answer}")
    say("")
    if not spanloom.flush(timeout_seconds=10):
        say("The runs did not reach the local store within 10 seconds: `spanloom doctor` says why.")
        return 1
    show_tree(exchange.thread_id)
    say("")
    say("Open it again:")
    say(f"  spanloom tree {exchange.chat_id}")
    say("  spanloom view     all of it in the browser")
    say("  spanloom runs     the newest runs, one line each")
    say("  spanloom serve    a collector for other programs on this machine")
    return 0
