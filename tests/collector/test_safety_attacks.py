"""The collector as `spanloom serve` runs it, against everything in the table of attacks.

After each one a good batch is taken, and the process has never had more than 200 MiB. How long each takes is measured
by ``python -m benchmarks.attacks``.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import attacks
from support.serving import Serving

MOST_MIB = 200
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process is read from /proc")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(tmp_path_factory.mktemp("attacked") / "runs.db") as running:
        yield running


@pytest.mark.parametrize("name", attacks.BODIES)
def test_hostile_bodies(serving: Serving, name: str) -> None:
    """Bombs, floods of values and giants are refused or taken within the memory that is there (S02, S04, S05)."""
    attacks.BODIES[name](serving)
    serving.good_batch()
    assert serving.peak_mib() <= MOST_MIB


@pytest.mark.parametrize("name", attacks.FRAMING)
def test_ambiguous_http(serving: Serving, name: str) -> None:
    """What two readers could understand in two ways is refused and the connection closed (S05, S15, S40)."""
    attacks.FRAMING[name](serving)
    serving.good_batch()


@pytest.mark.parametrize("name", attacks.CROWDS)
def test_crowds_keep_nobody_out(serving: Serving, name: str) -> None:
    """While strangers hold more connections than there is room for, good batches are taken and pages served (S06)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"2,000 connections need file descriptors, and {hard} are all there may be")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    first, count = attacks.CROWDS[name]
    with attacks.held(serving, first, count):
        for _ in range(5):
            serving.good_batch()
        assert serving.client.get("/v1/runs").status_code == 200
    serving.good_batch()
    assert serving.peak_mib() <= MOST_MIB


def test_nothing_was_said_or_left_undone(tmp_path: Path) -> None:
    """A server that was attacked says nothing on standard error and ends when it is told to (S33, S35)."""
    with Serving(tmp_path / "runs.db") as serving:
        attacks.BODIES["a bomb of 100 MB"](serving)
        for attack in attacks.FRAMING.values():
            attack(serving)
        with attacks.held(serving, b"GET / HTTP/1.1\r\nHost: loc", 50):
            said = serving.stop()
        assert said == ""
        assert serving.process.returncode in (0, -15)
