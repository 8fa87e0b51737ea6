"""`context` and `disabled`: blocks that say who and what for, or that nothing is to be recorded.

Promises: blocks nest and restore by value, in the context that they are left in; one block object may be entered many
times. Must never: record anything, or fail the host for a wrong value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from ..errors import UsageError
from .ambient import Ambient, ambient_var, current_var, set_variable
from .compose import members_of, object_of, texts_of
from .edge import OFF, direct, failed, wrong_argument
from .late import checked_tags, shown
from .lineage import json_text
from .recorder import Recorder, live


class Block:
    """A context manager, sync and async, that sets a context variable and puts back what was there."""

    __slots__ = ("_entered", "_variable")

    def __init__(self, variable: ContextVar[Any]) -> None:
        self._variable = variable
        self._entered: list[tuple[Any, Any]] = []  # (what we set, what was there), innermost last

    def _inner(self) -> Any:
        """The value to set."""
        return OFF

    def __enter__(self) -> None:
        ours, before = self._inner(), self._variable.get()
        self._entered.append((ours, before))
        set_variable(self._variable, ours)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        here = self._variable.get()
        # Entered by several tasks at once, the pair that is set here is the one to take back.
        for index in range(len(self._entered) - 1, -1, -1):
            ours, before = self._entered[index]
            if ours is here:
                del self._entered[index]
                set_variable(self._variable, before)
                return
        if self._entered:
            self._entered.pop()

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class AmbientBlock(Block):
    """``with context(...):``."""

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(ambient_var)
        self._given = given

    def _inner(self) -> Ambient:
        outer = ambient_var.get()
        recorder = live()
        if recorder is None or not self._given:
            return outer.within()
        try:
            return outer.within(**_rendered(recorder, self._given))
        except Exception as error:
            failed("context_failed", error)
            return outer.within()


@direct(lambda: AmbientBlock({}))
def context(
    *,
    user: str | None = None,
    user_props: Mapping[str, Any] | None = None,
    thread: str | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    customer: str | None = None,
    key: str | None = None,
) -> Block:
    """A block (``with`` or ``async with``) for whose runs all this holds; blocks nest.

    Tags and metadata add up, the rest overrides. ``key`` is the user's own name for the outermost run opened inside,
    usable later for feedback. A wrong value raises UsageError when strict; otherwise it is counted and left out.
    """
    given: dict[str, Any] = {}
    for name, value in (("user", user), ("thread", thread), ("customer", customer), ("key", key)):
        _check(given, name, value, isinstance(value, str) and value != "", "a string that is not empty")
    for name, mapping in (("user_props", user_props), ("metadata", metadata)):
        _check(given, name, mapping, isinstance(mapping, Mapping), "a mapping, such as {'plan': 'pro'}")
    if tags is not None:
        try:
            given["tags"] = checked_tags(tags)
        except UsageError as error:
            wrong_argument(error, "context")
    return AmbientBlock(given)


def disabled() -> Block:
    """A block in which nothing is recorded."""
    return Block(current_var)


def _check(given: dict[str, Any], name: str, value: Any, good: bool, wanted: str) -> None:
    if value is None:
        return
    if good:
        given[name] = dict(value) if isinstance(value, Mapping) else value
    else:
        wrong_argument(UsageError(f"context({name}={shown(value)}): must be {wanted}"), "context")


def _rendered(recorder: Recorder, given: Mapping[str, Any]) -> dict[str, Any]:
    """The block's values as JSON."""
    rendered: dict[str, Any] = {}
    for name, value in given.items():
        if name == "tags":
            rendered[name] = texts_of(recorder, value, "tags")
        elif name == "metadata":
            rendered[name] = members_of(recorder, value, "metadata")
            agent_key = value.get("agent_key")
            if isinstance(agent_key, str) and agent_key:
                rendered["agent_key"] = json_text(agent_key)
        elif name == "user_props":
            rendered[name] = object_of(members_of(recorder, value, "userProps"))
        else:
            rendered[name] = json_text(value)
    if "key" in rendered:
        rendered["key_scope"] = object()
    return rendered
