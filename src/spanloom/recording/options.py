"""What ``agent(...)`` and its like accept, checked once, where they are written.

Promises: a wrong option is named with its value and the cure (raised when strict, else counted) and left out; the
others stand. Must never: raise later, from a decorated call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..errors import UsageError
from .edge import wrong_argument
from .late import MISSING, checked_tags, shown
from .opening import Elsewhere, parent_of


@dataclass(slots=True)
class Options:
    """The options of one decorator or block. ``capture_input`` is a bool or the names of arguments to keep."""

    name: str | None = None
    input: Any = MISSING
    tags: list[str] | None = None
    metadata: dict[Any, Any] | None = None
    params: dict[Any, Any] | None = None
    template_version_id: int | str | None = None
    capture_input: bool | tuple[str, ...] = True
    capture_output: bool = True
    process_input: Callable[[Any], Any] | None = None
    process_output: Callable[[Any], Any] | None = None
    reduce: Callable[[list[Any]], Any] | None = None
    ignore: tuple[type[BaseException], ...] = ()
    parent: Elsewhere = None


def read_options(what: str, given: Mapping[str, Any]) -> Options:
    """Options from keyword arguments; ``what`` is the function that took them."""
    options = Options()
    for name, value in given.items():
        check = _CHECKS.get(name)
        try:
            if check is None:
                raise UsageError(f"{what}() has no argument {name!r}: use one of {', '.join(_CHECKS)}")
            if value is not None or name == "input":
                setattr(options, name, check(name, value))
        except Exception as error:
            wrong_argument(error, what)
    return options


def _text(name: str, value: Any) -> str:
    if isinstance(value, Enum) and isinstance(value.value, str):
        return value.value  # models are often listed in one
    if not isinstance(value, str):
        raise UsageError(f"{name}={shown(value)}: must be a string")
    return value


def _anything(name: str, value: Any) -> Any:
    return value


def _tags(name: str, value: Any) -> list[str]:
    return checked_tags(value)


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name}={shown(value)}: must be a mapping, such as {{'region': 'eu'}}")
    return dict(value)


def _template(name: str, value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UsageError(f"{name}={shown(value)}: must be the version's id, an int or a string")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}={shown(value)}: must be True or False")
    return value


def _arguments(name: str, value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise UsageError(f"{name}={shown(value)}: must be True, False, or the names of the arguments to keep")


def _function(name: str, value: Any) -> Any:
    if not callable(value):
        raise UsageError(f"{name}={shown(value)}: must be a function")
    return value


def _kinds(name: str, value: Any) -> tuple[type[BaseException], ...]:
    kinds = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise UsageError(f"{name}={shown(value)}: must be exception types, such as (KeyError, TimeoutError)")
    return kinds


def _parent(name: str, value: Any) -> Elsewhere:
    return parent_of(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "name": _text,
    "input": _anything,
    "tags": _tags,
    "metadata": _mapping,
    "params": _mapping,
    "template_version_id": _template,
    "capture_input": _arguments,
    "capture_output": _flag,
    "process_input": _function,
    "process_output": _function,
    "reduce": _function,
    "ignore": _kinds,
    "parent": _parent,
}
