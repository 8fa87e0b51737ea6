"""The terminal, by rich: colour where there is a terminal, plain text everywhere else.

Promise: prints what it is given; no markup, no emoji codes, no highlighting is read out of it.
"""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """The console on stdout."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
