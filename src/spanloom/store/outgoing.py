"""Records as lines, so that a trace or a whole project can be taken to another store.

A line is the record as it stands in the store (`records`), one JSON object. Where the event had been received in
another form, that stands in it as ``asReceived``; `taken_apart` gives both back.

Promises: what is written and read again gives the same runs; the store is read a little at a time, so that no long
reader keeps its log from being cut.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import UNSET, Raw, UnsetType

from . import sql
from .reader import Reader, _project_id
from .trees import walk
from .values import DEFAULT_PROJECT, Run

MOST_RUNS = 100_000
"""Of one trace."""

_RUNS_AT_ONCE = 100
_EVENTS_AT_ONCE = 200
_Q = sql.queries("outgoing.sql")
_raw_json: msgspec.json.Decoder[Raw] = msgspec.json.Decoder(Raw)


class _Line(msgspec.Struct, rename="camel"):
    as_received: Raw | UnsetType = UNSET


_line: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


def project_lines(reader: Reader, *, project: str = DEFAULT_PROJECT) -> Iterator[bytes]:
    """Every record of a project, in the order of arrival, without line ends. Raises StoreError."""
    after = 0
    while True:
        with reader._connections.snapshot() as connection:
            values = {"project": _project_id(connection, project), "after": after, "most": _EVENTS_AT_ONCE}
            rows = connection.execute(_Q["all_events"], values).fetchall()
        if not rows:
            return
        after = rows[-1]["seq"]
        for row in rows:
            yield _joined(row["payload"], row["raw"])


def trace_lines(reader: Reader, run_id: str, *, project: str = DEFAULT_PROJECT) -> Iterator[bytes]:
    """Every record of the trace that a run is in: its runs, their feedback, actions and outcomes; of a thread, only the
    exchange. Nothing when there is no such run. Raises StoreError."""
    tree = reader.tree(run_id, content=False, whole_thread=False, max_runs=MOST_RUNS, project=project)
    runs = [node.run for node in walk(tree.roots)]
    found: set[int] = set()
    for start in range(0, len(runs), _RUNS_AT_ONCE):
        found |= _events_of(reader, runs[start : start + _RUNS_AT_ONCE], project)
    wanted = sorted(found)
    for start in range(0, len(wanted), _EVENTS_AT_ONCE):
        with reader._connections.snapshot() as connection:
            rows = [
                connection.execute(_Q["event"], (seq,)).fetchone() for seq in wanted[start : start + _EVENTS_AT_ONCE]
            ]
        yield from (_joined(row["payload"], row["raw"]) for row in rows if row is not None)


def _events_of(reader: Reader, runs: list[Run], project: str) -> set[int]:
    found: set[int] = set()
    with reader._connections.snapshot() as connection:
        project_id = _project_id(connection, project)
        for run in runs:
            values = {"seq": run.seq, "project": project_id, "run_id": run.id, "user_key": run.key}
            found.update(row["seq"] for row in connection.execute(_Q["events_of_run"], values))
    return found


def _joined(payload: bytes, raw: bytes | None) -> bytes:
    if not raw:
        return payload
    try:
        as_received = bytes(_raw_json.decode(raw))
    except msgspec.DecodeError:  # never what our own dialects keep
        as_received = msgspec.json.encode(raw.decode("utf-8", "replace"))
    if b"\n" in as_received:  # between its parts, as somebody's indentation
        as_received = msgspec.json.format(as_received, indent=-1)
    return payload[:-1] + b',"asReceived":' + as_received + b"}"


def taken_apart(line: bytes) -> bytes:
    """The event as it was received, from a line that has it; else empty."""
    if b'"asReceived"' not in line:
        return b""
    try:
        found = _line.decode(line).as_received
    except (msgspec.DecodeError, RecursionError):
        return b""
    return b"" if found is UNSET else bytes(found)
