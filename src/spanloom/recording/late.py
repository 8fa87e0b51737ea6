"""What becomes known of a run while it works: output, usage, model, cost and more, kept as JSON until the end.

Promises: everything is a snapshot of the moment it was set; mappings merge by key, the rest is replaced; a wrong value
is named and left out, its neighbours count. Must never: keep a reference to a user's object.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from .compose import members_of, object_of, texts_of
from .lineage import json_text
from .recorder import Recorder


class Missing:
    """The default of arguments for which None is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<not given>"


MISSING = Missing()

_USAGE_NAMES = {
    "input": "prompt",
    "output": "completion",
    "cached_input": "promptCached",
    "reasoning": "reasoning",
    "total": "total",
}
SETTABLE = ("output", "usage", "model", "params", "metadata", "tags", "cost", "extra", "response_id")


class Late:
    """The values of one run's `set` calls. ``reported`` are those that can be metered before the end."""

    __slots__ = ("extra", "metadata", "output", "params", "reported", "tags")

    def __init__(self) -> None:
        self.output: bytes | None = None
        self.reported: dict[str, str] = {}
        self.params: dict[str, str] = {}
        self.metadata: dict[str, str] = {}
        self.extra: dict[str, str] = {}
        self.tags: tuple[str, ...] = ()

    def members(self, content: bool) -> str:
        """As members of the end record; without ``content`` only what is counted, and tags."""
        parts = [f',"{name}":{value}' for name, value in self.reported.items()]
        if self.tags:
            parts.append(f',"tags":[{",".join(self.tags)}]')
        if content:
            for name, values in (("params", self.params), ("metadata", self.metadata), ("extra", self.extra)):
                if values:
                    parts.append(f',"{name}":{object_of(values)}')
        return "".join(parts)

    def take(self, recorder: Recorder, values: Mapping[str, Any], content: bool) -> tuple[str, list[UsageError]]:
        """Merge what `Run.set` was given; returns the members for an update record (those that can be metered), and
        what was wrong."""
        problems: list[UsageError] = []
        reported: dict[str, str] = {}
        for name, value in values.items():
            try:
                if name == "output":
                    self.output = recorder.encoder.snapshot(value, ("output",)) if content else None
                elif name in ("params", "metadata", "extra"):
                    self._merge(recorder, name, value, content)
                elif value is None:
                    continue
                elif name == "tags":
                    more = texts_of(recorder, checked_tags(value), "tags")
                    self.tags = tuple(dict.fromkeys((*self.tags, *more)))
                elif name == "usage":
                    reported["tokensUsage"] = usage_json(value)
                elif name == "cost":
                    reported["cost"] = cost_json(value)
                elif name == "model":
                    reported["model"] = _text(name, value)
                elif name == "response_id":
                    reported["responseId"] = _text(name, value)
                else:
                    raise UsageError(f"run.set() has no argument {name!r}: use one of {', '.join(SETTABLE)}")
            except UsageError as error:
                problems.append(error)
        self.reported.update(reported)
        return "".join(f',"{name}":{value}' for name, value in reported.items()), problems

    def add(self, more: Late) -> list[str]:
        """Take what ``more`` has and this has not; returns the names of the members of a record that grew by it."""
        added = [name for name in more.reported if name not in self.reported]
        self.reported = {**more.reported, **self.reported}
        if self.output is None and more.output is not None:
            self.output = more.output
            added.append("output")
        for name in ("params", "metadata", "extra"):
            known, new = getattr(self, name), getattr(more, name)
            if new.keys() - known.keys():
                setattr(self, name, {**new, **known})
                added.append(name)
        if set(more.tags) - set(self.tags):
            self.tags = tuple(dict.fromkeys((*self.tags, *more.tags)))
            added.append("tags")
        return added

    def _merge(self, recorder: Recorder, name: str, value: Any, content: bool) -> None:
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise UsageError(f"{name}={type(value).__name__}: must be a mapping, such as {{'region': 'eu'}}")
        if content:
            setattr(self, name, {**getattr(self, name), **members_of(recorder, value, name)})


def checked_tags(value: Any) -> list[str]:
    """Tags as a list of texts; raises UsageError for anything but a collection of str (one str is one tag)."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(tag, str) for tag in value):
        raise UsageError(f"tags={shown(value)}: must be a list of strings, such as ['prod', 'web']")
    return list(value)


def usage_json(value: Any) -> str:
    """Token counts as the JSON of `records.TokenUsage`; raises UsageError naming the count that is none."""
    if not isinstance(value, Mapping):
        raise UsageError(f"usage={shown(value)}: must be a mapping, such as {{'input': 50, 'output': 100}}")
    parts = []
    for name, count in value.items():
        ours = _USAGE_NAMES.get(name) if isinstance(name, str) else None
        if ours is None:
            raise UsageError(f"usage has no count {shown(name)}: use {', '.join(_USAGE_NAMES)}")
        if count is None:
            continue
        try:
            number = -1 if isinstance(count, bool) else operator.index(count)
        except TypeError:
            number = -1
        if not 0 <= number < 1 << 53:
            raise UsageError(f"usage[{name!r}]={shown(count)}: must be a number of tokens, an int of at least 0")
        parts.append(f'"{ours}":{number}')
    return "{" + ",".join(parts) + "}"


def cost_json(value: Any) -> str:
    """A cost in US dollars; raises UsageError unless it is a finite number of at least 0."""
    try:
        number = math.nan if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(f"cost={shown(value)}: must be US dollars, a finite number of at least 0")
    return repr(number)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name}={shown(value)}: must be a string")
    return json_text(value)


def shown(value: Any) -> str:
    """A wrong value for a message: bounded in work and length, and without calling any code of the user's."""
    kind = type(value)
    if kind in (str, bytes):
        text = repr(value[:100])
        return text if len(value) <= 100 else text + "…"
    if kind in _SCALARS or (kind in (list, tuple, dict) and len(value) <= 10 and _plain(value)):
        try:
            text = repr(value)
        except ValueError:  # an int of too many digits
            return f"<{kind.__name__}>"
        return text if len(text) <= 100 else text[:100] + "…"
    return f"<{kind.__qualname__}>"


_SCALARS = frozenset({int, float, bool, type(None)})


def _plain(value: Any) -> bool:
    """Whether the members' ``repr`` is Python's own, and short work."""
    members = [*value, *value.values()] if type(value) is dict else value
    return all(type(each) in _SCALARS or (type(each) is str and len(each) <= 100) for each in members)
