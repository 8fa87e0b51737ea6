"""What the tests of recording share: a recorder of their own, into a list, with the real encoder and redactor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spanloom import records
from spanloom.clock import Clock, Ids
from spanloom.encoder import Encoder
from spanloom.recording import recorder as recording
from spanloom.recording.recorder import Recorder
from spanloom.redaction import Redactor


class Recorded:
    """A sink that keeps everything: ``payloads`` (bytes) and ``rejected`` (reasons)."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.rejected: list[str] = []
        self.append = self.payloads.append
        self.reject = self.rejected.append

    @property
    def all(self) -> list[Any]:
        """Every record, decoded (which also proves that it decodes)."""
        return [records.decode(payload) for payload in self.payloads]

    def of(self, kind: type) -> list[Any]:
        """The records of one class."""
        return [record for record in self.all if isinstance(record, kind)]

    @property
    def starts(self) -> list[Any]:
        return self.of(records.RunStart)

    @property
    def ends(self) -> list[Any]:
        return self.of(records.RunEnd)

    def start(self, name: str) -> Any:
        """The one start record of the run with this name."""
        (found,) = [record for record in self.starts if record.name == name]
        return found

    def end(self, name: str) -> Any:
        """The one end record of the run with this name: every run ends once."""
        (found,) = [record for record in self.ends if record.name == name]
        return found

    def value(self, content: Any) -> Any:
        """A content field as a Python value."""
        import json

        return json.loads(bytes(content))

    def input(self, name: str) -> Any:
        return self.value(self.start(name).input)

    def output(self, name: str) -> Any:
        return self.value(self.end(name).output)

    def parent_of(self, name: str) -> Any:
        """The name of the run around the run with this name, or None."""
        parent_id = self.start(name).parent_run_id
        return next((record.name for record in self.starts if record.run_id == parent_id), None)


@pytest.fixture
def install() -> Iterator[Callable[..., Recorded]]:
    """Installs a recorder with the given settings; returns its sink. The one before is back after the test."""
    befores = []

    def install_one(**settings: Any) -> Recorded:
        recorded = Recorded()
        recorder = Recorder(recorded, Encoder(redactor=Redactor()), clock=Clock(), ids=Ids(), **settings)
        befores.append(recording.install(recorder))
        return recorded

    recording._said.clear()
    yield install_one
    for before in reversed(befores):
        recording.install(before)


@pytest.fixture
def recorded(install: Callable[..., Recorded]) -> Recorded:
    """A recorder at its defaults; nothing may have been rejected at the end unless the test looked."""
    return install()
