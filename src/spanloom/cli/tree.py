"""``spanloom tree RUN``: everything that one run belongs to, drawn as a tree."""

from __future__ import annotations

import argparse
from typing import Any

from ..store import Reader, Tree
from . import place
from .plain import dump, plain_tree
from .problem import Problem

_NARROWEST, _WIDEST = 40, 120


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("tree", help="one run and everything around it", description=__doc__)
    parser.add_argument("id", metavar="RUN", nargs="?", default="last",
                        help="a run's id, or its beginning or end; `last` is the newest (default)")  # fmt: skip
    parser.add_argument("--full", action="store_true", help="content in full, with params, metadata and stack traces")
    parser.add_argument("--json", action="store_true", help="a JSON array of nested runs")
    place.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw one tree."""
    reader = place.open_reader(arguments)
    if reader is None:
        raise Problem("nothing has been recorded yet: run `spanloom demo`, or a program that uses Spanloom")
    with reader:
        project = place.project_of(reader, arguments)
        run_id = place.run_id_of(reader, arguments.id, project)
        tree = reader.tree(run_id, whole_thread=False, project=project)
    if arguments.json:
        print(dump(plain_tree(tree)))
    else:
        show(tree, full=arguments.full)
    return 0


def show(tree: Tree, *, full: bool = False) -> None:
    """Print a tree on stdout."""
    from .drawing import Paper, draw
    from .screen import console

    screen = console()
    paper = Paper(
        width=max(_NARROWEST, min(screen.width, _WIDEST)), full=full, ascii_only=not screen.encoding.startswith("utf")
    )
    for line in draw(tree, paper):
        screen.print(line, soft_wrap=True)


def show_run(run_id: str) -> None:
    """Print the tree of a run of this user's own store; for the demo. Raises Problem when it is not there."""
    path = place.store_path()
    with Reader(path) as reader:
        show(reader.tree(run_id))
