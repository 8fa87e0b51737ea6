"""Which class stands behind the name of a destination, and what the rules of those that are named say of an event.

Promise: only the classes that are named are imported: an agent that ships to Lunary never loads the usage dialects.
Must never: build a destination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from ..errors import SettingsError, WireError
from ..records import decode
from ..settings import DESTINATION_VARIABLES, NamedDestination

_PLACES = {
    "lunary": ("shipping.destinations", "Lunary"),
    "collector": ("shipping.destinations", "Collector"),
    "local": ("pipeline.local", "Local"),
    "otlp": ("shipping.otlp_destination", "Otlp"),
    "vluna": ("shipping.usage_destinations", "Vluna"),
    "valmi": ("shipping.usage_destinations", "Valmi"),
    "atlas": ("shipping.usage_destinations", "Atlas"),
    "lumen": ("shipping.usage_destinations", "Lumen"),
}
CLASS_NAMES = tuple(sorted(name for _, name in _PLACES.values()))
_ROOT = __name__.rsplit(".", 2)[0]


def class_of(name: str) -> Any:
    """The class of the destination that the environment calls ``name``."""
    module, attribute = _PLACES[name]
    return getattr(import_module(f"{_ROOT}.{module}"), attribute)


def no_destination(given: Any) -> str:
    """What to say of something among the destinations that is none. Text is shown only when it is a name of ours: it
    may be a key."""
    if isinstance(given, type) and given.__name__ in CLASS_NAMES:
        return f"{given.__name__} in destinations is a class: make one, such as spanloom.{given.__name__}(...)"
    if isinstance(given, str) and given.lower() in _PLACES:
        return f"{given!r} in destinations is a name: make one, such as spanloom.{_PLACES[given.lower()][1]}(...)"
    return f"{type(given).__name__} in destinations is no destination: use one of {', '.join(CLASS_NAMES)}"


def made(named: Any) -> Any:
    """The destination itself, as a program would have made it. Raises SettingsError when the environment gives too
    little."""
    if not isinstance(named, NamedDestination):
        return named
    try:
        return class_of(named.name)(**named.arguments)
    except TypeError:
        variables = DESTINATION_VARIABLES[named.name]
        needed = next((name for name in variables if name not in named.arguments), next(iter(variables)))
        variable = variables[needed][0]
        raise SettingsError(
            f"SPANLOOM_DESTINATIONS names {named.name!r}, but nothing gives its {needed}: set {variable}"
        ) from None


def usage_rules(destinations: Iterable[Any]) -> Callable[[bytes], str | None] | None:
    """A function that says why one of these destinations would refuse an action or outcome as it stands in the
    journal (field and cure), or None; None when no destination has such rules."""
    rules = []
    for named in destinations:
        try:
            rule = getattr(made(named), "refusal", None)
        except SettingsError:
            continue  # said where it is built
        if callable(rule):
            rules.append(rule)

    def refusal(payload: bytes) -> str | None:
        try:
            record = decode(payload)
        except WireError as error:
            return str(error)
        return next((str(wrong) for rule in rules if (wrong := rule(record))), None)

    return refusal if rules else None
