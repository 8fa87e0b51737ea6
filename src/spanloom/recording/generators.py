"""Generator functions and async generator functions: streams that are recorded while they flow.

Theory of operation. The host gets a generator of ours (so that it *is* a generator) that drives the host's own. Each
step has two halves: the body runs (from our ``send`` or ``throw`` into it until it yields), and the consumer runs (from
our ``yield`` until it asks again). The run is current in the first half only: it is set before the step and what was
there before is put back after it, by value, in whatever context the step happens; there is no token that could belong
to another context. What arrives at our ``yield`` (a value, an exception, GeneratorExit) goes into the body unchanged,
and what the body does with it comes out unchanged.

The run starts with the first step and ends once: at the end of the body (``ok``), by its exception, or by
GeneratorExit, whoever sends it (``close``, a dropped reference, the event loop's finaliser): ``abandoned``.

An async generator that is iterated for the first time registers itself with the event loop, which closes it at the
end of the loop. If both ours and the host's were registered the loop would close both at once, and one of them would
complain; so the host's is started with these hooks put aside.

Promises: items, ``send``, ``throw``, ``close`` and the return value pass unchanged. Must never: touch the consumer's
context, or keep the last item from being collected.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator
from typing import Any

from .ambient import current_var, set_current
from .calls import BEGIN, Wrapper
from .plan import Plan, begin
from .streams import named_like
from .tally import Tally

_get = current_var.get
_set = set_current


def generator_call(plan: Plan) -> Wrapper:
    """The wrapper of a generator function."""

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Any = BEGIN) -> Any:
        body = wrapped(*args, **kwargs)
        if not hasattr(body, "send"):
            return body  # a generator function by its looks only
        driven = _drive(plan, run, body, instance, args, kwargs)
        named_like(driven, wrapped)
        return driven

    return call


def async_generator_call(plan: Plan) -> Wrapper:
    """The wrapper of an async generator function."""

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Any = BEGIN) -> Any:
        body = wrapped(*args, **kwargs)
        if not hasattr(body, "asend"):
            return body
        driven = _drive_async(plan, run, body, instance, args, kwargs)
        named_like(driven, wrapped)
        return driven

    return call


def _drive(
    plan: Plan, run: Any, body: Generator[Any, Any, Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Generator[Any, Any, Any]:
    if run is BEGIN:
        run = begin(plan, instance, args, kwargs)
    if run is None:
        return (yield from body)
    del args, kwargs  # the body has them; ours would keep them alive
    tally = Tally(plan, run)
    sent: Any = None
    thrown: BaseException | None = None
    while True:
        previous = _get()
        try:
            _set(run)
            item = body.send(sent) if thrown is None else body.throw(thrown)
        except StopIteration as stop:
            tally.end(thrown if isinstance(thrown, GeneratorExit) else None)
            return stop.value
        except BaseException as error:
            tally.end(error)
            raise
        finally:
            thrown = None
            if _get() is run:
                _set(previous)
        tally.add(item)
        try:
            sent = yield item
        except BaseException as error:
            thrown = _without_our_frame(error)
        finally:
            item = None


async def _drive_async(
    plan: Plan, run: Any, body: AsyncGenerator[Any, Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncGenerator[Any, Any]:
    if run is BEGIN:
        run = begin(plan, instance, args, kwargs)
    del args, kwargs
    tally = Tally(plan, run) if run is not None else None
    step: Any = _first_step(body)
    thrown: BaseException | None = None
    while True:
        previous = _get()
        try:
            if run is not None:
                _set(run)
            item = await step
        except StopAsyncIteration:
            if tally is not None:
                tally.end(thrown if isinstance(thrown, GeneratorExit) else None)
            return
        except BaseException as error:
            if tally is not None:
                tally.end(error)
            raise
        finally:
            thrown = None
            step = None
            if run is not None and _get() is run:
                _set(previous)
        if tally is not None:
            tally.add(item)
        try:
            step = body.asend((yield item))
        except BaseException as error:
            thrown = _without_our_frame(error)
            step = body.athrow(thrown)
        finally:
            item = None


def _without_our_frame(error: BaseException) -> BaseException:
    """What was thrown to us as it would have come to the body; we stand in its traceback once, when it leaves."""
    traceback = error.__traceback__
    return error.with_traceback(traceback.tb_next if traceback is not None else None)


def _first_step(body: AsyncGenerator[Any, Any]) -> Any:
    """Ask for the first item without the body's being registered with the event loop."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
