"""``spanloom usage``: actions and outcomes, summed by customer, event and day; and what an outcome cost.

The cost of an outcome is that of the model calls in its trace, shared by the outcomes of the trace, where prices are
known. ``--csv`` and ``--cloudevents`` write every sum, or every event, for another program to read.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from ..clock import iso
from ..store import DEFAULT_PROJECT, Reader, UsageRow, UsageSum
from . import place, screen, table
from .runs import since_us
from .words import one_line

_PAGE = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("usage", help="actions and outcomes by customer and day", description=__doc__)
    parser.add_argument("--customer", metavar="ID")
    parser.add_argument("--since", metavar="WHEN", help="30m, 6h, 2d, or a date and time (ISO 8601)")
    parser.add_argument("--until", metavar="WHEN", help="likewise; not included")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="the sums as CSV")
    form.add_argument("--cloudevents", action="store_true", help="every event as CloudEvents 1.0, one JSON a line")
    place.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Sum, or export."""
    since, until = since_us(arguments.since), since_us(arguments.until, "--until")
    reader = place.open_reader(arguments)
    if reader is None:
        print("Nothing has been recorded yet.", file=sys.stderr)
        return 0
    with reader:
        project = place.project_of(reader, arguments)
        bounds = {"customer": arguments.customer, "since_us": since, "until_us": until, "project": project}
        if arguments.cloudevents:
            for row in _events(reader, bounds):
                print(_cloud_event(row, project))
            return 0
        sums = reader.usage_sums(**bounds)
        if arguments.csv:
            print(_csv(sums), end="")
        else:
            _print(sums, reader.outcome_costs(**bounds))
    return 0


def _print(sums: list[UsageSum], costs: list[Any]) -> None:
    if not sums:
        print("No action or outcome is like that. spanloom.action(), spanloom.outcome() and meter= make them.")
        return
    console = screen.console()
    columns = [
        table.Column("DAY"), table.Column("KIND", by_cell={"outcome": "green"}), table.Column("EVENT", least=12),
        table.Column("CUSTOMER", least=10), table.Column("COUNT", right=True), table.Column("SUM", right=True),
    ]  # fmt: skip
    rows = [
        (each.day or "", each.kind, one_line(each.name), one_line(each.customer or ""), f"{each.count:,}",
         f"{each.value:,.10g}")
        for each in sums
    ]  # fmt: skip
    for line in table.lines(columns, rows, console.width):
        console.print(line)
    for cost in costs:
        if cost.cost is not None:
            each = cost.cost / cost.count
            print(f"\n{one_line(cost.name)}: {cost.count:,} outcomes cost ${cost.cost:.4f} of model calls, "
                  f"${each:.4f} each")  # fmt: skip


def _csv(sums: list[UsageSum]) -> str:
    """RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("day", "kind", "event", "customer", "count", "sum"))
    for each in sums:
        cells = (each.day or "", each.kind, each.name, each.customer or "")
        writer.writerow([*(_harmless(cell) for cell in cells), each.count, f"{each.value:.15g}"])
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _events(reader: Reader, bounds: dict[str, Any]) -> Iterator[UsageRow]:
    before = None
    while page := reader.usage_events(before=before, limit=_PAGE, **bounds):
        yield from page
        before = page[-1].seq


def _cloud_event(row: UsageRow, project: str = DEFAULT_PROJECT) -> str:
    """One event in the JSON format of CloudEvents 1.0: ``id`` is the idempotency key, ``subject`` the customer."""
    data = {
        "value": row.value, "runId": row.run_id, "userId": row.user_id, "metered": row.metered,
        "properties": row.properties, "labels": row.labels,
    }  # fmt: skip
    event = {
        "specversion": "1.0",
        "id": row.idempotency_key,
        "source": f"/spanloom/{project}",
        "type": f"spanloom.{row.kind}.{row.name}",
        "time": iso((row.received_us if row.time_us is None else row.time_us) * 1000),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if value is not None},
    }
    if row.customer is not None:
        event["subject"] = row.customer
    return msgspec.json.encode(event).decode()
