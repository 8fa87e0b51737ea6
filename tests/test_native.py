"""Threads and locks for our own threads: real ones in a host of greenlets, and a host that goes on while it waits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from spanloom import native
from support.children import child

_PATCH = {"gevent": "import gevent.monkey as m; m.patch_all()", "eventlet": "import eventlet as m; m.monkey_patch()"}
_PROGRAM = """
import sys, warnings
kind, when, patch = sys.argv[1:]
warnings.simplefilter("ignore")
if kind == "eventlet":
    import eventlet  # warns that it is deprecated
if when == "before":
    exec(patch)
from spanloom import native
if when == "after":
    exec(patch)
import _thread, threading
from support.program import say

say("patched", _thread.start_new_thread is not native._start)
here, waiter = native.get_ident(), native.Waiter()
beats = 0

def beat():
    global beats
    import time
    while True:
        beats += 1
        time.sleep(0.01)

def work(number):
    say("another thread", native.get_ident() != here and number == 7)
    native.sleep(0.3)
    waiter.tell()

threading.Thread(target=beat, daemon=True).start()
native.start_thread(work, 7)
say("told", waiter.wait(20))
say("went on", beats > 5)
say("in time", not waiter.wait(0.01))
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_beside_greenlets(home: Path, kind: str, when: str) -> None:
    """Whether the patch came before us or after, our thread is a real one, and waiting for it stops nobody (C29)."""
    if find_spec(kind) is None:
        pytest.skip(f"needs {kind}")
    done = child(_PROGRAM, kind, when, _PATCH[kind], home=home)
    for word in ("patched", "another thread", "told", "went on", "in time"):
        assert done.lines(word) == ["True"], word


def test_a_word_told_before_the_wait_is_heard_once() -> None:
    """Telling twice is telling once; a wait takes the word with it."""
    waiter = native.Waiter()
    waiter.tell()
    waiter.tell()
    assert waiter.wait(0.0)
    assert not waiter.wait(0.0)


def test_nobody_else_is_asked() -> None:
    """Without a patcher, the names are Python's own, and a thread of ours reports its number."""
    import _thread

    assert native.allocate_lock is _thread.allocate_lock
    said: list[int] = []
    waiter = native.Waiter()
    number = native.start_thread(lambda: (said.append(native.get_ident()), waiter.tell()))
    assert waiter.wait(20)
    assert said == [number]
