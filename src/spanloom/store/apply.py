"""One batch of records into the tables, inside the caller's transaction.

Theory of operation. `prepare` does everything that needs no database, before the file is locked. `Application.take`
stores one record: an event id that is there already changes nothing; a new one is joined into its run, which is loaded
once for the batch and kept in memory. `Application.finish` writes each touched run once and then brings feedback and
runs together, whichever came first.

Must never commit, and never depend on the order in which records arrive, except that the first of two usage events
with one idempotency key stands.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from ..prices import Prices
from ..records import AnyRecord, Feedback, LossReport, UsageEvent, encode
from . import sql
from .columns import COLUMNS, load, store
from .hours import HOUR_US, hour_of, mark
from .merge import (
    NO_TIME_US,
    Claim,
    Claims,
    FeedbackEvent,
    claims_of,
    clean,
    content_hash,
    event_time_us,
    join,
    merge_feedback,
)
from .values import Incoming, Stored

_Q = sql.queries("writing.sql")
_INSERT_RUN = (
    f"insert into runs (seq, project, run_id, received_us, touched_us, stale, {', '.join(COLUMNS)}) "
    f"values (?, ?, ?, ?, ?, 1, {', '.join('?' * len(COLUMNS))})"
)
_UPDATE_RUN = f"update runs set touched_us = ?, stale = 1, {', '.join(f'{name} = ?' for name in COLUMNS)} where seq = ?"
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record made ready for the tables."""

    record: AnyRecord
    project: str
    event_id: str
    kind: str
    time_us: int
    payload: bytes
    raw: bytes | None
    claims: list[tuple[str, Claims]]


@dataclass(slots=True)
class _RunRow:
    """A run while its batch is applied. ``seq`` is 0 for one that is not in the table yet."""

    seq: int
    project: int
    run_id: str
    claims: Claims
    known: bool
    hour: int | None = None  # in which it started, as it is in the table
    touched: bool = False


def prepare(incoming: Incoming) -> Prepared:
    """All that can be done before the file is locked."""
    record = incoming.record
    try:
        payload = encode(record)
    except UnicodeEncodeError:  # made by hand: nothing that was decoded can hold a lone surrogate
        record = _encodable(record)
        payload = encode(record)
    return Prepared(
        record=record,
        project=clean(incoming.project),
        event_id=clean(record.event_id),
        kind=str(record.__struct_config__.tag),
        time_us=event_time_us(record.timestamp),
        payload=payload,
        raw=incoming.raw if incoming.raw and incoming.raw != payload else None,
        claims=claims_of(record),
    )


def _encodable(record: AnyRecord) -> AnyRecord:
    """The record with its texts cleaned."""

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        if isinstance(value, dict):
            return {cleaned(key): cleaned(item) for key, item in value.items()}
        if isinstance(value, msgspec.Struct):
            fields = {name: cleaned(getattr(value, name)) for name in value.__struct_fields__}
            return msgspec.structs.replace(value, **fields)
        return value

    made: AnyRecord = cleaned(record)
    return made


class Application:
    """The state of one transaction. ``projects`` maps names to ids that are committed; new ones come in ``made``."""

    def __init__(
        self, connection: sqlite3.Connection, projects: dict[str, int], made: dict[str, int], received_us: int,
        prices: Prices | None = None,
    ) -> None:  # fmt: skip
        self.connection = connection
        self.projects = projects
        self.projects_made = made
        self.received_us = received_us
        self.prices = prices
        self._runs: dict[tuple[int, str], _RunRow] = {}
        self._feedback_for: set[tuple[int, str | None, str | None]] = set()
        self._last_seq: int | None = None

    def take(self, item: Prepared) -> Stored:
        """Store one record."""
        project = self._project(item.project)
        record = item.record
        if isinstance(record, UsageEvent):
            known = self._known_usage(project, item, record)
            if known is not None:
                return known
        rows = [self._run(project, run_id) for run_id, _ in item.claims]
        added = self.connection.execute(
            _Q["add_event"],
            (project, item.event_id, item.kind, rows[0].seq if rows else None,
             None if item.time_us == NO_TIME_US else item.time_us, self.received_us, item.payload, item.raw),
        )  # fmt: skip
        if not added.rowcount:
            row = self.connection.execute(_Q["event_payload"], (project, item.event_id)).fetchone()
            return Stored(new=False, conflict=row["payload"] != item.payload)
        for row, (_, claims) in zip(rows, item.claims, strict=True):
            join(row.claims, claims)
            row.touched = True
        if isinstance(record, Feedback):
            self._add_feedback(project, item, record)
        elif isinstance(record, UsageEvent):
            self._add_usage(project, item, record)
        elif isinstance(record, LossReport):
            self._add_losses(project, item, record)
        return Stored(new=True)

    def finish(self) -> int:
        """Write the touched runs and what feedback says of them; returns how many runs were touched."""
        touched = [row for row in self._runs.values() if row.touched]
        inserts, updates = [], []
        for row in touched:
            values = store(row.claims, self.prices)
            if row.known:
                updates.append((self.received_us, *values, row.seq))
            else:
                inserts.append((row.seq, row.project, row.run_id, self.received_us, self.received_us, *values))
        if inserts:
            self.connection.executemany(_INSERT_RUN, inserts)
        if updates:
            self.connection.executemany(_UPDATE_RUN, updates)
        mark(self.connection, self._hours(touched), self.received_us)
        self._join_feedback(touched)
        return len(touched)

    def _hours(self, touched: list[_RunRow]) -> set[tuple[int, int]]:
        """The hours whose figures are others now."""
        hours = {(row.project, row.hour) for row in touched if row.hour is not None}
        for row in touched:
            started: Claim | None = row.claims.get("started_us")
            if started is not None:
                hours.add((row.project, int(started[2]) // HOUR_US))
        return hours

    def _project(self, name: str) -> int:
        known = self.projects.get(name) or self.projects_made.get(name)
        if known is None:
            row = self.connection.execute(_Q["project_id"], {"name": name}).fetchone()
            known = row["id"] if row else self.connection.execute(_Q["add_project"], {"name": name}).lastrowid
            assert known is not None
            self.projects_made[name] = known
        return known

    def _run(self, project: int, run_id: str) -> _RunRow:
        found = self._runs.get((project, run_id))
        if found is None:
            row = self.connection.execute(_Q["run_by_id"], (project, run_id)).fetchone()
            if row is not None:
                found = _RunRow(row["seq"], project, run_id, load(row), known=True, hour=hour_of(row["started_us"]))
            else:
                found = _RunRow(self._next_seq(), project, run_id, {}, known=False)
            self._runs[project, run_id] = found
        return found

    def _next_seq(self) -> int:
        if self._last_seq is None:
            row = self.connection.execute(_Q["last_run_seq"]).fetchone()
            self._last_seq = int(row["seq"]) if row else 0
        self._last_seq += 1
        return self._last_seq

    # Feedback

    def _add_feedback(self, project: int, item: Prepared, record: Feedback) -> None:
        run_id = clean(record.run_id) if record.run_id else None
        key = clean(record.key) if record.key else None
        body = _json_text(record.feedback) or "{}"
        values = (project, item.event_id, run_id, key, item.time_us, self.received_us, int(record.overwrite), body)
        self.connection.execute(_Q["add_feedback"], values)
        self._feedback_for.add((project, run_id, key))

    def _join_feedback(self, touched: list[_RunRow]) -> None:
        """Give every run that is concerned the feedback that stands now: the new ones, and those just spoken of."""
        any_feedback: dict[int, bool] = {}
        concerned: dict[int, tuple[int, str, str | None]] = {}
        for row in touched:
            if row.project not in any_feedback:
                found = self.connection.execute(_Q["any_feedback"], (row.project,)).fetchone()
                any_feedback[row.project] = found is not None
            if any_feedback[row.project]:
                key = row.claims.get("user_key")
                concerned[row.seq] = (row.project, row.run_id, key[2] if key else None)
        for project, run_id, user_key in self._feedback_for:
            for query, value in (("run_key", run_id), ("runs_with_key", user_key)):
                if value is not None:
                    for found in self.connection.execute(_Q[query], (project, value)):
                        concerned[found["seq"]] = (project, found["run_id"], found["user_key"])
        for seq, (project, run_id, user_key) in concerned.items():
            merged = merge_feedback(self._feedback_events(project, run_id, user_key))
            text = msgspec.json.encode(merged).decode() if merged else None
            self.connection.execute(_Q["set_feedback"], (text, self.received_us, seq))

    def _feedback_events(self, project: int, run_id: str, user_key: str | None) -> list[FeedbackEvent]:
        rows = self.connection.execute(
            _Q["feedback_for_run"], {"project": project, "run_id": run_id, "user_key": user_key}
        )
        return [feedback_event(row["time_us"], row["overwrite"], row["body"]) for row in rows]

    # Usage events and losses

    def _known_usage(self, project: int, item: Prepared, record: UsageEvent) -> Stored | None:
        key = clean(record.idempotency_key)
        row = self.connection.execute(_Q["usage_by_key"], (project, key)).fetchone()
        if row is None:
            return None
        same = (row["kind"], row["name"], row["customer"], row["value"], row["properties"], row["labels"])
        ours = (item.kind, clean(record.name), _clean(record.customer), _number(record.value),
                _json_text(record.properties), _json_text(record.labels))  # fmt: skip
        return Stored(new=False, conflict=same != ours)

    def _add_usage(self, project: int, item: Prepared, record: UsageEvent) -> None:
        self.connection.execute(
            _Q["add_usage"],
            (project, item.event_id, item.kind, clean(record.idempotency_key), clean(record.name),
             _clean(record.customer), _number(record.value), None if item.time_us == NO_TIME_US else item.time_us,
             self.received_us, _clean(record.run_id), _clean(record.root_run_id), _clean(record.user_id),
             _clean(record.metered), _json_text(record.properties), _json_text(record.labels)),
        )  # fmt: skip

    def _add_losses(self, project: int, item: Prepared, record: LossReport) -> None:
        time_us = None if item.time_us == NO_TIME_US else item.time_us
        for reason, count in record.lost.items():
            self.connection.execute(
                _Q["add_loss"],
                (project, item.event_id, clean(record.destination), _clean(record.process), clean(reason),
                 max(-_INT64, min(count, _INT64 - 1)), time_us, self.received_us),
            )  # fmt: skip


def feedback_event(time_us: int, overwrite: int, body: str) -> FeedbackEvent:
    """A row of the table ``feedback`` as `merge_feedback` takes it. A body that is no object is kept as a comment."""
    try:
        values: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        values = body
    if not isinstance(values, dict):
        values = {"comment": values}
    return time_us, content_hash(body.encode()), bool(overwrite), values


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _number(value: int | float) -> float:
    try:
        return 0.0 if math.isnan(value) else float(value)
    except OverflowError:  # an integer beyond the range of floats
        return math.inf if value > 0 else -math.inf


def _json_text(value: object) -> str | None:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, Raw) else None
