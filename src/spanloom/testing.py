"""For users' own tests: what a piece of code recorded, kept in memory, sent nowhere.

    with spanloom.testing.capture() as runs:
        answer("hi")
    assert runs.one("agent", "answer").child("tool", "search").output == [...]

Promises: nothing touches disk or network while capturing; values have gone through the real encoder, with redaction and
limits, so a test sees what an endpoint would get. Runs are merged by the store's own rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from .clock import Clock, Ids, iso
from .errors import UsageError
from .pipeline import recorders
from .recording import recorder as recording
from .records import Action, AnyRecord, Feedback, Outcome, decode
from .settings import Settings, with_arguments
from .store.apply import feedback_event
from .store.merge import Claims, claims_of, event_time_us, join, merge_feedback

_FIRST_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z, where a deterministic clock begins
_TICK_NS = 1_000_000


@contextmanager
def capture(*, deterministic: bool = False, **settings: Any) -> Iterator[CapturedRuns]:
    """Record in memory for the time of the block; yields what was recorded.

    ``deterministic``: ids come from a fixed seed, and the clock begins at 2026-01-01 and advances one millisecond at
    each reading. ``settings`` are those of `spanloom.configure` (``redact``, ``capture_content``, ``sample``, …); the
    environment is not read. Raises UsageError for a wrong setting.
    """
    chosen = with_arguments(Settings(), settings)
    if chosen.problems:
        raise UsageError("; ".join(chosen.problems))
    runs = CapturedRuns()
    if deterministic:
        made = recorders.make(chosen, runs, clock=_SteppingClock(), ids=Ids(seed=1))
    else:
        made = recorders.make(chosen, runs)
    before = recording.install(made)
    try:
        yield runs
    finally:
        if recording.current() is made:
            recording.install(before)


class _SteppingClock(Clock):
    """A clock that moves by one millisecond whenever someone looks."""

    __slots__ = ("_now_ns",)

    def __init__(self) -> None:
        self.offset_ns = 0
        self._now_ns = _FIRST_NS

    def monotonic_ns(self) -> int:
        self._now_ns += _TICK_NS
        return self._now_ns

    now_ns = monotonic_ns
    root_now_ns = monotonic_ns


class CapturedRun:
    """One run as it was recorded. JSON values are decoded: an input that was a tuple is a list.

    ``input``, ``output``: what was captured, or None. ``status``: running, ok, error, cancelled, abandoned.
    ``error``: None or a dict with ``message``, ``type``, ``stack``. ``usage``: token counts by the names of `Run.set`.
    ``tags``, ``metadata``, ``params``, ``extra``, ``user_props``, ``feedback``; ``user``, ``thread``, ``customer``,
    ``key``, ``model``, ``cost``, ``response_id``; ``events``: (label, data) pairs; ``messages`` of a chat;
    ``duration_seconds``: None while it runs; ``parent``: a CapturedRun, or None; ``children`` in order of their start.
    """

    def __init__(self, run_id: str, claims: Claims, feedback: dict[str, Any]) -> None:
        def value(field: str) -> Any:
            claim = claims.get(field)
            return _plain(claim[2]) if claim else None

        self.id = run_id
        self.type: str | None = value("type")
        self.name: str | None = value("name")
        self.status: str = value("status") or "running"
        self.parent_id: str | None = value("parent_id")
        self.root_id: str | None = value("root_id")
        self.input: Any = value("input")
        self.output: Any = value("output")
        self.error = _error(value)
        self.usage = {ours: value(field) for ours, field in _USAGE.items() if value(field) is not None}
        self.tags = sorted(field[5:] for field in claims if field.startswith("tags."))
        self.metadata = _parts(claims, "metadata")
        self.params = _parts(claims, "params")
        self.extra = _parts(claims, "extra")
        self.user_props = _parts(claims, "user_props")
        self.user: str | None = value("user_id")
        self.thread: str | None = value("thread_id")
        self.customer: str | None = value("customer")
        self.key: str | None = value("user_key")
        self.model: str | None = value("model")
        self.cost: float | None = value("cost")
        self.response_id: str | None = value("response_id")
        self.sampled: bool = value("sampled") is not False
        self.feedback = feedback
        self.events = [(said[0], _plain(said[1])) for said in _in_order(claims, "points")]
        self.messages = [_plain(message) for message in _in_order(claims, "messages")]
        self.parent: CapturedRun | None = None
        self.children: list[CapturedRun] = []
        started, ended = value("started_us"), value("ended_us")
        self.started_at = iso(started * 1000) if started is not None else None
        self.duration_seconds = (ended - started) / 1e6 if started is not None and ended is not None else None

    def child(self, type: str | None = None, name: str | None = None) -> CapturedRun:
        """The one child of this type and name; raises AssertionError when there is none, or more than one."""
        return _only(_matching(self.children, type, name), type, name, f"child of {self}", self.tree())

    def descendants(self) -> list[CapturedRun]:
        """Everything below, depth first."""
        found: list[CapturedRun] = []
        stack = list(reversed(self.children))
        while stack:
            run = stack.pop()
            found.append(run)
            stack.extend(reversed(run.children))
        return found

    def tree(self) -> str:
        """This run and everything below it, one indented line each."""
        lines, stack = [], [(0, self)]
        while stack:
            depth, run = stack.pop()
            lines.append("  " * depth + str(run))
            stack.extend((depth + 1, child) for child in reversed(run.children))
        return "\n".join(lines)

    def __repr__(self) -> str:
        error = f" {self.error['type']}: {self.error['message']}" if self.error else ""
        return f"{self.type} {self.name} [{self.status}]{error}"


class CapturedRuns:
    """Everything recorded in a `capture` block, readable while it goes on; iterates over runs in order of their start.

    ``actions`` and ``outcomes``: the usage events, as `records.Action` and `records.Outcome`. ``rejected``: what could
    not be recorded, by reason.
    """

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.rejected: dict[str, int] = {}

    def append(self, payload: bytes, /) -> None:
        """Take one record (this is a sink)."""
        self.payloads.append(payload)

    def reject(self, reason: str, /) -> None:
        """Count one that was not made."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    @property
    def records(self) -> list[AnyRecord]:
        """The records as they were made, in order."""
        return [decode(payload) for payload in self.payloads]

    @property
    def actions(self) -> list[Action]:
        """What was counted."""
        return [record for record in self.records if isinstance(record, Action)]

    @property
    def outcomes(self) -> list[Outcome]:
        """What was reached."""
        return [record for record in self.records if isinstance(record, Outcome)]

    @property
    def roots(self) -> list[CapturedRun]:
        """The runs without a parent in this block."""
        return [run for run in self.all() if run.parent is None]

    def all(self, type: str | None = None, name: str | None = None) -> list[CapturedRun]:
        """The runs of this type and name (None: any), in order of their start."""
        return _matching(_folded(self.records), type, name)

    def one(self, type: str | None = None, name: str | None = None) -> CapturedRun:
        """The one run of this type and name; raises AssertionError when there is none, or more than one."""
        return _only(self.all(type, name), type, name, "run", str(self))

    def __iter__(self) -> Iterator[CapturedRun]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self.all())

    def __str__(self) -> str:
        return "\n".join(run.tree() for run in self.roots) or "(no runs)"


_USAGE = {
    "input": "prompt_tokens",
    "output": "completion_tokens",
    "cached_input": "cached_tokens",
    "reasoning": "reasoning_tokens",
    "total": "total_tokens",
}


def _folded(records: list[AnyRecord]) -> list[CapturedRun]:
    claims: dict[str, Claims] = {}
    said: dict[str, list[Feedback]] = {}
    for record in records:
        for run_id, claim in claims_of(record, content=True):
            join(claims.setdefault(run_id, {}), claim)
        if isinstance(record, Feedback):
            said.setdefault(record.run_id or f"key {record.key}", []).append(record)
    runs = {}
    for run_id, claim in claims.items():
        key = claim.get("user_key")
        given = said.get(run_id, []) + (said.get(f"key {key[2]}", []) if key else [])
        runs[run_id] = CapturedRun(run_id, claim, merge_feedback(map(_feedback_event, given)))
    for run in runs.values():
        run.parent = runs.get(run.parent_id or "")
        if run.parent is not None:
            run.parent.children.append(run)
    return list(runs.values())


def _feedback_event(record: Feedback) -> Any:
    body = bytes(record.feedback) if isinstance(record.feedback, msgspec.Raw) else b"{}"
    return feedback_event(event_time_us(record.timestamp), int(record.overwrite), body.decode())


def _matching(runs: list[CapturedRun], type: str | None, name: str | None) -> list[CapturedRun]:
    return [run for run in runs if type in (None, run.type) and name in (None, run.name)]


def _only(found: list[CapturedRun], type: str | None, name: str | None, what: str, tree: str) -> CapturedRun:
    if len(found) == 1:
        return found[0]
    wanted = " ".join(word for word in (type, repr(name) if name else None) if word) or "any"
    raise AssertionError(f"expected one {what} ({wanted}), found {len(found)}; recorded were:\n{tree}")


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _parts(claims: Claims, field: str) -> dict[str, Any]:
    start = len(field) + 1
    return {name[start:]: _plain(claim[2]) for name, claim in claims.items() if name.startswith(f"{field}.")}


def _in_order(claims: Claims, field: str) -> list[Any]:
    found = sorted((claim[1], name, claim[2]) for name, claim in claims.items() if name.startswith(f"{field}."))
    return [said for _, _, said in found]


def _error(value: Any) -> dict[str, Any] | None:
    message = value("error_text") or value("error_message")
    if message is None and value("error_type") is None:
        return None
    return {"message": message, "type": value("error_type"), "stack": value("error_stack")}
