"""One trace as one HTML file that opens anywhere, offline, with everything in it and no script at all.

Theory of operation. The page is a flat list of ``<details>``, one for each run, parents before children; bars are SVG
attributes, so that no style attribute is needed. Its own content security policy allows exactly one thing, the style
sheet with this hash: whatever a recorded text contains, there is nothing that could run or be fetched.

Promises: every text passes `escape`; total for any tree. Must never: name an address that a browser would load.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html import escape as _escape
from typing import Any

import msgspec

from ..clock import iso
from ..store import Content, Run, Tree, TreeNode
from ..store.sums import sums, whole
from . import assets

MOST_RUNS = 5000
_MOST_OPEN = 200  # in a longer trace only what failed is unfolded
_TYPES = frozenset(("agent", "llm", "tool", "chain", "embed", "retriever", "chat", "thread"))
_STYLE = assets.text("export.css")
POLICY = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'"
)
"""The only thing that an exported page may use is its own style sheet."""


def escape(text: str) -> str:
    """The text for HTML. A NUL, which HTML cannot carry, shows as its picture, as in the store."""
    return _escape(text.replace("\x00", "\u2400"))


def filename(run_id: str) -> str:
    """A harmless file name for this run's page."""
    return f"trace-{re.sub(r'[^A-Za-z0-9-]', '_', run_id)[:60]}.html"


def page(tree: Tree) -> str:
    """The page, for a tree that was read with content."""
    nodes = list(_flat(tree.roots))
    runs = [node.run for _, node in nodes if node.run.type != "thread"]
    top = runs[0] if runs else nodes[0][1].run
    name = escape(_title(top))
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n',
            f'<meta http-equiv="content-security-policy" content="{escape(POLICY)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{name}</title><style>{_STYLE}</style></head>\n<body><main>\n",
            _head(top, runs, [node for _, node in nodes], tree.roots),
            '<div class="outline">\n',
            *_outline(nodes, runs),
            '</div><h2>Every run</h2><div class="runs">\n',
            *_rows(nodes, runs),
            "</div>\n",
            f"<footer>{len(runs)} runs{', the first of more' if tree.truncated else ''} · made by Spanloom</footer>",
            "</main></body></html>\n",
        )
    )


def _flat(roots: list[TreeNode]) -> Iterator[tuple[int, TreeNode]]:
    pending = [(0, root) for root in reversed(roots)]
    while pending:
        depth, node = pending.pop()
        yield depth, node
        pending.extend((depth + 1, child) for child in reversed(node.children))


def _head(top: Run, runs: list[Run], nodes: list[TreeNode], roots: list[TreeNode]) -> str:
    total = whole(roots, sums(roots))
    facts = [
        ("Took", _duration(top.duration_us)),
        ("Runs", str(len(runs))),
        ("Tokens", f"{total.tokens:,}" if total.tokens is not None else None),
        ("Cost", f"${total.cost:.4g}" if total.cost is not None else None),
        ("User", top.user_id),
        ("Customer", top.customer),
        ("Thread", top.thread_id),
        ("Started", iso(top.started_us * 1000) if top.started_us is not None else None),
        ("Feedback", _feedback(top.feedback)),
        ("Tags", ", ".join(top.tags)),
    ]
    shown = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value)
    bad = " bad" if _failed(top) else ""
    return (
        f'<h1>{escape(_title(top))}</h1> <span class="type k-{_kind(top)}">{escape(top.type or "run")}</span> '
        f'<span class="status{bad}">{escape(top.status or "")}</span><dl class="stats">{shown}</dl>{_failure(nodes)}'
    )


def _failure(nodes: list[TreeNode]) -> str:
    """Where it went wrong first: a failed run none of whose children failed."""
    for node in nodes:
        if node.run.status == "error" and not any(child.run.status == "error" for child in node.children):
            what = f"<b>{escape(node.run.error_type or 'Error')}</b> {escape(node.run.error_message or '')}"
            return (
                f'<div class="failure">{what}<br>in {escape(node.run.type or "run")} {escape(_title(node.run))}</div>'
            )
    return ""


def _outline(nodes: list[tuple[int, TreeNode]], runs: list[Run]) -> Iterator[str]:
    """The tree with its times, at a glance."""
    begin, span = _span(runs)
    for depth, node in nodes:
        run = node.run
        failed = " failed" if _failed(run) else ""
        yield (
            f'<div class="row k-{_kind(run)}{failed}"><span class="name d{min(depth, 8)}"><span class="type">'
            f"{escape(run.type or 'run')}</span> <b>{escape(_title(run))}</b></span>"
            f'<span class="figure">{_figures(run)}</span>{_bar(run, begin, span)}</div>\n'
        )


def _rows(nodes: list[tuple[int, TreeNode]], runs: list[Run]) -> Iterator[str]:
    """Every run with all that it carries."""
    begin, span = _span(runs)
    for depth, node in nodes:
        run = node.run
        failed = _failed(run)
        is_open = " open" if failed or len(nodes) <= _MOST_OPEN else ""
        model = f' <span class="figure">{escape(run.model)}</span>' if run.model and run.model != run.name else ""
        status = run.status if run.status not in ("ok", None) else ""
        yield (
            f'<details class="run k-{_kind(run)}{" failed" if failed else ""}"{is_open}><summary>'
            f'<span class="name d{min(depth, 8)}"><span class="type">{escape(run.type or "run")}</span> '
            f"<b>{escape(_title(run))}</b>{model}"
            f' <span class="status bad">{escape(status or "")}</span></span>'
            f'<span class="figure">{_figures(run)}</span>{_bar(run, begin, span)}</summary>'
            f'<div class="body">{"".join(_body(run, node.content or Content()))}</div></details>\n'
        )


def _span(runs: list[Run]) -> tuple[int, int]:
    """When the trace began (us), and how long it took (us, at least 1)."""
    begin = min((run.started_us for run in runs if run.started_us is not None), default=0)
    end = max((run.ended_us for run in runs if run.ended_us is not None), default=begin)
    return begin, max(end - begin, 1)


def _failed(run: Run) -> bool:
    return run.status in ("error", "killed")


def _figures(run: Run) -> str:
    return " · ".join(filter(None, (_tokens(run), _duration(run.duration_us))))


def _bar(run: Run, begin: int, span: int) -> str:
    if run.started_us is None or run.type == "thread":
        return "<span></span>"
    left = max(0.0, min(99.5, 100 * (run.started_us - begin) / span))
    width = max(0.5, min(100 - left, 100 * (run.duration_us or 0) / span))
    return (
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="12"/>'
        f'<rect class="fill" x="{left:.2f}" y="1" width="{width:.2f}" height="10"/></svg>'
    )


def _body(run: Run, content: Content) -> Iterator[str]:
    if run.error_message is not None or run.error_type is not None:
        text = content.error_text or run.error_message or ""
        stack = f"<pre>{escape(content.error_stack)}</pre>" if content.error_stack else ""
        yield f'<div class="error"><b>{escape(run.error_type or "Error")}</b> {escape(text)}{stack}</div>'
    if content.messages:
        yield "<h3>Messages</h3>" + "".join(_said(_value(message.message)) for message in content.messages)
    for label, raw in (("Input", content.input), ("Output", content.output)):
        if raw is not None:
            yield f"<h3>{label}</h3>{_said(_value(raw))}"
    for point in content.points:
        data = f"<pre>{escape(_pretty(_value(point.data)))}</pre>" if point.data is not None else ""
        yield f'<h3>Moment</h3><div class="said"><b>{escape(point.label)}</b>{data}</div>'
    if run.feedback:
        yield f'<h3>Feedback</h3><div class="said">{escape(_feedback(run.feedback) or "")}</div>'
    for label, parts in (("Parameters", content.params), ("Metadata", content.metadata), ("User", content.user_props),
                         ("Extra", content.extra)):  # fmt: skip
        if parts:
            values = {name: _value(raw) for name, raw in parts.items()}
            yield f'<h3>{label}</h3><pre class="said">{escape(_pretty(values))}</pre>'
    yield f'<h3>Facts</h3><dl class="facts">{"".join(_facts(run))}</dl>'


def _facts(run: Run) -> Iterator[str]:
    facts = (("Id", run.id), ("Parent", run.parent_id), ("Status", run.status), ("Model", run.model), ("Key", run.key),
             ("Service", run.service), ("Response id", run.response_id), ("Trace id", run.trace_id),
             ("Started", iso(run.started_us * 1000) if run.started_us is not None else None))  # fmt: skip
    for name, value in facts:
        if value:
            yield f'<dt>{name}</dt><dd class="mono">{escape(value)}</dd>'


def _said(value: Any) -> str:
    """A value as messages where it is some, else as text or JSON."""
    items = value if isinstance(value, list) and value else [value]
    if all(isinstance(item, dict) and isinstance(item.get("role"), str) for item in items):
        return "".join(_message(item) for item in items)
    return f'<pre class="said">{escape(value if isinstance(value, str) else _pretty(value))}</pre>'


def _message(message: dict[str, Any]) -> str:
    rest = {name: value for name, value in message.items() if name not in ("role", "content", "text")}
    content = message.get("content", message.get("text"))
    shown = "" if content in (None, "") else content if isinstance(content, str) else _pretty(content)
    more = f"<pre>{escape(_pretty(rest))}</pre>" if rest else ""
    return f'<div class="said"><div class="role">{escape(message["role"])}</div><pre>{escape(shown)}</pre>{more}</div>'


def _value(raw: msgspec.Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")


def _pretty(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return str(type(value).__name__)


def _title(run: Run) -> str:
    return run.name or ("exchange" if run.type == "chat" else run.type) or "run"


def _kind(run: Run) -> str:
    return run.type if run.type in _TYPES else "chain"


def _tokens(run: Run) -> str:
    return f"{run.tokens.sum:,} tok" if run.tokens.sum is not None else ""


def _feedback(given: dict[str, object]) -> str | None:
    said = [f"{name} {value}" for name, value in given.items() if value is not None]
    return ", ".join(said) or None


def _duration(us: int | None) -> str:
    if us is None:
        return ""
    if us < 1000:
        return f"{us} µs"
    if us < 999_500:
        return f"{us / 1000:.0f} ms" if us >= 10_000 else f"{us / 1000:.1f} ms"
    return f"{us / 1_000_000:.2f} s" if us < 60_000_000 else f"{us // 60_000_000} min {us // 1_000_000 % 60} s"
