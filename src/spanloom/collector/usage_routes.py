"""The four usage APIs as a vendor's own SDK expects them, each below a mount of its own.

    /vluna/mgt/v1/events, /events/batch         Vluna, signed
    /valmi/v1/actions, /outcomes                Valmi
    /atlas, /atlas/external/event               Atlas, in either form
    /lumen/v1/events, /events/batch             Lumen; GET /events is its query

Promises: an event is acknowledged after its commit; whatever is sent is answered in the dialect's own words; an event
that is sent again is known by its key for as long as it is stored; one that is wrong spoils no neighbour. Must never:
answer 500 to what a stranger wrote, or look up an event of another project.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import wire
from ..clock import iso, parse_iso_us
from ..dialects import atlas, lumen, usage, valmi, vluna
from ..errors import WireError
from ..records import Action, Outcome
from ..store import DEFAULT_PROJECT, UsageRow
from .body import Refused, inflate
from .mounts import Mount, Parts, respond

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_REMEMBERED_KEYS = 20_000
_PAGE = 10_000


class _Replays:
    """Which body came with a request's idempotency key, for the window in which the key is not to be used again."""

    def __init__(self, seconds: float = usage.DAY_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], tuple[float, str]] = OrderedDict()

    def conflicts(self, project: str, intake: usage.Intake) -> bool:
        """Whether the key came with another body before; otherwise this one is remembered."""
        if not intake.idempotency_key:
            return False
        now = time.monotonic()
        name = (project, intake.route, intake.idempotency_key)
        with self._lock:
            known = self._known.get(name)
            if known is not None and now - known[0] < self._seconds:
                return known[1] != intake.fingerprint
            self._known[name] = (now, intake.fingerprint)
            self._known.move_to_end(name)
            while len(self._known) > _REMEMBERED_KEYS:
                self._known.popitem(last=False)
        return False

    def forget(self, project: str, intake: usage.Intake) -> None:
        """Nothing of the request was stored: its key is free again."""
        with self._lock:
            self._known.pop((project, intake.route, intake.idempotency_key), None)


class _Api:
    """One dialect over the store. ``kind`` is its kind of key."""

    def __init__(self, kind: str, dialect: Any, parts: Parts) -> None:
        self.kind = kind
        self.dialect = dialect
        self.parts = parts
        self.replays = _Replays()

    async def serve(self, request: Request) -> Response:
        """Any method and path below the mount."""
        if request.method == "GET":
            return respond(await self.parts.on_thread(self._ask, _wire(request, b"")))

        def work(encoding: str, body: bytes) -> wire.Response:
            return self._take(_wire(request, body), encoding)

        return respond(await self.parts.with_body(request, work))

    def _take(self, sent: wire.Request, encoding: str) -> wire.Response:
        """Events in, answer out. Blocks."""
        project = self._project(sent)
        body = inflate(sent.body, encoding, self.parts.limits)
        try:
            intake = self.dialect.read_request(wire.Request(sent.method, sent.path, sent.headers, body))
        except WireError as error:
            return self._error(error.status_hint, _said(error))
        if self.replays.conflicts(project, intake):
            return self._error(409, "this idempotency key was used with another body: use a new key for a new write")
        try:
            results = self.parts.intake.store_each(intake.items, project)
        except Refused:
            self.replays.forget(project, intake)
            raise
        return self.dialect.write_reply(intake, results)  # type: ignore[no-any-return]

    def _ask(self, sent: wire.Request) -> wire.Response:
        """Lumen's query; the others have none."""
        project = self._project(sent)
        if self.kind != "lumen" or not usage.route(sent).endswith("/events"):
            return self._error(404, "there is nothing to read here")
        try:
            query = lumen.read_query(sent)
        except WireError as error:
            return self._error(error.status_hint, _said(error))
        rows = self._rows(query, project)
        wanted = rows[query.offset : query.offset + query.limit]
        return lumen.write_rows(query, [_record(row) for row in wanted], len(rows))

    def _rows(self, query: lumen.Query, project: str) -> list[UsageRow]:
        """What a query finds, newest first; read in pages up to the end of what was asked for."""
        found: list[UsageRow] = []
        before = None
        while len(found) <= query.offset + query.limit:
            page = self.parts.reader.usage_events(
                name=query.event_name, customer=query.customer, before=before, limit=_PAGE, project=project,
                since_us=parse_iso_us(query.start) if query.start else None,
                until_us=parse_iso_us(query.end) if query.end else None,
            )  # fmt: skip
            found += [row for row in page if query.idempotency_key in (None, row.idempotency_key)]
            if len(page) < _PAGE:
                break
            before = page[-1].seq
        return found

    def _project(self, sent: wire.Request) -> str:
        """By the credential. Raises Refused (401)."""
        access = self.parts.access
        if not access.asks_for_keys:
            return DEFAULT_PROJECT
        if self.kind == "vluna":
            return self._signed(sent)
        project = access.project_for((self.kind,), self.dialect.credential(sent))
        if project is None:
            raise Refused(401, "no key, or not one of this collector's")
        return project

    def _signed(self, sent: wire.Request) -> str:
        signer = self.parts.access.signer(vluna.credential(sent))
        try:
            vluna.verify(sent, lambda key_id: signer[0] if signer else None)
        except WireError as error:
            raise Refused(401, error.message, path=error.path) from None
        assert signer is not None  # verify refuses an unknown key
        return signer[1]

    def _error(self, status: int, message: str) -> wire.Response:
        return self.dialect.write_error(status, message)  # type: ignore[no-any-return]


def _said(error: WireError) -> str:
    """The message, with the path where it does not name it."""
    return error.message if error.path in ("", "$", None) else f"{error.path}: {error.message}"


def _wire(request: Request, body: bytes) -> wire.Request:
    """As it was sent: the raw path with its query, because a signature covers it."""
    query = request.scope["query_string"]
    path = request.scope["raw_path"].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    return wire.Request(request.method, path, {name.lower(): text for name, text in request.headers.items()}, body)


def _record(row: UsageRow) -> Action | Outcome:
    return (Outcome if row.kind == "outcome" else Action)(
        event_id=f"usage.{row.seq}",
        timestamp=iso((row.received_us if row.time_us is None else row.time_us) * 1000),
        name=row.name,
        idempotency_key=row.idempotency_key,
        customer=row.customer,
        value=row.value,
        properties=UNSET if row.properties is None else row.properties,
        labels=UNSET if row.labels is None else row.labels,
    )


def _mount(kind: str, dialect: Any, prefix: str) -> Mount:
    def routes(parts: Parts) -> list[BaseRoute]:
        api = _Api(kind, dialect, parts)
        return [
            Route(prefix, api.serve, methods=_METHODS),
            Route(f"{prefix}/{{rest:path}}", api.serve, methods=_METHODS),
        ]

    return Mount(routes, prefix=prefix, answer=_answer_of(dialect), own_credentials=True)


def _answer_of(dialect: Any) -> Callable[[Refused], Response]:
    def answer(refused: Refused) -> Response:
        said = dialect.write_error(refused.status, refused.message, retry_after_seconds=refused.retry_after_seconds)
        return respond(said)

    return answer


USAGE_MOUNTS: tuple[Mount, ...] = (
    _mount("vluna", vluna, "/vluna/mgt/v1"),
    _mount("valmi", valmi, "/valmi/v1"),
    _mount("atlas", atlas, "/atlas"),
    _mount("lumen", lumen, "/lumen/v1"),
)
