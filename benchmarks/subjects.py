"""What is measured: the floor, Spanloom at its defaults, and the same work with no tracing at all.

A subject gives decorators by run type, for functions and for coroutine functions, and says how it is opened and closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Decorator = Callable[[Callable[..., Any]], Any]


class Subject(Protocol):
    """Opened with the sink's base URL, used through its decorators, closed when all it has is delivered."""

    def open(self, url: str) -> None: ...
    def decorator(self, run_type: str) -> Decorator: ...
    def async_decorator(self, run_type: str) -> Decorator: ...
    def close(self) -> None: ...


class Floor:
    """`benchmarks.floor`."""

    def open(self, url: str) -> None:
        from . import floor

        self._floor = floor
        self._sender = floor.Sender(f"{url}/v1/runs/ingest")

    def decorator(self, run_type: str) -> Decorator:
        return self._floor.traced(run_type)

    def async_decorator(self, run_type: str) -> Decorator:
        return self._floor.traced_async(run_type)

    def close(self) -> None:
        self._sender.close()


class Spanloom:
    """The default configuration (journal, redaction, full capture) with one destination."""

    def open(self, url: str) -> None:
        import spanloom

        self._spanloom = spanloom
        spanloom.configure(destinations=[spanloom.Collector(url)])

    def decorator(self, run_type: str) -> Decorator:
        return getattr(self._spanloom, run_type)  # type: ignore[no-any-return]

    async_decorator = decorator

    def close(self) -> None:
        if not self._spanloom.flush(timeout_seconds=120):
            raise SystemExit(f"not delivered within 120 s: {self._spanloom.health()}")


class Disabled(Spanloom):
    """Spanloom switched off by ``configure(enabled=False)``."""

    def open(self, url: str) -> None:
        import spanloom

        self._spanloom = spanloom
        spanloom.configure(enabled=False)


class Nowhere(Spanloom):
    """Spanloom with ``destinations=[]``: runs are made and go nowhere."""

    def open(self, url: str) -> None:
        import spanloom

        self._spanloom = spanloom
        spanloom.configure(destinations=[])


class Bare:
    """No tracing: the functions themselves."""

    def open(self, url: str) -> None:
        pass

    def decorator(self, run_type: str) -> Decorator:
        return lambda function: function

    async_decorator = decorator

    def close(self) -> None:
        pass


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "floor": Floor,
    "spanloom": Spanloom,
    "disabled": Disabled,
    "nowhere": Nowhere,
    "bare": Bare,
}
