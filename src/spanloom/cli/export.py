"""``spanloom export RUN``: one trace as one HTML file that opens anywhere, offline, without any script."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from . import place
from .problem import NOT_INSTALLED, Problem


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("export", help="one trace as a file to keep or to send", description=__doc__)
    parser.add_argument("id", metavar="RUN", nargs="?", default="last",
                        help="a run's id, or its beginning or end; `last` is the newest (default)")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", help="the file (default trace-ID.html; - is standard output)")
    place.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    try:
        from ..viewer import export
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spanloom"):
            raise
        raise Problem(
            f"the export needs {error.name}, which is not installed: pip install 'spanloom[serve]'", NOT_INSTALLED
        ) from error
    reader = place.open_reader(arguments)
    if reader is None:
        raise Problem("nothing has been recorded yet: run `spanloom demo`, or a program that uses Spanloom")
    with reader:
        project = place.project_of(reader, arguments)
        run_id = place.run_id_of(reader, arguments.id, project)
        tree = reader.tree(run_id, whole_thread=False, max_runs=export.MOST_RUNS, project=project)
    page = export.page(tree)
    if arguments.output == "-":
        sys.stdout.write(page)
        return 0
    path = Path(arguments.output or export.filename(run_id))
    _write(path, page)
    print(path)
    return 0


def _write(path: Path, page: str) -> None:
    """Readable by its owner alone: it holds everything that was recorded."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}: give another file by --output") from None
