"""Wrong keys, counted by address, so that whoever tries many is slowed down.

Promises: a right key is never refused for others' wrong ones, whatever address it shares with them; what is remembered
is bounded, the address that was quiet for longest is forgotten first. (Keys are 256 random bits: guessing one is
hopeless anyway. What this saves is work and logs.)
"""

from __future__ import annotations

import time
from collections import OrderedDict

_AT_ONCE = 20
_SECONDS_EACH = 3.0
_MOST_ADDRESSES = 4096


class Attempts:
    """A bucket of tries for each address."""

    def __init__(self) -> None:
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wrong(self, address: str) -> float | None:
        """Count a wrong key; the seconds (above 0) after which the next try is free when there were too many."""
        now = time.monotonic()
        spent, since = self._spent.pop(address, (0.0, now))
        spent = max(0.0, spent - (now - since) / _SECONDS_EACH)
        over = spent + 1 > _AT_ONCE
        self._spent[address] = (spent if over else spent + 1, now)
        while len(self._spent) > _MOST_ADDRESSES:
            self._spent.popitem(last=False)
        return max(1.0, (spent + 1 - _AT_ONCE) * _SECONDS_EACH) if over else None
