"""Whose exception it is: one of ours, or one that a signal handler of the host raised in the middle of our code.

Promise: looks at the traceback only; never raises, never keeps it.
"""

from __future__ import annotations

_LIBRARY = frozenset({"os", "posixpath", "genericpath", "stat", "secrets", "random", "codecs"})
"""Modules of the standard library whose own frames may stand below ours."""


def is_ours(error: BaseException) -> bool:
    """Whether an exception began in our own code, and not in a signal handler that interrupted it."""
    modules = []
    at = error.__traceback__
    while at is not None:
        modules.append(at.tb_frame.f_globals.get("__name__", ""))
        at = at.tb_next
    while modules and modules[-1] in _LIBRARY:
        modules.pop()
    return not modules or modules[-1].startswith("spanloom.")
