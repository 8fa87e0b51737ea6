"""Settings as one value, and the only place that reads the environment.

Promises: never raises for what it finds in the environment; everything wrong is a sentence in `Settings.problems`
(what, which value, the cure) and the default stands. Reads nothing at import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from .errors import SettingsError

RedactHook = Callable[[tuple[Any, ...], str], "str | None"]

DESTINATION_NAMES = ("lunary", "collector", "local", "otlp", "vluna", "valmi", "atlas", "lumen")

# What each destination's users already have set, and what it is called here. The first name found counts.
DESTINATION_VARIABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "lunary": {
        "public_key": ("SPANLOOM_LUNARY_PUBLIC_KEY", "LUNARY_PUBLIC_KEY", "LUNARY_APP_ID"),
        "url": ("SPANLOOM_LUNARY_URL", "LUNARY_API_URL"),
    },
    "collector": {"url": ("SPANLOOM_COLLECTOR_URL",), "key": ("SPANLOOM_COLLECTOR_KEY",)},
    "local": {"path": ("SPANLOOM_LOCAL_PATH",)},
    # OpenTelemetry's own variables count only because otlp has no telling argument: SPANLOOM_DESTINATIONS must name it,
    # so that nobody's prompts go to a collector that was set up for metrics.
    "otlp": {
        "url": ("SPANLOOM_OTLP_URL", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "headers": ("SPANLOOM_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
        "encoding": ("SPANLOOM_OTLP_ENCODING",),
    },
    "vluna": {
        "realm_id": ("SPANLOOM_VLUNA_REALM_ID", "VLUNA_REALM_ID"),
        "key_id": ("SPANLOOM_VLUNA_KEY_ID", "VLUNA_SERVICE_KEY_ID"),
        "secret": ("SPANLOOM_VLUNA_SECRET", "VLUNA_SERVICE_KEY_SECRET"),
        "url": ("SPANLOOM_VLUNA_URL", "VLUNA_SERVICE_BASE_URL"),
        "meter": ("SPANLOOM_VLUNA_METER",),
    },
    "valmi": {
        "api_key": ("SPANLOOM_VALMI_API_KEY", "VALMI_API_KEY"),
        "agent_key": ("SPANLOOM_VALMI_AGENT_KEY", "VALMI_AGENT_KEY"),
        "url": ("SPANLOOM_VALMI_URL",),
        "meter": ("SPANLOOM_VALMI_METER",),
    },
    "atlas": {
        "api_key": ("SPANLOOM_ATLAS_API_KEY", "ATLAS_API_KEY"),
        "url": ("SPANLOOM_ATLAS_URL",),
        "meter": ("SPANLOOM_ATLAS_METER",),
    },
    "lumen": {
        "api_key": ("SPANLOOM_LUMEN_API_KEY", "LUMEN_API_KEY"),
        "url": ("SPANLOOM_LUMEN_URL", "LUMEN_API_URL"),
        "meter": ("SPANLOOM_LUMEN_METER",),
    },
}
# A destination is meant when this one of its arguments is set; the others need SPANLOOM_DESTINATIONS to name them.
_TELLING_ARGUMENT = {
    "lunary": "public_key",
    "collector": "url",
    "local": "path",
    "vluna": "secret",
    "valmi": "api_key",
    "atlas": "api_key",
    "lumen": "api_key",
}


@dataclass(frozen=True)
class NamedDestination:
    """A destination that the environment names: ``name`` and its constructor's arguments (text)."""

    name: str
    arguments: dict[str, str] = field(repr=False)  # may hold a key


@dataclass(frozen=True)
class Settings:
    """Everything that `spanloom.configure` takes, with its defaults.

    ``destinations`` is None when nobody has named any. ``home`` is where all that is kept on disk lies, or None when
    there is no such place. Times are in seconds; ``sample`` is a share between 0 and 1.
    """

    destinations: tuple[Any, ...] | None = None
    journal: str | None = "default"
    journal_sync: Literal["process", "power"] = "process"
    redact: RedactHook | None = None
    sample: float = 1.0
    enabled: bool = True
    capture_content: bool = True
    strict: bool = False
    propagate_threads: bool = False
    propagate_processes: bool = False
    exit_timeout_seconds: float = 2.0
    join_otel: Literal["child", "link", False] = "child"
    service: str | None = None
    home: Path | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None
    problems: tuple[str, ...] = ()

    @property
    def journal_home(self) -> Path | None:
        """The directory in which the folder ``journal`` lies; None for a journal in memory."""
        if self.journal is None:
            return None
        return self.home if self.journal == "default" else Path(self.journal).expanduser().absolute()

    @property
    def local_store_path(self) -> Path | None:
        """The embedded store's file."""
        return self.home / "local.db" if self.home else None


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these variables too, for a child process."""
    return {**os.environ, **more}


_STARTED_WITH = {"home", "traceparent", "tracestate", "baggage", "problems"}
CONFIGURABLE = frozenset(item.name for item in fields(Settings)) - _STARTED_WITH


def from_env(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings by the environment alone; ``environ`` stands in for ``os.environ``."""
    variables = os.environ if environ is None else environ
    reader = _Reader(variables)
    found = {
        "enabled": reader.flag("SPANLOOM_ENABLED"),
        "journal": reader.text("SPANLOOM_JOURNAL"),
        "journal_sync": reader.word("SPANLOOM_JOURNAL_SYNC", ("process", "power")),
        "sample": reader.number("SPANLOOM_SAMPLE", low=0.0, high=1.0),
        "capture_content": reader.flag("SPANLOOM_CAPTURE_CONTENT"),
        "strict": reader.flag("SPANLOOM_STRICT"),
        "propagate_threads": reader.flag("SPANLOOM_PROPAGATE_THREADS"),
        "propagate_processes": reader.flag("SPANLOOM_PROPAGATE_PROCESSES"),
        "exit_timeout_seconds": reader.number("SPANLOOM_EXIT_TIMEOUT_SECONDS", low=0.0, high=3600.0),
        "join_otel": reader.word("SPANLOOM_JOIN_OTEL", ("child", "link", "off")),
        "service": reader.text("SPANLOOM_SERVICE"),
        "destinations": reader.destinations(),
        "traceparent": reader.text("TRACEPARENT"),
        "tracestate": reader.text("TRACESTATE"),
        "baggage": reader.text("BAGGAGE"),
    }
    known: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    if str(known.get("journal", "")).lower() in ("none", "memory", "off"):
        known["journal"] = None
    if known.get("join_otel") == "off":
        known["join_otel"] = False
    return Settings(home=data_home(variables), problems=tuple(reader.problems), **known)


def with_arguments(base: Settings, arguments: Mapping[str, Any]) -> Settings:
    """``base`` with what ``configure`` was given; a wrong value leaves the base's and is said in ``problems``."""
    problems = list(base.problems)
    good: dict[str, Any] = {}
    for name, value in arguments.items():
        try:
            good[name] = _checked(name, value)
        except SettingsError as error:
            problems.append(str(error))
    return replace(base, problems=tuple(problems), **good)


def data_home(environ: Mapping[str, str]) -> Path | None:
    """``SPANLOOM_HOME``, or the user's data directory; None where the user has no home."""
    if environ.get("SPANLOOM_HOME"):
        return Path(environ["SPANLOOM_HOME"]).expanduser().absolute()
    try:
        if sys.platform == "win32":
            return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "spanloom"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "spanloom"
        return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share").absolute() / "spanloom"
    except RuntimeError:  # no HOME and no entry in the user database
        return None


def _checked(name: str, value: Any) -> Any:
    """The value as the settings keep it; raises SettingsError naming the argument, the value and the cure."""
    if name not in CONFIGURABLE:
        known = ", ".join(sorted(CONFIGURABLE))
        raise SettingsError(f"configure() has no argument {name!r}: use one of {known}")
    if name == "destinations":
        return _checked_destinations(value)
    if name in ("enabled", "capture_content", "strict", "propagate_threads", "propagate_processes"):
        if isinstance(value, bool):
            return value
        raise SettingsError(f"configure({name}={value!r}): give True or False")
    if name == "sample":
        return _checked_number(name, value, 0.0, 1.0)
    if name == "exit_timeout_seconds":
        return _checked_number(name, value, 0.0, 3600.0)
    if name in _CHOICES:
        if any(value is choice or (value == choice and type(value) is type(choice)) for choice in _CHOICES[name]):
            return value
        raise SettingsError(f"configure({name}={value!r}): use one of {', '.join(map(repr, _CHOICES[name]))}")
    if name == "redact":
        if value is None or callable(value):
            return value
        raise SettingsError(f"configure(redact={value!r}): give a function of (path, text), or None")
    if value is None or isinstance(value, (str, Path)):  # journal, service
        return None if value is None else str(value)
    raise SettingsError(f"configure({name}={value!r}): give text or None")


_CHOICES: dict[str, tuple[Any, ...]] = {
    "journal_sync": ("process", "power"),
    "join_otel": ("child", "link", False),
}


def _checked_number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise SettingsError(f"configure({name}={value!r}): give a number from {low:g} to {high:g}")


def _checked_destinations(value: Any) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return tuple(value)
    raise SettingsError(
        f"configure(destinations={value!r}): give a list such as [spanloom.Collector('http://127.0.0.1:8321')]"
    )


class _Reader:
    """Reads single variables; collects a sentence for each that is wrong."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        return self.variables.get(name, "").strip() or None

    def flag(self, name: str) -> bool | None:
        text = self.text(name)
        if text is None:
            return None
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        self.problems.append(f"{name}={text!r} is neither true nor false: use 1 or 0; the default stands")
        return None

    def word(self, name: str, choices: tuple[str, ...]) -> str | None:
        text = self.text(name)
        if text is None or text.lower() in choices:
            return text and text.lower()
        self.problems.append(f"{name}={text!r}: use one of {', '.join(choices)}; the default stands")
        return None

    def number(self, name: str, low: float, high: float) -> float | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if low <= value <= high:
            return value
        self.problems.append(f"{name}={text!r}: use a number from {low:g} to {high:g}; the default stands")
        return None

    def destinations(self) -> tuple[NamedDestination, ...] | None:
        """Those that ``SPANLOOM_DESTINATIONS`` names, or else those whose telling variable is set; None for neither."""
        listed = self.text("SPANLOOM_DESTINATIONS")
        if listed is None:
            meant = [name for name, argument in _TELLING_ARGUMENT.items() if argument in self._arguments(name)]
        else:
            meant = [name for name in (part.strip().lower() for part in listed.split(",")) if name]
        found = []
        for name in meant:
            if name in DESTINATION_VARIABLES:
                found.append(NamedDestination(name, self._arguments(name)))
            else:
                known = ", ".join(DESTINATION_VARIABLES)
                self.problems.append(f"no such destination {name!r} in SPANLOOM_DESTINATIONS: use one of {known}")
        return tuple(found) or None

    def _arguments(self, name: str) -> dict[str, str]:
        found = {}
        for argument, variables in DESTINATION_VARIABLES[name].items():
            values = [text for text in map(self.text, variables) if text]
            if values:
                found[argument] = values[0]
        return found
