"""A table that fits the width: columns without any content are left out, and only those that may shrink do.

Promise: cells are taken as they are, one line each; wide characters count as the two columns that they fill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.text import Text

_GAP = "  "


@dataclass(frozen=True)
class Column:
    """``least``: the width that it may be shrunk to (None: never). ``by_cell``: styles for certain contents."""

    heading: str
    style: str = ""
    right: bool = False
    least: int | None = None
    by_cell: Mapping[str, str] = field(default_factory=dict)


def lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[Text]:
    """The heading and the rows."""
    shown = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    widths = {at: max(cell_len(columns[at].heading), *(cell_len(row[at]) for row in rows)) for at in shown}
    over = sum(widths.values()) + len(_GAP) * (len(shown) - 1) - width
    # The widest that may shrink gives way first.
    for at in sorted(shown, key=lambda at: -widths[at]):
        least = columns[at].least
        if over > 0 and least is not None:
            given = min(over, max(0, widths[at] - least))
            widths[at] -= given
            over -= given
    yield _line([(columns[at], widths[at], columns[at].heading, "dim") for at in shown])
    for row in rows:
        styles = {at: columns[at].by_cell.get(row[at], columns[at].style) for at in shown}
        yield _line([(columns[at], widths[at], row[at], styles[at]) for at in shown])


def _line(cells: list[tuple[Column, int, str, str]]) -> Text:
    line = Text()
    for at, (column, width, content, style) in enumerate(cells):
        cell = Text(content, style)
        cell.truncate(width, overflow="ellipsis")
        space = " " * (width - cell.cell_len)
        line.append(_GAP if at else "")
        line.append(space if column.right else "")
        line.append_text(cell)
        line.append("" if column.right else space)
    line.rstrip()
    return line
