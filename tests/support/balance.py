"""The ledger's identity, asserted exactly, on what ``spanloom.health()`` says in this process or said in another.

    created + adopted = rejected + delivered + dropped + pending + dead_lettered      for each destination

Promise: reads only public attributes, and judges counts against what the test saw, never against themselves alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

COLUMNS = ("created", "adopted", "rejected", "delivered", "dropped", "pending", "dead_lettered")
IN, OUT = COLUMNS[:2], COLUMNS[2:]

Account = dict[str, Any]
"""One destination: each column as an int, and under ``reasons`` each column's counts by reason."""


def plain(health: Any) -> dict[str, Account]:
    """A `Health` as plain values, by destination name, which JSON carries from a program to its test."""
    return {name: _account(destination) for name, destination in _destinations(health)}


def _destinations(health: Any) -> Iterable[tuple[str, Any]]:
    destinations = health.destinations
    pairs = destinations.items() if hasattr(destinations, "items") else ((each.name, each) for each in destinations)
    return list(pairs)


def _account(destination: Any) -> Account:
    account: Account = {"reasons": {}}
    for column in COLUMNS:
        total, reasons = _count(getattr(destination, column))
        account[column] = total
        if reasons:
            account["reasons"][column] = reasons
    for detail in ("state", "last_error"):
        account[detail] = str(getattr(destination, detail, ""))
    return account


def _count(value: Any) -> tuple[int, dict[str, int]]:
    """A column as its total and its reasons, whether it is an int, a mapping, or a number that knows its reasons."""
    reasons = dict(getattr(value, "by_reason", {} if isinstance(value, int) else value))
    total = int(value) if isinstance(value, int) else getattr(value, "total", sum(reasons.values()))
    assert not reasons or total == sum(reasons.values()), f"the reasons {reasons} do not add up to {total}"
    return total, reasons


def read(line: str) -> dict[str, Account]:
    """What a program printed with `program.say_health`."""
    accounts: dict[str, Account] = json.loads(line)
    return accounts


def assert_balanced(accounts: dict[str, Account]) -> dict[str, Account]:
    """Every destination balances, to the record, and no column is negative."""
    assert accounts, "no destination in health()"
    for name, account in accounts.items():
        came, went = sum(account[column] for column in IN), sum(account[column] for column in OUT)
        assert came == went, f"{name}: {came} came in and {went} are accounted for: {account}"
        assert all(account[column] >= 0 for column in COLUMNS), f"{name}: a negative count: {account}"
    return accounts


def only(accounts: dict[str, Account]) -> Account:
    """The single destination's account, balanced."""
    (account,) = assert_balanced(accounts).values()
    return account
