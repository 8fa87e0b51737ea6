"""``spanloom keys add|list|revoke``: who may send to a collector and read from it.

Keys lie beside the collector's store. Without any, it serves this machine alone and asks for none; with one, everybody
needs one, and it may listen on other addresses.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..store import DEFAULT_PROJECT
from . import place, screen, table
from .problem import NOT_INSTALLED, Problem
from .words import one_line, printable

_USE = {
    "collector": "spanloom.Collector(url, key=…), or SPANLOOM_COLLECTOR_KEY",
    "lunary": "spanloom.Lunary(public_key=…, url=…), or LUNARY_PUBLIC_KEY and LUNARY_API_URL",
    "otlp": "the header Authorization: Bearer … of any OTLP exporter",
    "vluna": "spanloom.Vluna(realm_id=…, key_id=…, secret=…, url=…/vluna/mgt/v1)",
    "valmi": "spanloom.Valmi(api_key=…, agent_key=…, url=…/valmi/v1)",
    "atlas": "spanloom.Atlas(api_key=…, url=…/atlas)",
    "lumen": "spanloom.Lumen(api_key=…, url=…/lumen)",
}


def add_to(commands: Any) -> None:
    """Declare the commands."""
    parser = commands.add_parser("keys", help="who may use a collector", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key; it is shown once")
    add.add_argument("--for", dest="kind", default="collector", choices=tuple(_USE), help="which client it is for")
    add.add_argument("--project", default=DEFAULT_PROJECT, metavar="NAME", help="the project that it opens")
    add.add_argument("--name", default="", metavar="TEXT", help="a note for the list")
    add.set_defaults(run=_add)
    listing = actions.add_parser("list", help="the keys that there are")
    listing.set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="a key opens nothing from now on")
    revoke.add_argument("id", metavar="ID", help="as `spanloom keys list` shows it")
    revoke.set_defaults(run=_revoke)
    for action in (add, listing, revoke):
        action.add_argument("--store", metavar="PATH", help="the store's file (default: this user's own)")


def ring(arguments: argparse.Namespace) -> Any:
    """The key ring beside the store. Raises Problem where the collector is not installed."""
    try:
        from ..collector.keys import KeyRing
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("spanloom"):
            raise
        raise Problem(
            f"the collector needs {error.name}, which is not installed: pip install 'spanloom[serve]'", NOT_INSTALLED
        ) from error
    return KeyRing(place.store_path(arguments.store))


def _add(arguments: argparse.Namespace) -> int:
    keys = ring(arguments)
    first = not keys.in_force()
    key, given = keys.add(arguments.kind, arguments.project, arguments.name)
    for name, text in given.items():
        print(f"{name}: {text}")
    print(f"\nKey {key.id} for project {printable(key.project)}. It is not shown again. Use it as\n  {_USE[key.kind]}")
    if first:
        print("\nIt is the first one: start `spanloom serve` anew, and from then on it asks everybody for a key.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    keys = ring(arguments).keys()
    if not keys:
        print("There are no keys: the collector serves this machine alone, and asks for none.")
        return 0
    columns = [table.Column(name) for name in ("ID", "FOR", "PROJECT", "MADE", "REVOKED", "NAME")]
    rows = [
        (key.id, key.kind, one_line(key.project), key.made[:19] + "Z", (key.revoked or "")[:10], one_line(key.name))
        for key in keys
    ]
    console = screen.console()
    for line in table.lines(columns, rows, console.width):
        console.print(line)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    keys = ring(arguments)
    gone = keys.revoke(arguments.id)
    print(f"Key {gone.id} opens nothing any more.")
    if not keys.in_force():
        print("It was the last one: a collector that runs lets nobody in; started anew it serves this machine alone.")
    return 0
