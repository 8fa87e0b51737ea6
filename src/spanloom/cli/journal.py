"""``spanloom journal ls|verify|replay|purge``: what waits on disk to be delivered, and what was refused.

``verify`` ends with exit code 1 when something is damaged; ``purge`` deletes nothing without ``--yes``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from ..settings import from_env
from ..shipping import dead_letters, inspection
from . import words
from .problem import Problem

_COMMANDS = {
    "ls": "the journals on disk, and how many refused records there are",
    "verify": "read everything and say what is damaged",
    "replay": "send refused records again",
    "purge": "delete what dead processes left undelivered, and the refused records",
}


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = commands.add_parser("journal", help="what waits on disk to be delivered", description=__doc__)
    journal = parser.add_subparsers(metavar="|".join(_COMMANDS), required=True)
    for name, purpose in _COMMANDS.items():
        command = journal.add_parser(name, help=purpose, description=purpose)
        if name == "replay":
            command.add_argument("destination", nargs="?", metavar="ID", help="only this destination's (see `ls`)")
        if name == "purge":
            command.add_argument("--yes", action="store_true", help="really delete")
        command.set_defaults(run=_RUN[name])


def _home() -> Path:
    """Where the folder ``journal`` lies. Raises Problem for a journal in memory."""
    home = from_env().journal_home
    if home is None:
        raise Problem("the journal is in memory only (SPANLOOM_JOURNAL), or there is no home: there is nothing on disk")
    return home


def _list(arguments: argparse.Namespace) -> int:
    found = inspection.ls(_home())
    for one in found:
        print(_described(one))
    refused = _refused()
    for (destination, reason), number in sorted(refused.items()):
        print(f"refused: {words.count(number)} for destination {words.one_line(destination)}: {words.one_line(reason)}")
    if not found and not refused:
        print("No journal is on disk: everything was delivered.")
    return 0


def _described(one: inspection.JournalSummary) -> str:
    owner = f"process {one.pid} {'is writing it' if one.alive else 'has ended'}"
    pending = ", ".join(f"{words.count(number)} for {words.one_line(name)}" for name, number in one.pending.items())
    return (
        f"{words.one_line(one.name)}  {words.count(one.records)} records, {one.size_bytes / 1e6:.1f} MB; {owner}; "
        f"pending: {pending or 'not decided'}"
    )


def _refused() -> Counter[tuple[str, str]]:
    """How many dead letters there are by destination and reason."""
    root = inspection.root_of(_home())
    return Counter(
        (letter.destination, letter.reason) for path in dead_letters.files(root) for letter in dead_letters.read(path)
    )


def _verify(arguments: argparse.Namespace) -> int:
    damaged = inspection.verify(_home())
    for one in damaged:
        print(
            f"{words.one_line(one.name)}  {words.count(one.damaged_bytes)} damaged bytes, {one.foreign_segments} "
            "segments that cannot be read; the records around them are delivered"
        )
    print("Something is damaged." if damaged else "Everything can be read.")
    return 1 if damaged else 0


def _replay(arguments: argparse.Namespace) -> int:
    number = inspection.replay(_home(), arguments.destination)
    said = "record is" if number == 1 else "records are"
    print(f"{words.count(number)} refused {said} sent again by the next program that uses Spanloom.")
    return 0


def _purge(arguments: argparse.Namespace) -> int:
    home = _home()
    waiting = sum(one.records for one in inspection.ls(home) if not one.alive)
    refused = sum(_refused().values())
    if not arguments.yes:
        raise Problem(f"this deletes {waiting:,} records of ended processes and {refused:,} refused ones: add --yes")
    print(f"{words.count(inspection.purge(home))} records deleted.")
    return 0


_RUN = {"ls": _list, "verify": _verify, "replay": _replay, "purge": _purge}
