"""The collector's intake over HTTP: ``python -m benchmarks.http_ingest [SECONDS] [EVENTS_PER_SECOND]``.

Starts `spanloom serve` as a process of its own, with its store on the disk of the temporary directory and every
acknowledgement after an fsync. This process sends batches of 100 events of 2 KB over four connections: first as fast as
they are taken, then 5,000 events a second (or as said), paced whatever the answers do; then the same while pages are
read. Prints events a second and the 50th, 99th and last percentile of the time from sending to acknowledgement.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from spanloom.clock import Ids, iso
from support.serving import Serving

BATCH = 100
CONNECTIONS = 4
WORDS = [f"word{number}" for number in range(20_000)]
READS = ("/v1/runs?limit=50", "/v1/runs?status=error&limit=50", "/v1/runs?type=trace&limit=50", "/v1/health")


def requests(seed: int) -> Iterator[bytes]:
    """Whole HTTP requests, each of 50 runs' starts and ends, all new."""
    chance, ids, at_ns = random.Random(seed), Ids(seed), time.time_ns()
    texts = [" ".join(chance.choices(WORDS, k=220))[:1600] for _ in range(200)]
    while True:
        events = []
        root = ids.new(at_ns)
        for _ in range(BATCH // 2):
            at_ns += 1_000_000
            run_id = ids.new(at_ns)
            shared = {"runId": run_id, "type": "llm", "name": "gpt-4o", "rootRunId": root, "parentRunId": root}
            said = [{"role": "user", "content": chance.choice(texts)}]
            events.append(
                {"event": "start", "eventId": f"{run_id}.s", "timestamp": iso(at_ns), "input": said, **shared}
            )
            events.append({"event": "end", "eventId": f"{run_id}.e", "timestamp": iso(at_ns + 1000), "status": "ok",
                           "output": chance.choice(texts), "tokensUsage": {"prompt": 50, "completion": 20},
                           **shared})  # fmt: skip
        body = json.dumps({"events": events}).encode()
        head = "POST /v1/runs/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One kept-alive connection that asks and waits."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> None:
        """Send, and read the whole answer, which must be 200."""
        self.socket.sendall(request)
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._more()
        head, _, body = got.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {got[:300]!r}")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._more()

    def _more(self) -> bytes:
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise SystemExit("the server closed the connection")
        return chunk


def send(port: int, made: list[list[bytes]], rate: float | None) -> tuple[float, list[float]]:
    """Send what was made, one list on each connection; events a second, and milliseconds of each acknowledgement."""
    took: list[float] = []
    began = time.perf_counter()

    def one(number: int) -> None:
        connection = Connection(port)
        for index, request in enumerate(made[number]):
            due = began
            if rate is not None:
                due += (index * CONNECTIONS + number) * BATCH / rate
                time.sleep(max(0.0, due - time.perf_counter()))
            sent = max(due, began) if rate is not None else time.perf_counter()
            connection.ask(request)
            took.append((time.perf_counter() - sent) * 1000)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(took) * BATCH / (time.perf_counter() - began), sorted(took)


def show(label: str, rate: float, took: list[float]) -> None:
    cuts = [took[int(len(took) * part)] for part in (0.5, 0.99)]
    print(f"{label:40} {rate:8,.0f} events/s   p50 {cuts[0]:6.1f} ms   p99 {cuts[1]:6.1f} ms   "
          f"worst {took[-1]:6.1f} ms", flush=True)  # fmt: skip


def read_on(port: int, done: threading.Event, took: list[float]) -> None:
    """Ask for pages one after the other, ten times a second."""
    connection = Connection(port)
    while not done.wait(0.1):
        for path in READS:
            began = time.perf_counter()
            connection.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            took.append((time.perf_counter() - began) * 1000)


def feed(port: int, seconds: float, rate: float) -> None:
    """Send at this rate to a collector that is running, for as long; says how it went."""
    each = max(1, int(seconds * rate / BATCH / CONNECTIONS))
    made = [[next(source) for _ in range(each)] for source in (requests(random.randrange(1 << 30)) for _ in range(4))]
    print("ready", flush=True)
    show(f"meanwhile, paced at {rate:,.0f}", *send(port, made, rate))


def main() -> None:
    """Send and print."""
    if sys.argv[1:2] == ["feed"]:
        feed(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    paced = float(sys.argv[2]) if len(sys.argv) > 2 else 5000.0
    sources = [requests(number) for number in range(CONNECTIONS)]

    def make(events: float) -> list[list[bytes]]:
        each = max(1, int(events / BATCH / CONNECTIONS))
        return [[next(source) for _ in range(each)] for source in sources]

    with tempfile.TemporaryDirectory() as directory, Serving(Path(directory) / "runs.db") as serving:
        send(serving.port, make(2000), None)  # warm
        show("as fast as they are taken", *send(serving.port, make(seconds * 5000), None))
        show(f"paced at {paced:,.0f}", *send(serving.port, make(seconds * paced), paced))
        done, reads = threading.Event(), list[float]()
        reader = threading.Thread(target=read_on, args=(serving.port, done, reads))
        reader.start()
        show(f"paced at {paced:,.0f}, and read", *send(serving.port, make(seconds * paced), paced))
        done.set()
        reader.join()
        print(f"the pages meanwhile: median {statistics.median(reads):.1f} ms, worst {max(reads):.1f} ms")
        pruning = subprocess.Popen(
            [sys.executable, "-m", "spanloom", "prune", "--max-size", "50MB", "--store", str(serving.store)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        show(f"paced at {paced:,.0f}, and pruned", *send(serving.port, make(seconds * paced), paced))
        print(pruning.communicate(timeout=600)[0])
        serving.stop()


if __name__ == "__main__":
    main()
