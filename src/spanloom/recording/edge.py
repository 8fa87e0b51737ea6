"""Recording's edge: the named door behind which whatever fails in us is counted, and the host never sees it.

Promises: a direct call with wrong arguments raises `UsageError` with ``strict=True`` and is otherwise counted and said
once a minute; a user's hook that fails is counted and answered for. Must never: swallow KeyboardInterrupt, SystemExit
or any other BaseException that is not an Exception.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..errors import UsageError
from .ambient import current_var, set_current
from .recorder import problem, seat

F = TypeVar("F", bound=Callable[..., Any])


class Off(tuple[()]):
    """What `current_var` holds where nothing is recorded. Empty, hence false, as wrapt sees without a Python call."""

    __slots__ = ()


OFF = Off()


def failed(reason: str, error: BaseException) -> None:
    """Count a failure of ours or of a user's hook; never raises."""
    recorder = seat.installed
    if recorder is not None:
        problem(recorder, reason, f"recording went wrong: {type(error).__name__}")


def wrong_argument(error: Exception, what: str, known: Callable[[], str] = lambda: "") -> None:
    """A direct call could not be made sense of: raises UsageError when strict, else counts it. ``known`` lists the
    arguments that there are, for a call that used another name."""
    recorder = seat.installed
    if recorder is None:
        return
    said = _said_by(error)
    if isinstance(error, TypeError) and "unexpected keyword" in said:
        said += known()
    usage = error if isinstance(error, UsageError) else UsageError(f"{what}(): {type(error).__name__}{said}")
    if recorder.strict and isinstance(error, (UsageError, TypeError)):
        raise usage from None
    problem(recorder, "wrong_argument", str(usage))


def direct(fallback: Callable[[], Any]) -> Callable[[F], F]:
    """Make a function total: whatever its arguments, it raises nothing (UsageError when strict) and then returns
    ``fallback()``."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def total(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                wrong_argument(error, function.__name__, _names_of(function))
            return fallback()

        return cast(F, total)

    return decorate


def _names_of(function: Callable[..., Any]) -> Callable[[], str]:
    def known() -> str:
        code = getattr(function, "__code__", None)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
        return f": use one of {', '.join(name for name in names if name != 'self')}" if names else ""

    return known


def nothing() -> None:
    """The fallback of calls that return None."""


def call_hook(name: str, hook: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
    """Whether a user's hook worked, and what it returned. Nothing is recorded inside it."""
    previous = current_var.get()
    set_current(OFF)
    try:
        return True, hook(*args)
    except Exception as error:
        failed(f"{name}_failed", error)
        return False, None
    finally:
        set_current(previous)


def _said_by(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an exception whose own __str__ raises
        return ""
    return f": {text[:300]}" if text else ""
