"""Wire formats, one to a file (``lunary`` and its parts), each with both of its ends as pure functions.

    write_request(records, options) -> [wire.Call]        our client speaks
    read_reply(call, response)      -> [wire.Verdict]     our client listens; one verdict for each of ``call.indexes``
    read_request(request)           -> [Received]         our collector listens
    write_reply(results)            -> wire.Response      our collector answers

Promises: no I/O, no state; ``read_request(write_request(x))`` gives x back, up to what each format documents as lost.
Must never: parse users' content on the way out, or raise anything but `errors.WireError` on the way in.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..records import AnyRecord


@dataclass(frozen=True, slots=True)
class Received:
    """One record read from a request, or why there is none.

    ``index`` is the item's place in the request; an item may give several records, each with the same index.
    ``id`` is what the reply names the item by, as it was sent. ``raw`` is the item as received (JSON bytes), empty
    when it is our own form of the record. Without a record, ``reason`` says what is wrong and ``path`` where, such as
    ``$.events[3].timestamp``.
    """

    index: int
    id: str
    record: AnyRecord | None = None
    raw: bytes = b""
    reason: str = ""
    path: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item of a request, for the reply. ``malformed`` items were refused for ``reason`` at ``path``;
    ``duplicate`` ones had been stored before; ``conflict`` says that the stored one has other content; ``failed`` ones
    could not be stored though nothing is wrong with them."""

    index: int
    id: str
    malformed: bool = False
    reason: str = ""
    path: str = ""
    duplicate: bool = False
    conflict: bool = False
    event_id: str = ""
    failed: bool = False
