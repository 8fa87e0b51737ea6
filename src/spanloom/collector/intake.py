"""Who may send, and what became of each event.

Promises: nothing is acknowledged before the store has committed it; one malformed event spoils none of its neighbours;
an event that is sent again is answered as a duplicate. Must never: let a web page of another site in through the
user's own browser (its Host or Origin gives it away), or run on the event loop (`Intake.take` blocks on the disk).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

from ..dialects import Received, Result, lunary, strict_json
from ..errors import StoreError, WireError
from ..store import DEFAULT_PROJECT, Incoming, Store
from ..wire import Request, Response
from .body import Limits, Refused, inflate

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Access(Protocol):
    """Decides whose a request is."""

    def project(self, headers: Mapping[str, str]) -> str:
        """The project that a request reads and writes. Raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Keyless:
    """For a server on the loopback interface: any or no credential is accepted, everything is one project.

    What keeps strangers out is the interface, and against pages in the user's own browser the names: ``Host`` must be
    one of ``hosts`` (421), ``Origin`` when there is one too, and no browser may call the request cross-site (403).
    """

    hosts: frozenset[str] = LOOPBACK_HOSTS

    def project(self, headers: Mapping[str, str]) -> str:
        """See `Access.project`."""
        host = headers.get("host", "")
        if _name_of(host) not in self.hosts:
            raise Refused(421, f"Host is {host[:100]!r}: this collector answers as localhost only", close=True)
        origin = headers.get("origin")
        if origin is not None:
            parts = _split(origin)
            if parts is None or parts[0] not in ("http", "https") or _name_of(parts[1]) not in self.hosts:
                raise Refused(403, f"Origin {origin[:100]!r} may not use this collector", close=True)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin", "same-site"):
            raise Refused(403, "pages of other sites may not use this collector", close=True)
        return DEFAULT_PROJECT


def _name_of(authority: str) -> str:
    """The host of ``host:port``; empty when the port is none, so that nothing odd is taken for a name."""
    host, colon, port = authority.strip().lower().rpartition(":")
    if not colon or authority.strip().endswith("]"):
        return authority.strip().lower()
    return host if port.isascii() and port.isdigit() else ""


def _split(origin: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.scheme, parts.netloc


class _Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """What may be said of a run; null takes it back."""

    thumb: Literal["up", "down"] | None = None
    comment: str | None = None
    score: float | None = None
    label: str | None = None


_feedback = msgspec.json.Decoder(_Feedback)


class Intake:
    """From a request in the Lunary dialect to an acknowledged commit."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.store = store
        self.limits = limits

    def take(self, request: Request, encoding: str, project: str, *, bare: bool = False) -> Response:
        """The answer to one ingest request, after its events were committed (``bare``: `lunary.write_reply`).

        Raises Refused, for a body that cannot be read or a store that cannot write. Blocks.
        """
        body = inflate(request.body, encoding, self.limits)
        try:
            received = lunary.read_request(Request(request.method, request.path, request.headers, body))
        except WireError as error:
            raise Refused(error.status_hint, error.message, path=error.path) from None
        return lunary.write_reply(self._results(received, project), bare=bare)

    def read_feedback(self, body: bytes, encoding: str) -> Raw:
        """The feedback object in the body of a PATCH. Raises Refused (400) naming the field that is wrong."""
        try:
            clean = strict_json.clean(inflate(body, encoding, self.limits))
            strict_json.checked(clean, "$")
            strict_json.decoded(clean, _feedback)
        except WireError as error:
            raise Refused(error.status_hint, error.message, path=error.path) from None
        return Raw(clean)

    def _results(self, received: list[Received], project: str) -> list[Result]:
        incoming = [Incoming(item.record, item.raw, project) for item in received if item.record is not None]
        try:
            stored = iter(self.store.write(incoming))
        except StoreError as error:
            raise refusal_of(error) from error
        results = []
        for item in received:
            if item.record is None:
                results.append(Result(item.index, item.id, True, item.reason, item.path, event_id=item.event_id))
                continue
            outcome = next(stored)
            conflict = outcome.conflict and item.event_id != ""  # an id that was made here says nothing by itself
            results.append(
                Result(item.index, item.id, duplicate=not outcome.new, conflict=conflict, event_id=item.event_id)
            )
        return results


def refusal_of(error: StoreError) -> Refused:
    """What a client is told when the store did not do it: 507 for a full disk, else 503; both mean later."""
    refused = Refused(507 if error.reason == "disk_full" else 503, f"the store did not do it ({error.reason}): {error}")
    refused.retry_after_seconds = 30 if error.reason in ("disk_full", "newer_schema", "foreign") else 1
    return refused
