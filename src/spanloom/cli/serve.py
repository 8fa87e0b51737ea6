"""``spanloom serve``: the collector on this machine, for programs elsewhere to send to, and its viewer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import place, prune
from .problem import NOT_INSTALLED, WRONG_ARGUMENTS, Problem

DEFAULT_PORT = 8321


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("serve", help="collect runs from other programs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"the port (default {DEFAULT_PORT}; 0: any)")
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: this user's own)")
    parser.add_argument("--refuse-corrupt", action="store_true",
                        help="do not start on a corrupt store (else it is set aside and a new one begun)")  # fmt: skip
    prune.add_limits(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not 0 <= arguments.port <= 65535:
        raise Problem(f"--port {arguments.port}: give a number from 0 to 65535", WRONG_ARGUMENTS)
    path: Path = place.store_path(arguments.store)
    try:
        from ..collector.keys import Keyed, KeyRing
        from ..collector.server import serve
        from .pages import mounts
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spanloom"):
            raise
        raise Problem(
            f"the collector needs {error.name}, which is not installed: pip install 'spanloom[serve]'", NOT_INSTALLED
        ) from error
    ring = KeyRing(path)
    serve(
        access=Keyed(ring) if ring.in_force() else None,
        host=arguments.host, port=arguments.port, store_path=path, retention=prune.limits_of(arguments),
        on_corrupt="refuse" if arguments.refuse_corrupt else "quarantine",
        mounts=mounts(), note="open {url} to see the runs",
    )  # fmt: skip
    return 0
