"""``spanloom exec -- COMMAND …``: any program as a tool run, with what it does below it.

The program gets the trace in ``TRACEPARENT`` and ``TRACESTATE``: a Python program that uses Spanloom, or
another ``spanloom exec`` in it, goes on with the same tree. Recorded are the command, its exit status, how long it took
and the end of what it wrote. Its output, input and exit status are as without (a signal N gives 128 + N).
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..outgoing import environment
from ..shipping.places import write_all
from .problem import WRONG_ARGUMENTS, Problem

_TAIL_BYTES = 8192
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells say it


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("exec", help="run a program as a tool run", description=__doc__)
    parser.add_argument("--name", metavar="NAME", help="the run's name (default: the program's)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="the program, its arguments")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run it; its exit status."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise Problem("exec needs a command: spanloom exec -- python program.py", WRONG_ARGUMENTS)
    import spanloom

    with spanloom.tool(arguments.name or Path(command[0]).name, input=command) as tool:
        tail = _Tail()
        status = _run(command, environment(baggage=True), tail)
        tool.set(output={"exit_status": status, "output": tail.text()})
        if status:
            tool.fail(f"exit status {status}")
    return status


def _run(command: list[str], variables: dict[str, str], tail: _Tail) -> int:
    try:
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    except FileNotFoundError:
        print(f"spanloom: no such program: {command[0]}", file=sys.stderr)
        return _NOT_FOUND
    except OSError as error:
        print(f"spanloom: {command[0]}: {error.strerror}", file=sys.stderr)
        return _NOT_EXECUTABLE
    assert process.stdout is not None and process.stderr is not None
    with _signals_to(process):
        copiers = [
            threading.Thread(target=_copy, args=(source, target, tail), daemon=True)
            for source, target in ((process.stdout, 1), (process.stderr, 2))
        ]
        for copier in copiers:
            copier.start()
        status = process.wait()
        for copier in copiers:
            copier.join(5.0)  # a grandchild may keep the pipe open for ever
    return 128 - status if status < 0 else status


@contextmanager
def _signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals that ask us to end go to the program, which decides; Ctrl-C reaches it by itself."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):

        def pass_on(received: int, _frame: object) -> None:
            if received != signal.SIGINT:
                process.send_signal(received)

        before[number] = signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _copy(source: IO[bytes], target: int, tail: _Tail) -> None:
    """From the program to our own output, at once, until it ends."""
    while chunk := source.read(65536):
        tail.add(chunk)
        try:
            write_all(target, chunk)
        except OSError:
            pass  # whoever read us has gone; the program is told when it is


class _Tail:
    """The last few KiB of what was written, both streams in the order of arrival."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.Lock()
        self._cut = False

    def add(self, chunk: bytes) -> None:
        """More was written."""
        with self._lock:
            self._chunks.append(chunk)
            self._size += len(chunk)
            while self._size - len(self._chunks[0]) > _TAIL_BYTES:
                self._size -= len(self._chunks.popleft())
                self._cut = True

    def text(self) -> str:
        """It, as text; an ellipsis where the beginning is missing."""
        with self._lock:
            data = b"".join(self._chunks)
            cut = self._cut or len(data) > _TAIL_BYTES
        return ("…" if cut else "") + data[-_TAIL_BYTES:].decode("utf-8", "replace")
