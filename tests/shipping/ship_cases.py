"""Records, lanes and a scripted destination for the shipper's tests: real objects, no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spanloom.clock import iso
from spanloom.errors import DeliveryError
from spanloom.shipping.delivery import Delivery
from spanloom.shipping.destination import BatchPolicy
from spanloom.shipping.hand import Hand
from spanloom.shipping.journal import Journal
from spanloom.shipping.ledger import Ledger
from spanloom.shipping.retry import Pacing, RetryRules
from spanloom.shipping.shipper import Shipper
from spanloom.wire import DELIVERED, Verdict

DEST_ID = "0123456789abcdef"
AT_ONCE = RetryRules(first_seconds=0.0, longest_seconds=0.0, probe_seconds=0.0, probe_jitter_seconds=0.0,
                     tokens=1e9)  # fmt: skip
QUICK = BatchPolicy(max_events=100, linger_seconds=0.01, age_seconds=0.02)

Script = Callable[[list[bytes]], "list[Verdict]"]


def record(number: int, kind: str = "start", pad: int = 0, **fields: str) -> bytes:
    """A record as the journal holds it; its run is named by the number."""
    run_id = f"00000000-0000-7000-8000-{number:012d}"
    more = "".join(f',"{name}":"{value}"' for name, value in fields.items())
    body = f',"input":"{"x" * pad}"' if pad else ""
    stamp = iso(1_800_000_000_000_000_000 + number * 1000)
    if kind in ("action", "outcome"):
        more += f',"name":"n","idempotencyKey":"{run_id}"'
    else:
        more += f',"runId":"{run_id}"'
    return f'{{"event":"{kind}","eventId":"{run_id}.{kind[0]}","timestamp":"{stamp}"{more}{body}}}'.encode()


def everything(payload: bytes) -> bool:
    return True


def refuse(status: int, **more: Any) -> DeliveryError:
    """What a destination raises for a status."""
    return DeliveryError(f"answered {status}", reason=f"http_{status}", answered=True, **more)


class Scripted:
    """A destination that answers by a function, and remembers what it was given and what it took."""

    name = "scripted"
    dest_id = DEST_ID
    answers = 0

    def __init__(self, script: Script | None = None, policy: BatchPolicy = QUICK) -> None:
        self.policy = policy
        self.script: Script = script or (lambda payloads: [DELIVERED] * len(payloads))
        self.takes_reports = False
        self.batches: list[list[bytes]] = []
        self.delivered: list[bytes] = []
        self.forgotten = self.closed = self.prepared = 0

    def takes(self, payload: bytes) -> bool:
        return self.takes_reports or not payload.startswith(b'{"event":"client_report"')

    def prepare(self) -> None:
        self.prepared += 1

    def deliver(self, payloads: Sequence[bytes], deadline: float) -> list[Verdict]:
        self.batches.append(list(payloads))
        verdicts = self.script(list(payloads))
        self.delivered += [p for p, v in zip(payloads, verdicts, strict=True) if v.kind == "delivered"]
        return verdicts

    def shrink(self, payload: bytes) -> bytes | None:
        return None

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None:
        self.closed += 1


class Rig:
    """A journal with the lanes of one destination, and either a `Delivery` to be driven by hand or a `Shipper`."""

    def __init__(self, destination: Any, home: Path | None = None, rules: RetryRules = AT_ONCE) -> None:
        self.destination = destination
        self.journal = Journal(home)
        self.own = self.journal.lane(DEST_ID, destination.takes)
        self.adopted = self.journal.adopted_lane(DEST_ID)
        self.journal.declare([DEST_ID])
        self.rules = rules

    def append(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.journal.append(payload)

    def delivery(self) -> Delivery:
        ledger = Ledger(self.destination.name, self.own, self.adopted)
        return Delivery(self.destination, ledger, [Hand(self.own), Hand(self.adopted)], Pacing(self.rules))

    def shipper(self, **options: Any) -> Shipper:
        return Shipper(self.destination, self.own, self.adopted, rules=self.rules,
                       after_batch=self.journal.retire, **options)  # fmt: skip


def drive(delivery: Delivery, requests: int = 10_000) -> int:
    """Send until nothing is left or so many requests have been made; how many those were."""
    made = 0
    while made < requests and delivery.send_one(time.monotonic() + 60):
        made += 1
    return made


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Look until it holds; a generous deadline, never the thing that is tested."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
