"""The collector as a server: a command that runs until it is interrupted, or a thread inside another program.

Promises: the address is bound before anything is promised about it, the store is opened before the first request, and
stopping finishes what is in flight (5 s). Must never: listen beyond this machine without keys,
or live on in a forked child (its parent answers).
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Literal

import uvicorn

from ..errors import SettingsError, SpanloomError
from ..store import Retention, Store
from ..store.reader import Reader
from .access import LOOPBACK_HOSTS, Access, Keyless
from .app import create_app
from .body import Limits
from .mounts import Mount
from .process import own_this_process
from .protocol import Crowd, StrictProtocol

DEFAULT_PORT = 8321
_LOOPBACK = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}
_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
_CHECK_SECONDS = 1.0


class Running:
    """A collector in a thread of this program::

        with Running(tmp_path / "runs.db") as collector:
            spanloom.configure(destinations=[spanloom.Collector(collector.url)])

    ``port`` 0 takes any free one. ``busy_seconds`` is how long a request waits while another program holds the store.
    ``on_corrupt`` is what happens to a store that is found broken (see `Store`).
    ``hosts`` are names besides localhost that clients may call this server by. ``access`` asks for keys; only with it
    may ``host`` be more than the loopback interface.
    ``reader`` reads what it stored; ``mounts`` are served behind the same door.
    """

    def __init__(
        self,
        store_path: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        retention: Retention | None = None,
        busy_seconds: float = 5.0,
        on_corrupt: Literal["quarantine", "refuse"] = "quarantine",
        hosts: Sequence[str] = (),
        access: Access | None = None,
        mounts: Sequence[Mount] = (),
    ) -> None:
        self._socket = bind(host, port, keyed=access is not None)
        try:
            self.store = Store(
                Path(store_path), retention=retention, busy_seconds=busy_seconds, background=True,
                on_corrupt=on_corrupt, check_seconds=_CHECK_SECONDS,
            ).open()  # fmt: skip
        except BaseException:
            self._socket.close()
            raise
        self.reader = Reader(store_path)
        access = access or Keyless(LOOPBACK_HOSTS | {name.lower() for name in hosts})
        app = create_app(
            self.store, self.reader, access=access, limits=limits, mounts=mounts,
            stopping=lambda: self.server.should_exit,
        )  # fmt: skip
        self.server: uvicorn.Server = uvicorn.Server(_config(app, limits or Limits()))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{'[::1]' if ':' in host else '127.0.0.1'}:{self.port}"
        _running.add(self)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve on this thread until stopped; on the main thread SIGINT and SIGTERM stop it."""
        try:
            self.server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self.reader.close()
            self.store.close()

    def stop(self) -> None:
        """Finish what is in flight and end; returns when the thread has ended (or after 10 s)."""
        self.server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def __enter__(self) -> Running:
        self._thread = threading.Thread(target=self.run, name="spanloom-collector", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self.server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise SpanloomError(f"the collector at {self.url} did not start; its log says why")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


_running: weakref.WeakSet[Running] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """A child that kept the listening socket would hold the port, and connections whose end no client would see."""
    for running in list(_running):
        running._socket.close()
        for connection in list(running.server.server_state.connections):
            held = connection.transport.get_extra_info("socket")
            if held is not None and held.fileno() >= 0:
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, held.fileno())  # not closed: its owner closes this number once more
                os.close(null)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def serve(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    store_path: str | os.PathLike[str] = "spanloom.db",
    *,
    retention: Retention | None = None,
    on_corrupt: Literal["quarantine", "refuse"] = "quarantine",
    access: Access | None = None,
    mounts: Sequence[Mount] = (),
    note: str = "",
) -> None:
    """Serve until SIGINT or SIGTERM. Says on standard output where it listens and what it writes, and ``note``, in
    which ``{url}`` stands for the address.

    Raises SettingsError for an address that it may not or cannot listen on, StoreError for a store that it cannot use.
    """
    own_this_process()
    running = Running(
        store_path, host=host, port=port, retention=retention, on_corrupt=on_corrupt, access=access, mounts=mounts
    )
    print(f"collecting at {running.url} into {running.store.path} (Ctrl-C ends it)", flush=True)
    for aside in running.store.set_aside[:1]:
        print(f"THE STORE WAS CORRUPT: it was set aside as {aside}, and a new one begun", flush=True)
    if note:
        print(note.replace("{url}", running.url), flush=True)
    # uvicorn raises the signal that ended it once more: without a handler that would be the end of the process, before
    # the store is closed and its log carried into the file.
    before = signal.signal(signal.SIGTERM, _nothing_more) if _on_main_thread() else None
    try:
        running.run()
    except KeyboardInterrupt:
        pass
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _nothing_more(number: int, frame: FrameType | None) -> None:
    """The server has ended, or is about to."""


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def bind(host: str, port: int, *, keyed: bool = False) -> socket.socket:
    """A listening socket, on the loopback interface unless there are keys (``keyed``). Raises SettingsError naming the
    address and the cure."""
    name = host.lower().strip("[]")
    family = _LOOPBACK.get(name)
    if family is None and not keyed:
        raise SettingsError(
            f"host={host!r}: without keys the collector listens on this machine alone: use 127.0.0.1, localhost or "
            "::1, or make a key (`spanloom keys add`)"
        )
    address = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    if family is None:
        family, address = (socket.AF_INET6 if ":" in name else socket.AF_INET), name
    # asyncio turns Nagle's algorithm off only on sockets that say TCP: with it each answer took 44 ms, without 2.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from None
    return listening


def _config(app: object, limits: Limits) -> uvicorn.Config:
    """No access log, because ids and searches do not belong in one; no proxy headers, because there is no proxy."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=functools.partial(StrictProtocol, limits=limits, crowd=Crowd()),  # type: ignore[arg-type]
        ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=30, timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 << 10,
    )  # fmt: skip
