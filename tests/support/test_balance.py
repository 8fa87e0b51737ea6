"""The identity itself: a ledger that is out by one fails, whatever shape its counts have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from support import balance


def health(**counts: Any) -> SimpleNamespace:
    destination = SimpleNamespace(name="one", **dict.fromkeys(balance.COLUMNS, 0) | counts)
    return SimpleNamespace(destinations=[destination])


def test_balanced_counts_pass_with_their_reasons() -> None:
    """Ints, mappings, and values with total and by_reason all add up."""
    dropped = SimpleNamespace(total=2, by_reason={"full": 2})
    accounts = balance.plain(health(created=5, rejected={"bad": 1}, delivered=2, dropped=dropped))
    account = balance.only(accounts)
    assert account["reasons"] == {"rejected": {"bad": 1}, "dropped": {"full": 2}}


@pytest.mark.parametrize("counts", [{"created": 1}, {"delivered": 1}, {"created": 0, "pending": -1, "dropped": 1}])
def test_one_record_too_many_or_too_few_fails(counts: dict[str, int]) -> None:
    """Out by one, either way, or a negative column that hides it."""
    with pytest.raises(AssertionError):
        balance.assert_balanced(balance.plain(health(**counts)))


def test_reasons_must_add_up_to_their_total() -> None:
    """A total that its reasons do not explain is refused."""
    with pytest.raises(AssertionError, match="do not add up"):
        balance.plain(health(dropped=SimpleNamespace(total=3, by_reason={"full": 2})))


def test_no_destination_is_no_proof() -> None:
    """An empty ledger balances nothing."""
    with pytest.raises(AssertionError, match="no destination"):
        balance.assert_balanced({})
