"""Runs in the shapes of Lunary's public read API (its ``formatRun``), from the store's values.

Promises: every field of the public shape is there; ours that it lacks (``parentRunId``, ``threadId``, ``customer``,
``key``, ``model``) stand beside. Statuses are Lunary's words where it has one (started, success, error), else our own.
Content passes as the JSON that it is. Must never: read the store.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from ..clock import iso
from ..store import Content, FeedbackEntry, Run, RunDetail

_STATUS_WORDS = {"running": "started", "ok": "success"}
_ANSWERING_ROLES = frozenset({"assistant", "tool", "bot"})


class _Role(msgspec.Struct):
    role: Any = None


_role = msgspec.json.Decoder(_Role)


def run_object(detail: RunDetail, entries: list[FeedbackEntry] | None = None) -> dict[str, Any]:
    """One run. ``entries`` are its feedback events; the merged feedback comes with the run."""
    run, content = detail.run, detail.content
    input_, output = _messages(content) if content.messages else (content.input, content.output)
    return {
        "id": run.id,
        "projectId": run.project,
        "isPublic": False,
        "feedback": run.feedback or None,
        "parentFeedback": None,
        "feedbacks": [entry.feedback for entry in entries] if entries else None,
        "type": run.type,
        "name": run.name,
        "createdAt": _time(run.started_us if run.started_us is not None else run.received_us),
        "endedAt": _time(run.ended_us),
        "duration": _duration(run.duration_us),
        "templateVersionId": _integer(run.template_version_id),
        "templateSlug": None,
        "cost": run.cost,
        "tokens": _tokens(run),
        "toxicity": None,
        "tags": run.tags or None,
        "input": input_,
        "output": output,
        "error": _error(run, content),
        "status": _STATUS_WORDS.get(run.status, run.status) if run.status else None,
        "siblingRunId": None,
        "params": content.params or None,
        "metadata": content.metadata or None,
        "user": _user(run, content),
        "traceId": run.trace_id,
        "scores": [],
        "firstMessage": content.messages[0].message if content.messages else None,
        "messagesCount": len(content.messages) or None,
        "parentRunId": run.parent_id,
        "rootRunId": run.root_id,
        "threadId": run.thread_id,
        "customer": run.customer,
        "key": run.key,
        "model": run.model,
        "runtime": run.runtime,
    }


def merged_feedback(entries: list[FeedbackEntry]) -> dict[str, Any]:
    """What feedback events say together, when there is no run yet that would carry it: the later word counts."""
    merged: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: (entry.time_us or entry.received_us, entry.event_id)):
        merged = {**({} if entry.overwrite else merged), **entry.feedback}
    return merged


def _messages(content: Content) -> tuple[list[Raw] | None, list[Raw] | None]:
    """A chat's messages: what was said to the agent, and what it answered."""
    asked: list[Raw] = []
    answered: list[Raw] = []
    for message in content.messages:
        try:
            role = _role.decode(message.message).role
        except msgspec.DecodeError:
            role = None
        (answered if isinstance(role, str) and role in _ANSWERING_ROLES else asked).append(message.message)
    return asked or None, answered or None


def _tokens(run: Run) -> dict[str, int | None]:
    tokens = run.tokens
    return {"prompt": tokens.prompt, "cachedPrompt": tokens.cached, "completion": tokens.completion,
            "reasoning": tokens.reasoning, "total": tokens.sum}  # fmt: skip


def _error(run: Run, content: Content) -> dict[str, Any] | None:
    message = content.error_text or run.error_message
    if message is None and run.status != "error":
        return None
    found = {"message": message, "stack": content.error_stack, "type": run.error_type}
    return {name: value for name, value in found.items() if value is not None}


def _user(run: Run, content: Content) -> dict[str, Any] | None:
    if run.user_id is None:
        return None
    return {"id": run.user_id, "externalId": run.user_id, "createdAt": None, "lastSeen": None,
            "props": content.user_props or None}  # fmt: skip


def _time(at_us: int | None) -> str | None:
    """ISO 8601 with milliseconds, as the public API prints times."""
    return None if at_us is None else iso(at_us * 1000)[:23] + "Z"


def _duration(duration_us: int | None) -> str | None:
    """``HH:MM:SS``, with milliseconds when there are any."""
    if duration_us is None:
        return None
    seconds, rest = divmod(duration_us // 1000, 1000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{rest:03d}" if rest else text


def _integer(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else text
