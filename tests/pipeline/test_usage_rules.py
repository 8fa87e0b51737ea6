"""Usage events are held against the rules of the destinations that will get them, while they can still be mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import spanloom
from spanloom.errors import UsageError


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own, and an end."""
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path))
    yield
    spanloom.shutdown(timeout_seconds=0)
    spanloom.configure(destinations=[])


def use(strict: bool) -> None:
    spanloom.configure(
        destinations=[spanloom.Lumen("k", url="http://127.0.0.1:9"), spanloom.Collector("http://127.0.0.1:9")],
        strict=strict,
    )


@pytest.mark.usefixtures("configured")
def test_strict_says_at_once_which_field(caplog: pytest.LogCaptureFixture) -> None:
    """No customer for a destination that bills one: UsageError with the field and the cure; with one it is taken."""
    use(strict=True)
    with pytest.raises(UsageError, match="customer: is missing"):
        spanloom.outcome("resolved")
    with spanloom.context(customer="acme"):
        assert spanloom.outcome("resolved", idempotency_key="t1") == "t1"


@pytest.mark.usefixtures("configured")
def test_otherwise_it_is_recorded_and_refused_by_that_destination_alone() -> None:
    """The program goes on; the destination counts the refusal when it comes to it, the others get the event."""
    use(strict=False)
    assert spanloom.outcome("resolved", idempotency_key="t2") == "t2"
    assert spanloom.health()["collector"].pending == 1
