"""From runs with parents to trees that can be drawn: bounded, loops cut, orphans shown.

Theory of operation. From the asked run the parents are climbed until there is none; if the chain breaks off at a
parent that has not arrived, the run that the trace is named after (``root_id``) is the top, when it is there. From the
top everything below is fetched by one recursive query, and to it are added the trace's runs whose own parents are
missing, each as a root of its own. Then the rows are linked in memory, by parent id, without recursion.

Promises: ends for any rows, however their parents point; shows every fetched run exactly once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from . import sql
from .columns import run_of
from .merge import clean
from .values import Run, Tree, TreeNode

MOST_LEVELS = 200
_MOST_STEPS_UP = 10_000
_MOST_TRACES = 4
_Q = sql.queries("reading.sql")


def walk(roots: list[TreeNode]) -> Iterator[TreeNode]:
    """All nodes, parents first."""
    pending = list(reversed(roots))
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(node.children))


class Planter:
    """Makes one tree from one snapshot of the store."""

    def __init__(
        self, connection: sqlite3.Connection, project_id: int, project: str, *, max_runs: int, whole_thread: bool
    ) -> None:
        self.connection = connection
        self.project_id = project_id
        self.project = project
        self.max_runs = max_runs
        self.whole_thread = whole_thread

    def plant(self, asked: str) -> Tree:
        """The tree that the asked run is in; without roots when there is no such run."""
        path = self._path_up(clean(asked))
        if not path:
            return Tree(asked=asked, roots=[])
        top = path[-1]
        runs = {run.id: run for run in path}
        start = top
        if top.type == "thread" and len(path) > 1 and not self.whole_thread:
            start = path[-2]  # of the thread only this exchange
        below, truncated = self._below(start.id)
        runs.update((run.id, run) for run in below)
        for root_id in list(dict.fromkeys(run.root_id for run in path if run.root_id is not None))[:_MOST_TRACES]:
            runs.update((run.id, run) for run in self._strays(root_id, runs))
        nodes = {run.id: TreeNode(run=run) for run in runs.values()}
        roots = _link(nodes, top.id)
        truncated = _cut_depth(roots) or truncated
        shown = list(walk(roots))
        if truncated or start is not top:
            for node in shown if truncated else [nodes[top.id]]:
                values = (self.project_id, node.run.id)
                count = self.connection.execute(_Q["count_children"], values).fetchone()[0]
                node.hidden_children = max(0, count - len(node.children))
        return Tree(asked=asked, roots=roots, size=len(shown), truncated=truncated)

    def _run(self, run_id: str) -> Run | None:
        row = self.connection.execute(_Q["run"], (self.project_id, run_id)).fetchone()
        return run_of(row, self.project) if row else None

    def _path_up(self, asked: str) -> list[Run]:
        """The asked run, its parent, and so on; at a missing parent, on to the root that the trace is named after."""
        path: list[Run] = []
        seen: set[str] = set()
        run = self._run(asked)
        while run is not None and run.id not in seen and len(path) < _MOST_STEPS_UP:
            path.append(run)
            seen.add(run.id)
            above = self._run(run.parent_id) if run.parent_id is not None else None
            if above is None and run.root_id not in (None, run.id) and run.root_id not in seen:
                above = self._run(run.root_id or "")
            run = above
        return path

    def _below(self, start: str) -> tuple[list[Run], bool]:
        values = {"project": self.project_id, "top": start, "most": self.max_runs + 1}
        rows = self.connection.execute(_Q["below"], values).fetchall()
        return [run_of(row, self.project) for row in rows[: self.max_runs]], len(rows) > self.max_runs

    def _strays(self, root_id: str, known: dict[str, Run]) -> list[Run]:
        """Runs of the trace that hang below nothing, because their parents have not arrived."""
        there = self.connection.execute(_Q["count_of_trace"], (self.project_id, root_id)).fetchone()[0]
        if there <= sum(run.root_id == root_id for run in known.values()):
            return []  # answered by the index alone: nobody is missing
        room = max(0, self.max_runs - len(known))
        rows = self.connection.execute(_Q["of_trace"], (self.project_id, root_id, self.max_runs)).fetchall()
        return [run_of(row, self.project) for row in rows if row["run_id"] not in known][:room]


def _link(nodes: dict[str, TreeNode], top: str) -> list[TreeNode]:
    """Hang every node below its parent; returns the roots, the top first. Every node is below exactly one of them."""
    roots = [nodes[top]]
    for node in nodes.values():
        parent_id = node.run.parent_id
        parent = nodes.get(parent_id) if parent_id is not None else None
        if node.run.id == top:
            node.loop, node.missing_parent = parent is not None, _misses(node.run, parent)
        elif parent is None or parent is node:
            node.loop, node.missing_parent = parent is node, _misses(node.run, parent)
            roots.append(node)
        else:
            parent.children.append(node)
    for node in nodes.values():
        node.children.sort(key=_by_start)
    roots[1:] = sorted(roots[1:], key=_by_start)
    reached = {node.run.id for node in walk(roots)}
    for node in sorted(nodes.values(), key=_by_start):
        if node.run.id not in reached:  # in a loop that no root leads to: cut at its first run
            nodes[node.run.parent_id or ""].children.remove(node)
            node.loop = True
            roots.append(node)
            reached |= {below.run.id for below in walk([node])}
    return roots


def _misses(run: Run, parent: TreeNode | None) -> bool:
    """Whether a run's parent is still to come. A host's span is not waited for: most hosts send theirs elsewhere."""
    return run.parent_id is not None and parent is None and run.parent_span_id is None


def _by_start(node: TreeNode) -> tuple[int, int]:
    run = node.run
    return run.received_us if run.started_us is None else run.started_us, run.seq


def _cut_depth(roots: list[TreeNode]) -> bool:
    """Cut what is deeper than MOST_LEVELS, in place; whether anything was."""
    level, cut = list(roots), False
    for _ in range(MOST_LEVELS - 1):
        level = [child for node in level for child in node.children]
        if not level:
            return cut
    for node in level:
        cut = cut or bool(node.children)
        node.children = []
    return cut
