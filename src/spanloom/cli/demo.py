"""``spanloom demo``: the example agent, its scripted model, and the tree of what it did."""

from __future__ import annotations

import argparse
from typing import Any

from . import tree


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("demo", help="run the example agent and show its tree", description=__doc__)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    from ..demo.run import run_demo

    return int(run_demo(tree.show_run))
