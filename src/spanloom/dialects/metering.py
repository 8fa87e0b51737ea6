"""Metering: a finished run becomes one action, the same one however often it is made.

Promise: a pure function of the end record, so that a journal that is replayed, or adopted by another process, bills
once; tokens are counted on model calls alone, so that an agent that repeats its children's totals does not count.
Must never: read a clock, make an id, or look into users' content.

The idempotency key is the provider's response id where it is known (two layers that report one response count once),
else the run id. Wrappers (agent, chain, tool, retriever) always use the run id: theirs is another action than the
model call whose response they pass on. A run whose process died is metered only if its usage had been recorded.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ..clock import parse_iso_us
from ..records import RUN_TYPES, Action, RunEnd, TokenUsage

MODEL_TYPES = frozenset({"llm", "embed"})
"""The types whose tokens count."""
ACTION_NAMES = {
    "llm": "llm_call",
    "embed": "embedding",
    "tool": "tool_call",
    "retriever": "retrieval",
    "agent": "agent_execution",
    "chain": "workflow_step",
}
"""How the action of each type is called: the words that Valmi's page on metering events uses, where it has one."""


_METERED = frozenset({"tokensUsage", "model", "cost", "responseId"})


class _Head(msgspec.Struct, rename="camel"):
    """What decides whether an end record is metered; everything else is passed over unread."""

    event: str = ""
    type: str | None = None
    status: str = "ok"
    tokens_usage: TokenUsage | None = None
    late: list[str] | None = None


_head = msgspec.json.Decoder(_Head)


def is_metered(payload: bytes, types: Collection[str]) -> bool:
    """Whether a record, as it stands in the journal, is the end of a run that `action_of` gives an action for, or says
    afterwards what that action would have said."""
    if not types or not payload.startswith(b'{"event":"end"'):
        return False
    try:
        head = _head.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if head.late is not None and _METERED.isdisjoint(head.late):
        return False
    return head.type in types and (head.status != "killed" or head.tokens_usage is not None)


def action_of(end: RunEnd, types: Collection[str]) -> Action | None:
    """The action of a finished run; None when its type is not among ``types`` (of `records.RUN_TYPES`), and for what
    was said after its end, because its action has been made.

    ``properties``: model, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, total_tokens (counts),
    duration_ms (milliseconds), status, cost_usd (US dollars), run_id; those that are known.
    """
    if end.type not in types or end.type not in RUN_TYPES or end.late is not None:
        return None
    if end.status == "killed" and end.tokens_usage is None:
        return None
    model_call = end.type in MODEL_TYPES
    key = (end.response_id if model_call else None) or end.run_id
    return Action(
        event_id=f"{end.run_id}.m",
        timestamp=end.timestamp,
        name=ACTION_NAMES[end.type],
        idempotency_key=key,
        customer=end.customer,
        properties=Raw(msgspec.json.encode(_properties(end, model_call))),
        run_id=end.run_id,
        root_run_id=end.root_run_id,
        user_id=end.user_id,
        agent_key=end.agent_key,
        metered=end.type,
    )


def _properties(end: RunEnd, model_call: bool) -> dict[str, Any]:
    usage = end.tokens_usage if model_call else None
    found = {
        "model": (end.model or end.name) if model_call else None,
        "name": None if model_call else end.name,
        "input_tokens": usage.prompt if usage else None,
        "output_tokens": usage.completion if usage else None,
        "cached_input_tokens": usage.prompt_cached if usage else None,
        "reasoning_tokens": usage.reasoning if usage else None,
        "total_tokens": usage.total if usage else None,
        "duration_ms": _duration_ms(end),
        "status": end.status,
        "cost_usd": end.cost if model_call else None,
        "run_id": end.run_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def _duration_ms(end: RunEnd) -> float | None:
    """Milliseconds between start and end; None when one of them is unknown."""
    if end.started_at is None:
        return None
    try:
        return max(0, parse_iso_us(end.timestamp) - parse_iso_us(end.started_at)) / 1000
    except (ValueError, OverflowError):
        return None
