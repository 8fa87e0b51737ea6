"""What goes into the store and what comes out of it, as plain values shared by collector, viewer and terminal.

Promises: no I/O and no SQL here. Times are microseconds since the epoch (``…_us``) and None when nobody said.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..records import AnyRecord

DEFAULT_PROJECT = "default"
"""The project of everything that was recorded on this machine, without a collector's key."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record to be stored. ``raw`` is the event as it was received when that is not our own form of the record
    (another dialect, unknown fields); it is kept beside the record and may be left out."""

    record: AnyRecord
    raw: bytes = b""
    project: str = DEFAULT_PROJECT


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one record; it is on disk whichever it says.

    ``new``: not there before. Otherwise it was, and this one changed nothing: with ``conflict`` the known record of
    this event id (or idempotency key) has other content, and the known one stands.
    """

    new: bool
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: bytes of file (None: any), and seconds since a run was last heard of (None: for ever)."""

    max_bytes: int | None = 1 << 30
    max_age_seconds: float | None = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one `Store.prune` removed, and the size of the file in bytes afterwards."""

    runs: int
    events: int
    size_bytes: int


class Tokens(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts; None when unknown. ``cached`` is a part of ``prompt``, ``reasoning`` of ``completion``."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    total: int | None = None

    @property
    def sum(self) -> int | None:
        """The total as reported, or prompt and completion together; None when nothing is known."""
        if self.total is not None:
            return self.total
        if self.prompt is None and self.completion is None:
            return None
        return (self.prompt or 0) + (self.completion or 0)


class Run(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run, folded from its events, without its content. The same in every list.

    ``seq`` is the order of arrival (the paging cursor). ``status`` is one of `records.STATUSES`, None for a thread.
    ``duration_us`` is never negative; ``skewed`` says that the clocks had the end before the start. ``feedback`` is
    the merged feedback object.
    """

    id: str
    project: str
    seq: int
    type: str | None = None
    name: str | None = None
    status: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    customer: str | None = None
    key: str | None = None
    model: str | None = None
    response_id: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None
    service: str | None = None
    runtime: str | None = None
    template_version_id: str | None = None
    sampled: bool = True
    started_us: int | None = None
    ended_us: int | None = None
    first_item_us: int | None = None
    duration_us: int | None = None
    skewed: bool = False
    received_us: int = 0
    tokens: Tokens = Tokens()
    cost: float | None = None
    items: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    tags: list[str] = []
    feedback: dict[str, object] = {}


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a chat run; ``message`` is JSON."""

    time_us: int | None
    message: msgspec.Raw


class Point(msgspec.Struct, frozen=True, omit_defaults=True):
    """A moment inside a run; ``data`` is JSON or None."""

    time_us: int | None
    label: str
    data: msgspec.Raw | None = None


class Content(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a run carries. ``input`` and ``output`` are JSON as the run's owner sent it, None when there is none;
    params, metadata, extra and user_props merge what came with the start and what was set later. ``messages`` are a
    chat's, oldest first. ``error_text`` is the whole message of the error (`Run.error_message` is its beginning).
    ``omitted`` counts events that were left out because the run has too many."""

    input: msgspec.Raw | None = None
    output: msgspec.Raw | None = None
    error_text: str | None = None
    error_stack: str | None = None
    params: dict[str, msgspec.Raw] = {}
    metadata: dict[str, msgspec.Raw] = {}
    extra: dict[str, msgspec.Raw] = {}
    user_props: dict[str, msgspec.Raw] = {}
    messages: list[Message] = []
    points: list[Point] = []
    omitted: int = 0


class RunDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A run and its content."""

    run: Run
    content: Content


class TreeNode(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A run in its tree. ``missing_parent``: its parent has not arrived. ``loop``: its parent is below itself, and
    the tree was cut here. ``hidden_children`` are left out (too many, or other exchanges of the thread).
    ``tokens_repeated`` and ``cost_repeated``: another run of the tree counts those of this response."""

    run: Run
    content: Content | None = None
    children: list[TreeNode] = []
    missing_parent: bool = False
    loop: bool = False
    hidden_children: int = 0
    tokens_repeated: bool = False
    cost_repeated: bool = False


class Tree(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The whole of what one run belongs to: usually one root; more when parents have not arrived. ``asked`` is the
    id that was looked for."""

    asked: str
    roots: list[TreeNode]
    size: int = 0
    truncated: bool = False


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs; every condition that is not None must hold. ``text`` is searched in names, inputs, outputs and
    errors. ``since_us``/``until_us`` bound the start, ``min_…`` and ``max_…`` duration and cost (US dollars) of the run
    itself. ``top`` keeps what a trace begins with: runs without a parent, with one that has not arrived, or under a
    thread; and no threads."""

    type: str | None = None
    types: tuple[str, ...] | None = None
    status: str | None = None
    name: str | None = None
    user_id: str | None = None
    thread_id: str | None = None
    customer: str | None = None
    model: str | None = None
    parent_id: str | None = None
    key: str | None = None
    tag: str | None = None
    thumb: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    min_duration_us: int | None = None
    max_duration_us: int | None = None
    min_cost: float | None = None
    text: str | None = None
    top: bool = False


class Page(msgspec.Struct, kw_only=True):
    """Some runs, and the cursor after the last of them (None: there are no more). ``looked_to_us`` is there when only
    runs that arrived since then were looked at (received time)."""

    runs: list[Run]
    next: int | None = None
    looked_to_us: int | None = None


class FeedbackEntry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One feedback event as it was given, by run id or by key."""

    event_id: str
    run_id: str | None = None
    key: str | None = None
    time_us: int | None = None
    received_us: int = 0
    overwrite: bool = False
    feedback: dict[str, object] = {}


class UsageRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One action or outcome. ``seq`` is the cursor for the page after it."""

    seq: int
    kind: str
    name: str
    idempotency_key: str
    customer: str | None = None
    value: float = 1
    time_us: int | None = None
    received_us: int = 0
    run_id: str | None = None
    root_id: str | None = None
    user_id: str | None = None
    metered: str | None = None
    properties: msgspec.Raw | None = None
    labels: msgspec.Raw | None = None


class UsageSum(msgspec.Struct, kw_only=True):
    """Actions or outcomes of one name, customer and day (UTC, ``YYYY-MM-DD``): how many and what they add up to."""

    kind: str
    name: str
    customer: str | None
    day: str | None
    count: int
    value: float


class OutcomeCost(msgspec.Struct, kw_only=True):
    """What outcomes of one name cost: ``cost`` is in US dollars, that of their traces' model calls, shared by the
    outcomes of a trace; None where no price is known. ``count`` is of those outcomes."""

    name: str
    count: int
    cost: float | None


class ModelSum(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the runs of one type (llm or embed) and model used together. ``cost`` is in US dollars."""

    type: str
    model: str | None = None
    count: int = 0
    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    cost: float | None = None


class Count(msgspec.Struct, kw_only=True):
    """How many runs there are of one type and status."""

    type: str | None
    status: str | None
    count: int


class RawEvent(msgspec.Struct, kw_only=True):
    """One event of a run as it was received."""

    kind: str
    received_us: int
    raw: bytes


class Loss(msgspec.Struct, kw_only=True):
    """What clients said they lost: total by destination, process and reason."""

    destination: str
    process: str | None
    reason: str
    count: int
    last_us: int | None


class Stats(msgspec.Struct, kw_only=True):
    """The store's own state. ``search_lag`` is the number of runs not yet in the index; ``search`` says how text is
    searched ("fts5" or "scan"); ``quarantined`` are the corrupt files that were set aside beside this store."""

    path: str
    schema_version: int
    size_bytes: int
    wal_bytes: int
    runs: int
    events: int
    feedback: int
    usage_events: int
    search: str
    search_lag: int
    quarantined: list[str]
