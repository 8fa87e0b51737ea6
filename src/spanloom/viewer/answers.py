"""What the pages are told, as JSON: values of the store as they are, with what a page needs beside them.

Promises: recorded content passes as the JSON that it is; lists carry one line of it (`glance`), never all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ..store import Reader, Run, RunDetail, RunFilter, figures, hours, views
from . import asking, glance

MOST_TREE_RUNS = 20_000
_LOOK_SECONDS = 0.15  # for one page of a list; the next one goes on from there
_AMONG_RUNS = 200_000  # are sorted: about 0.1 s
_AMONG_TRACES = 2000
_DAY_US = 86_400_000_000
_MOST_SLOTS = 400


def projects(reader: Reader, project: str, choose: bool) -> dict[str, Any]:
    """The project that is shown, and those that may be chosen instead."""
    return {"shown": project, "projects": reader.projects() if choose else []}


def runs(reader: Reader, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """A page of the list: ``{"runs", "next", "offset"}``."""
    order = asking.order(query)
    offset = asking.number(query, "offset") or 0
    limit = asking.limit(query)
    wanted = asking.run_filter(query)
    if order in ("tokens", "cost") and wanted.top:
        return _sorted_traces(reader, wanted, "tokens" if order == "tokens" else "cost", offset, limit, project)
    page = reader.runs(
        wanted, limit=limit, after=asking.number(query, "after"), order=order,
        offset=0 if order == "received" else offset, project=project, look_seconds=_LOOK_SECONDS,
        among=None if order == "started" else _AMONG_RUNS,
    )  # fmt: skip
    more = page.next if order == "received" else None
    further = offset + limit if order != "received" and page.next is not None else None
    bounds: dict[str, Any] = {}
    if page.looked_to_us is not None:
        bounds = {"looked_to_us": page.looked_to_us}
        if order != "received":
            bounds["among"], bounds["of"] = _AMONG_RUNS, "runs"
    return {"runs": rows(reader, page.runs, project), "next": more, "offset": further, "now_us": now_us(), **bounds}


def _sorted_traces(
    reader: Reader, wanted: RunFilter, by: Literal["tokens", "cost"], offset: int, limit: int, project: str
) -> dict[str, Any]:
    """Traces by what they add up to, which no index knows: among the newest of those that are wanted."""
    page = reader.runs(wanted, limit=_AMONG_TRACES, project=project, look_seconds=_LOOK_SECONDS)
    sums = views.trace_sums(reader, [run.root_id or run.id for run in page.runs], project=project)

    def added_up(run: Run) -> float:
        found = sums.get(run.root_id or run.id)
        return (getattr(found, by) if found is not None else getattr(run, by, None)) or 0

    ordered = sorted(page.runs, key=added_up, reverse=True)
    further = offset + limit if offset + limit < len(ordered) else None
    bounds = {"among": len(page.runs), "of": "traces"} if page.next is not None else {}
    shown = rows(reader, ordered[offset : offset + limit], project)
    return {"runs": shown, "next": None, "offset": further, "now_us": now_us(), **bounds}


def rows(reader: Reader, found: list[Run], project: str) -> list[dict[str, Any]]:
    """Runs with a line of what they were asked and answered, and what their traces add up to."""
    tops = views.tops(reader, found, project=project)
    sums = views.trace_sums(reader, [run.root_id or run.id for run in found if run.id in tops], project=project)
    answers = []
    for detail in reader.details(found):
        asked, answered = glance.asked_and_answered(detail.content)
        run = detail.run
        trace = sums.get(run.root_id or run.id) if run.id in tops else None
        answers.append({"run": run, "asked": asked, "answered": answered, "trace": trace})
    return answers


def trace(reader: Reader, run_id: str, query: Mapping[str, str], project: str) -> dict[str, Any] | None:
    """A whole trace without content; ``whole=1`` shows a thread with all its exchanges."""
    tree = reader.tree(
        run_id, content=False, whole_thread=bool(query.get("whole")), max_runs=MOST_TREE_RUNS, project=project
    )
    return {"tree": tree, "now_us": now_us()} if tree.roots else None


def run(reader: Reader, run_id: str, query: Mapping[str, str], project: str) -> dict[str, Any] | None:
    """One run with its content and every feedback event."""
    detail = reader.run(run_id, project=project)
    if detail is None:
        return None
    return {**_detail(detail), "given": reader.feedback(run_id, project=project)}


def events(reader: Reader, run_id: str, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """A run's events as they were received. ``json`` is the event; ``text`` stands instead when it is not JSON."""
    found = []
    for event in reader.events(run_id, limit=500, project=project):
        entry: dict[str, Any] = {"kind": event.kind, "received_us": event.received_us}
        try:
            msgspec.json.decode(event.raw)
            entry["json"] = msgspec.Raw(event.raw)
        except (msgspec.DecodeError, RecursionError):
            entry["text"] = event.raw.decode("utf-8", "replace")
        found.append(entry)
    return {"events": found}


def threads(reader: Reader, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """Conversations, the one that was spoken in last first."""
    limit = asking.limit(query, 30)
    found = views.threads(reader, before=asking.number(query, "before"), limit=limit + 1, project=project)
    answers = []
    for thread in found[:limit]:
        wanted = RunFilter(thread_id=thread.id, top=True)
        newest = reader.runs(wanted, limit=1, project=project).runs
        exchanges = len(reader.runs(wanted, limit=1000, project=project).runs)
        row = rows(reader, newest, project)
        answers.append({"id": thread.id, "runs": thread.runs, "exchanges": exchanges, "last": row[0] if row else None})
    return {"threads": answers, "next": found[limit - 1].newest if len(found) > limit else None, "now_us": now_us()}


def thread(reader: Reader, thread_id: str, query: Mapping[str, str], project: str) -> dict[str, Any] | None:
    """One conversation, oldest exchange first, each with its messages and what its trace adds up to."""
    page = reader.runs(
        RunFilter(thread_id=thread_id, top=True), limit=asking.limit(query, 100), descending=False,
        after=asking.number(query, "after"), project=project,
    )  # fmt: skip
    if not page.runs:
        return None
    sums = views.trace_sums(reader, [run.root_id or run.id for run in page.runs], project=project)
    exchanges = [
        {**_detail(detail), "trace": sums.get(detail.run.root_id or detail.run.id)}
        for detail in reader.details(page.runs)
    ]
    return {"id": thread_id, "exchanges": exchanges, "next": page.next, "now_us": now_us()}


def feedback(reader: Reader, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """Feedback in the reverse order of its arrival."""
    limit = asking.limit(query)
    given = views.newest_feedback(reader, before=asking.number(query, "before"), limit=limit + 1, project=project)
    answers = []
    for item in given[:limit]:
        row = rows(reader, [item.run], project)[0] if item.run is not None else None
        answers.append({"seq": item.seq, "entry": item.entry, "row": row})
    return {"feedback": answers, "next": given[limit - 1].seq if len(given) > limit else None, "now_us": now_us()}


def usage(reader: Reader, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """Figures over time and by one property, and what was counted: for the charts."""
    until_us = asking.number(query, "until_us") or now_us()
    since_us = asking.number(query, "since_us") or until_us - 7 * _DAY_US
    if since_us >= until_us:
        raise asking.BadQuestion("since_us is not before until_us: give an earlier one")
    width_us = max(asking.number(query, "width_us") or 0, (until_us - since_us) // _MOST_SLOTS, 1_000_000)
    if until_us - since_us > 12 * hours.HOUR_US:  # by whole hours, which are summed up already
        since_us -= since_us % hours.HOUR_US
        width_us = -(-width_us // hours.HOUR_US) * hours.HOUR_US
    by = asking.one_of(query, "by", tuple(hours.GROUPS), "model")
    kind = query.get("type") or None
    span = {"since_us": since_us, "until_us": until_us}
    return {
        **span,
        "width_us": width_us,
        "by": by,
        "series": figures.series(reader, **span, width_us=width_us, type=kind, project=project),
        "groups": figures.groups(reader, by, **span, type=kind, limit=200, project=project),
        "usage": views.usage_series(reader, **span, width_us=width_us, project=project),
    }


def delivery(reader: Reader, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """What clients reported lost."""
    return {"losses": reader.losses(project=project), "now_us": now_us()}


def health(reader: Reader, query: Mapping[str, str], project: str) -> dict[str, Any]:
    """The store's own state."""
    return {"stats": reader.stats(), "counts": reader.counts(project=project), "now_us": now_us()}


def now_us() -> int:
    """The server's clock, so that pages say how long ago things were without trusting their own."""
    return time.time_ns() // 1000


def _detail(detail: RunDetail) -> dict[str, Any]:
    return {"run": detail.run, "content": detail.content}
