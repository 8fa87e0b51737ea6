"""What a model's tokens cost, by a table with a date and a source for each price (``prices.json``); never a guess.

    prices = Prices.bundled()                     # or Prices.with_overrides(Path("prices.json"))
    prices.cost("gpt-4o", prompt=1000, completion=200, cached=0)  # -> 0.0045, US dollars
    prices.cost("my-own-model", prompt=1, completion=1)           # -> None

A price is known for a model's exact name, for the name with the vendor's own prefix (``openai/``, ``anthropic/``,
``gemini/``, ``models/``), and for a dated snapshot of it (``-2025-04-14``, ``-20250514``, ``-latest``) that has no
price of its own. Everything else has no cost: an unknown model, a prompt longer than its price was given for, cached
tokens without a price for them, a count that is missing. What the counts do not tell is not in the cost: writes to a
cache, batches, audio, tools.

A file of the same form overrides the table: ``{"models": {"my-own-model": {"input": 1.5, "output": 6}}}``, in dollars
for a million tokens; ``null`` takes a price away.

Promises: no clock, no network; a cost depends on its arguments and the table alone. Must never: guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .errors import SettingsError

_BUNDLED = Path(__file__).with_name("prices.json")
_PREFIXES = ("openai/", "anthropic/", "gemini/", "models/")
_SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
_MOST_REMEMBERED = 1000


class Beyond(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all tokens cost when the prompt has more than ``prompt`` tokens."""

    prompt: int
    input: float
    output: float | None = None
    cached: float | None = None


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for 1,000,000 tokens: of the prompt (``input``), of its part that came from a cache (``cached``), of
    the completion (``output``; None for embeddings). ``max_prompt`` is the longest prompt (tokens) that it holds for,
    ``over`` the price beyond some length. ``checked`` is the day (ISO 8601) it was read at ``source``."""

    input: float
    output: float | None = None
    cached: float | None = None
    max_prompt: int | None = None
    over: Beyond | None = None
    source: str = ""
    checked: str = ""


class _Table(msgspec.Struct, frozen=True):
    models: dict[str, Price | None]
    date: str = ""
    sources: dict[str, str] = {}


_table: msgspec.json.Decoder[_Table] = msgspec.json.Decoder(_Table)


class Prices:
    """A table of prices; immutable, for any thread. ``date`` is the day (ISO 8601) the bundled table was made."""

    def __init__(self, models: Mapping[str, Price], date: str = "", sources: Mapping[str, str] | None = None) -> None:
        self.models = {name.lower(): price for name, price in models.items()}
        self.date = date
        self.sources = dict(sources or {})
        self._known: dict[str, Price | None] = {}

    @classmethod
    def bundled(cls) -> Prices:
        """The table that comes with Spanloom."""
        table = _read(_BUNDLED)
        return cls({name: price for name, price in table.models.items() if price}, table.date, table.sources)

    @classmethod
    def with_overrides(cls, path: Path) -> Prices:
        """The bundled table with what this file says instead; the table alone when there is no such file.

        Raises SettingsError naming what is wrong with the file.
        """
        bundled = cls.bundled()
        if not path.exists():
            return bundled
        models: dict[str, Price] = dict(bundled.models)
        for name, price in _read(path).models.items():
            if price is None:
                models.pop(name.lower(), None)
            else:
                models[name.lower()] = price
        return cls(models, bundled.date, bundled.sources)

    def price_of(self, model: str) -> Price | None:
        """The price of a model by its name; None when it has none."""
        known = self._known
        if model not in known:
            if len(known) >= _MOST_REMEMBERED:
                known.clear()
            known[model] = self._look_up(model)
        return known[model]

    def _look_up(self, model: str) -> Price | None:
        name = model.strip().lower()
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        return self.models.get(name) or self.models.get(_SNAPSHOT.sub("", name))

    def cost(
        self, model: str | None, *, prompt: int | None, completion: int | None, cached: int | None = None
    ) -> float | None:
        """US dollars for these token counts (``cached`` is a part of ``prompt``); None when they cannot be told."""
        price: Price | Beyond | None = self.price_of(model) if model else None
        if not isinstance(price, Price) or prompt is None or prompt < 0 or (price.max_prompt or prompt) < prompt:
            return None
        if price.over is not None and prompt > price.over.prompt:
            price = price.over
        from_cache = cached or 0
        if not 0 <= from_cache <= prompt or (from_cache and price.cached is None):
            return None
        if price.output is None:
            completion = None if completion else 0
        if completion is None or completion < 0:
            return None
        dollars = (prompt - from_cache) * price.input + from_cache * (price.cached or 0.0)
        return round((dollars + completion * (price.output or 0.0)) / 1_000_000, 12)


def _read(path: Path) -> _Table:
    try:
        table = _table.decode(path.read_bytes())
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise SettingsError(f"the prices in {path} cannot be read: {error}: see the form in docs/prices.md") from None
    for name, price in table.models.items():
        if price is not None and not all(0 <= part < math.inf for part in _parts(price)):
            raise SettingsError(f"the price of {name!r} in {path} is not a number of dollars from 0")
    return table


def _parts(price: Price) -> list[float]:
    over = price.over
    parts = [price.input, price.output, price.cached]
    parts += [over.input, over.output, over.cached] if over is not None else []
    return [part for part in parts if part is not None]
