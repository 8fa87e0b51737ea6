"""What an oracle's log answers: what is missing, unknown, sent twice, visible twice, altered, or out of order.

Promise: reads the file as it stands, so it can be asked at any moment, also after the oracle is gone. Counts as
acknowledged only what was stored before a reply was attempted; never asks Spanloom.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One event as received, in order of arrival (``order``).

    ``name`` is the run's, which test programs use as a mark that is theirs; ``payload`` is None when payloads are not
    kept.
    """

    event_id: str
    run_id: str | None
    event: str | None
    name: str | None
    parent: str | None
    status: str | None
    sha256: str
    stored: bool
    request: int
    order: int
    payload: dict[str, Any] | None


@dataclass(frozen=True)
class Exchange:
    """One request and the status it was answered with. Sizes in bytes: the body decompressed, and as sent."""

    number: int
    at_seconds: float
    path: str
    status: int
    key: str | None
    encoding: str
    body_bytes: int
    wire_bytes: int
    user_agent: str
    count: int
    """How many events it carried; ``events`` is empty when the oracle keeps counts only."""
    events: tuple[Seen, ...] = field(repr=False)


class OracleLog:
    """The questions. Every answer is a sorted list of event ids, empty when all is well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: list[Exchange] = []
        self._offset = 0
        self._order = 0

    def exchanges(self) -> list[Exchange]:
        """Every request so far, in order. A line that is still being written is left for the next time."""
        with self.path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._read.append(self._exchange(json.loads(line)))
        return self._read

    def _exchange(self, request: dict[str, Any]) -> Exchange:
        seen = []
        for entry in request["events"]:
            seen.append(
                Seen(entry["id"], entry["run"], entry["event"], entry["name"], entry["parent"], entry["status"],
                     entry["sha"], entry["stored"], request["request"], self._order, entry.get("payload"))
            )  # fmt: skip
            self._order += 1
        return Exchange(
            request["request"], request["at"], request["path"], request["status"], request["key"], request["encoding"],
            request["body_bytes"], request["wire_bytes"], request["agent"], request["count"],
            tuple(seen),
        )  # fmt: skip

    def received(self) -> list[Seen]:
        """Every event of every request, also of those that were refused, in order of arrival."""
        return [seen for exchange in self.exchanges() for seen in exchange.events]

    def stored(self) -> dict[str, Seen]:
        """Each stored event by its id, as first stored."""
        first: dict[str, Seen] = {}
        for seen in self.received():
            if seen.stored:
                first.setdefault(seen.event_id, seen)
        return first

    def missing(self, event_ids: Iterable[str]) -> list[str]:
        """The ids among these that were never stored."""
        return sorted(set(event_ids) - self.stored().keys())

    def unknown(self, event_ids: Iterable[str]) -> list[str]:
        """The stored ids that are not among these."""
        return sorted(self.stored().keys() - set(event_ids))

    def resent(self) -> list[str]:
        """The ids that were stored by more than one request: duplicates on the wire, which are allowed."""
        times = Counter(seen.event_id for seen in self.received() if seen.stored)
        return sorted(event_id for event_id, count in times.items() if count > 1)

    def visible_duplicates(self) -> list[str]:
        """The ids under which something stored already was stored again, which a reader would see twice.

        Two ids for one start or end of one run, or for one moment that a program marked with a name of its own
        (programs give each run a name that no other has).
        """
        by_run: dict[tuple[str | None, str | None], set[str]] = {}
        by_name: dict[tuple[str, str | None], set[str]] = {}
        for seen in self.stored().values():
            if seen.event not in ("start", "end"):
                continue
            by_run.setdefault((seen.run_id, seen.event), set()).add(seen.event_id)
            if seen.name:
                by_name.setdefault((seen.name, seen.event), set()).add(seen.event_id)
        twice = [ids for group in (by_run, by_name) for ids in group.values() if len(ids) > 1]
        return sorted(set().union(*twice))

    def altered(self) -> list[str]:
        """The ids that were sent more than once with different payloads."""
        shas: dict[str, set[str]] = {}
        for seen in self.received():
            shas.setdefault(seen.event_id, set()).add(seen.sha256)
        return sorted(event_id for event_id, found in shas.items() if len(found) > 1)

    def out_of_order(self) -> list[str]:
        """The stored ids that came before what they stand on: an end before its start, a child before its parent.

        A parent or a start that never came is not judged here: `missing` tells that.
        """
        first = {(seen.run_id, seen.event): seen for seen in reversed(list(self.stored().values()))}
        wrong = []
        for seen in first.values():
            needs = [(seen.run_id, "start")] if seen.event in ("end", "error") else []
            if seen.event == "start" and seen.parent:
                needs.append((seen.parent, "start"))
            if any(need in first and first[need].order > seen.order for need in needs):
                wrong.append(seen.event_id)
        return sorted(wrong)

    def names(self, event: str) -> Counter[str]:
        """How many stored events of this kind carry each run name."""
        return Counter(seen.name for seen in self.stored().values() if seen.event == event and seen.name)

    def assert_clean(self) -> None:
        """Nothing visible twice, nothing altered between two sendings, nothing before what it stands on."""
        faults = {
            "visible twice": self.visible_duplicates(),
            "altered when sent again": self.altered(),
            "out of order": self.out_of_order(),
        }
        assert not any(faults.values()), {what: ids[:5] for what, ids in faults.items() if ids}
