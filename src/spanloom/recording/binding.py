"""From a call's arguments to the input that is recorded, by a plan made once, where the function is decorated.

Promises: the sole argument's value for agents, models and their like; a mapping of bound names, defaults included,
for tools and for functions of several arguments. ``self`` and ``cls`` are never captured. A call that does not fit the
signature gives what fits; the host's TypeError is its own. Must never: run `inspect` on the call path.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from .late import MISSING

Arguments = tuple[Any, ...]
Bind = Callable[[Any, Arguments, dict[str, Any]], Any]
"""``(instance, args, kwargs) -> value``; ``instance`` as wrapt gives it, None when the call was not through one."""

_FIRST_NAMES = ("self", "cls", "mcs", "mcls")


class Parameters:
    """A signature, taken apart. ``free`` leading arguments are the method's own (``self``) when the call did not come
    through an instance; ``shifts`` when a call through an instance takes away a parameter that is not known as such."""

    __slots__ = ("defaults", "free", "keyword_only", "known", "positional", "shifts", "varargs", "varkw")

    def __init__(self, function: Any) -> None:
        self.positional: list[str] = []
        self.keyword_only: list[str] = []
        self.defaults: dict[str, Any] = {}
        self.varargs = ""
        self.varkw = ""
        self.free = 0
        self.shifts = False
        self.known = True
        underlying = getattr(function, "__func__", function) if _is_method_object(function) else function
        try:
            parameters = list(inspect.signature(underlying).parameters.values())
        except (TypeError, ValueError):  # some builtins have none
            self.known = False
            return
        for parameter in parameters:
            self._add(parameter)
        if isinstance(function, staticmethod) or not isinstance(underlying, FunctionType) or not self.positional:
            return  # nothing is bound, or has been bound already
        if isinstance(function, classmethod) or _looks_like_method(underlying, self.positional[0]):
            self.defaults.pop(self.positional.pop(0), None)
            self.free = 1
        else:
            self.shifts = True

    def _add(self, parameter: inspect.Parameter) -> None:
        if parameter.kind is parameter.VAR_POSITIONAL:
            self.varargs = parameter.name
        elif parameter.kind is parameter.VAR_KEYWORD:
            self.varkw = parameter.name
        else:
            names = self.keyword_only if parameter.kind is parameter.KEYWORD_ONLY else self.positional
            names.append(parameter.name)
            if parameter.default is not parameter.empty:
                self.defaults[parameter.name] = parameter.default

    def names(self) -> list[str]:
        """All names that an argument can be bound to."""
        return [*self.positional, *self.keyword_only, *filter(None, (self.varargs, self.varkw))]

    def fits(self, args: Arguments, kwargs: dict[str, Any], instance: Any) -> bool:
        """Whether the call surely binds; False when that takes a closer look."""
        if kwargs or self.varkw or self.varargs or self.keyword_only or not self.known:
            return False
        if self.shifts and instance is not None:
            return False
        count = len(args) - (self.free if instance is None else 0)
        return len(self.positional) - len(self.defaults) <= count <= len(self.positional)


def _is_method_object(function: Any) -> bool:
    return isinstance(function, (staticmethod, classmethod))


def _looks_like_method(function: FunctionType, first: str) -> bool:
    """Defined in a class body, with a first parameter of the usual name."""
    owner = function.__qualname__.rpartition(".")[0]
    return first in _FIRST_NAMES and bool(owner) and not owner.endswith("<locals>")


def compile_bind(parameters: Parameters, capture: bool | tuple[str, ...], always_mapping: bool) -> Bind | None:
    """The function that makes the input of a call, or None when nothing is to be captured."""
    if capture is False:
        return None
    if not parameters.known:
        return _unknown_signature
    if capture is True and not always_mapping and not parameters.names():
        return None
    if capture is True and (name := sole_name(parameters, always_mapping)):
        return _sole(parameters, name)
    bind = _mapping(parameters)
    return bind if capture is True else _only(bind, capture)


def sole_name(parameters: Parameters, always_mapping: bool) -> str:
    """The name of the only argument, if its value alone is the input; else ""."""
    names = parameters.names()
    plain = not (parameters.varargs or parameters.varkw)
    return names[0] if len(names) == 1 and plain and not always_mapping else ""


def _sole(parameters: Parameters, name: str) -> Bind:
    free = parameters.free
    shifts = parameters.shifts
    default = parameters.defaults.get(name, MISSING)

    def bind(instance: Any, args: Arguments, kwargs: dict[str, Any]) -> Any:
        if instance is None:
            at = free
        elif shifts:
            return MISSING  # the sole parameter is the instance
        else:
            at = 0
        return args[at] if len(args) > at else kwargs.get(name, default)

    return bind


def _mapping(parameters: Parameters) -> Bind:
    free = parameters.free
    shifts = parameters.shifts
    all_names = tuple(parameters.positional)
    defaults = parameters.defaults
    varargs, varkw = parameters.varargs, parameters.varkw
    known = frozenset((*all_names, *parameters.keyword_only))

    def bind(instance: Any, args: Arguments, kwargs: dict[str, Any]) -> Any:
        names = all_names
        if instance is None:
            if free:
                args = args[free:]
        elif shifts:
            names = all_names[1:]
        bound = dict(zip(names, args))  # noqa: B905 - a wrong call may have more or fewer
        if varargs:
            bound[varargs] = list(args[len(names) :])
        if kwargs:
            if varkw:
                bound.update((name, value) for name, value in kwargs.items() if name in known)
                bound[varkw] = {name: value for name, value in kwargs.items() if name not in known}
            else:
                bound.update(kwargs)
        if defaults:
            for name, value in defaults.items():
                if name not in bound and not (shifts and instance is not None and name == all_names[0]):
                    bound[name] = value
        return bound

    return bind


def _only(bind: Bind, keep: tuple[str, ...]) -> Bind:
    def bind_some(instance: Any, args: Arguments, kwargs: dict[str, Any]) -> Any:
        bound = bind(instance, args, kwargs)
        return {name: bound[name] for name in keep if name in bound}

    return bind_some


def _unknown_signature(instance: Any, args: Arguments, kwargs: dict[str, Any]) -> Any:
    if len(args) == 1 and not kwargs:
        return args[0]
    return {"args": list(args), **kwargs} if args else dict(kwargs)
