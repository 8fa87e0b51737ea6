"""Decorated classes: the class stays the class, patched in place; making an instance of exactly it is the run.

Promises: identity, pickling, ``match``, ``isinstance``, the signature and subclasses are as before; a subclass's
instances are not recorded. A kind of immutable value (whose content is made by ``__new__``) is recorded there. A class
that cannot be patched is left alone, and that is said. Must never: wrap the class in something else.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from typing import Any

from ..errors import UsageError
from .ambient import current_var, set_current
from .edge import wrong_argument
from .plan import Plan, begin, finish, finish_failed
from .run import Run

# Who asks to be told the run that an instance's making opens (`traced`): its plan, then the run.
_asked: ContextVar[list[Any] | None] = ContextVar("spanloom_asked", default=None)


def decorate_class(cls: type, plan: Plan) -> type:
    """Have the making of instances of ``cls`` recorded; returns the same class."""
    try:
        if issubclass(cls, Enum):
            raise UsageError(f"@{plan.label.type} on the enum {cls.__name__}: its members are no runs")
        by_new = _is_made_by_new(cls)
        signature = _signature(cls)
        patch: Any = _recorded_new(cls, plan) if by_new else _recorded_init(cls, plan)
        if signature is not None:
            first = inspect.Parameter("cls" if by_new else "self", inspect.Parameter.POSITIONAL_ONLY)
            rest = [
                p.replace(kind=p.POSITIONAL_ONLY) if p.name == first.name else p for p in signature.parameters.values()
            ]
            patch.__signature__ = signature.replace(parameters=[first, *rest])
        patch._spanloom_plan = plan
        setattr(cls, "__new__" if by_new else "__init__", staticmethod(patch) if by_new else patch)
    except Exception as error:
        wrong_argument(error, plan.label.type)
    return cls


def plan_of_class(cls: type) -> Plan | None:
    """The plan of a decorated class, or None."""
    for name in ("__init__", "__new__"):
        found = cls.__dict__.get(name)
        plan = getattr(getattr(found, "__func__", found), "_spanloom_plan", None)
        if isinstance(plan, Plan):
            return plan
    return None


def traced_instance(cls: type, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Run | None]:
    """An instance and the run that made it."""
    asked: list[Any] = [plan]
    before = _asked.get()
    _asked.set(asked)
    try:
        made = cls(*args, **kwargs)
    finally:
        _asked.set(before)
    return made, asked[1] if len(asked) > 1 else None


def _is_made_by_new(cls: Any) -> bool:
    plain: Any = object  # mypy compares the overloads of these otherwise
    return cls.__init__ is plain.__init__ and cls.__new__ is not plain.__new__


def _signature(cls: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(cls)
    except (TypeError, ValueError):
        return None


def _recorded_init(cls: Any, plan: Plan) -> Callable[..., None]:
    original: Any = cls.__dict__.get("__init__")
    call_original = original or _inherited_init(cls)

    @functools.wraps(original or cls.__init__)
    def __init__(self: Any, /, *args: Any, **kwargs: Any) -> None:
        if type(self) is not cls:
            call_original(self, *args, **kwargs)
            return
        run = _begin(plan, self, args, kwargs)
        if run is None:
            call_original(self, *args, **kwargs)
            return
        previous = current_var.get()
        try:
            set_current(run)
            call_original(self, *args, **kwargs)
        except BaseException as error:
            finish_failed(plan, run, error)
            raise
        finally:
            if current_var.get() is run:
                set_current(previous)
        finish(plan, run, self)

    return __init__


def _inherited_init(cls: Any) -> Callable[..., None]:
    """What a class without an ``__init__`` of its own does: the next in line's, asked for at each call, because a
    subclass may have put another class in between."""

    def inherited(self: Any, /, *args: Any, **kwargs: Any) -> None:
        init = super(cls, self).__init__
        if getattr(init, "__objclass__", None) is object:
            if (args or kwargs) and getattr(type(self), "__new__", None) is object.__new__:
                raise TypeError(f"{type(self).__name__}() takes no arguments")
            return  # with a __new__ of its own, object's __init__ takes and ignores its arguments
        init(*args, **kwargs)

    return inherited


def _recorded_new(cls: Any, plan: Plan) -> Callable[..., Any]:
    own = cls.__dict__.get("__new__")
    original: Any = cls.__new__

    @functools.wraps(original)
    def __new__(made: Any, /, *args: Any, **kwargs: Any) -> Any:
        new = original if own is not None else super(cls, made).__new__
        if made is not cls:
            return new(made, *args, **kwargs)
        run = _begin(plan, made, args, kwargs)
        if run is None:
            return new(made, *args, **kwargs)
        previous = current_var.get()
        try:
            set_current(run)
            instance = new(made, *args, **kwargs)
        except BaseException as error:
            finish_failed(plan, run, error)
            raise
        finally:
            if current_var.get() is run:
                set_current(previous)
        finish(plan, run, instance)
        return instance

    return __new__


def _begin(plan: Plan, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run | None:
    run = begin(plan, instance, args, kwargs)
    asked = _asked.get()
    if asked is not None and asked[0] is plan and len(asked) == 1:
        asked.append(run)
    return run
