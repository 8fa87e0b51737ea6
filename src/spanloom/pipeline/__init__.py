"""The wiring: settings → destinations → shippers → sink. What `configure`, `flush`, `shutdown` and `health` do.

Promises: nothing happens before the first record or the first of these calls; none of them raises into the program
(`configure` does for a wrong setting when ``strict``); leaving the program takes at most ``exit_timeout_seconds``.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import Any

from ..errors import SettingsError

# Loaded here although the wiring has no use for most of them: a name that is first asked for in a thread while another
# thread forks would leave the child waiting for an import that nobody goes on with.
from ..recording import (  # noqa: F401
    blocks,
    carrying,
    conversation,
    decorators,
    feedback,
    processes,
    propagation,
    usage,
)
from ..recording import recorder as recording
from ..recording.keys import KeyedRuns
from ..recording.recorder import Recorder, Sink
from ..settings import Settings, from_env, with_arguments
from ..shipping.ledger import Health
from . import recorders
from .wiring import Wiring

_log = logging.getLogger("spanloom")


class _Process:
    """What this process has: at most one wiring, made at first need."""

    def __init__(self) -> None:
        self.wiring: Wiring | None = None
        self.recorder: Recorder | None = None
        self.lock = threading.RLock()
        self.exit_watched_by = 0  # the process id

    def forked(self) -> None:
        """In a forked child: the same settings, but threads, exit handlers and the decision's clock begin anew."""
        self.lock = threading.RLock()
        if self.recorder is not None and recording.current() is self.recorder:
            again = recorders.FirstUse(
                _first_use,
                propagate_threads=self.recorder.propagate_threads,
                propagate_processes=self.recorder.propagate_processes,
            )
            self.recorder = None
            recording.install(again)


_process = _Process()


def configure(**settings: Any) -> None:
    """Say how to record and where to. What is not given comes from the environment, or stays at its default.

    ``destinations``: a list of `Lunary`, `Collector`, `Local`, … ; ``journal``: "default", a directory, or None (memory
    only); ``journal_sync``: "process" or "power"; ``redact``: a function of (path, text) that returns the text to keep,
    or None to drop it; ``sample``: share of traces to keep, 0 to 1; ``enabled``; ``capture_content``: False sends no
    content; ``strict``: raise for wrong arguments of direct calls; ``propagate_threads``: carry the current run into
    threads and executors, ``propagate_processes``: into processes; ``exit_timeout_seconds``; ``join_otel``: "child",
    "link" or False; ``service``: a name.

    May be called again, also after runs were recorded: those are delivered to the new destinations too as far as the
    journal still has them. A wrong setting is one warning and changes nothing; with ``strict=True`` it raises
    SettingsError, which names the value and the cure.
    """
    chosen = with_arguments(from_env(), settings)
    with _process.lock:
        try:
            _apply(chosen)
        except SettingsError:
            raise
        except Exception as error:  # a named door: the host must not fail because we cannot start
            _log.warning("spanloom: configure() failed and recording goes on as before: %r", error)


def flush(timeout_seconds: float = 5) -> bool:
    """Deliver what has been recorded. True: everything created so far has been delivered (acknowledged)."""
    wiring = _process.wiring
    if wiring is None:
        return True
    try:
        return wiring.flush(max(0.0, float(timeout_seconds)))
    except Exception as error:  # a named door, as above
        _log.warning("spanloom: flush() failed: %r", error)
        return False


def shutdown(timeout_seconds: float = 2) -> None:
    """Deliver what can be delivered in the time, leave the rest to the next process, and stop. May be called twice.

    What is recorded later is counted as refused (``closed``), until `configure` is called again.
    """
    with _process.lock:
        wiring = _process.wiring
    if wiring is None:
        return
    try:
        _take_what_is_held_back()
        wiring.close(max(0.0, float(timeout_seconds)))
    except Exception as error:  # a named door, as above
        _log.warning("spanloom: shutdown() failed: %r", error)


def health() -> Health:
    """Exact counts per destination: created, adopted, rejected, delivered, dropped, pending, dead_lettered, each by
    reason; its state, lag and last error. ``print(spanloom.health())`` shows them."""
    wiring = _process.wiring
    try:
        return wiring.health() if wiring is not None else Health()
    except Exception as error:  # a named door, as above
        return Health(problems=(f"health() failed: {error!r}",))


def catch_up(timeout_seconds: float = 10.0) -> None:
    """Deliver what processes that died left in their journals (the command line does it before it reads the store)."""
    wiring = Wiring(from_env())
    wiring.use(wiring.settings)
    wiring.decide()
    try:
        if wiring.journal.adopt():
            wiring.drain(timeout_seconds)
    finally:
        wiring.close(0.5)


def _apply(chosen: Settings) -> None:
    wiring = _process.wiring
    if wiring is None or not wiring.keeps_journal_of(chosen) or wiring.journal.state().mode == "closed":
        if wiring is not None:
            wiring.close(1.0)
        wiring = _process.wiring = Wiring(chosen)
    try:
        wiring.use(chosen)
    finally:
        _process.recorder = None
        if chosen.enabled:
            recording.install(
                recorders.FirstUse(
                    _first_use,
                    propagate_threads=chosen.propagate_threads,
                    propagate_processes=chosen.propagate_processes,
                )
            )
        else:
            recording.install(recorders.make(chosen, _nowhere))


def _first_use() -> Recorder:
    """Make the real recorder, by the environment alone unless `configure` came first."""
    with _process.lock:
        if _process.recorder is not None:
            return _process.recorder
        if _process.wiring is None:
            _process.wiring = Wiring(from_env())
            try:
                _process.wiring.use(_process.wiring.settings)
            except SettingsError as error:  # strict settings from the environment: there is no call to raise from
                _log.warning("spanloom: %s", error)
        wiring = _process.wiring
        wiring.await_records()
        enabled = wiring.settings.enabled
        sink: Sink = wiring.journal if enabled else _nowhere
        made = _process.recorder = recorders.make(wiring.settings, sink, run_url=wiring.run_url, keyed_runs=_keyed_runs)
        recording.install(made)
        if enabled:
            wiring.decide_soon()
            _watch_exit()
        return made


def _watch_exit() -> None:
    if _process.exit_watched_by != os.getpid():
        _process.exit_watched_by = os.getpid()
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)
        pool = sys.modules.get("multiprocessing.util")
        if pool is not None:  # its children leave by os._exit, which runs no atexit handlers
            pool.Finalize(None, _at_exit, exitpriority=0)


def _at_exit() -> None:
    wiring = _process.wiring
    if wiring is None:
        return
    try:
        _take_what_is_held_back()
        wiring.close(wiring.settings.exit_timeout_seconds)
    except Exception:  # a named door: nothing may be printed into a program that is leaving
        pass
    _leave_by_sigint()


def _take_what_is_held_back() -> None:
    """Records that wait for more to be known; what comes after the journal is closed is lost."""
    for give in list(recording.before_closing):
        give()


def _leave_by_sigint() -> None:
    """A program that an unhandled Ctrl-C ended is ended by SIGINT itself (shells look at that), unless any source was
    evaluated since: the interpreter then forgets (CPython's ``run_eval_code_obj``) and exits with 1. Importing httpx
    does evaluate some, on our thread, so the interpreter is told once more."""
    if isinstance(getattr(sys, "last_value", None), KeyboardInterrupt) and not hasattr(sys, "ps1"):
        try:
            exec("raise KeyboardInterrupt", {})
        except KeyboardInterrupt:
            pass


_nowhere = recorders.NoSink()
_keyed_runs = KeyedRuns()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forked)
recording.install(recorders.FirstUse(_first_use))
