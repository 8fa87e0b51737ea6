"""Other tracing SDKs under the same workloads, at their defaults, pointed at the same loopback endpoint.

    python -m benchmarks.peers install DIRECTORY [NAME …]     # each in a virtual environment of its own
    python -m benchmarks --only no_op,agent_trace --peers DIRECTORY

A peer is measured by its own interpreter (`python -m benchmarks.one WORKLOAD peer:NAME URL`), so none is a dependency
of ours. What a class below sets is what that SDK's documentation asks for to send to a server of one's own; batch
sizes, threads and limits stay as they come. The endpoint answers every request with 200 and an empty result.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .subjects import Decorator, Subject

PACKAGES = {
    "langsmith": ["langsmith"],
    "langfuse": ["langfuse"],
    "lunary": ["lunary"],
    "opentelemetry": ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"],
    "opik": ["opik"],
}
_OF_THE_WORKLOADS = ["wrapt", "orjson", "httpx"]
"""What the benchmark's own files import."""


class Langsmith:
    """``@traceable(run_type=…)``."""

    def open(self, url: str) -> None:
        os.environ.update(
            LANGSMITH_TRACING="true", LANGSMITH_ENDPOINT=url, LANGSMITH_API_KEY="key", LANGSMITH_PROJECT="bench"
        )
        import langsmith  # type: ignore[import-not-found,unused-ignore]

        self._langsmith = langsmith

    def decorator(self, run_type: str) -> Decorator:
        known = {"agent": "chain", "embed": "embedding"}.get(run_type, run_type)
        return self._langsmith.traceable(run_type=known)  # type: ignore[no-any-return]

    async_decorator = decorator

    def close(self) -> None:
        from langsmith import run_trees  # type: ignore[import-not-found,unused-ignore]

        run_trees.get_cached_client().flush()


class Langfuse:
    """``@observe(as_type=…)``."""

    def open(self, url: str) -> None:
        os.environ.update(LANGFUSE_PUBLIC_KEY="pk-lf-1", LANGFUSE_SECRET_KEY="sk-lf-1")
        os.environ.update(LANGFUSE_HOST=url, LANGFUSE_BASE_URL=url)
        import langfuse  # type: ignore[import-not-found,unused-ignore]

        self._langfuse = langfuse

    def decorator(self, run_type: str) -> Decorator:
        known = {"llm": "generation", "embed": "embedding"}.get(run_type, run_type)
        return self._langfuse.observe(as_type=known)  # type: ignore[no-any-return]

    async_decorator = decorator

    def close(self) -> None:
        self._langfuse.get_client().flush()


class Lunary:
    """``@lunary.agent()`` and its like; retrievers have none and are chains there."""

    def open(self, url: str) -> None:
        os.environ.update(LUNARY_API_URL=url, LUNARY_PUBLIC_KEY="00000000-0000-4000-8000-000000000000")
        import lunary  # type: ignore[import-not-found,unused-ignore]

        lunary.config(app_id=os.environ["LUNARY_PUBLIC_KEY"], api_url=url)
        self._lunary = lunary

    def decorator(self, run_type: str) -> Decorator:
        if run_type == "llm":
            return self._lunary.trace()  # type: ignore[no-any-return]
        return getattr(self._lunary, run_type if run_type in ("agent", "tool", "chain") else "chain")()  # type: ignore[no-any-return]

    async_decorator = decorator

    def close(self) -> None:
        pass  # it has no flush; its atexit hook sends what is left


class OpenTelemetry:
    """The SDK's ``BatchSpanProcessor`` and OTLP exporter; inputs and outputs as JSON attributes."""

    def open(self, url: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found,unused-ignore]
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
        trace.set_tracer_provider(self._provider)
        self._tracer = trace.get_tracer("benchmarks")

    def decorator(self, run_type: str) -> Decorator:
        import functools
        import json

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def traced(*args: Any, **kwargs: Any) -> Any:
                with self._tracer.start_as_current_span(function.__name__) as span:
                    span.set_attribute("input.value", json.dumps(args))
                    output = function(*args, **kwargs)
                    span.set_attribute("output.value", json.dumps(output))
                    return output

            return traced

        return decorate

    def async_decorator(self, run_type: str) -> Decorator:
        import functools
        import json

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            async def traced(*args: Any, **kwargs: Any) -> Any:
                with self._tracer.start_as_current_span(function.__name__) as span:
                    span.set_attribute("input.value", json.dumps(args))
                    output = await function(*args, **kwargs)
                    span.set_attribute("output.value", json.dumps(output))
                    return output

            return traced

        return decorate

    def close(self) -> None:
        self._provider.force_flush()


class Opik:
    """``@opik.track(type=…)``."""

    def open(self, url: str) -> None:
        os.environ.update(OPIK_URL_OVERRIDE=f"{url}/api", OPIK_WORKSPACE="default", OPIK_CONSOLE_LOGGING_LEVEL="ERROR")
        import opik  # type: ignore[import-not-found,unused-ignore]

        self._opik = opik

    def decorator(self, run_type: str) -> Decorator:
        known = run_type if run_type in ("llm", "tool") else "general"
        return self._opik.track(type=known)  # type: ignore[no-any-return]

    async_decorator = decorator

    def close(self) -> None:
        self._opik.flush_tracker()


PEERS: dict[str, Callable[[], Subject]] = {
    "langsmith": Langsmith,
    "langfuse": Langfuse,
    "lunary": Lunary,
    "opentelemetry": OpenTelemetry,
    "opik": Opik,
}


def interpreter(directory: Path, name: str) -> Path:
    """The Python of a peer's environment."""
    return directory / name / "bin" / "python"


def installed(directory: Path) -> list[str]:
    """The peers that have an environment there."""
    return [name for name in PEERS if interpreter(directory, name).exists()]


def install(directory: Path, names: list[str]) -> None:
    """Make an environment for each peer and install its newest release."""
    for name in names or list(PEERS):
        if name not in PEERS:
            raise SystemExit(f"no peer {name!r}: there are {', '.join(PEERS)}")
        print(f"installing {name} …", flush=True)
        venv.create(directory / name, with_pip=True)
        command = [interpreter(directory, name), "-m", "pip", "install", "-q", *PACKAGES[name], *_OF_THE_WORKLOADS]
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("action", choices=["install"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    install(options.directory, options.names)


if __name__ == "__main__":
    sys.exit(main())
