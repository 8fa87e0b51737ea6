"""`spanloom serve` as a process of its own, and what it costs while strangers do their worst.

Promise: the process is gone when the block is left. The memory is the system's own figure (``/proc``, Linux).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx


class Serving:
    """A collector that `spanloom serve` runs on a free port of the loopback interface."""

    def __init__(
        self,
        store: Path,
        *,
        environment: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
        program: str = "",
    ) -> None:
        """``wrapper``: a command that runs the command after it. ``program``: source code to run in place of
        `spanloom serve`, with the store's path as its argument."""
        self.store = store
        usual = ["-m", "spanloom", "serve", "--port", "0", "--store", str(store)]
        command = [*wrapper, sys.executable, *(["-c", program, str(store)] if program else usual)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env={**os.environ, "SPANLOOM_HOME": str(store.parent), **(environment or {})},
        )  # fmt: skip
        assert self.process.stdout is not None and self.process.stderr is not None
        said = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if found is None:
            self._kill()
            raise AssertionError(f"it did not start: {said!r} {self.process.communicate(timeout=20)[1]!r}")
        self.url, self.port = found[0], int(found[1])
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._kill()
        self.process.communicate(timeout=20)

    def _kill(self) -> None:
        """With the wrapper, which would leave the collector behind when it alone were killed."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self, end: signal.Signals = signal.SIGTERM) -> str:
        """End it by a signal; what it said on standard error."""
        self.process.send_signal(end)
        return self.process.communicate(timeout=30)[1]

    def forget_peak(self) -> None:
        """Begin measuring the peak anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """The most memory it has had resident, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def good_batch(self) -> None:
        """A batch as it should be is taken, on a connection of its own."""
        run_id = str(uuid.uuid4())
        event = {"event": "start", "type": "llm", "runId": run_id, "timestamp": "2026-01-31T12:00:00Z"}
        answer = httpx.post(f"{self.url}/v1/runs/ingest", json={"events": [event]}, timeout=30, trust_env=False)
        assert (answer.status_code, answer.json()) == (200, {"results": [{"id": run_id, "success": True}]})
