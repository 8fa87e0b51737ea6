"""The handle on an oracle: starts its process, scripts what it answers, asks its log.

    with Oracle() as oracle:
        oracle.answer(503, headers={"Retry-After": "1"}, times=2)
        ...                                   # a program sends to oracle.url
        assert oracle.log.missing(accepted) == []

Promise: the process is gone when the block ends, also when the test fails. Never shares state with the code under
test except through its socket.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from .oracle_log import OracleLog

_SERVER = Path(__file__).with_name("oracle_server.py")


class Oracle:
    """One oracle process on a free port of 127.0.0.1.

    ``keeps`` says what stays of each event: its payload, its ids, name and sha256, or (for millions) only a count.
    """

    def __init__(self, *, keeps: Literal["payloads", "ids", "counts"] = "payloads") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="oracle-")
        path = Path(self._directory.name) / "received.jsonl"
        path.touch()
        self.log = OracleLog(path)
        command = [sys.executable, str(_SERVER), str(path), keeps]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            self.close()
            raise RuntimeError("the oracle's process ended before it said its port")
        self.port = int(said)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its log."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)
        self._process.stdout.close()
        self._directory.cleanup()

    # What it answers. Rules stand in the order in which they were made; the first that applies decides.

    def answer(self, status: int = 200, **rule: Any) -> None:
        """Answer with this status; ``rule`` narrows when, and says how (see `oracle_server.Rule`)."""
        self._control("POST", json.dumps({"status": status, **rule}))

    def refuse_poison(self, marker: str, status: int = 400) -> None:
        """Refuse every batch that contains the marker, whole."""
        self.answer(status, contains=marker)

    def limit_size(self, size_bytes: int) -> None:
        """413 for every body that is larger when decompressed."""
        self.answer(413, larger_than_bytes=size_bytes)

    def require_key(self, key: str) -> None:
        """401 for every request without this key."""
        self.answer(401, unless_key=key)

    def refuse_compression(self) -> None:
        """415 for every body with a Content-Encoding."""
        self.answer(415, compressed=True)

    def result_for(self, marker: str, **result: Any) -> None:
        """200, with this result for each event that contains the marker."""
        self.answer(200, contains=marker, event_result=result)

    def recover(self) -> None:
        """Forget every rule: answer 200 at once."""
        self._control("DELETE", None)

    def fired(self) -> list[int]:
        """How often each rule decided, in the order in which they were made."""
        return [rule["fired"] for rule in self._control("GET", None)]

    def wait_until(self, holds: Callable[[OracleLog], bool], timeout_seconds: float = 10.0) -> bool:
        """Whether this came to hold of the log before the time was up."""
        deadline = time.monotonic() + timeout_seconds
        while not holds(self.log):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _control(self, method: str, body: str | None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, "/-/rules", body)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
