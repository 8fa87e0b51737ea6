"""A collector on a real socket, and a client that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spanloom.collector.server import Running


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Running]:
    """A running collector with a store of its own."""
    with Running(tmp_path / "store" / "runs.db") as running:
        yield running


@pytest.fixture(scope="module")
def standing_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a collector that a whole module shares, for tests that leave nothing behind."""
    with (
        Running(tmp_path_factory.mktemp("standing") / "runs.db") as running,
        httpx.Client(base_url=running.url, timeout=20, trust_env=False) as talking,
    ):
        yield talking


@pytest.fixture
def client(collector: Running) -> Iterator[httpx.Client]:
    """An HTTP client for it, under a deadline."""
    with httpx.Client(base_url=collector.url, timeout=20, trust_env=False) as talking:
        yield talking
