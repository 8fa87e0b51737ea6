"""Carrying the current run into other processes by themselves (``propagate_processes=True``), and `environment`.

Promises: patches `subprocess.Popen`, `multiprocessing.Process.start` and `ProcessPoolExecutor.submit` only while asked
to, and puts the originals back; an ``env=`` that the host gives is the host's and is passed on as it is. What
`multiprocessing.Pool` sends to its workers is left alone: there `carry` says which work belongs to whom.
Must never: write into ``os.environ``, which all threads share, or keep a process from being started.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ..settings import environment_with
from .ambient import NOTHING, OUTSIDE, ambient_var, current_var
from .carrying import carry
from .edge import failed
from .propagation import write
from .recorder import on_install

_VARIABLES = {"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE", "baggage": "BAGGAGE"}
_ENV_POSITION = 10  # of ``env`` among the arguments of Popen after ``self``, Python 3.10 to 3.14


def environment(base: Mapping[str, str] | None = None, baggage: bool = False) -> dict[str, str]:
    """A copy of this process's environment (or of ``base``) with the current run as the parent of whatever is started
    with it; ``baggage`` says also for whom."""
    variables = environment_with({}) if base is None else dict(base)
    try:
        headers = {"baggage": variables["BAGGAGE"]} if "BAGGAGE" in variables else {}
        write(headers, baggage)
        if "traceparent" in headers:
            variables.pop("TRACESTATE", None)  # it goes with the parent that is replaced
        variables.update({_VARIABLES[name]: value for name, value in headers.items()})
    except Exception as error:
        failed("environment_failed", error)
    return variables


class _Patches:
    """Whether we propagate now, what is patched, and what was there before (kept, for calls that are under way)."""

    def __init__(self) -> None:
        self.active = False
        self.standing: dict[str, type] = {}
        self.originals: dict[str, Callable[..., Any]] = {}


_patches = _Patches()


def follow(wanted: bool) -> None:
    """Install the patches, or take them away. Someone who patched on top of ours keeps theirs; ours then only passes
    calls on."""
    if wanted == _patches.active:
        return
    _patches.active = wanted
    if wanted:
        for owner, name, ours in _places():
            if name not in _patches.standing:
                _patches.standing[name] = owner
                _patches.originals[name] = getattr(owner, name)
                setattr(owner, name, functools.update_wrapper(ours, _patches.originals[name]))
        return
    for name, owner in list(_patches.standing.items()):
        if getattr(owner, name) in (_popen, _start, _submit):
            setattr(owner, name, _patches.originals[name])
            del _patches.standing[name]


def _places() -> list[tuple[type, str, Callable[..., Any]]]:
    """What is patched; imported here, so that only those who ask for this pay for it."""
    import subprocess

    places: list[tuple[type, str, Callable[..., Any]]] = [(subprocess.Popen, "__init__", _popen)]
    try:
        from concurrent.futures.process import ProcessPoolExecutor
        from multiprocessing.process import BaseProcess
    except ImportError:  # a platform without processes of this kind
        return places
    return [*places, (BaseProcess, "start", _start), (ProcessPoolExecutor, "submit", _submit)]


def _surrounded() -> bool:
    return _patches.active and (current_var.get() is not OUTSIDE or ambient_var.get() is not NOTHING)


def _popen(self: Any, *args: Any, **kwargs: Any) -> None:
    if len(args) <= _ENV_POSITION and kwargs.get("env") is None and _surrounded():
        kwargs["env"] = environment(baggage=True)
    _patches.originals["__init__"](self, *args, **kwargs)


def _start(self: Any) -> None:
    start = _patches.originals["start"]
    if not _surrounded() or "run" in self.__dict__ or _is_a_pools(self):
        start(self)
        return
    self.run = carry(_Begun(self))  # pickled with the process where it is spawned
    try:
        start(self)
    finally:
        self.__dict__.pop("run", None)


def _submit(self: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    # Also outside any run: a worker that was forked inside one would have that as its parent.
    return _patches.originals["submit"](self, carry(function) if _patches.active else function, *args, **kwargs)


class _Begun:
    """What a process does, whatever its class says of it."""

    def __init__(self, process: Any) -> None:
        self.process = process

    def __call__(self) -> None:
        type(self.process).run(self.process)


def _is_a_pools(process: Any) -> bool:
    """Whether it is one of the library's own, such as a pool's worker: nobody's, as it does what others submit."""
    try:
        return str(process._target.__module__).partition(".")[0] in ("multiprocessing", "concurrent")
    except Exception:  # a target whose attributes raise, or none
        return False


on_install(lambda recorder: follow(recorder is not None and recorder.propagate_processes))
