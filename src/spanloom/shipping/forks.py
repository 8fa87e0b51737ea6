"""What a forked child must not share with its parent is made anew, by whoever registers here.

Promise: the hook takes no lock, starts nothing, opens nothing, and prints nothing into the host's stderr.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Renewable(Protocol):
    """Something that begins anew in a forked child."""

    def reset_in_child(self) -> None:
        """Replace what must not be shared. Takes no lock, touches nothing of the parent's."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()
_hook: list[Callable[[], None]] = []


def renew_after_fork(thing: Renewable) -> None:
    """Reset this in forked children for as long as it lives."""
    _renewables.add(thing)
    if not _hook and hasattr(os, "register_at_fork"):
        _hook.append(_after_in_child)  # a second registration, should two threads come here, does no harm
        os.register_at_fork(after_in_child=_after_in_child)


def _after_in_child() -> None:
    for thing in list(_renewables):
        try:
            thing.reset_in_child()
        except Exception:  # a named door: the fork hook; an exception here would be printed into the host's stderr
            pass
