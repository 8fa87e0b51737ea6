"""What every test shares: the harness in `support/` explains its assertions, and no test touches a real home.

Importable as ``support`` because pytest puts this directory on the path.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes to make says how busy the machine is, nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

pytest.register_assert_rewrite("support.oracle_log", "support.balance", "support.children", "support.host_guard")

# A shell that starts the tests in the background has them ignore Ctrl-C, and their programs would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that Spanloom keeps on disk lies under a directory of this test's own, unless the test says otherwise."""
    monkeypatch.setenv("SPANLOOM_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def oracle() -> Iterator[object]:
    """An oracle (see `support.oracle`) that has all its payloads."""
    from support.oracle import Oracle

    with Oracle() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A fresh SPANLOOM_HOME for the programs that a test starts."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path
