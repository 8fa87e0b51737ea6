"""Carrying the present run into other threads and processes: `carry`.

Promises: in a thread the carried function sees the whole context in which it was carried; in another process, where it
arrives pickled (`multiprocessing`, `ProcessPoolExecutor`, by any start method), the run that was current is the parent
of those it opens, and user, thread, tags and the rest are the same. Must never: keep a function from being called, or
carry the host's own context variables into another process.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import Context, copy_context
from types import MethodType
from typing import Any, TypeVar, cast

from .ambient import OUTSIDE, Ambient, ambient_var, current_var, set_current, set_variable
from .edge import OFF, failed
from .lineage import remote_parent
from .propagation import write
from .run import Run

F = TypeVar("F", bound=Callable[..., Any])


def carry(function: F) -> F:
    """``function``, bound to the present context, for an executor, a thread or another process (where ``function``
    itself can be pickled); may be called often and concurrently.

    A coroutine function runs with the present run and ambient values, in this process only; anything else runs in a
    copy of the whole present context, as `asyncio.to_thread` does it.
    """
    try:
        later = inspect.iscoroutinefunction(function)
    except Exception:  # a callable object whose attributes raise; it is the host's to call all the same
        later = False
    if later:
        return cast(F, _carry_coroutine(function))
    return cast(F, _passing_for(function, Carried(function, copy_context())))


class Carried:
    """A function with the context that it is called in. What is pickled is where it stands: headers, and who for."""

    __slots__ = ("__dict__", "__weakref__", "_spanloom_context", "_spanloom_function")

    def __init__(self, function: Callable[..., Any], context: Context) -> None:
        self._spanloom_function = function
        self._spanloom_context = context

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        # one context cannot be entered twice at once
        return self._spanloom_context.copy().run(self._spanloom_function, *args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)  # in a class it is a method, like any function

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self._spanloom_function, *self._spanloom_context.copy().run(_place))


def _place() -> tuple[dict[str, str] | None, dict[str, Any]]:
    """Where the present context stands, in plain values: the headers (None: nothing is to be recorded) and who for."""
    run, ambient = current_var.get(), ambient_var.get()
    headers: dict[str, str] | None = None if run is OFF else {}
    values: dict[str, Any] = {}
    try:
        if headers is not None:
            write(headers, baggage=False)
        values = ambient.values()
        scope = values.pop("key_scope")
        if isinstance(run, Run) and run.key_scope is scope:
            values["key"] = ""  # a run outside has it already
    except Exception as error:
        failed("carry_failed", error)
    return headers, values


def _arrived(function: Callable[..., Any], headers: dict[str, str] | None, values: dict[str, Any]) -> Any:
    """In the other process: the function, below the run that it comes from."""
    context = copy_context()
    try:
        context.run(_stand, headers, values)
    except Exception as error:
        failed("carry_failed", error)
    return _passing_for(function, Carried(function, context))


def _stand(headers: dict[str, str] | None, values: dict[str, Any]) -> None:
    scope = object() if values.get("key") else None
    set_variable(ambient_var, Ambient(**values, key_scope=scope))
    parent = None if headers is None else remote_parent(headers.get("traceparent", ""), headers.get("tracestate", ""))
    set_current(OFF if headers is None else parent or OUTSIDE)


def _passing_for(function: Any, carried: Callable[..., Any]) -> Callable[..., Any]:
    """`functools.wraps`, for objects too whose attributes raise."""
    try:
        return functools.update_wrapper(carried, function)
    except Exception:
        return carried


def _carry_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    run, ambient = current_var.get(), ambient_var.get()

    async def carried(*args: Any, **kwargs: Any) -> Any:
        run_before, ambient_before = current_var.get(), ambient_var.get()
        set_current(run)
        set_variable(ambient_var, ambient)
        try:
            return await function(*args, **kwargs)
        finally:
            if current_var.get() is run:
                set_current(run_before)
            if ambient_var.get() is ambient:
                set_variable(ambient_var, ambient_before)

    return _passing_for(function, carried)
