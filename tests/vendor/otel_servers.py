"""Real servers that take OTLP, each from PyPI in its own environment, started on the loopback interface.

    python tests/vendor/otel_servers.py phoenix      # makes the environment, serves until Ctrl-C, prints the address

About 60 s and 850 MB for each environment the first time, 10 to 30 s to start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from vendor import environments

START_SECONDS = 120
HEALTH = {"phoenix": "/healthz", "mlflow": "/health"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(name: str, python: Path, port: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    if name == "phoenix":
        settings = {"PHOENIX_WORKING_DIR": str(folder), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port),
                    "PHOENIX_GRPC_PORT": str(_free_port()), "PHOENIX_TELEMETRY_ENABLED": "false"}  # fmt: skip
        return [str(python.parent / "phoenix"), "serve"], settings
    # "mlflow server" would start five processes for jobs that no test has; this is what it serves.
    store = f"sqlite:///{folder / 'mlflow.db'}"
    serve = [str(python), "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "mlflow.server.fastapi_app:app"]
    return serve, {"_MLFLOW_SERVER_FILE_STORE": store, "_MLFLOW_SERVER_ARTIFACT_ROOT": str(folder / "artifacts"),
                   "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true"}  # fmt: skip


@contextmanager
def serving(name: str, python: Path) -> Iterator[str]:
    """The address of a fresh server, which ends with the block. Raises RuntimeError with its log when it does not
    start."""
    with tempfile.TemporaryDirectory(prefix="spanloom-otel-") as folder:
        port = _free_port()
        command, settings = _command(name, python, port, Path(folder))
        environment = {**os.environ, **settings, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        log = Path(folder) / "log.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
            )
        try:
            address = f"http://127.0.0.1:{port}"
            _await(address + HEALTH[name], process, log)
            yield address
        finally:
            _end(process)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "phoenix"
    with serving(wanted, environments.make(wanted)) as url:
        print(url, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
