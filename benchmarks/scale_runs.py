"""The runs of `benchmarks.store_scale`: a month of traces of 10 runs, of users, customers, threads, tags and feedback.

Promise: the same seed makes the same runs but for their ids' last digits and the day on which the month ends.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from msgspec import Raw

from spanloom.clock import Ids, iso
from spanloom.records import Feedback, RunEnd, RunStart, TokenUsage
from spanloom.store import Incoming

WORDS = [f"word{number}" for number in range(20_000)]
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "text-embedding-3-small")
DAYS = 30


def traces(count: int, seed: int = 1) -> Iterator[list[Incoming]]:
    """An agent and what it calls, trace by trace, in the order of their times; every ten thousandth run begins a trace
    of 1,000 runs."""
    chance, ids = random.Random(seed), Ids(seed)
    step_ns = DAYS * 86_400_000_000_000 // max(1, count)
    at_ns, made = time.time_ns() - step_ns * count, 0
    while made < count:
        size = 1000 if made % 10_000 == 0 else 10
        yield _trace(chance, ids, at_ns, made, size, step_ns)
        made += size
        at_ns += step_ns * size


def _trace(chance: random.Random, ids: Ids, at_ns: int, made: int, size: int, step_ns: int) -> list[Incoming]:
    number, root, batch = made // 10, ids.new(at_ns), []
    common: dict[str, Any] = {
        "root_run_id": root,
        "user_id": f"u{number % 997}",
        "customer": f"c{number % 50}",
        "thread_id": f"t{number % 4000}" if number % 5 == 0 else None,
    }
    tags = [name for name, every in (("beta", 10), ("seldom", 10_000)) if number % every == 3] or None
    for place in range(size):
        run_ns = at_ns + place * step_ns
        kind = "agent" if place == 0 else chance.choice(("llm", "tool"))
        run_id = root if place == 0 else ids.new(run_ns)
        text = " ".join(chance.choices(WORDS, k=40))
        shared: dict[str, Any] = {
            **common,
            "run_id": run_id,
            "type": kind,
            "name": {"agent": "researcher", "tool": "search"}.get(kind, "chat"),
            "parent_run_id": None if place == 0 else root,
        }
        asked = Raw(b'[{"role":"user","content":"%s"}]' % text.encode())
        used = TokenUsage(prompt=chance.randrange(50, 5000), completion=chance.randrange(20, 900))
        took_ns = int(chance.lognormvariate(20.5, 1.0))
        batch.append(RunStart(event_id=f"{run_id}.s", timestamp=iso(run_ns), input=asked, tags=tags, **shared))
        batch.append(
            RunEnd(
                event_id=f"{run_id}.e", timestamp=iso(run_ns + took_ns), started_at=iso(run_ns),
                status="error" if number % 20 == 7 and place % 10 in (0, 9) else "ok",
                model=chance.choice(MODELS) if kind == "llm" else None, output=Raw(b'"%s"' % text[:200].encode()),
                tokens_usage=used if kind == "llm" else None, **shared,
            )
        )  # fmt: skip
    if number % 20 == 0:
        given = Raw(b'{"thumb":"%s","comment":"it said %d"}' % (b"down" if number % 60 else b"up", number))
        batch.append(Feedback(event_id=f"f{root}", timestamp=iso(at_ns + step_ns), run_id=root, feedback=given))
    return [Incoming(record) for record in batch]
