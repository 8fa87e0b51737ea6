"""HTTP as plain values: what a dialect writes and reads. No I/O, no client library, no server library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: ``path`` below the base URL, header names in lower case, ``body`` not compressed.

    Headers hold keys and bodies hold users' words: neither shows in the ``repr``.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. Header names are lower case; ``body`` is decompressed."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a batch; ``indexes`` are the places, in the batch, of the records that it carries."""

    request: Request
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a destination said of one record.

    ``delivered``: stored there (``duplicate`` when it already was). ``rejected``: it will never be taken, for
    ``reason``. ``retry``: not now. ``split``: the batch was refused whole; send its halves. ``doubtful``: it is to be
    sent again because no answer came, and may be stored all the same. ``untried``: its request failed as a whole or
    was not made, which says nothing against the record. ``retry_after_seconds``: the wait that the endpoint asked for.
    """

    kind: Literal["delivered", "rejected", "retry", "split"]
    reason: str = ""
    duplicate: bool = False
    doubtful: bool = False
    untried: bool = False
    retry_after_seconds: float | None = None


DELIVERED = Verdict("delivered")
DUPLICATE = Verdict("delivered", "duplicate", duplicate=True)
