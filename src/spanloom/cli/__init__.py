"""What a person types: ``spanloom COMMAND``, one module for each group of commands.

Exit codes: 0 done (an empty list is an answer too); 1 what was asked for is not there, or could not be done; 2 wrong
arguments; 3 a part of Spanloom that the command needs is not installed; 130 interrupted.

Promises: content is shown, never obeyed (no escape sequence of a recorded text reaches the terminal); output works
without colour, in 80 columns and in a pipe; what cannot be done is one sentence on stderr with the cure, no traceback.
Must never change what was recorded, except by ``journal``, ``import`` and
``prune``; keys are changed by ``keys`` alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import SpanloomError
from . import demo, doctor, exec, export, import_, journal, keys, prune, runs, serve, tree, usage, view
from .problem import Problem

_GROUPS = (runs, tree, view, usage, exec, export, import_, prune, demo, serve, keys, doctor, journal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; ``arguments`` are those after the program's name. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character still gets a line
    try:
        chosen = _parser().parse_args(arguments)
        code = int(chosen.run(chosen))
        sys.stdout.flush()
        return code
    except Problem as problem:
        print(f"spanloom: {problem}", file=sys.stderr)
        return problem.exit_code
    except SpanloomError as error:
        print(f"spanloom: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `spanloom runs | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spanloom",
        description="See what your LLM agents did: runs recorded on this machine, in the terminal.",
        epilog="exit codes: 0 done, 1 not found or not possible, 2 wrong arguments, 3 not installed, 130 interrupted",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in _GROUPS:
        group.add_to(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"spanloom {doctor.version()}")
        parser.exit(0)
