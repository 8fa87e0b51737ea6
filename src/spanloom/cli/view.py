"""``spanloom view``: what was recorded on this machine, in the browser.

Promises: the journals that dead processes left are taken in first, so that what is shown is all there is; a store with
keys is shown to whoever has one, and no other. Without keys the page chooses among the projects that there are.
"""

from __future__ import annotations

import argparse
import threading
import webbrowser
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..store import DEFAULT_PROJECT, Reader
from . import place
from .problem import NOT_INSTALLED, WRONG_ARGUMENTS, Problem

DEFAULT_PORT = 8322


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("view", help="the runs of this machine, in the browser", description=__doc__)
    parser.add_argument("id", metavar="RUN", nargs="?", help="open this run; `last` is the newest")
    parser.add_argument("--port", type=int, help=f"the port (default {DEFAULT_PORT}, or any when it is taken)")
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    place.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if arguments.port is not None and not 0 <= arguments.port <= 65535:
        raise Problem(f"--port {arguments.port}: give a number from 0 to 65535", WRONG_ARGUMENTS)
    path = place.store_path(arguments.store)
    if arguments.store is not None and not path.exists():
        raise place.no_store_at(path)
    if arguments.id is None and arguments.store is None:
        place.take_in_journals()
    project = _project(path, arguments)
    page = _page_of(arguments, project) if arguments.id is not None else "/"
    running = _running(path, arguments, project)
    url = running.url + page
    print(f"viewing {path} at {url} (Ctrl-C ends it)", flush=True)
    if not arguments.no_browser:
        threading.Thread(target=webbrowser.open, args=(url,), name="spanloom-browser", daemon=True).start()
    try:
        running.run()
    except KeyboardInterrupt:
        pass
    return 0


def _project(path: Path, arguments: argparse.Namespace) -> str:
    """The project that is shown at first: the one that was asked for, the default one, or the first that there is."""
    try:
        with Reader(path) as reader:
            known = reader.projects()
            if arguments.project is not None:
                return place.project_of(reader, arguments)
    except StoreError as error:
        if error.reason != "missing":
            raise
        known = []
    if arguments.project is not None:
        raise Problem(f"no project {arguments.project!r} in {path}: nothing has been recorded there yet")
    return known[0] if known and DEFAULT_PROJECT not in known else DEFAULT_PROJECT


def _page_of(arguments: argparse.Namespace, project: str) -> str:
    from .. import viewer

    reader = place.open_reader(arguments)
    if reader is None:
        raise Problem("nothing has been recorded yet: run `spanloom demo`, or a program that uses Spanloom")
    with reader:
        run_id = place.run_id_of(reader, arguments.id, project)
    return viewer.page_path(run_id)


def _running(path: Path, arguments: argparse.Namespace, project: str) -> Any:
    """The server, on the port that was asked for, or on any when the usual one is taken."""
    from ..errors import SettingsError

    try:
        from ..collector.access import Owner
        from ..collector.keys import Keyed, KeyRing
        from ..collector.server import Running
        from .pages import mounts
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spanloom"):
            raise
        raise Problem(
            f"the viewer needs {error.name}, which is not installed: pip install 'spanloom[serve]'", NOT_INSTALLED
        ) from error
    ring = KeyRing(path)
    keyed = bool(ring.in_force())
    if keyed and arguments.project is not None:
        raise Problem(f"{path} has keys, and the key says which project is shown: leave --project out", WRONG_ARGUMENTS)
    access = Keyed(ring) if keyed else Owner(shown=project)
    port, shown = arguments.port, mounts(choose=not keyed)
    if port is not None:
        return Running(path, port=port, mounts=shown, access=access)
    try:
        return Running(path, port=DEFAULT_PORT, mounts=shown, access=access)
    except SettingsError:
        return Running(path, port=0, mounts=shown, access=access)
