"""Runs and trees as JSON for other programs: every field always there, times in ISO 8601.

Promises: strict JSON in UTF-8-safe ASCII, so that it survives any terminal and pipe.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from ..clock import iso
from ..store import Content, Run, Tree, TreeNode


def dump(value: Any) -> str:
    """The value as JSON, indented."""
    return json.dumps(value, indent=2)


def plain_run(run: Run) -> dict[str, Any]:
    """A run without its content. ``duration_us`` is in microseconds, ``cost`` in US dollars."""
    return {
        "id": run.id,
        "type": run.type,
        "name": run.name,
        "status": run.status,
        "parent_id": run.parent_id,
        "root_id": run.root_id,
        "project": run.project,
        "user_id": run.user_id,
        "thread_id": run.thread_id,
        "customer": run.customer,
        "key": run.key,
        "service": run.service,
        "started_at": _iso(run.started_us),
        "first_item_at": _iso(run.first_item_us),
        "ended_at": _iso(run.ended_us),
        "duration_us": run.duration_us,
        "received_at": _iso(run.received_us),
        "model": run.model,
        "tokens": {
            "prompt": run.tokens.prompt,
            "completion": run.tokens.completion,
            "cached": run.tokens.cached,
            "reasoning": run.tokens.reasoning,
            "total": run.tokens.sum,
        },
        "cost": run.cost,
        "response_id": run.response_id,
        "trace_id": run.trace_id,
        "error": {"type": run.error_type, "message": run.error_message} if run.error_message is not None else None,
        "tags": run.tags,
        "feedback": run.feedback,
    }


def plain_tree(tree: Tree) -> list[dict[str, Any]]:
    """The roots of a tree with content and children."""
    return [_plain_node(root) for root in tree.roots]


def _plain_node(node: TreeNode) -> dict[str, Any]:
    return {
        **plain_run(node.run),
        **_plain_content(node.content or Content()),
        "missing_parent": node.missing_parent,
        "hidden_children": node.hidden_children,
        "children": [_plain_node(child) for child in node.children],
    }


def _plain_content(content: Content) -> dict[str, Any]:
    return {
        "input": _value(content.input),
        "output": _value(content.output),
        "error_stack": content.error_stack,
        "params": _values(content.params),
        "metadata": _values(content.metadata),
        "extra": _values(content.extra),
        "user_props": _values(content.user_props),
        "messages": [{"at": _iso(item.time_us), "message": _value(item.message)} for item in content.messages],
        "points": [
            {"at": _iso(item.time_us), "label": item.label, "data": _value(item.data)} for item in content.points
        ],
    }


def _values(parts: dict[str, Raw]) -> dict[str, Any]:
    return {name: _value(part) for name, part in parts.items()}


def _value(raw: Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")


def _iso(microseconds: int | None) -> str | None:
    return None if microseconds is None else iso(microseconds * 1000)
