"""The named queries of the ``.sql`` files beside this module.

Promises: a query is text that stands in a file under ``-- name: x``; nothing is ever formatted into it but the names
of columns that this package knows.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def text(filename: str) -> str:
    """A file of this package."""
    return (files(__package__) / filename).read_text("utf-8")


@cache
def queries(filename: str) -> dict[str, str]:
    """The queries of a file by name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text(filename).splitlines():
        if line.startswith("-- name: "):
            lines = found[line[9:].strip()] = []
        else:
            lines.append(line)
    return {name: "\n".join(lines).strip().rstrip(";") for name, lines in found.items()}


def statements(script: str) -> list[str]:
    """The single statements of a script, so that they can run inside one transaction."""
    from sqlite3 import complete_statement

    made, pending = [], ""
    for line in script.splitlines():
        pending += line + "\n"
        if complete_statement(pending):
            made.append(pending)
            pending = ""
    return made
