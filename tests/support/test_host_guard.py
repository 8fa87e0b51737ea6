"""The guard itself: it keeps what comes from our frames and passes on what does not."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

import spanloom.errors
from support.host_guard import host_guard


def ours(source: str) -> object:
    """Code whose frames look as if they were in the package."""
    return compile(source, spanloom.errors.__file__, "exec")


def test_a_thread_of_ours_that_dies_is_kept() -> None:
    """An exception that reaches threading.excepthook through our frames is an intrusion."""
    with host_guard() as host:
        dying = threading.Thread(target=exec, args=(ours("raise ValueError('x')"), {}))
        dying.start()
        dying.join()
    with pytest.raises(AssertionError, match=r"threading\.excepthook(.|\n)*ValueError: x"):
        host.assert_silent()


def test_a_finaliser_of_ours_that_raises_is_kept() -> None:
    """So is one that Python can only report as unraisable."""
    with host_guard() as host:
        exec(ours("class T:\n def __del__(self): raise KeyError('y')\nT()"), {})
    with pytest.raises(AssertionError, match=r"unraisablehook(.|\n)*KeyError: 'y'"):
        host.assert_silent()


def test_our_warnings_and_log_lines_are_kept() -> None:
    """A warning from our frames is an intrusion; a log line counts against what is allowed."""
    with host_guard() as host:
        exec(ours("import warnings; warnings.warn('old', DeprecationWarning, stacklevel=1)"), {})
        logging.getLogger("spanloom.shipping").warning("outage")
    with pytest.raises(AssertionError, match="DeprecationWarning: old"):
        host.assert_silent(logs_allowed=1)
    host.intrusions.clear()
    host.assert_silent(logs_allowed=1)
    with pytest.raises(AssertionError, match="outage"):
        host.assert_silent()


def test_what_is_not_ours_goes_on_to_the_host() -> None:
    """The host's own warning still reaches the host, and its hooks are its own again afterwards."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    with pytest.warns(UserWarning, match="theirs"), host_guard() as host:
        warnings.warn("theirs", UserWarning, stacklevel=1)
    host.assert_silent()
    assert before == (sys.excepthook, threading.excepthook, sys.unraisablehook)
