"""The pytest plugin: the fixture `spanloom_runs`, in which a test finds the runs that it caused.

A module of its own beside the package, so that loading the plugin imports nothing of Spanloom: other people's
start-up time and coverage figures stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spanloom.testing import CapturedRuns


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, so that ``--strict-markers`` accepts it."""
    config.addinivalue_line(
        "markers",
        "spanloom(deterministic=False, **settings): how the fixture spanloom_runs records; "
        "settings are those of spanloom.configure",
    )


@pytest.fixture
def spanloom_runs(request: pytest.FixtureRequest) -> Iterator[CapturedRuns]:
    """Runs recorded in memory while the test runs; nothing is written or sent.

    ``@pytest.mark.spanloom(deterministic=True)`` gives ids and times that are the same in every run of the test.
    """
    from spanloom.testing import capture

    marker = request.node.get_closest_marker("spanloom")
    with capture(**(marker.kwargs if marker else {})) as runs:
        yield runs
