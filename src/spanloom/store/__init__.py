"""Where runs live: one SQLite file, written by any number of processes, read by anyone.

    store = Store(path)                                  # the file is opened at the first write
    store.write([Incoming(record, raw, project)])        # -> [Stored(new, conflict)], on disk when it returns
    store.prune(); store.index_pending(); store.close()

    reader = Reader(path)                                # read-only connections of its own, each query has a deadline
    reader.runs(RunFilter(type="llm"), limit=50)         # -> Page
    reader.find("…suffix or prefix"); reader.run(id); reader.tree(id); reader.related(id); reader.feedback(id)

``Store.write`` may be called from any thread; callers that come together share one commit. It raises
`errors.StoreError` (a `DeliveryError`; ``reason`` is "busy", "disk_full", "newer_schema", "io" or "closed") when
nothing of the batch was stored, and never stores half a batch. A record that cannot be understood does not exist here:
the dialects have refused it before.

Merging is commutative, associative and idempotent (`merge`): any order, any duplicates, the same runs. Feedback by key
is resolved whenever either side arrives. Every query takes ``project`` and never sees another one's rows.
"""

from __future__ import annotations

from .connection import looks_sound
from .reader import Reader
from .values import (
    DEFAULT_PROJECT,
    Content,
    Count,
    FeedbackEntry,
    Incoming,
    Loss,
    Message,
    ModelSum,
    OutcomeCost,
    Page,
    Point,
    Pruned,
    RawEvent,
    Retention,
    Run,
    RunDetail,
    RunFilter,
    Stats,
    Stored,
    Tokens,
    Tree,
    TreeNode,
    UsageRow,
    UsageSum,
)
from .writer import PRICES_FILE, Store

__all__ = [
    "DEFAULT_PROJECT",
    "PRICES_FILE",
    "Content",
    "Count",
    "FeedbackEntry",
    "Incoming",
    "Loss",
    "Message",
    "ModelSum",
    "OutcomeCost",
    "Page",
    "Point",
    "Pruned",
    "RawEvent",
    "Reader",
    "Retention",
    "Run",
    "RunDetail",
    "RunFilter",
    "Stats",
    "Store",
    "Stored",
    "Tokens",
    "Tree",
    "TreeNode",
    "UsageRow",
    "UsageSum",
    "looks_sound",
]
