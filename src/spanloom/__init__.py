"""Spanloom's front door: the public names, each handed on from its room when it is first asked for (PEP 562).

Promises: ``import spanloom`` starts no thread, opens no file or socket, and imports next to nothing. A name is imported
with the wiring behind it (`spanloom.pipeline`), which itself waits for the first record.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "agent": "recording.decorators",
    "tool": "recording.decorators",
    "llm": "recording.decorators",
    "chain": "recording.decorators",
    "embed": "recording.decorators",
    "retriever": "recording.decorators",
    "traced": "recording.decorators",
    "start": "recording.decorators",
    "current_run": "recording.run",
    "Run": "recording.run",
    "context": "recording.blocks",
    "disabled": "recording.blocks",
    "carry": "recording.carrying",
    "inject": "recording.propagation",
    "extract": "recording.propagation",
    "instrument": "otel.instrumenting",
    "thread": "recording.conversation",
    "feedback": "recording.feedback",
    "action": "recording.usage",
    "outcome": "recording.usage",
    "configure": "pipeline",
    "flush": "pipeline",
    "shutdown": "pipeline",
    "health": "pipeline",
    "Lunary": "shipping.destinations",
    "Collector": "shipping.destinations",
    "Otlp": "shipping.otlp_destination",
    "Vluna": "shipping.usage_destinations",
    "Valmi": "shipping.usage_destinations",
    "Atlas": "shipping.usage_destinations",
    "Lumen": "shipping.usage_destinations",
    "Local": "pipeline.local",
    "Health": "shipping.ledger",
    "SpanloomError": "errors",
    "UsageError": "errors",
    "SettingsError": "errors",
    "testing": "testing",
    "middleware": "middleware",
    "outgoing": "outgoing",
}

if TYPE_CHECKING:
    from . import middleware, outgoing, testing
    from .errors import SettingsError, SpanloomError, UsageError
    from .otel.instrumenting import instrument
    from .pipeline import configure, flush, health, shutdown
    from .pipeline.local import Local
    from .recording.blocks import context, disabled
    from .recording.carrying import carry
    from .recording.conversation import thread
    from .recording.decorators import agent, chain, embed, llm, retriever, start, tool, traced
    from .recording.feedback import feedback
    from .recording.propagation import extract, inject
    from .recording.run import Run, current_run
    from .recording.usage import action, outcome
    from .shipping.destinations import Collector, Lunary
    from .shipping.ledger import Health
    from .shipping.otlp_destination import Otlp
    from .shipping.usage_destinations import Atlas, Lumen, Valmi, Vluna

__all__ = [
    "Atlas",
    "Collector",
    "Health",
    "Local",
    "Lumen",
    "Lunary",
    "Otlp",
    "Run",
    "SettingsError",
    "SpanloomError",
    "UsageError",
    "Valmi",
    "Vluna",
    "action",
    "agent",
    "carry",
    "chain",
    "configure",
    "context",
    "current_run",
    "disabled",
    "embed",
    "extract",
    "feedback",
    "flush",
    "health",
    "inject",
    "instrument",
    "llm",
    "middleware",
    "outcome",
    "outgoing",
    "retriever",
    "shutdown",
    "start",
    "testing",
    "thread",
    "tool",
    "traced",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'spanloom' has no attribute {name!r}")
    import_module(".pipeline", __name__)  # the wiring, and all of recording, come with the first name
    module = import_module(f".{home}", __name__)
    value = globals()[name] = module if home == name else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
