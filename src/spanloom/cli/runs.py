"""``spanloom runs``: the newest runs, one line each, or as JSON."""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from ..clock import parse_iso_us
from ..records import RUN_TYPES, STATUSES
from ..store import Page, Run, RunFilter, Store
from . import place, words
from .plain import dump, plain_run
from .problem import WRONG_ARGUMENTS, Problem

_STATUS_STYLE = {"ok": "green", "error": "bold red", "running": "yellow"}
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("runs", help="the newest runs, one line each", description=__doc__)
    parser.add_argument("--type", metavar="TYPE", help=f"{', '.join(RUN_TYPES)}, chat or thread")
    parser.add_argument("--status", choices=STATUSES)
    parser.add_argument("--name", metavar="NAME")
    parser.add_argument("--user", metavar="ID")
    parser.add_argument("--thread", metavar="ID")
    parser.add_argument("--customer", metavar="ID")
    parser.add_argument("--model", metavar="NAME")
    parser.add_argument("--tag", metavar="TAG")
    parser.add_argument("--thumb", choices=("up", "down"), help="runs with this feedback")
    parser.add_argument("--search", metavar="TEXT", help="words in names, inputs, outputs and errors")
    parser.add_argument("--since", metavar="WHEN", help="started since: 30m, 6h, 2d, or a date and time (ISO 8601)")
    parser.add_argument("--top", action="store_true", help="only what a trace begins with")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default 20)")
    parser.add_argument("--json", action="store_true", help="a JSON array")
    place.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List runs."""
    if arguments.limit < 1:
        raise Problem(f"--limit {arguments.limit}: give a number above 0", WRONG_ARGUMENTS)
    wanted = _filter(arguments)
    reader = place.open_reader(arguments)
    page = Page(runs=[])
    if reader is not None:
        with reader:
            if arguments.search is not None:
                _index(arguments)
            page = reader.runs(wanted, limit=arguments.limit, project=place.project_of(reader, arguments))
    if arguments.json:
        print(dump([plain_run(run) for run in page.runs]))
    elif page.runs:
        _print_table(page)
    elif wanted == RunFilter():
        print("Nothing has been recorded yet. Try `spanloom demo`, or run a program that uses Spanloom.")
    else:
        print("No run is like that. `spanloom runs` without conditions shows the newest.")
    return 0


def _filter(arguments: argparse.Namespace) -> RunFilter:
    return RunFilter(
        type=arguments.type,
        status=arguments.status,
        name=arguments.name,
        user_id=arguments.user,
        thread_id=arguments.thread,
        customer=arguments.customer,
        model=arguments.model,
        tag=arguments.tag,
        thumb=arguments.thumb,
        text=arguments.search,
        since_us=since_us(arguments.since),
        top=arguments.top,
    )


def since_us(text: str | None, option: str = "--since") -> int | None:
    """A moment as people say it: how long ago, or ISO 8601. Raises Problem naming the option."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago:
        return int((time.time() - int(ago[1]) * _UNIT_SECONDS[ago[2]]) * 1_000_000)
    try:
        return parse_iso_us(text)
    except ValueError:
        raise Problem(f"{option} {text!r}: give 30m, 6h, 2d or 2026-01-31T12:00:00Z", WRONG_ARGUMENTS) from None


def _index(arguments: argparse.Namespace) -> None:
    """Bring the search index up to date; nobody else does it for a store without a collector."""
    with Store(place.store_path(arguments.store)) as store:
        left = store.index_pending(5.0)
    if left:
        print(f"({words.count(left)} runs are not in the search index yet: search again to go on)")


def _print_table(page: Page) -> None:
    from .screen import console
    from .table import Column, lines

    columns = [
        Column("when", "dim"), Column("type", "cyan"), Column("name", "bold", least=8), Column("user", least=4),
        Column("took", right=True), Column("tokens", right=True), Column("status", by_cell=_STATUS_STYLE),
        Column("feedback", least=4), Column("id", "dim"),
    ]  # fmt: skip
    now_seconds = time.time()
    rows = [[words.one_line(cell) for cell in _cells(run, now_seconds)] for run in page.runs]
    screen = console()
    for line in lines(columns, rows, screen.width):
        screen.print(line, soft_wrap=True)
    if page.next is not None:
        print("there are more: --limit N, or conditions (`spanloom runs --help`)")


def _cells(run: Run, now_seconds: float) -> list[str]:
    return [
        words.when(run.started_us or run.received_us, now_seconds),
        run.type or "?",
        run.name or "",
        run.user_id or "",
        words.duration(run.duration_us),
        words.count(run.tokens.sum),
        run.status or "",
        str(run.feedback.get("thumb") or words.feedback(run.feedback)),
        short_id(run.id),
    ]


def short_id(run_id: str) -> str:
    """The end of an id, which tells runs apart; a short foreign id as it is."""
    return run_id[-8:] if len(run_id) > 12 else run_id
