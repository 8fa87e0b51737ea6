"""Full-text search over runs: the index is filled behind the commits and says how far behind it is.

Theory of operation. A run that was written is ``stale`` until `index_step` has put its text into the FTS5 table
``run_text`` under the run's ``seq``. The text is the run's name, its error, the end of its input (where the latest
message of a prompt stands) and the beginning of its output, at most TEXT_CHARS together. Where SQLite has no FTS5, runs
stay stale and the reader looks through names, errors and payloads instead.

Promises: whatever a user types is a search for those words, never syntax. Must never delay an acknowledgement.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import msgspec

from ..errors import WireError
from ..records import Chat, RunEnd, RunStart, decode
from . import sql
from .merge import clean

TEXT_CHARS = 4000
_STEP_RUNS = 25  # about 2 ms of the file's lock
_Q = sql.queries("searching.sql")
_word = re.compile(r"\w+")


def prepare(connection: sqlite3.Connection) -> bool:
    """Whether there is an index, made now if it was not there."""
    if connection.execute(_Q["index_exists"]).fetchone():
        return available(connection)
    try:
        connection.execute(_Q["make_index"])
    except sqlite3.OperationalError as error:
        if "no such module" in str(error):
            return False
        raise
    return True


def available(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite can read the index that is there."""
    try:
        connection.execute("select rowid from run_text limit 1").fetchone()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # no such module, or no such table
            return False
        raise
    return True


def index_step(connection: sqlite3.Connection) -> bool:
    """Index some runs inside the caller's transaction; returns whether there may be more."""
    runs = connection.execute(_Q["stale_runs"], (_STEP_RUNS,)).fetchall()
    for run in runs:
        payloads = [row["payload"] for row in connection.execute(_Q["run_payloads"], (run["seq"],))]
        said = [text for text in (run["name"], run["error_type"], run["error_message"]) if text]
        body = text_of(said, payloads)
        connection.execute(_Q["forget_text"], (run["seq"],))
        connection.execute(_Q["add_text"], (run["seq"], body))
        connection.execute(_Q["fresh"], (run["seq"],))
    return len(runs) == _STEP_RUNS


def lag(connection: sqlite3.Connection) -> int:
    """How many runs are stale; takes as long as there are many."""
    return int(connection.execute(_Q["lag"]).fetchone()[0])


def text_of(said: list[str], payloads: list[bytes]) -> str:
    """What is searched of a run: ``said`` first, then its content, at most TEXT_CHARS."""
    head = "\n".join(said)[: TEXT_CHARS // 4]
    room = (TEXT_CHARS - len(head)) // 2
    inputs, outputs = [], []
    for payload in payloads:
        try:
            record = decode(payload)
        except WireError:  # written by a later version; its text is found by the later version
            continue
        if isinstance(record, RunStart):
            inputs.append(strings(record.input))
        elif isinstance(record, RunEnd):
            outputs.append(strings(record.output))
        elif isinstance(record, Chat):
            inputs.append(strings(record.message))
    return "\n".join((head, "\n".join(inputs)[-room:], "\n".join(dict.fromkeys(outputs))[:room]))


def strings(value: object) -> str:
    """All text of a JSON value, in its order, without the names of its fields."""
    if not isinstance(value, msgspec.Raw):
        return ""
    try:
        decoded: Any = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return ""
    found: list[str] = []
    pending = [decoded]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))
        elif item is not None and not isinstance(item, bool):
            found.append(str(item))
    return clean("\n".join(found))


def match_expression(text: str) -> str | None:
    """What a user typed, as an FTS5 expression: every word must be there, and with a star at the end the last may go
    on (``weath*``). None without a word."""
    words = _word.findall(clean(text))
    if not words:
        return None
    return " ".join(f'"{word}"' for word in words) + ("*" if text.rstrip().endswith("*") else "")
