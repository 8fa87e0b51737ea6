"""What a tree adds up to: each token and each dollar once, by the same rule wherever a sum is shown.

The rule: tokens count where they were reported lowest, so that a run around the calls that repeats their totals adds
nothing; of runs that name one response of the provider's, the first by id counts. Cost likewise, by itself. The query
``trace_sums`` says the same of a trace that is not loaded.

Promise: pure, without recursion. Must never: count a run whose tokens or cost a run below it has reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .trees import walk
from .values import Run, TreeNode


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """A run and everything below it: tokens and cost (US dollars), None when unknown. ``tokens_below`` says that the
    tokens are those of runs below it."""

    tokens: int | None = None
    cost: float | None = None
    tokens_below: bool = False


def sums(roots: list[TreeNode]) -> dict[str, Sum]:
    """By run id, for every node of these trees."""
    nodes = list(walk(roots))
    tokens, reported = _added_up(nodes, _tokens_of)
    costs, _ = _added_up(nodes, _cost_of)
    return {
        node.run.id: Sum(
            tokens=tokens.get(node.run.id), cost=costs.get(node.run.id), tokens_below=node.run.id in reported
        )
        for node in nodes
    }


def whole(roots: list[TreeNode], found: dict[str, Sum]) -> Sum:
    """What these trees are together."""
    tokens = [each.tokens for root in roots if (each := found[root.run.id]).tokens is not None]
    costs = [each.cost for root in roots if (each := found[root.run.id]).cost is not None]
    return Sum(tokens=_sum(tokens), cost=_sum(costs))


def mark_repeats(roots: list[TreeNode]) -> None:
    """Say of each node whether another one counts the tokens, or the cost, of its response (in place)."""
    nodes = list(walk(roots))
    for node in _repeats(nodes, _tokens_of):
        node.tokens_repeated = True
    for node in _repeats(nodes, _cost_of):
        node.cost_repeated = True


def _tokens_of(run: Run) -> int | None:
    return run.tokens.sum


def _cost_of(run: Run) -> float | None:
    return run.cost


_Amount = Callable[[Run], Any]


def _reported_below(nodes: list[TreeNode], amount: _Amount) -> set[str]:
    """The runs below which some run reports an amount; ``nodes`` with parents first."""
    below: set[str] = set()
    for node in reversed(nodes):
        if any(child.run.id in below or amount(child.run) is not None for child in node.children):
            below.add(node.run.id)
    return below


def _repeats(nodes: list[TreeNode], amount: _Amount) -> list[TreeNode]:
    below = _reported_below(nodes, amount)
    first: dict[str, TreeNode] = {}
    repeated = []
    for node in sorted(nodes, key=lambda each: each.run.id):
        run = node.run
        if run.response_id is None or amount(run) is None or run.id in below:
            continue
        if first.setdefault(run.response_id, node) is not node:
            repeated.append(node)
    return repeated


def _added_up(nodes: list[TreeNode], amount: _Amount) -> tuple[dict[str, Any], set[str]]:
    below = _reported_below(nodes, amount)
    repeated = {node.run.id for node in _repeats(nodes, amount)}
    found: dict[str, Any] = {}
    for node in reversed(nodes):
        run = node.run
        if run.id in below:
            found[run.id] = sum(found.get(child.run.id, 0) for child in node.children)
        elif amount(run) is not None:
            found[run.id] = 0 if run.id in repeated else amount(run)
    return found, below


def _sum(amounts: list[Any]) -> Any:
    return sum(amounts) if amounts else None
