"""A tree of runs as lines of text: guides on the left, what it took on the right, content folded below each run.

Theory of operation. Nodes are visited parents first, each with the guides that stand left of it. A run is one line
(type, name, model, and right-aligned: status unless ok, duration, tokens), and below it one line for each thing it
said: input, output, messages, error, feedback, moments. Folded, such a line is cut at the width; in full, it is a
block.
Tokens are counted once: a run whose children report some shows their sum, marked, and not its own.

Promises: every run of the tree has its line; no recorded text is printed but through `words`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from ..store import Content, Run, Tree, TreeNode
from ..store.sums import Sum, sums, whole
from . import words

_TYPE_STYLE = {"thread": "magenta", "chat": "magenta", "agent": "cyan", "llm": "green", "tool": "yellow",
               "retriever": "yellow", "embed": "blue", "chain": "blue"}  # fmt: skip
_STATUS_STYLE = {"error": "bold red", "running": "yellow"}
_MOST_FOLDED = 6  # messages or moments of one run
_LEAST_LEFT = 12
_ASCII = str.maketrans({"├": "|", "└": "`", "│": "|", "─": "-", "…": "~", "→": ">", "·": "-", "Σ": "="})


@dataclass(frozen=True)
class Paper:
    """What is drawn on: ``width`` in characters; ``full`` shows content whole; ``ascii_only`` for old terminals."""

    width: int = 80
    full: bool = False
    ascii_only: bool = False


def draw(tree: Tree, paper: Paper) -> Iterator[Text]:
    """The lines of a tree."""
    found = sums(tree.roots)
    below_sums = {
        run_id: each.tokens for run_id, each in found.items() if each.tokens_below and each.tokens is not None
    }
    pending: list[tuple[TreeNode, str, str]] = [(root, "", "") for root in reversed(tree.roots)]
    while pending:
        node, guide, below = pending.pop()
        guide, below = _clipped(guide, paper), _clipped(below, paper)
        for line in _node_lines(node, guide, below, below_sums, paper):
            yield _fitting(line, paper)
        if node.hidden_children:
            yield _fitting(_hidden_line(node, below), paper)
        for child in reversed(node.children):
            last = child is node.children[-1]
            pending.append((child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))
    for line in _summary(tree, whole(tree.roots, found)):
        yield _fitting(line, paper)


def _clipped(guide: str, paper: Paper) -> str:
    """The guides of a deep run without those that would leave no room for it."""
    most = paper.width // 3
    return guide if len(guide) <= most else "…" + guide[len(guide) - most + 1 :]


def _node_lines(node: TreeNode, guide: str, below: str, sums: dict[str, int], paper: Paper) -> Iterator[Text]:
    yield _heading(node, guide, sums, paper)
    beam = below + ("│ " if node.children or node.hidden_children else "  ")
    if node.missing_parent:
        yield Text.assemble((beam, "dim"), ("its parent has not arrived", "yellow"))
    if node.loop:
        yield Text.assemble((beam, "dim"), ("its parents lead back to itself: cut here", "yellow"))
    said = list(_said(node.run, node.content or Content(), paper))
    room = max((len(label) for label, _, _ in said), default=0) + 2
    for label, text, style in said:
        first, *others = text.split("\n") if paper.full else [text]
        label_style = "red" if label == "error" else "dim"
        yield Text.assemble((beam, "dim"), (label.ljust(room), label_style), (first, style))
        for line in others:
            yield Text.assemble((beam, "dim"), " " * room, (line, style))


def _hidden_line(node: TreeNode, below: str) -> Text:
    what = "other exchange" if node.run.type == "thread" else "more below"
    plural = "s" if node.hidden_children > 1 and node.run.type == "thread" else ""
    hint = f"spanloom tree {words.one_line(node.run.id)}"
    guide = "├─ " if node.children else "└─ "
    return Text.assemble((f"{below}{guide}", "dim"), (f"… {node.hidden_children:,} {what}{plural} ({hint})", "dim"))


def _heading(node: TreeNode, guide: str, sums: dict[str, int], paper: Paper) -> Text:
    run = node.run
    kind = words.one_line(run.type or "run")
    left = Text.assemble((guide, "dim"), (kind, _TYPE_STYLE.get(kind, "")))
    if run.name or run.type == "thread":
        left.append(" ")
        left.append(words.one_line(run.name or run.id), "bold" if run.name else "dim")
    user = run.user_id if kind == "chat" or (not guide and kind != "thread") else None
    for note in (run.model if run.model != run.name else None, user):
        if note:
            left.append(f" · {words.one_line(note)}", "dim")
    right = Text()
    if run.status not in ("ok", None):
        right.append(words.one_line(run.status or ""), _STATUS_STYLE.get(run.status or "", "magenta"))
    right.append(words.duration(run.duration_us).rjust(9))
    right.append(_tokens(run, sums).rjust(17), "dim" if run.id in sums else "")
    room = max(_LEAST_LEFT, paper.width - right.cell_len - 2)
    left.truncate(room, overflow="ellipsis")
    left.append(" " * (room - left.cell_len + 2))
    left.append_text(right)
    left.rstrip()
    return left


def _tokens(run: Run, sums: dict[str, int]) -> str:
    if run.id in sums:
        return f"Σ {sums[run.id]:,} tok"
    prompt, completion = run.tokens.prompt, run.tokens.completion
    if prompt is not None and completion is not None:
        return f"{prompt:,} + {completion:,} tok"
    return f"{run.tokens.sum:,} tok" if run.tokens.sum is not None else ""


def _said(run: Run, content: Content, paper: Paper) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of each thing below a run's line."""
    shown = words.pretty if paper.full else words.glance
    if content.input is not None:
        yield "in", shown(content.input), ""
    messages = content.messages if paper.full else content.messages[:_MOST_FOLDED]
    for item in messages:
        role, text = words.message(item.message, full=paper.full)
        yield role, text, ""
    if len(messages) < len(content.messages):
        yield "…", f"{len(content.messages) - len(messages)} more messages (--full)", "dim"
    if content.output is not None:
        yield "out", shown(content.output), ""
    yield from _moments(content, paper)
    if run.error_message is not None:
        yield "error", _error(run, content, paper), "red"
    if run.feedback:
        yield "feedback", words.feedback(run.feedback), "bold"
    if paper.full:
        yield from _particulars(run, content)
    if content.omitted:
        yield "…", f"{content.omitted} of its events are not shown", "dim"


def _moments(content: Content, paper: Paper) -> Iterator[tuple[str, str, str]]:
    points = content.points if paper.full else content.points[:_MOST_FOLDED]
    for point in points:
        data = words.glance(point.data)
        yield "event", f"{words.one_line(point.label)} {data if data != '{}' else ''}".rstrip(), ""
    if len(points) < len(content.points):
        yield "…", f"{len(content.points) - len(points)} more events (--full)", "dim"


def _error(run: Run, content: Content, paper: Paper) -> str:
    message = content.error_text if paper.full and content.error_text is not None else run.error_message or ""
    text = f"{run.error_type}: {message}" if run.error_type else message
    if not paper.full:
        return words.one_line(text)
    return words.printable(f"{text}\n{content.error_stack.rstrip()}" if content.error_stack else text)


def _particulars(run: Run, content: Content) -> Iterator[tuple[str, str, str]]:
    yield "id", words.one_line(run.id), "dim"
    for label, value in (("user", run.user_id), ("customer", run.customer), ("key", run.key), ("thread", run.thread_id),
                         ("tags", ", ".join(run.tags)), ("cost", words.cost(run.cost))):  # fmt: skip
        if value:
            yield label, words.one_line(value), "dim"
    for label, parts in (("params", content.params), ("metadata", content.metadata), ("extra", content.extra),
                         ("user props", content.user_props)):  # fmt: skip
        for name, part in parts.items():
            yield label, f"{words.one_line(name)} = {words.glance(part)}", "dim"


def _summary(tree: Tree, total: Sum) -> Iterator[Text]:
    errors = sum(1 for node in _nodes(tree) if node.run.status == "error")
    parts = [f"{tree.size:,} run{'s' if tree.size != 1 else ''}"]
    if total.tokens is not None:
        parts.append(f"{total.tokens:,} tokens")
    if total.cost is not None:
        parts.append(words.cost(total.cost))
    if errors:
        parts.append(f"{errors} error{'s' if errors != 1 else ''}")
    yield Text("")
    yield Text(" · ".join(parts), "dim")
    if tree.truncated:
        yield Text("The tree is larger than what is shown: open one of its runs by `spanloom tree ID`.", "yellow")


def _nodes(tree: Tree) -> Iterator[TreeNode]:
    pending = list(tree.roots)
    while pending:
        node = pending.pop()
        yield node
        pending.extend(node.children)


def _fitting(line: Text, paper: Paper) -> Text:
    if paper.ascii_only:
        line.plain = line.plain.translate(_ASCII)
    if not paper.full:
        line.truncate(paper.width, overflow="ellipsis" if not paper.ascii_only else "crop")
    return line
