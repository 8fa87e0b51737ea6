"""Usage events as the journal holds them, and each usage destination as a test builds it."""

from __future__ import annotations

import base64
from typing import Any

from msgspec import UNSET, Raw
from msgspec import json as msgjson

from spanloom.clock import iso
from spanloom.dialects import atlas, lumen, valmi, vluna
from spanloom.records import Action, Outcome, RunEnd, TokenUsage, encode
from spanloom.shipping.retry import RetryRules
from spanloom.shipping.usage_destinations import Atlas, Lumen, Valmi, Vluna

QUICKLY = RetryRules(first_seconds=0.01, longest_seconds=0.05, probe_seconds=0.05, probe_jitter_seconds=0.0,
                     hurry_seconds=0.01, tokens=1e9)  # fmt: skip
SECRET = b"super-secret"
DIALECTS: dict[str, Any] = {"vluna": vluna, "valmi": valmi, "atlas": atlas, "lumen": lumen}


def _vluna(url: str, **options: Any) -> Vluna:
    return Vluna("realm", "vluna-key", base64.b64encode(SECRET).decode(), url=url, **options)


BUILD: dict[str, Any] = {
    "vluna": _vluna,
    "valmi": lambda url, **options: Valmi("valmi-key", "agent_abc", url=url, **options),
    "atlas": lambda url, **options: Atlas("atlas-key", url=url, **options),
    "lumen": lambda url, **options: Lumen("lumen-key", url=url, **options),
}


def _id(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def event_key(number: int) -> str:
    """The idempotency key of `event` when none is given: its id, as recording makes it."""
    return _id(number)


def event(number: int, *, kind: str = "action", customer: str | None = "acme", key: str = "", **more: Any) -> bytes:
    """An action or outcome; ``properties`` and ``labels`` are mappings."""
    for name in ("properties", "labels"):
        if name in more:
            more[name] = Raw(msgjson.encode(more[name]))
    made = (Outcome if kind == "outcome" else Action)(
        event_id=_id(number), timestamp=iso(1_800_000_000_000_000_000 + number * 1000), customer=customer,
        idempotency_key=key or _id(number), **{"name": "n", **more},
    )  # fmt: skip
    return encode(made)


def end(number: int, *, type: str = "llm", response_id: str | None = None, tokens: tuple[int, int] | None = (1000, 200),
        **more: Any) -> bytes:  # fmt: skip
    """The end record of a run that took two seconds."""
    at = 1_800_000_000_000_000_000 + number * 1000
    usage = None if tokens is None else TokenUsage(prompt=tokens[0], completion=tokens[1])
    made = RunEnd(
        event_id=f"{_id(number)}.e", timestamp=iso(at + 2_000_000_000), started_at=iso(at), run_id=_id(number),
        type=type, name="gpt-4o", customer="acme", response_id=response_id, tokens_usage=usage, output=UNSET, **more,
    )  # fmt: skip
    return encode(made)
