"""Everything that is asked of a store, as typed questions.

Promises: values of `values`, never rows; every question names one project and sees nothing of the others; text that
users type is only ever a parameter. Raises StoreError ("missing", "timeout", "busy", "corrupt", "newer_schema").
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Literal

import msgspec

from . import search, sql, trees
from .apply import feedback_event
from .columns import run_of
from .connection import MIGRATIONS, quarantined
from .contents import content_of
from .listing import Lister
from .merge import clean, merge_feedback
from .reading import Connections
from .sums import mark_repeats
from .values import (
    DEFAULT_PROJECT,
    Count,
    FeedbackEntry,
    Loss,
    ModelSum,
    OutcomeCost,
    Page,
    RawEvent,
    Run,
    RunDetail,
    RunFilter,
    Stats,
    Tree,
    UsageRow,
    UsageSum,
)

Order = Literal["received", "started", "duration", "tokens", "cost"]
_Q = sql.queries("reading.sql")
_MOST = 10_000


class Reader:
    """A store that can be read, from any thread. ``deadline_seconds`` bounds each question.

    The file need not be there yet: questions raise StoreError ("missing") until it is.
    """

    def __init__(self, path: str | os.PathLike[str], *, deadline_seconds: float = 2.0) -> None:
        self.path = Path(path).expanduser().absolute()
        self._connections = Connections(self.path, deadline_seconds)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def runs(
        self,
        filter: RunFilter | None = None,
        *,
        limit: int = 50,
        after: int | None = None,
        offset: int = 0,
        order: Order = "received",
        descending: bool = True,
        project: str = DEFAULT_PROJECT,
        look_seconds: float | None = None,
        among: int | None = None,
    ) -> Page:
        """Runs, newest first unless said otherwise. ``after`` is the `Page.next` of the page before (for the order
        "received", where pages stay put while runs come in); other orders page by ``offset``.

        ``look_seconds``: newest first, look no longer than about this; a page that ends for it has `Page.looked_to_us`,
        and ``next`` goes on from there. ``among``: other orders sort only what is among the newest so many runs, in
        order of arrival from the newest that is wanted on.
        """
        limit = max(1, min(limit, _MOST))
        with self._connections.snapshot() as connection:
            project_id = _project_id(connection, project)
            if project_id is None:
                return Page(runs=[])
            ask = Lister(connection, filter or RunFilter(), project_id, limit + 1)
            looked_to = None
            if order == "received" and descending and look_seconds is not None:
                rows, looked_to = ask.newest(after, look_seconds)
            elif order != "received" and among is not None:
                rows, looked_to = ask.sorted_among(order, descending, max(0, offset), among)
            else:
                rows = ask.rows(order=order, descending=descending, after=after, offset=max(0, offset))
            looked_to_us = None if looked_to is None else ask.arrival_us(looked_to)
        runs = [run_of(row, project) for row in rows[:limit]]
        more = runs[-1].seq if len(rows) > limit else looked_to if order == "received" else None
        return Page(runs=runs, next=more, looked_to_us=looked_to_us)

    def run(self, run_id: str, *, project: str = DEFAULT_PROJECT) -> RunDetail | None:
        """One run with its content; None when there is none of this id."""
        with self._connections.snapshot() as connection:
            row = _run_row(connection, run_id, project)
            if row is None:
                return None
            return RunDetail(run=run_of(row, project), content=content_of(connection, row["seq"]))

    def details(self, runs: list[Run]) -> list[RunDetail]:
        """The same runs with their content."""
        with self._connections.snapshot() as connection:
            return [RunDetail(run=run, content=content_of(connection, run.seq)) for run in runs]

    def events(self, run_id: str, *, limit: int = 1000, project: str = DEFAULT_PROJECT) -> list[RawEvent]:
        """The events of a run as they were received, in order of arrival."""
        with self._connections.snapshot() as connection:
            row = _run_row(connection, run_id, project)
            found = connection.execute(_Q["raw_events"], (row["seq"], limit)).fetchall() if row else []
        return [RawEvent(kind=item["kind"], received_us=item["received_us"], raw=item["raw"]) for item in found]

    def find(self, text: str, *, limit: int = 10, project: str = DEFAULT_PROJECT) -> list[str]:
        """The ids that this may stand for: the id itself, or all that begin or end with it.

        Ids made by Spanloom begin with their time, so that it is the end that tells them apart.
        """
        text = clean(text)
        if not text:
            return []
        with self._connections.snapshot() as connection:
            if _run_row(connection, text, project) is not None:
                return [text]
            project_id = _project_id(connection, project)
            found: dict[str, None] = {}
            for wanted in dict.fromkeys((text, text.lower())):
                beyond = wanted[:-1] + chr(min(ord(wanted[-1]) + 1, 0x10FFFF))
                ranges = connection.execute(_Q["ids_by_prefix"], (project_id, wanted, beyond, limit))
                found |= {row["run_id"]: None for row in ranges}
                endings = connection.execute(_Q["ids_by_suffix"], (project_id, -len(wanted), wanted, limit))
                found |= {row["run_id"]: None for row in endings}
        return list(found)[:limit]

    def latest(self, *, project: str = DEFAULT_PROJECT) -> str | None:
        """The id of what the newest trace begins with."""
        page = self.runs(RunFilter(top=True), limit=1, project=project)
        return page.runs[0].id if page.runs else None

    def tree(
        self,
        run_id: str,
        *,
        content: bool = True,
        whole_thread: bool = True,
        max_runs: int = 2000,
        project: str = DEFAULT_PROJECT,
    ) -> Tree:
        """All that this run belongs to, from the top; no roots when there is no such run.

        ``whole_thread=False`` shows, of a thread, only the exchange that was asked for.
        """
        with self._connections.snapshot() as connection:
            project_id = _project_id(connection, project)
            if project_id is None:
                return Tree(asked=run_id, roots=[])
            planter = trees.Planter(connection, project_id, project, max_runs=max_runs, whole_thread=whole_thread)
            tree = planter.plant(run_id)
            mark_repeats(tree.roots)
            if content:
                for node in trees.walk(tree.roots):
                    node.content = content_of(connection, node.run.seq)
            return tree

    def related(self, run_id: str, *, max_runs: int = 2000, project: str = DEFAULT_PROJECT) -> list[Run]:
        """This run and all below it, parents before children."""
        with self._connections.snapshot() as connection:
            values = {"project": _project_id(connection, project), "top": clean(run_id), "most": max_runs}
            return [run_of(row, project) for row in connection.execute(_Q["below"], values)]

    def feedback(self, run_id: str, *, project: str = DEFAULT_PROJECT) -> list[FeedbackEntry]:
        """Every feedback event for this run, by its id or its key, in order of arrival. `Run.feedback` merges them."""
        with self._connections.snapshot() as connection:
            row = _run_row(connection, run_id, project)
            values = {"project": _project_id(connection, project), "run_id": clean(run_id), "most": _MOST,
                      "user_key": row["user_key"] if row else None}  # fmt: skip
            return [_feedback_entry(found) for found in connection.execute(_Q["feedback_events"], values)]

    def usage_events(
        self,
        *,
        kind: Literal["action", "outcome"] | None = None,
        name: str | None = None,
        customer: str | None = None,
        run_id: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        before: int | None = None,
        limit: int = 100,
        project: str = DEFAULT_PROJECT,
    ) -> list[UsageRow]:
        """Actions and outcomes, newest first."""
        with self._connections.snapshot() as connection:
            values = {"project": _project_id(connection, project), "kind": kind, "name": name, "customer": customer,
                      "run_id": run_id, "since_us": since_us, "until_us": until_us, "most": max(1, min(limit, _MOST)),
                      "before": (1 << 62) if before is None else before}  # fmt: skip
            return [_usage_row(row) for row in connection.execute(_Q["usage_events"], _cleaned(values))]

    def usage_sums(
        self,
        *,
        customer: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        project: str = DEFAULT_PROJECT,
    ) -> list[UsageSum]:
        """Actions and outcomes summed by name, customer and day, newest day first."""
        with self._connections.snapshot() as connection:
            values = {"project": _project_id(connection, project), "customer": customer, "since_us": since_us,
                      "until_us": until_us, "most": _MOST}  # fmt: skip
            return [UsageSum(**dict(row)) for row in connection.execute(_Q["usage_sums"], _cleaned(values))]

    def outcome_costs(
        self,
        *,
        customer: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        project: str = DEFAULT_PROJECT,
    ) -> list[OutcomeCost]:
        """What outcomes cost, by name."""
        with self._connections.snapshot() as connection:
            values = {"project": _project_id(connection, project), "customer": customer, "since_us": since_us,
                      "until_us": until_us, "most": _MOST}  # fmt: skip
            return [OutcomeCost(**dict(row)) for row in connection.execute(_Q["outcome_costs"], _cleaned(values))]

    def model_sums(
        self, *, since_us: int | None = None, until_us: int | None = None, project: str = DEFAULT_PROJECT
    ) -> list[ModelSum]:
        """Tokens and cost of llm and embed runs by model, the most used first."""
        with self._connections.snapshot() as connection:
            values = {"project": _project_id(connection, project), "since_us": since_us, "until_us": until_us,
                      "most": _MOST}  # fmt: skip
            return [ModelSum(**dict(row)) for row in connection.execute(_Q["token_sums"], values)]

    def counts(self, *, project: str = DEFAULT_PROJECT) -> list[Count]:
        """How many runs there are by type and status."""
        with self._connections.snapshot() as connection:
            rows = connection.execute(_Q["counts_by_type"], (_project_id(connection, project),)).fetchall()
        return [Count(**dict(row)) for row in rows]

    def losses(self, *, project: str = DEFAULT_PROJECT) -> list[Loss]:
        """What clients reported lost, by destination, process and reason."""
        with self._connections.snapshot() as connection:
            rows = connection.execute(_Q["losses"], (_project_id(connection, project),)).fetchall()
        return [Loss(**dict(row)) for row in rows]

    def projects(self) -> list[str]:
        """The names of all projects; for the owner of the file."""
        with self._connections.snapshot() as connection:
            return [row["name"] for row in connection.execute(_Q["projects"])]

    def stats(self) -> Stats:
        """The store's own state; for the owner of the file."""
        with self._connections.snapshot() as connection:
            row = connection.execute(_Q["size"]).fetchone()
            searchable = search.available(connection)
        return Stats(
            path=str(self.path), schema_version=len(MIGRATIONS), size_bytes=_size_bytes(self.path),
            wal_bytes=_size_bytes(self.path.with_name(self.path.name + "-wal")), runs=row["runs"],
            events=row["events"], feedback=row["feedback"], usage_events=row["usage_events"],
            search="fts5" if searchable else "scan", search_lag=row["lag"] if searchable else 0,
            quarantined=quarantined(self.path),
        )  # fmt: skip


def _project_id(connection: sqlite3.Connection, project: str) -> int | None:
    row = connection.execute(_Q["project_id"], (clean(project),)).fetchone()
    return row["id"] if row else None


def _cleaned(values: dict[str, Any]) -> dict[str, Any]:
    return {name: clean(value) if isinstance(value, str) else value for name, value in values.items()}


def _run_row(connection: sqlite3.Connection, run_id: str, project: str) -> sqlite3.Row | None:
    found: sqlite3.Row | None = connection.execute(
        _Q["run"], (_project_id(connection, project), clean(run_id))
    ).fetchone()
    return found


def _feedback_entry(row: sqlite3.Row) -> FeedbackEntry:
    event = feedback_event(row["time_us"], row["overwrite"], row["body"])
    return FeedbackEntry(
        event_id=row["event_id"], run_id=row["run_id"], key=row["user_key"],
        time_us=row["time_us"] if row["time_us"] < 1 << 62 else None, received_us=row["received_us"],
        overwrite=bool(row["overwrite"]), feedback=merge_feedback([event]),
    )  # fmt: skip


def _usage_row(row: sqlite3.Row) -> UsageRow:
    def raw(text: Any) -> msgspec.Raw | None:
        return None if text is None else msgspec.Raw(text.encode())

    return UsageRow(
        seq=row["seq"], kind=row["kind"], name=row["name"], idempotency_key=row["idempotency_key"],
        customer=row["customer"], value=row["value"], time_us=row["time_us"], received_us=row["received_us"],
        run_id=row["run_id"], root_id=row["root_id"], user_id=row["user_id"], metered=row["metered"],
        properties=raw(row["properties"]), labels=raw(row["labels"]),
    )  # fmt: skip


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
