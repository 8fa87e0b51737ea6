"""``spanloom export RUN``: one trace as one HTML file that opens anywhere, offline, without any script.

Or, with ``--jsonl``, its records as JSON Lines, which ``spanloom import`` reads again; ``--all`` takes every record of
the project.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..store import Reader, outgoing
from . import place, words
from .problem import WRONG_ARGUMENTS, Problem


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("export", help="one trace as a file to keep or to send", description=__doc__)
    parser.add_argument("id", metavar="RUN", nargs="?", default="last",
                        help="a run's id, or its beginning or end; `last` is the newest (default)")  # fmt: skip
    parser.add_argument("--jsonl", action="store_true", help="the records as JSON Lines (default file: -)")
    parser.add_argument("--all", action="store_true", help="every record of the project; only with --jsonl")
    parser.add_argument("-o", "--output", metavar="FILE", help="the file (default trace-ID.html; - is standard output)")
    place.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    if arguments.jsonl:
        return _write_lines(arguments)
    if arguments.all:
        raise Problem("--all is for JSON Lines: add --jsonl, or name one run", WRONG_ARGUMENTS)
    from ..viewer import export

    with _opened(arguments) as reader:
        project = place.project_of(reader, arguments)
        run_id = place.run_id_of(reader, arguments.id, project)
        tree = reader.tree(run_id, whole_thread=False, max_runs=export.MOST_RUNS, project=project)
    page = export.page(tree)
    if arguments.output == "-":
        sys.stdout.write(page)
        return 0
    path = Path(arguments.output or export.filename(run_id))
    with _file(path) as file:
        file.write(page.encode())
    print(path)
    return 0


def _opened(arguments: argparse.Namespace) -> Reader:
    reader = place.open_reader(arguments)
    if reader is None:
        raise Problem("nothing has been recorded yet: run `spanloom demo`, or a program that uses Spanloom")
    return reader


def _write_lines(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as reader:
        project = place.project_of(reader, arguments)
        if arguments.all:
            lines = outgoing.project_lines(reader, project=project)
        else:
            run_id = place.run_id_of(reader, arguments.id, project)
            lines = outgoing.trace_lines(reader, run_id, project=project)
        if arguments.output in (None, "-"):
            for line in lines:
                sys.stdout.buffer.write(line + b"\n")
            return 0
        count = 0
        with _file(Path(arguments.output)) as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
    print(f"{words.count(count)} records in {arguments.output}")
    return 0


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    """Readable by its owner alone: it holds everything that was recorded."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}: give another file by --output") from None
