"""Streams that a plain function returns (a provider client's stream object), recorded when ``reduce`` is given.

Promises: without ``reduce`` the host gets the very object; with it, a proxy that is an instance of the same class and
passes everything on, while the items are counted as the host takes them. The run ends when the stream is exhausted,
fails, is closed, or is dropped. Must never: take an item, close or await by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import wrapt

from .ambient import current_var, set_current
from .plan import Plan
from .run import Run
from .tally import Tally


def named_like(made: Any, wrapped: Any) -> None:
    """Give a coroutine or generator of ours the host's names, which warnings and task lists show."""
    try:
        made.__name__ = wrapped.__name__
        made.__qualname__ = wrapped.__qualname__
    except (AttributeError, TypeError):
        pass


def watch(plan: Plan, run: Run, stream: Any) -> Any:
    """The stream, so that what the host takes from it is recorded."""
    kind = type(stream)
    if hasattr(kind, "__anext__") or hasattr(kind, "__aiter__"):
        return AsyncStream(stream, Tally(plan, run))
    return Stream(stream, Tally(plan, run))


# Methods of generators and provider streams that take items or end the stream; they exist where the stream has them.
_TAKING = ("send", "throw", "asend", "athrow")
_ENDING = ("close", "aclose")


class _Watched(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """What both proxies have in common: the end of the run, and that the rest passes through."""

    def __init__(self, stream: Any, tally: Tally) -> None:
        super().__init__(stream)
        self._self_tally = tally

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__wrapped__, name)
        if name in _ENDING:
            return self._self_ending(found)
        return self._self_taking(found) if name in _TAKING else found

    def _self_ending(self, close: Any) -> Any:
        def close_and_end(*args: Any, **kwargs: Any) -> Any:
            try:
                return close(*args, **kwargs)
            finally:
                self._self_tally.end(GeneratorExit())

        return close_and_end

    def _self_left(self, error: BaseException | None) -> None:
        """A ``with`` block around the stream is left; before its end it is abandoned."""
        self._self_tally.end(GeneratorExit() if error is None else error)

    def __del__(self) -> None:
        tally = getattr(self, "_self_tally", None)
        if tally is not None:
            tally.end(GeneratorExit())

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)


class Stream(_Watched):
    """Stands for a sync iterator."""

    def _self_step(self, take: Any, *args: Any) -> Any:
        tally: Tally = self._self_tally
        previous = current_var.get()
        try:
            set_current(tally.run)
            item = take(*args)
        except StopIteration:
            tally.end()
            raise
        except BaseException as error:
            tally.end(error)
            raise
        finally:
            if current_var.get() is tally.run:
                set_current(previous)
        tally.add(item)
        return item

    def _self_taking(self, take: Any) -> Any:
        return lambda *args: self._self_step(take, *args)

    def _self_items(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while True:
            try:
                item = self._self_step(next, iterator)
            except StopIteration:
                return
            yield item

    def __next__(self) -> Any:
        return self._self_step(next, self.__wrapped__)

    def __iter__(self) -> Any:
        iterator = iter(self.__wrapped__)
        return self if iterator is self.__wrapped__ else self._self_items(iterator)

    def __enter__(self) -> Any:
        entered = self.__wrapped__.__enter__()
        return self if entered is self.__wrapped__ else entered

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        try:
            return self.__wrapped__.__exit__(kind, error, traceback)
        finally:
            self._self_left(error)


class AsyncStream(_Watched):
    """Stands for an async iterator."""

    async def _self_step(self, take: Any, *args: Any) -> Any:
        tally: Tally = self._self_tally
        previous = current_var.get()
        try:
            set_current(tally.run)
            item = await take(*args)
        except StopAsyncIteration:
            tally.end()
            raise
        except BaseException as error:
            tally.end(error)
            raise
        finally:
            if current_var.get() is tally.run:
                set_current(previous)
        tally.add(item)
        return item

    def _self_taking(self, take: Any) -> Any:
        return lambda *args: self._self_step(take, *args)

    async def _self_items(self, iterator: AsyncIterator[Any]) -> AsyncIterator[Any]:
        while True:
            try:
                item = await self._self_step(iterator.__anext__)
            except StopAsyncIteration:
                return
            yield item

    async def __anext__(self) -> Any:
        return await self._self_step(self.__wrapped__.__anext__)

    def __aiter__(self) -> Any:
        iterator = self.__wrapped__.__aiter__()
        return self if iterator is self.__wrapped__ else self._self_items(iterator)

    async def __aenter__(self) -> Any:
        entered = await self.__wrapped__.__aenter__()
        return self if entered is self.__wrapped__ else entered

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        try:
            return await self.__wrapped__.__aexit__(kind, error, traceback)
        finally:
            self._self_left(error)
