"""When two spans are one model call, seen by two layers (a framework and an instrumentor of the client below it).

Theory of operation. The inner layer's span ends first. Its start and its usage are recorded at once, at the place in
the tree that the outer one has; its end is held back until the outer one ends and says whether it was the same call.
Then the end is recorded, with what only the outer layer knew, and the outer one is no run. If it was another call, or
more than one call was made inside, both are runs; the outer one is then a chain, and its token counts are in its
metadata, because the calls inside it have been counted.

Promises: never two counts of one call; nothing that either layer said is lost. A process killed between the two ends
leaves a run with its tokens and the status ``killed``. Must never: wait longer than `HELD_SECONDS` for the outer layer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, Raw

from ..records import AnyRecord, Content, RunEnd, RunPoint, RunStart, RunUpdate, TokenUsage

HELD_SECONDS = 30.0
"""How long an inner layer's end waits for the outer one's, looked at whenever a span ends."""

REPEATED = "otel.usage_repeated"
"""The metadata that holds the token counts of a layer whose call another run has counted."""

OUTER = "otel.outer"
"""The metadata that names the layer around a call that both report, in a run that is both."""

_RECENT = 64
_REPORTED = ("tokens_usage", "model", "response_id", "cost", "output", "first_item_at", "error", "user_id", "thread_id")


@dataclass(slots=True)
class Held:
    """An inner layer's end that waits for the outer one's, and the start that was recorded with it."""

    start: RunStart
    end: RunEnd
    since_seconds: float

    def now(self) -> list[AnyRecord]:
        """What is recorded of it at once: its start, and its usage."""
        end = self.end
        update = RunUpdate(
            event_id=f"{end.run_id}.u1", timestamp=end.timestamp, tokens_usage=end.tokens_usage, model=end.model,
            cost=end.cost, response_id=end.response_id,
            **{name: getattr(end, name) for name in _who(end)},
        )  # fmt: skip
        return [self.start, update]


def _who(end: RunEnd) -> tuple[str, ...]:
    kept = ("run_id", "type", "name", "parent_run_id", "root_run_id", "user_id", "thread_id", "customer", "key",
            "trace_id", "parent_span_id", "service", "runtime", "sampled")  # fmt: skip
    return tuple(name for name in kept if getattr(end, name) is not None)


def same_call(outer: RunEnd, inner: RunEnd) -> bool:
    """Whether two layers, the inner one the only model call within the outer one, speak of one call: they ended alike,
    and have the same response id; or, where one of them knows none, the same tokens and model as far as both know."""
    if outer.type != inner.type or (outer.status == "ok") != (inner.status == "ok"):
        return False
    if outer.response_id and inner.response_id:
        return outer.response_id == inner.response_id
    if not _same_model(outer.model or outer.name, inner.model or inner.name):
        return inner.status != "ok" and inner.model is None  # a call that failed may not know its model
    if outer.tokens_usage is None or inner.tokens_usage is None:
        return True
    return _tokens(outer.tokens_usage) == _tokens(inner.tokens_usage)


def merged(held: Held, start: RunStart, end: RunEnd, points: list[AnyRecord]) -> list[AnyRecord]:
    """The end of the one run, and the moments that the outer layer saw: what the inner one said stands, and what only
    the outer one said (``start``, ``end``, ``points``) is added."""
    inner = held.end
    added: dict[str, Any] = {}
    for name in _REPORTED:
        if getattr(inner, name) in (None, UNSET) and getattr(end, name) not in (None, UNSET):
            added[name] = getattr(end, name)
    for name in ("params", "metadata"):
        known = _object(getattr(inner, name))
        more = {**_more(getattr(start, name), getattr(held.start, name)), **known}
        if name == "metadata":
            layer = {key: value for key, value in _object(start.metadata).items() if key.startswith("otel.s")}
            more = {key: value for key, value in more.items() if key not in layer or key in known}
            more[OUTER] = _around(known.get(OUTER), {"name": start.name, **layer})
        if name == "metadata" and held.start.input is UNSET and start.input is not UNSET:
            more.setdefault("input", orjson.loads(bytes(start.input)))
        if more:
            added[name] = Raw(orjson.dumps(more))
    if start.tags and start.tags != held.start.tags:
        added["tags"] = start.tags
    moved = [
        msgspec.structs.replace(point, run_id=inner.run_id, parent_run_id=inner.parent_run_id)
        for point in points
        if isinstance(point, RunPoint)
    ]
    return [*moved, msgspec.structs.replace(inner, **added)]


def _around(layer: Any, outer: dict[str, Any]) -> dict[str, Any]:
    """A layer with the one around it, which it names in turn."""
    return {**layer, OUTER: _around(layer.get(OUTER), outer)} if isinstance(layer, dict) else outer


def repeats(outer: RunEnd, inside: Collection[tuple[str | None, str | None]]) -> bool:
    """Whether a layer's tokens are those of calls inside it, each given by its type and response id: not when its
    response is known to be another one."""
    ids = {response_id for kind, response_id in inside if kind == outer.type}
    return bool(ids) and (outer.response_id is None or None in ids or outer.response_id in ids)


def without_usage(records: list[Any]) -> list[Any]:
    """A layer whose calls were counted by themselves: a chain, with its own counts as metadata only."""
    start, *points, end = records
    if end.tokens_usage is None:
        return records
    counts = {name: getattr(end.tokens_usage, name) for name in TokenUsage.__struct_fields__}
    told = {
        name: count
        for name, count in {**counts, "cost": end.cost, "response_id": end.response_id}.items()
        if count is not None
    }
    metadata = Raw(orjson.dumps({**_object(start.metadata), REPEATED: told}))
    changed = msgspec.structs.replace
    return [
        changed(start, type="chain", metadata=metadata),
        *(changed(point, type="chain") for point in points),
        changed(end, type="chain", tokens_usage=None, cost=None, response_id=None),
    ]


class Counted:
    """The model calls that were counted lately, so that a layer that is found to repeat one is not counted again."""

    def __init__(self) -> None:
        self._calls: deque[tuple[int, int, str, RunEnd, set[str]]] = deque(maxlen=_RECENT)

    def add(self, start_ns: int, end_ns: int, scope: str, end: RunEnd) -> None:
        """Remember a call that was recorded with its tokens; none of its content is kept."""
        if end.tokens_usage is not None:
            bare = msgspec.structs.replace(end, output=UNSET, params=UNSET, metadata=UNSET, extra=UNSET, error=None)
            self._calls.append((start_ns, end_ns, scope, bare, {scope}))

    def has(self, start_ns: int, end_ns: int, scope: str, end: RunEnd) -> bool:
        """Whether the call that this span reports has been counted: the same response id at the same time; or, from
        another instrumentor, the same tokens and model for a call that lies within this one."""
        if end.tokens_usage is None:
            return False
        for began, ended, _, other, scopes in reversed(list(self._calls)):
            if ended < start_ns:
                continue
            if end.response_id and other.response_id:
                found = end.response_id == other.response_id and began <= end_ns and start_ns <= ended
            else:
                within = start_ns <= began and ended <= end_ns and scope not in scopes
                found = within and same_call(end, other)
            if found:
                scopes.add(scope)
                return True
        return False


def _same_model(one: str | None, other: str | None) -> bool:
    """A provider answers with the dated name of the model that was asked for; a router names the provider before it
    (``openai/gpt-4o``)."""
    if not one or not other:
        return True
    one, other = one.rpartition("/")[2], other.rpartition("/")[2]
    return one.startswith(other) or other.startswith(one)


def _tokens(usage: TokenUsage) -> tuple[int | None, int | None]:
    return usage.prompt, usage.completion


def _object(content: Content) -> dict[str, Any]:
    found = orjson.loads(bytes(content)) if isinstance(content, Raw) else {}
    return found if isinstance(found, dict) else {}


def _more(content: Content, than: Content) -> dict[str, Any]:
    known = _object(than)
    return {name: value for name, value in _object(content).items() if name not in known}
