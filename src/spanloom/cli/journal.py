"""``spanloom journal ls|verify|replay|purge``: what waits on disk to be delivered, and what was refused.

``verify`` ends with exit code 1 when something is damaged, ``replay --deliver`` when something is still there at its
end; ``purge`` deletes nothing without ``--yes``. A destination is named by its ID, as ``ls`` shows it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from .. import pipeline
from ..settings import from_env
from ..shipping import dead_letters, disposal, inspection
from . import words
from .problem import Problem

_COMMANDS = {
    "ls": "the journals on disk, and how many refused records there are",
    "verify": "read everything and say what is damaged",
    "replay": "send refused records again",
    "purge": "delete what dead processes left undelivered, and the refused records",
}
_DELIVER_SECONDS = 30.0


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = commands.add_parser("journal", help="what waits on disk to be delivered", description=__doc__)
    journal = parser.add_subparsers(metavar="|".join(_COMMANDS), required=True)
    for name, purpose in _COMMANDS.items():
        command = journal.add_parser(name, help=purpose, description=purpose)
        if name == "replay":
            command.add_argument("destination", nargs="?", metavar="ID", help="only this destination's (see `ls`)")
            how = command.add_mutually_exclusive_group()
            how.add_argument("--print", action="store_true", help="show them, as JSON Lines, and change nothing")
            how.add_argument(
                "--deliver", action="store_true", help="deliver now, to the destinations of the environment"
            )
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
    owner = f"process {one.pid} {'is writing it' if one.alive else 'has ended'}" if one.pid else "its process has ended"
    ages = f"begun {_ago(one.began_seconds)}, last change {_ago(one.changed_seconds)}"
    return (
        f"{words.one_line(one.name)}  {words.count(one.records)} records, {one.size_bytes / 1e6:.1f} MB; {owner}; "
        f"{ages}; pending: {_owed(one.pending) or 'all, for destinations not decided yet'}"
    )


def _owed(pending: dict[str, int] | Counter[str]) -> str:
    """``6 for 7e4f…, 2 for 91bc…``."""
    return ", ".join(f"{words.count(number)} for {words.one_line(name)}" for name, number in sorted(pending.items()))


def _ago(seconds: float) -> str:
    return f"{words.duration(round(seconds * 1_000_000))} ago"


def _letters(destination: str | None = None) -> list[dead_letters.DeadLetter]:
    root = inspection.root_of(_home())
    found = [letter for path in dead_letters.files(root) for letter in dead_letters.read(path)]
    return [letter for letter in found if destination in (None, letter.destination)]


def _refused() -> Counter[tuple[str, str]]:
    """How many dead letters there are by destination and reason."""
    return Counter((letter.destination, letter.reason) for letter in _letters())


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
    if arguments.print:
        return _print_letters(arguments.destination)
    number = disposal.replay(_home(), arguments.destination)
    said = f"{words.count(number)} refused {'record' if number == 1 else 'records'}"
    if not arguments.deliver:
        print(f"{said} {'is' if number == 1 else 'are'} sent again by the next program that uses Spanloom.")
        return 0
    pipeline.catch_up(_DELIVER_SECONDS)
    owed: Counter[str] = Counter()
    for one in inspection.ls(_home()):
        if not one.alive:
            owed.update({name: count for name, count in one.pending.items() if count})
    refused = sum(_refused().values())
    print(f"{said} tried again. Still waiting: {_owed(owed) or 'nothing'}. Refused: {words.count(refused)}.")
    return 1 if owed or refused else 0


def _print_letters(destination: str | None) -> int:
    """JSON Lines: every character that a terminal would obey is escaped, as JSON allows."""
    for letter in _letters(destination):
        record = json.loads(letter.record)
        line = {"destination": letter.destination, "reason": letter.reason, "at": letter.at, "record": record}
        print(json.dumps(line))
    return 0


def _purge(arguments: argparse.Namespace) -> int:
    home = _home()
    if not arguments.yes:
        gone = disposal.to_purge(home)
        raise Problem(f"this deletes {_lost(gone)}: add --yes" if gone != disposal.Purged() else "nothing to delete")
    print(f"Deleted {_lost(disposal.purge(home))}.")
    return 0


def _lost(gone: disposal.Purged) -> str:
    """What goes, in numbers: each destination's undelivered records, each reason's refused ones."""
    undelivered = Counter({name or "destinations not decided yet": n for name, n in gone.undelivered.items() if n})
    parts = [
        f"{words.count(gone.journals)} journals of ended processes with {words.count(gone.records)} records "
        f"(undelivered: {_owed(undelivered) or 'none'})"
    ]
    for (destination, reason), number in sorted(gone.refused.items()):
        parts.append(f"{words.count(number)} refused by {words.one_line(destination)} ({words.one_line(reason)})")
    if gone.damaged_copies:
        parts.append(f"{words.count(gone.damaged_copies)} copies of damaged segments")
    return "; ".join(parts)


_RUN = {"ls": _list, "verify": _verify, "replay": _replay, "purge": _purge}
