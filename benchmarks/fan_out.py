"""Whether an endpoint that swallows everything delays the others: one lives, and beside it one that lives or does not.

    python -m benchmarks.fan_out [--events 15] [--turns 4]

Each turn is a fresh process per condition, the two conditions by turns. A delivery takes from `spanloom.outcome`
returning to the endpoint having the request's last byte; both ends read the same monotonic clock. Prints the median and
the 90th percentile in milliseconds, and the medians of each turn, whose spread is the noise.

Promise: real sockets, no sleep but the pause between two events. Must never: print a figure from a turn in which an
event was missing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median, quantiles

CONDITIONS = ("alive", "blackholed")
_PAUSE_SECONDS = 1.3
"""Longer than an event waits for company (0.2 s when idle, 1 s when busy): each goes by itself, and a few milliseconds
more would show."""


class _Endpoint(ThreadingHTTPServer):
    """Takes Lumen's events and notes when each came (monotonic nanoseconds)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arrived: dict[str, int] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        now = time.monotonic_ns()
        for event in body.get("events", [body]):
            self.server.arrived.setdefault(event["idempotencyKey"], now)
        answer = b'{"message":"Event accepted"}'
        self.send_response(202)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Nothing on standard error."""


def turn(condition: str, events: int) -> list[float]:
    """One process: the milliseconds that each event took to the endpoint that lives."""
    import spanloom

    living, other = _Endpoint(), _Endpoint()
    silent = socket.create_server(("127.0.0.1", 0))  # accepts by its backlog, reads and answers nothing
    beside = other.url if condition == "alive" else f"http://127.0.0.1:{silent.getsockname()[1]}"
    spanloom.configure(
        destinations=[
            spanloom.Lumen(api_key="k", url=living.url),
            spanloom.Atlas(api_key="k", url=beside) if condition == "blackholed" else spanloom.Lumen("k", url=beside),
        ]
    )
    spanloom.outcome("warm_up", customer="acme", idempotency_key="warm-up")
    _wait_for(living, "warm-up")
    returned: dict[str, int] = {}
    for number in range(events):
        key = f"event-{number}"
        spanloom.outcome("resolved", customer="acme", idempotency_key=key)
        returned[key] = time.monotonic_ns()
        time.sleep(_PAUSE_SECONDS)
    for key in returned:
        _wait_for(living, key)
    took = [(living.arrived[key] - at) / 1e6 for key, at in returned.items()]
    other_has = spanloom.health().destinations
    if condition == "blackholed" and other_has["atlas"].delivered:
        raise SystemExit("the endpoint that should be silent has answered")
    print(json.dumps(took), flush=True)
    os._exit(0)


def _wait_for(endpoint: _Endpoint, key: str) -> None:
    deadline = time.monotonic() + 30
    while key not in endpoint.arrived:
        if time.monotonic() > deadline:
            raise SystemExit(f"{key} never arrived")
        time.sleep(0.001)


def main() -> None:
    """Both conditions by turns, and what they took."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.fan_out", description=__doc__)
    options.add_argument("--events", type=int, default=15)
    options.add_argument("--turns", type=int, default=4)
    options.add_argument("--condition", choices=CONDITIONS)
    given = options.parse_args()
    if given.condition:
        turn(given.condition, given.events)
        return
    took: dict[str, list[list[float]]] = {condition: [] for condition in CONDITIONS}
    for number in range(given.turns):
        for condition in CONDITIONS if number % 2 else reversed(CONDITIONS):
            took[condition].append(_in_a_process(condition, given.events))
    for condition, turns in took.items():
        every = [each for one in turns for each in one]
        medians = ", ".join(f"{median(one):.1f}" for one in turns)
        figures = f"median {median(every):6.1f} ms   p90 {quantiles(every, n=10)[8]:6.1f} ms"
        print(f"beside one that is {condition:10}  {figures}   medians of the turns: {medians}")


def _in_a_process(condition: str, events: int) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.fan_out", "--condition", condition, "--events", str(events)]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "SPANLOOM_HOME": home}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    if done.returncode:
        raise SystemExit(f"{condition}: {done.stdout}{done.stderr}")
    found: list[float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
