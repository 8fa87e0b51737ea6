"""What the tests of usage destinations share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ship_cases import Rig
from usage_cases import QUICKLY

from spanloom.shipping.shipper import Shipper


@pytest.fixture
def ship(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Rig, Shipper]]]:
    """Makes a rig and its shipper for a destination, which tries again quickly."""
    shippers: list[Shipper] = []

    def make(destination: Any) -> tuple[Rig, Shipper]:
        rig = Rig(destination, tmp_path_factory.mktemp("journal"), rules=QUICKLY)
        shippers.append(rig.shipper())
        return rig, shippers[-1]

    yield make
    for shipper in shippers:
        shipper.close(0.5)
