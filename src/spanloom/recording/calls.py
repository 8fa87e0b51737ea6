"""The wrappers of plain and of coroutine functions.

Promises: the host's arguments, result and exception pass untouched, with one extra traceback frame; the run is current
while the function runs, and what was current before is so again afterwards, whatever happened in between. Restoring is
by value and only if the run still is current. Must never: keep an exception in a frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .ambient import current_var, set_current
from .plan import Plan, begin, finish, finish_failed
from .streams import named_like, watch
from .tally import is_stream

Wrapper = Callable[..., Any]
"""``(wrapped, instance, args, kwargs)``, as wrapt calls it; ``run`` too when it has been opened already."""

BEGIN = object()
_get = current_var.get
_set = set_current


def plain_call(plan: Plan) -> Wrapper:
    """The wrapper of a function that returns its result."""
    reduces = plan.options.reduce is not None

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Any = BEGIN) -> Any:
        if run is BEGIN:
            run = begin(plan, instance, args, kwargs)
        if run is None:
            return wrapped(*args, **kwargs)
        previous = _get()
        try:
            _set(run)
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            finish_failed(plan, run, error)
            raise
        finally:
            if _get() is run:
                _set(previous)
        if reduces and is_stream(result):
            return watch(plan, run, result)
        finish(plan, run, result)
        return result

    return call


def coroutine_call(plan: Plan) -> Wrapper:
    """The wrapper of a coroutine function. The run starts when the coroutine does."""
    parameters = plan.parameters

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Any = BEGIN) -> Any:
        made = None
        if parameters is None or not parameters.fits(args, kwargs, instance):
            made = wrapped(*args, **kwargs)  # so that a TypeError for wrong arguments is raised here, not at await
        coroutine = _drive(plan, run, wrapped, instance, args, kwargs, made)
        named_like(coroutine, wrapped)
        return coroutine

    return call


async def _drive(
    plan: Plan,
    run: Any,
    wrapped: Any,
    instance: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    made: Awaitable[Any] | None,
) -> Any:
    if run is BEGIN:
        run = begin(plan, instance, args, kwargs)
    if run is None:
        return await (wrapped(*args, **kwargs) if made is None else made)
    previous = _get()
    try:
        _set(run)
        result = await (wrapped(*args, **kwargs) if made is None else made)
    except BaseException as error:
        finish_failed(plan, run, error)
        raise
    finally:
        if _get() is run:
            _set(previous)
    if plan.options.reduce is not None and is_stream(result):
        return watch(plan, run, result)
    finish(plan, run, result)
    return result
