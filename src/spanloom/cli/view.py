"""``spanloom view``: what was recorded on this machine, in the browser.

Promise: the journals that dead processes left are taken in first, so that what is shown is all there is.
"""

from __future__ import annotations

import argparse
import threading
import webbrowser
from pathlib import Path
from typing import Any

from ..store import DEFAULT_PROJECT
from . import place
from .problem import NOT_INSTALLED, WRONG_ARGUMENTS, Problem

DEFAULT_PORT = 8322


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("view", help="the runs of this machine, in the browser", description=__doc__)
    parser.add_argument("id", metavar="RUN", nargs="?", help="open this run; `last` is the newest")
    parser.add_argument("--port", type=int, help=f"the port (default {DEFAULT_PORT}, or any when it is taken)")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: this user's own)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if arguments.port is not None and not 0 <= arguments.port <= 65535:
        raise Problem(f"--port {arguments.port}: give a number from 0 to 65535", WRONG_ARGUMENTS)
    path = place.store_path(arguments.store)
    page = _page_of(arguments) if arguments.id is not None else "/"
    if arguments.id is None and arguments.store is None:
        place.take_in_journals()
    running = _running(path, arguments.port)
    url = running.url + page
    print(f"viewing {path} at {url} (Ctrl-C ends it)", flush=True)
    if not arguments.no_browser:
        threading.Thread(target=webbrowser.open, args=(url,), name="spanloom-browser", daemon=True).start()
    try:
        running.run()
    except KeyboardInterrupt:
        pass
    return 0


def _page_of(arguments: argparse.Namespace) -> str:
    from .. import viewer

    reader = place.open_reader(arguments)
    if reader is None:
        raise Problem("nothing has been recorded yet: run `spanloom demo`, or a program that uses Spanloom")
    with reader:
        run_id = place.run_id_of(reader, arguments.id, DEFAULT_PROJECT)
    return viewer.page_path(run_id)


def _running(path: Path, port: int | None) -> Any:
    """The server, on the port that was asked for, or on any when the usual one is taken."""
    from ..errors import SettingsError

    try:
        from ..collector.server import Running
        from .pages import mounts
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spanloom"):
            raise
        raise Problem(
            f"the viewer needs {error.name}, which is not installed: pip install 'spanloom[serve]'", NOT_INSTALLED
        ) from error
    if port is not None:
        return Running(path, port=port, mounts=mounts())
    try:
        return Running(path, port=DEFAULT_PORT, mounts=mounts())
    except SettingsError:
        return Running(path, port=0, mounts=mounts())
