"""`instrument`: the installed instrumentors of LLM libraries, turned on with their spans coming in as runs.

Theory of operation. OpenInference and OpenTelemetry instrumentation packages announce themselves by entry points (and
pydantic-ai has a switch of its own). Those that are asked for are handed a tracer provider of ours, which nothing else
uses: the host's own provider, exporters and sampler are as they were. Its sampler keeps everything, since `RunSpans`
goes by the recorder's settings.

Promises: turning on twice is once; what is not installed is named together with the extra that brings it, and the
others are turned on. Must never: patch a client by ourselves.
"""

from __future__ import annotations

import threading
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from ..errors import UsageError
from ..recording.edge import wrong_argument
from ..recording.late import shown

GROUPS = ("openinference_instrumentor", "opentelemetry_instrumentor")
"""Entry point groups, the preferred one first."""

EXTRAS = ("anthropic", "google-genai", "langchain", "litellm", "mcp", "openai", "openai-agents")
"""Extras of ours (``spanloom[openai]``) that bring an instrumentor of that name."""

_on: dict[str, Any] = {}  # what we turned on, by name
_providers: list[Any] = []
_lock = threading.Lock()


def instrument(*names: str) -> tuple[str, ...]:
    """Have the calls of these libraries recorded as runs: ``instrument("openai", "anthropic")``.

    Returns the names that are on now, among those asked for; ``instrument()`` asks for every instrumentor of an LLM
    library that is installed. A name that is not installed, or fails to turn on, is one warning that says what to
    install (with ``strict=True``: UsageError), and the others go on.
    """
    wanted = [name for name in names if isinstance(name, str)] if names else installed()
    for name in names:
        if not isinstance(name, str):
            wrong_argument(UsageError(f"instrument({shown(name)}): must be names, such as 'openai'"), "instrument")
    with _lock:
        return tuple(name for name in map(_normal, wanted) if name in _on or _turn_on(name))


def uninstrument(*names: str) -> None:
    """Turn off what `instrument` turned on: these, or all."""
    with _lock:
        for name in [_normal(name) for name in names] or list(_on):
            instrumentor = _on.pop(name, None)
            if instrumentor is not None:
                instrumentor.uninstrument()
        for provider in _providers:
            provider.force_flush()


def installed() -> list[str]:
    """The names of the LLM libraries' instrumentors that are installed: all of OpenInference's, and of the others
    those that we have an extra for."""
    ours = {_normal(entry.name) for entry in metadata.entry_points(group=GROUPS[0])}
    others = {_normal(entry.name) for entry in metadata.entry_points(group=GROUPS[1])}
    itself = {"pydantic-ai"} if find_spec("pydantic_ai") is not None else set()
    return sorted(ours | (others & set(EXTRAS)) | itself)


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")


class _PydanticAi:
    """pydantic-ai makes spans itself, for whoever asks: its own public switch, in an instrumentor's shape."""

    value = "pydantic_ai.Agent.instrument_all"

    def load(self) -> Any:
        """As an entry point does."""
        return type(self)

    def instrument(self, *, tracer_provider: Any) -> None:
        """All agents that bring no settings of their own are recorded."""
        from pydantic_ai import Agent, InstrumentationSettings

        self._before = Agent._instrument_default
        Agent.instrument_all(InstrumentationSettings(tracer_provider=tracer_provider))

    def uninstrument(self) -> None:
        """As it was."""
        from pydantic_ai import Agent

        Agent.instrument_all(self._before)


def _entries(group: str, name: str) -> list[Any]:
    """The instrumentors of a name in a group, in the same order on every start."""
    if name == "pydantic-ai" and group == GROUPS[0] and find_spec("pydantic_ai") is not None:
        return [_PydanticAi()]
    entries = [entry for entry in metadata.entry_points(group=group) if _normal(entry.name) == name]
    return sorted(entries, key=lambda entry: entry.value)


def _turn_on(name: str) -> bool:
    for group in GROUPS:
        for entry in _entries(group, name):
            try:
                instrumentor = entry.load()()
                if not getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
                    instrumentor.instrument(tracer_provider=_provider())
                    _on[name] = instrumentor
                    return True
                problem = f"instrument({name!r}): the program has turned {entry.value} on itself; add RunSpans to it"
            except Exception as error:  # a named door: other people's packages
                problem = f"instrument({name!r}): {entry.value} could not be turned on: {error!r}"
            wrong_argument(UsageError(problem), "instrument")
            return False
    cure = f"pip install 'spanloom[{name}]'" if name in EXTRAS else f"install its instrumentor; extras: {EXTRAS}"
    wrong_argument(UsageError(f"instrument({name!r}): no instrumentor of that name is installed: {cure}"), "instrument")
    return False


def _provider() -> Any:
    if not _providers:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        from .joining import join
        from .spans import RunSpans

        join()
        provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(RunSpans())
        _providers.append(provider)
    return _providers[0]
