"""What surrounds a run: the run that is current, and who it is for. The only module that touches contextvars-extras.

Promises: both live in plain context variables, so they follow tasks and copied contexts; blocks restore by value, and
only what is still theirs. Must never: keep a token (resetting one fails in another context), or hold a mutable value.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from contextvars_extras import ContextVarsRegistry  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from .run import Parent


class Ambient:
    """Who and what for, immutable, rendered once as the JSON members that every record inside will carry.

    ``who`` are the members of start and end alike (``,"userId":"u1"``), ``props`` those of the start alone; ``tags``
    are JSON strings, ``metadata`` maps a JSON string to its JSON value. ``key_scope`` is one object for each block
    that names a key, so that the outermost run in it can be told. ``agent_key`` is the one in the metadata, for
    endpoints that tell agents apart: it has to be on what is counted, also where content is not kept.
    """

    __slots__ = (
        "agent_key", "customer", "key", "key_scope", "metadata", "props", "tags", "thread", "user", "user_props", "who",
    )  # fmt: skip

    def __init__(
        self,
        *,
        user: str = "",
        user_props: str = "",
        thread: str = "",
        customer: str = "",
        key: str = "",
        key_scope: object = None,
        agent_key: str = "",
        tags: tuple[str, ...] = (),
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.user = user
        self.user_props = user_props
        self.thread = thread
        self.customer = customer
        self.key = key
        self.key_scope = key_scope
        self.tags = tags
        self.metadata = metadata or {}
        self.agent_key = agent_key
        self.who = "".join(
            f',"{name}":{value}'
            for name, value in (("userId", user), ("threadId", thread), ("customer", customer), ("agentKey", agent_key))
            if value
        )
        self.props = f',"userProps":{user_props}' if user_props else ""

    def values(self) -> dict[str, Any]:
        """What another `Ambient` that says the same is made of."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in ("who", "props")}

    def become(self, values: Mapping[str, Any]) -> None:
        """Only for `NOTHING`: what the process was started with."""
        Ambient.__init__(self, **values)

    def within(self, **inner: Any) -> Ambient:
        """This, overridden by the JSON texts in ``inner``; tags and metadata add up."""
        values = self.values()
        values["tags"] = tuple(dict.fromkeys((*self.tags, *inner.pop("tags", ()))))
        values["metadata"] = {**self.metadata, **inner.pop("metadata", {})}
        if "user" in inner:
            values["user_props"] = ""  # another user's properties are not this one's
        return Ambient(**{**values, **inner})


# What surrounds everything in this process: nothing, or what it was started with.
NOTHING = Ambient()


class _Surroundings(ContextVarsRegistry):  # type: ignore[misc]
    _registry_allocate_on_setattr = False
    ambient: Ambient = NOTHING


# The hot path reads the variable underneath: 16 ns, where the registry takes 187.
ambient_var: ContextVar[Ambient] = cast(Any, _Surroundings).__dict__["ambient"].context_var

# Stands for "outside any run". Full while recording is on and empty while it is off: wrapt looks at its truth, in C,
# before it calls our wrapper at all, so that a decorated call costs 57 ns when nothing is recorded (550 otherwise).
OUTSIDE: list[bool] = []

# A live run, a parent elsewhere, OFF, or OUTSIDE.
current_var: ContextVar[Parent] = ContextVar("spanloom_current", default=OUTSIDE)

T = TypeVar("T")


# The phases of garbage collection that were announced, the latest last. Kept by two functions written in C, called one
# after the other: taking a phase out and putting it in again moves it to the end. A callback in Python would give
# signal handlers an opportunity in the middle of whatever the collection interrupted.
_phases: dict[str, object] = {}
_watched: list[bool] = []


def _is_collecting() -> bool:
    """Whether a collection is under way. A notice of its end can be missed (another callback that takes itself off the
    list hides the next one), so it is asked for: inside a collection this does nothing; outside, it collects the
    youngest objects, and that is noticed. Another thread's collection counts as well, while a finaliser of it waits."""
    if next(reversed(_phases), "stop") == "stop":
        return False
    gc.collect(0)
    return next(reversed(_phases), "stop") != "stop"


def watch_collections() -> None:
    """Have `set_variable` know of collections. Called when a recorder is installed; needless from Python 3.12 on."""
    if sys.version_info < (3, 12) and not _watched:
        _watched.append(True)
        gc.callbacks[:0] = [_phases.pop, _phases.__setitem__]


if sys.version_info >= (3, 12):

    def set_variable(variable: ContextVar[T], value: T) -> None:
        """Set a context variable."""
        variable.set(value)

    set_current = current_var.set
else:

    def set_variable(variable: ContextVar[T], value: T) -> None:
        """Set a context variable, unless a finaliser called us.

        Before Python 3.12 a collection may begin inside `ContextVar.set`; a finaliser that then sets a variable of the
        same context frees what the outer call is reading, and the interpreter crashes (seen on 3.10.13 within a
        second of emitting from ``__del__``). So a run that a finaliser opens is recorded but not made current, and
        `disabled` blocks have no effect there.
        """
        if not _is_collecting():
            variable.set(value)

    def set_current(run: Parent) -> object:
        """As `set_variable`, for the current run. False when it was not set."""
        for phase in reversed(_phases):
            if phase == "start" and _is_collecting():
                return False
            break
        return current_var.set(run)
