"""For tests that run whole programs: start one in a home of its own, and read what it left in the local store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from spanloom.store.reader import Reader
from spanloom.store.values import RunFilter, TreeNode

# What would send a test's runs elsewhere, or make its model a real one.
_FOREIGN = ("SPANLOOM", "LUNARY", "OPENAI", "OTEL", "TRACEPARENT")


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment without anything that configures Spanloom or a model client, with ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "SPANLOOM_HOME": str(home), "COLUMNS": "100", **more}


def end_of_program(
    home: Path, *arguments: str | Path, timeout_seconds: float = 60, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, warnings as errors, and wait for its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env=clean_environment(home, **more),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


def run_program(home: Path, *arguments: str | Path, **more: str) -> str:
    """What a program printed, once it has ended well and said nothing on stderr."""
    done = end_of_program(home, *arguments, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", done.stderr
    return done.stdout


@dataclass(frozen=True)
class Node:
    """One stored run with what hangs below it; contents are plain values."""

    row: TreeNode

    @property
    def id(self) -> str:
        return self.row.run.id

    @property
    def input(self) -> Any:
        return _plain(self.row.content.input if self.row.content else None)

    @property
    def output(self) -> Any:
        return _plain(self.row.content.output if self.row.content else None)

    @property
    def params(self) -> dict[str, Any]:
        given = self.row.content.params if self.row.content else {}
        return {name: _plain(value) for name, value in given.items()}

    @property
    def messages(self) -> list[Any]:
        return [_plain(entry.message) for entry in self.row.content.messages] if self.row.content else []

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        return self.row.run.tokens.prompt, self.row.run.tokens.completion

    @property
    def children(self) -> list[Node]:
        return [Node(row) for row in self.row.children]

    def __iter__(self) -> Iterator[Node]:
        """This run and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child

    def all(self, run_type: str, name: str | None = None) -> list[Node]:
        """Every run of this type (and name), here and below."""
        return [node for node in self if node.row.run.type == run_type and name in (None, node.row.run.name)]

    def one(self, run_type: str, name: str | None = None) -> Node:
        """The only run of this type (and name)."""
        found = self.all(run_type, name)
        assert len(found) == 1, (run_type, name, self.shape())
        return found[0]

    def shape(self) -> Any:
        """The tree as nested lists of ``type name``, children sorted by their start."""
        label = " ".join(filter(None, (self.row.run.type, self.row.run.name)))
        return [label, *(child.shape() for child in self.children)] if self.children else label


def _plain(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else json.loads(bytes(raw))


def trees(home: Path) -> list[Node]:
    """Every tree in the store of this home, oldest first, after the journals of dead processes were taken in."""
    run_program(home, "-m", "spanloom", "runs")
    roots: dict[str, Node] = {}
    if not (home / "local.db").exists():  # nothing was recorded there
        return []
    with Reader(home / "local.db") as reader:
        for run in reversed(reader.runs(RunFilter(), limit=200).runs):
            for root in reader.tree(run.id).roots:
                roots.setdefault(root.run.id, Node(root))
    return list(roots.values())


def tree(home: Path) -> Node:
    """The only tree in the store of this home."""
    found = trees(home)
    assert len(found) == 1, [node.shape() for node in found]
    return found[0]
