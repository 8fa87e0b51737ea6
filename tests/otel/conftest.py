"""What the tests of instrumentors share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spanloom.demo.model_server import ModelServer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """The scripted model API."""
    with ModelServer() as running:
        yield running
