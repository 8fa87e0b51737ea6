"""``spanloom import FILE``: records from JSON Lines into a store: what `spanloom export --jsonl` wrote, a journal's
records, or Lunary's events, one to a line.

What is there already is recognised and changes nothing, so that a file may be read twice. A line that cannot be read is
named and left out; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..dialects import Received, lunary
from ..errors import WireError
from ..store import DEFAULT_PROJECT, Incoming, Store
from ..store.outgoing import taken_apart
from ..wire import Request
from . import place, words
from .problem import Problem

_LINES_AT_ONCE = 500
_BYTES_AT_ONCE = 4 << 20
_MOST_LINE_BYTES = 32 << 20
_MOST_NAMED = 20


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("import", help="read runs from JSON Lines", description=__doc__)
    parser.add_argument("file", metavar="FILE", help="JSON Lines, perhaps gzipped (.gz); - is standard input")
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: this user's own)")
    parser.add_argument("--project", metavar="NAME", default=DEFAULT_PROJECT, help="the project they become part of")
    parser.set_defaults(run=run)


class _Tally:
    def __init__(self) -> None:
        self.new = self.known = self.bad = 0

    def refuse(self, line: int, message: str) -> None:
        """Name a line that cannot be read."""
        self.bad += 1
        if self.bad <= _MOST_NAMED:
            print(f"line {line}: {words.printable(message)}", file=sys.stderr)
        elif self.bad == _MOST_NAMED + 1:
            print("(more lines cannot be read)", file=sys.stderr)


def run(arguments: argparse.Namespace) -> int:
    """Read the file into the store."""
    tally = _Tally()
    with _opened(arguments.file) as file, Store(place.store_path(arguments.store), on_corrupt="refuse") as store:
        for batch in _batches(_lines(file, tally)):
            _take(store, batch, arguments.project, tally)
        while store.index_pending(60):
            pass
    print(f"{words.count(tally.new)} records imported, {words.count(tally.known)} were there already"
          + (f", {words.count(tally.bad)} lines could not be read" if tally.bad else ""))  # fmt: skip
    return 1 if tally.bad else 0


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    try:
        if name == "-":
            yield sys.stdin.buffer
        elif name.endswith(".gz"):
            with gzip.open(name, "rb") as packed:
                yield packed  # type: ignore[misc]
        else:
            with Path(name).open("rb") as plain:
                yield plain
    except (OSError, EOFError, zlib.error) as error:
        raise Problem(f"cannot read {name}: {error}") from None


def _lines(file: IO[bytes], tally: _Tally) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; none longer than a record can be is ever held."""
    number = 0
    while line := file.readline(_MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > _MOST_LINE_BYTES:
            tally.refuse(number, f"longer than {_MOST_LINE_BYTES} bytes: this is no file of JSON Lines")
            while line and not line.endswith(b"\n"):
                line = file.readline(_MOST_LINE_BYTES)
        elif line.strip():
            yield number, line.strip().removeprefix(b"\xef\xbb\xbf")


def _batches(lines: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    held_bytes = 0
    for number, line in lines:
        batch.append((number, line))
        held_bytes += len(line)
        if len(batch) >= _LINES_AT_ONCE or held_bytes >= _BYTES_AT_ONCE:
            yield batch
            batch, held_bytes = [], 0
    if batch:
        yield batch


def _take(store: Store, batch: list[tuple[int, bytes]], project: str, tally: _Tally) -> None:
    incoming = []
    for number, line in batch:
        for item in _read(line):
            if item.record is None:
                tally.refuse(number, f"{item.path.removeprefix('$.events')}: {item.reason}".lstrip(".: "))
            else:
                incoming.append(Incoming(item.record, taken_apart(line) or item.raw, project))
    stored = store.write(incoming)
    tally.new += sum(outcome.new for outcome in stored)
    tally.known += sum(not outcome.new for outcome in stored)


def _read(line: bytes) -> list[Received]:
    """The records of one line, by the collector's own rules for what strangers send."""
    if not line.startswith(b"{"):
        return [Received(0, "", None, reason="not a JSON object")]
    try:
        return lunary.read_request(Request("POST", "", {}, b'{"events":[' + line + b"]}"))
    except WireError as error:
        return [Received(0, "", None, reason=error.message)]
