"""``spanloom prune``: remove old runs from a store, and give the room back to the disk.

Runs go by when they were last heard of, the oldest first, with their events, feedback and text, in small steps: other
programs go on writing meanwhile. Without limits these are a store's own: 30 days and 1 GiB.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..store import Retention, Store
from . import place, words
from .amounts import age_seconds, size_bytes
from .problem import Problem


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("prune", help="remove old runs from a store", description=__doc__)
    add_limits(parser)
    parser.add_argument("--store", metavar="PATH", help="the store's file (default: this user's own)")
    parser.set_defaults(run=run)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The arguments that bound a store."""
    parser.add_argument("--max-age", type=age_seconds, metavar="AGE",
                        help="remove runs not heard of for so long: 90s, 30m, 6h, 30d, 4w")  # fmt: skip
    parser.add_argument("--max-size", type=size_bytes, metavar="SIZE",
                        help="remove the oldest runs while the store is larger: 500MB, 10GB")  # fmt: skip


def limits_of(arguments: argparse.Namespace) -> Retention | None:
    """The limits as given; None when none was."""
    if arguments.max_age is None and arguments.max_size is None:
        return None
    return Retention(max_bytes=arguments.max_size, max_age_seconds=arguments.max_age)


def run(arguments: argparse.Namespace) -> int:
    """Prune, and say what went."""
    path = place.store_path(arguments.store)
    if not path.is_file():
        if arguments.store is not None:
            raise Problem(
                f"there is no store at {path}: give the path of a file that `spanloom serve` or Local() wrote"
            )
        print("Nothing has been recorded yet.")
        return 0
    with Store(path, on_corrupt="refuse") as store:
        before_bytes = path.stat().st_size
        pruned = store.prune(limits_of(arguments) or Retention())
    print(f"{words.count(pruned.runs)} runs and {words.count(pruned.events)} events removed from {path}; "
          f"{before_bytes / 1e6:.1f} MB before, {path.stat().st_size / 1e6:.1f} MB now")  # fmt: skip
    return 0
