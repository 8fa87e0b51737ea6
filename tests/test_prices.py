"""What tokens cost: by the table or not at all."""

from __future__ import annotations

import datetime
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.cli import main
from spanloom.errors import SettingsError
from spanloom.prices import Price, Prices
from spanloom.records import RunEnd, RunStart, RunUpdate, TokenUsage
from spanloom.store import Incoming, Reader, Store

NOW = "2026-11-01T12:00:00.000000Z"


def test_every_price_has_a_source_and_a_date() -> None:
    """The bundled table is dated, each price names where and when it was read, and none lies in its future."""
    prices = Prices.bundled()
    made = datetime.date.fromisoformat(prices.date)
    assert len(prices.models) > 40
    for name, price in prices.models.items():
        assert price.source in prices.sources, name
        assert datetime.date(2025, 1, 1) <= datetime.date.fromisoformat(price.checked) <= made, name
        assert 0 < (price.cached or price.input) <= price.input <= (price.output or price.input) <= 100, name


@pytest.mark.parametrize(
    ("model", "counts", "dollars"),
    [
        ("gpt-4o", (1_000_000, 0, None), 2.5), ("gpt-4o", (1000, 200, 0), 0.0045), ("GPT-4o ", (0, 1_000_000, 0), 10),
        ("gpt-4o", (1000, 200, 400), 0.004), ("openai/gpt-4o-2024-11-20", (1_000_000, 0, 0), 2.5),
        ("gpt-4o-2024-05-13", (1_000_000, 0, 0), 5), ("gpt-4.1-2025-04-14", (0, 1_000_000, 0), 8),
        ("claude-3-5-haiku-latest", (1_000_000, 0, 0), 0.8), ("claude-sonnet-4-20250514", (1000, 0, 0), 0.003),
        ("claude-haiku-5-5", (100_000, 0, 0), 0.01), ("claude-haiku-5-5", (100_001, 0, 0), 0.0500005),
        ("text-embedding-3-small", (1_000_000, None, None), 0.02), ("text-embedding-3-small", (1_000_000, 0, 0), 0.02),
        ("gpt-4o", (0, 0, 0), 0),
    ],
)  # fmt: skip
def test_known_models_cost_what_the_table_says(
    model: str, counts: tuple[int, int | None, int | None], dollars: float
) -> None:
    """Fresh and cached tokens, snapshots, vendors' prefixes, long prompts, embeddings."""
    prompt, completion, cached = counts
    assert Prices.bundled().cost(model, prompt=prompt, completion=completion, cached=cached) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        ("my-own-model", (1, 1, 0)), ("", (1, 1, 0)), (None, (1, 1, 0)), ("gpt-4o-audio-preview", (1, 1, 0)),
        ("gpt-4", (1, 1, 1)), ("gpt-4o", (1, None, 0)), ("gpt-4o", (None, 1, 0)), ("gpt-4o", (1, 1, 2)),
        ("gpt-4o", (-1, 1, 0)), ("gpt-6-sol", (272_001, 1, 0)), ("azure/gpt-4o", (1, 1, 0)), ("gpt", (1, 1, 0)),
        ("text-embedding-3-small", (1, 1, 0)), ("ft:gpt-4o:acme", (1, 1, 0)), ("gpt-4o-mini-2024", (1, 1, 0)),
    ],
)  # fmt: skip
def test_what_is_not_known_has_no_cost(model: str | None, counts: tuple[int | None, int | None, int | None]) -> None:
    """Never a guess: unknown names, counts that are missing or do not add up, prompts that the price is not for."""
    prompt, completion, cached = counts
    assert Prices.bundled().cost(model, prompt=prompt, completion=completion, cached=cached) is None


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_tokens_never_cost_less(prompt: int, completion: int, more: int) -> None:
    """Also across the length where another price begins."""
    prices = Prices.bundled()

    def cost(prompt: int, completion: int) -> float:
        found = prices.cost("claude-haiku-5-5", prompt=prompt, completion=completion)
        assert found is not None
        return found

    assert cost(prompt, completion) <= cost(prompt + more, completion) <= cost(prompt + more, completion + more)


def test_a_file_overrides_the_table(tmp_path: Path) -> None:
    """New models, other prices, prices taken away; the rest stands."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"models": {"Mine": {"input": 1, "output": 2}, "gpt-4o": None}}))
    prices = Prices.with_overrides(path)
    assert prices.price_of("mine") == Price(input=1, output=2)
    assert prices.price_of("gpt-4o") is None
    assert prices.price_of("gpt-4.1") == Prices.bundled().price_of("gpt-4.1")
    assert Prices.with_overrides(tmp_path / "none.json").models == Prices.bundled().models


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"models": {"m": {"inptu": 1}}}', '{"models": {"m": {"input": "1"}}}',
     '{"models": {"m": {"input": -1}}}', '{"models": {"m": {"input": 1, "over": {"prompt": 1, "input": -1}}}}', "\0"],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error for whoever asks, one warning from the store, which goes on with its own prices; doctor says it."""
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"prices\.json"):
        Prices.with_overrides(path)
    with caplog.at_level(logging.WARNING), Store(tmp_path / "s.db") as store:
        for number in range(3):
            store.write([Incoming(RunEnd(event_id=str(number), timestamp=NOW, run_id="r", type="llm", model="gpt-4o",
                                         tokens_usage=TokenUsage(1000, 200)))])  # fmt: skip
    assert len([record for record in caplog.records if "prices.json" in record.message]) == 1
    assert cost_of(tmp_path / "s.db") == pytest.approx(0.0045)


def cost_of(path: Path) -> float | None:
    with Reader(path) as reader:
        found = reader.run("r")
        assert found is not None
        return found.run.cost


def test_the_store_works_costs_out(tmp_path: Path) -> None:
    """As soon as model and tokens are there, in any order; a reported cost stands; an agent has its calls' cost."""
    start = RunStart(event_id="s", timestamp=NOW, run_id="r", type="llm", name="gpt-4o")
    end = RunEnd(event_id="e", timestamp=NOW, run_id="r", type="llm", tokens_usage=TokenUsage(1000, 200))
    said = RunUpdate(event_id="u", timestamp=NOW, run_id="r", cost=7.0)
    for number, (order, costs) in enumerate({
        (start, end, said): (None, 0.0045, 7.0), (end, start, said): (None, 0.0045, 7.0),
        (said, end, start): (7.0, 7.0, 7.0),
    }.items()):  # fmt: skip
        path = tmp_path / f"{number}.db"
        with Store(path) as store:
            for record, cost in zip(order, costs, strict=True):
                store.write([Incoming(record)])
                assert cost_of(path) == (None if cost is None else pytest.approx(cost))
    with Store(tmp_path / "a.db") as store:
        store.write([Incoming(RunEnd(event_id="e", timestamp=NOW, run_id="r", type="agent", model="gpt-4o",
                                     tokens_usage=TokenUsage(1000, 200)))])  # fmt: skip
    assert cost_of(tmp_path / "a.db") is None


def test_doctor_says_which_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many, of which day, and the file that would override them."""
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path))
    with Store(tmp_path / "local.db") as store:
        store.write([Incoming(RunStart(event_id="s", timestamp=NOW, run_id="r"))])
    main(["doctor"])
    assert f"bundled {Prices.bundled().date}" in capsys.readouterr().out
    (tmp_path / "prices.json").write_text("{")
    assert main(["doctor"]) == 1
    assert "prices.json cannot be read" in capsys.readouterr().out
