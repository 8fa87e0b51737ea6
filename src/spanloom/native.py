"""Threads and locks of the operating system, also in a host whose standard library has been patched for greenlets.

Promise: what is made here is Python's own, whether the host patched before or after it imported us, or never. Never
imports gevent or eventlet, never patches or unpatches anything.

Theory of operation. gevent and eventlet put greenlets in the place of threads, in ``_thread`` itself. A thread of ours
made there would be a greenlet of the host's: it sleeps in C code (`shipping.bell`), so it would stop the host's loop
for good. Our threads are therefore real ones, and so are the locks that they share with the host; those are held for
microseconds. The originals are taken at import, from the patcher's own store if it was there first. Sockets stay
patched: on a thread of its own each of our requests gets a loop of its own there.

Where the host waits for one of our threads (flush, shutdown), its other greenlets must go on: `wait_for` polls with the
host's patched sleep then.
"""

from __future__ import annotations

import _thread
import sys
import time
from _thread import LockType, RLock
from collections.abc import Callable
from importlib import import_module
from typing import Any

_POLL_SECONDS = 0.002
_BREATH_SECONDS = 0.0001


def _gevent() -> Any:
    """gevent's patcher, if the host has loaded it."""
    return sys.modules.get("gevent.monkey")


def _eventlet() -> Any:
    """eventlet's patcher, if the host has patched its threads."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher if patcher is not None and patcher.is_monkey_patched("thread") else None


def _original(module: str, name: str) -> Any:
    """A function as Python made it; what stands in its module now when nobody we know has replaced it."""
    if _gevent() is not None:
        return _gevent().get_original(module, name)
    return getattr(import_module(module) if _eventlet() is None else _eventlet().original(module), name)


allocate_lock: Callable[[], LockType] = _original("_thread", "allocate_lock")
allocate_rlock: Callable[[], RLock] = _original("_thread", "RLock")
get_ident: Callable[[], int] = _original("_thread", "get_ident")
"""The thread's number; the greenlets of one thread share it."""
sleep: Callable[[float], None] = _original("time", "sleep")
"""For threads of ours; it stops all greenlets of any other."""
_start: Callable[[Callable[..., object], tuple[Any, ...]], int] = _original("_thread", "start_new_thread")


def breathe() -> None:
    """Let whoever waits for the interpreter have it: for threads of ours, in the middle of long work.

    A thread that computes keeps the interpreter for 5 ms although another waits, and that other may be the host's event
    loop. Merely to let go and ask again is not enough: we would have it back before the other has woken up."""
    sleep(_BREATH_SECONDS)


def start_thread(function: Callable[..., object], *arguments: object) -> int:
    """Start a daemon thread and return its number at once. Raises RuntimeError where no thread can be had.

    Not `threading.Thread`, whose start waits on a lock that a signal handler may find held, and waits without end in a
    host where threads never run. Who else replaces ``start_new_thread`` (debuggers do) sees our threads too."""
    start = _start if _in_greenlets("_thread") else _thread.start_new_thread
    return start(function, arguments)


def wait_for(lock: LockType, timeout_seconds: float) -> bool:
    """Acquire a lock on the host's thread, its other greenlets going on meanwhile; whether it was had in time."""
    if not _in_greenlets("time"):
        return lock.acquire(timeout=max(0.0, timeout_seconds))
    deadline = time.monotonic() + timeout_seconds
    while not lock.acquire(False):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, _POLL_SECONDS))
    return True


def has_greenlets() -> bool:
    """Whether the host's threads or sleep are greenlets."""
    return _in_greenlets("_thread") or _in_greenlets("time")


def _in_greenlets(module: str) -> bool:
    """Whether the host's ``_thread`` or ``time`` makes and switches greenlets."""
    monkey = _gevent()
    return (monkey is not None and monkey.is_module_patched(module)) or _eventlet() is not None


class Waiter:
    """One caller waits, any thread tells. No lock is held while waiting or telling, so a signal handler may do both."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told = allocate_lock()
        self._told.acquire(False)

    def tell(self) -> None:
        """End the wait, or the next one."""
        try:
            self._told.release()
        except RuntimeError:
            pass  # told already

    def wait(self, timeout_seconds: float) -> bool:
        """Sleep until told, at most this long; whether it was told."""
        return wait_for(self._told, timeout_seconds)
