"""A loopback endpoint for the measurements: takes every batch, answers as the collector does, counts events.

Runs in a process of its own (`Sink` starts it), so that its work is not charged to the program that is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zlib
from types import TracebackType

import orjson


class Sink:
    """Starts the endpoint; ``url`` is its base. ``delay_seconds`` holds back every answer."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        command = [sys.executable, "-m", "benchmarks.sink", str(delay_seconds)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


class _State:
    events = 0
    ended_runs = 0


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )  # fmt: skip
            body = await _body(reader, fields)
            if fields.get(b"content-encoding") == b"gzip":
                body = zlib.decompress(body, 31)
            answer = _answer(head, body)
            if delay_seconds:
                await asyncio.sleep(delay_seconds)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
                + answer
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, fields: dict[bytes, bytes]) -> bytes:
    if fields.get(b"transfer-encoding") != b"chunked":
        return await reader.readexactly(int(fields.get(b"content-length", b"0")))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


def _answer(head: bytes, body: bytes) -> bytes:
    if head.startswith(b"GET"):
        return orjson.dumps({"events": _State.events, "ended_runs": _State.ended_runs})
    if not head.startswith(b"POST /v1/runs/ingest "):
        return b"{}"  # another SDK's request
    events = orjson.loads(body)["events"]
    _State.events += len(events)
    _State.ended_runs += sum(1 for event in events if event.get("event") == "end")
    events.sort(key=lambda event: str(event.get("timestamp", "")))
    results = [{"id": event.get("runId"), "eventId": event.get("eventId"), "success": True} for event in events]
    return orjson.dumps({"results": results})


async def _serve(delay_seconds: float) -> None:
    server = await asyncio.start_server(lambda r, w: _connection(r, w, delay_seconds), "127.0.0.1", 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
