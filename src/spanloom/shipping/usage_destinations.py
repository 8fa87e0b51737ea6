"""The usage endpoints that a user names: `Vluna(...)`, `Valmi(...)`, `Atlas(...)`, `Lumen(...)`.

Promises as in `destinations`: making one has no effect and never fails; `build` checks it and raises `SettingsError`
with the value and the cure; no key in a repr or a pickle. They take actions and outcomes, and with ``meter`` an action
for each finished run of those types.

Where events may be stored although no answer came, they are sent again with the same idempotency key for 24 hours (the
window that these APIs document, and ours where one documents none), and are dead letters after that;
``on_ambiguous="drop"`` makes them dead letters at once.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal

from ..dialects import atlas, lumen, usage, valmi, vluna
from ..errors import SettingsError, UsageError
from ..records import RUN_TYPES
from ..wire import Request
from .destination import BatchPolicy, destination_id
from .destinations import _checked_key, _checked_url, _HoldsKey, _needs_no_lookup
from .http_destination import HttpDestination
from .in_flight import WIDTH
from .transport import Sign, Timeouts, Transport
from .usage_formats import UsageFormat

OnAmbiguous = Literal["retry", "drop"]

_DEDUPE_SECONDS = usage.DAY_SECONDS
_ONE_BY_ONE = 32
"""Events in one turn of an endpoint that takes one a request: at 200 ms for each and four at once, 1.6 seconds."""


@dataclass(frozen=True)
class _Usage(_HoldsKey):
    """What the four share."""

    def refusal(self, record: Any) -> str | None:
        """Why this endpoint's rules do not let an action or outcome through: the field and the cure."""
        return _DIALECTS[type(self).__name__].refusal(record)  # type: ignore[no-any-return]

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about what is allowed and probably not meant: none."""
        return ()

    def _built(
        self, url: str, options: Any, *, project: str, meter: Any, on_ambiguous: str, max_events: int,
        sign: Sign | None = None,
    ) -> HttpDestination:  # fmt: skip
        kind = type(self).__name__
        drop = _checked_word(kind, "on_ambiguous", on_ambiguous, ("retry", "drop")) == "drop"
        policy = BatchPolicy(
            max_events=max_events,
            requests_at_once=WIDTH if max_events == _ONE_BY_ONE else 1,
            dedupe_seconds=0.0 if drop else _DEDUPE_SECONDS,
            refusals_are_final=True,
            inline_at_exit=_needs_no_lookup(url),
        )
        # A connection that is kept alive may break just as it is used, and the transport then sends once more.
        transport = Transport(url, headers={}, timeouts=Timeouts(), compress=False, keep_alive=not drop, sign=sign)
        wire_format = UsageFormat(_DIALECTS[kind], options, _checked_meter(kind, meter))
        name = kind.lower()
        reactions = {409: "split"}  # the dialect reads it: a key that was used with another body
        return HttpDestination(
            name, destination_id(name, url, project), policy, wire_format, transport, reactions=reactions  # type: ignore[arg-type]
        )  # fmt: skip


@dataclass(frozen=True)
class Vluna(_Usage):
    """Vluna's ``/events`` and ``/events/batch``, signed with a service key.

    ``realm_id`` is the tenant, ``key_id`` and ``secret`` (base64) the service key. ``signature_layout``: "v2" signs 12
    lines, "v1" the 10 of earlier servers. ``profile``: "vluna-2026-07" adds ``event_key``. ``meter``: run types that
    become actions, such as ``{"llm"}``. Needs a customer on every event.
    """

    realm_id: str
    key_id: str
    secret: str = field(repr=False)
    url: str = "https://api.us-east-1.vluna.ai/mgt/v1"
    meter: Collection[str] = ()
    signature_layout: Literal["v1", "v2"] = "v2"
    profile: str = "vluna-2026-01"
    on_ambiguous: OnAmbiguous = "retry"
    allow_insecure: bool = False

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        realm = _checked_key("Vluna", "realm_id", self.realm_id)
        key_id = _checked_key("Vluna", "key_id", self.key_id)
        try:
            secret = vluna.decoded_secret(_checked_key("Vluna", "secret", self.secret))
        except ValueError as error:
            raise SettingsError(f"Vluna(secret=…) {error}: copy the service key's base64 secret again") from None
        layout = _checked_word("Vluna", "signature_layout", self.signature_layout, ("v2", "v1"))
        profile = _checked_word("Vluna", "profile", self.profile, vluna.PROFILES)
        url = _checked_url("Vluna", self.url, keyed=True, allow_insecure=self.allow_insecure)
        key = vluna.ServiceKey(key_id, secret, layout)  # type: ignore[arg-type]
        return self._built(
            url,
            vluna.Options(realm_id=realm, profile=profile),  # type: ignore[arg-type]
            project=realm,
            meter=self.meter,
            on_ambiguous=self.on_ambiguous,
            max_events=vluna.MAX_EVENTS,
            sign=lambda request, path: vluna.sign(request, path, key),
        )


@dataclass(frozen=True)
class Valmi(_Usage):
    """Valmi's ``/actions`` and ``/outcomes``, one event a request, up to four at once on kept-alive
    connections.

    ``agent_key`` names the agent instance; inside ``spanloom.context(metadata={"agent_key": …})`` it is that one.
    ``metadata_key``: the name under which the idempotency key stands in the metadata, "" for not at all.
    ``send_outcome_timestamp`` adds a field that the documented outcome does not list.
    """

    api_key: str = field(repr=False)
    agent_key: str = field(repr=False)
    url: str = "https://api.valmi.io/v1"
    meter: Collection[str] = ()
    metadata_key: str = "idempotency_key"
    send_outcome_timestamp: bool = False
    on_ambiguous: OnAmbiguous = "retry"
    allow_insecure: bool = False

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        key = _checked_key("Valmi", "api_key", self.api_key)
        agent = _checked_key("Valmi", "agent_key", self.agent_key)
        url = _checked_url("Valmi", self.url, keyed=True, allow_insecure=self.allow_insecure)
        options = valmi.Options(
            api_key=key,
            agent_key=agent,
            metadata_key=self.metadata_key,
            send_outcome_timestamp=self.send_outcome_timestamp,
        )
        return self._built(
            url, options, project=agent, meter=self.meter, on_ambiguous=self.on_ambiguous, max_events=_ONE_BY_ONE
        )


@dataclass(frozen=True)
class Atlas(_Usage):
    """Atlas' event ingestion endpoint. ``profile``: "atlas-external" is its newer form, with lists of up to 20 events,
    at ``https://platform.runonatlas.com/external/event``. Needs a customer on every event."""

    api_key: str = field(repr=False)
    url: str | None = None
    meter: Collection[str] = ()
    profile: str = "atlas-2024-09"
    on_ambiguous: OnAmbiguous = "retry"
    allow_insecure: bool = False

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        key = _checked_key("Atlas", "api_key", self.api_key)
        profile = _checked_word("Atlas", "profile", self.profile, atlas.PROFILES)
        default = _ATLAS_URLS[profile]
        url = _checked_url("Atlas", self.url or default, keyed=True, allow_insecure=self.allow_insecure)
        options = atlas.Options(api_key=key, profile=profile)  # type: ignore[arg-type]
        size = _ONE_BY_ONE if profile == "atlas-2024-09" else 10 * atlas.MAX_EXTERNAL_EVENTS
        return self._built(url, options, project="", meter=self.meter, on_ambiguous=self.on_ambiguous, max_events=size)


_ATLAS_URLS = {
    "atlas-2024-09": "https://dev.client-events.runonatlas.com",
    "atlas-external": "https://platform.runonatlas.com/external/event",
}


@dataclass(frozen=True)
class Lumen(_Usage):
    """Lumen's ``/v1/events`` and ``/v1/events/batch``; `query` reads events back.

    ``max_batch``: 100 is what every generation takes, the document allows 1000. ``customers``: whether your customers
    go as Lumen's own ids ("internal": customerId) or as yours ("external": extCustomerId). Needs a customer on every
    event.
    """

    api_key: str = field(repr=False)
    url: str = "https://api.getlumen.dev"
    meter: Collection[str] = ()
    max_batch: int = 100
    customers: Literal["internal", "external"] = "internal"
    on_ambiguous: OnAmbiguous = "retry"
    allow_insecure: bool = False

    def build(self) -> HttpDestination:
        """The destination as the shipper drives it. Raises SettingsError naming the value and the cure."""
        url, options = self._checked()
        return self._built(
            url,
            options,
            project="",
            meter=self.meter,
            on_ambiguous=self.on_ambiguous,
            max_events=options.max_events,
        )

    def _checked(self) -> tuple[str, lumen.Options]:
        key = _checked_key("Lumen", "api_key", self.api_key)
        customers = _checked_word("Lumen", "customers", self.customers, ("internal", "external"))
        url = _checked_url("Lumen", self.url, keyed=True, allow_insecure=self.allow_insecure)
        if not isinstance(self.max_batch, int) or not 1 <= self.max_batch <= lumen.MAX_EVENTS:
            raise SettingsError(f"Lumen(max_batch={self.max_batch!r}): give a number from 1 to {lumen.MAX_EVENTS}")
        # Its addresses end with /v1 in the newer pages, and the path begins with it in the document.
        url = url.removesuffix("/v1")
        return url, lumen.Options(api_key=key, max_events=self.max_batch, customers=customers)

    def query(
        self,
        *,
        event_name: str | None = None,
        customer: str | None = None,
        start: date | str | None = None,
        end: date | str | None = None,
        limit: int = 1000,
        timeout_seconds: float = 30.0,
    ) -> list[dict[str, Any]]:
        """Events as Lumen has them, newest first as it gives them: a list of objects with its own field names.

        ``start`` and ``end`` are ISO 8601 text, dates or datetimes, both inclusive; ``limit`` from 1 to 1000;
        ``timeout_seconds`` is for the whole call. With ``customers="external"`` the customer is yours here too
        (extCustomerId, of the newer pages, which give 200 rows at a time: as many pages are asked for as it takes).
        Source: Lumen's page "Events API", GET /v1/events. This is a call of your own: it goes out at once and raises
        SettingsError for a key or address that cannot be, UsageError for wrong arguments or an answer that is no list
        of events, and DeliveryError when the endpoint does not answer.
        """
        url, options = self._checked()
        if not isinstance(limit, int) or not 1 <= limit <= 1000:
            raise UsageError(f"query(limit={limit!r}): give a number from 1 to 1000")
        paged = self.customers == "external" and customer is not None
        if paged:
            # The newer pages name the bounds otherwise, and leave the end itself out.
            named = {"extCustomerId": customer, "startTime": _day(start), "endTime": _day(_after(end))}
        else:
            named = {"customerId": customer, "startDate": _day(start), "endDate": _day(end)}
        filters: dict[str, str | int | None] = {"eventName": event_name, **named}
        deadline = time.monotonic() + timeout_seconds
        transport = Transport(url, headers={}, timeouts=Timeouts(), compress=False)
        rows: list[dict[str, Any]] = []
        try:
            while True:
                most = min(limit - len(rows), _PAGE_ROWS) if paged else limit
                place = {"limit": most, "offset": len(rows) or None}
                page, more = _asked(transport, lumen.write_query(options, {**filters, **place}), deadline)
                rows += page[:most]
                if not (paged and more and page and len(rows) < limit):
                    return rows
        finally:
            transport.close()


_PAGE_ROWS = 200
"""What the newer pages give at a time."""


def _asked(transport: Transport, request: Request, deadline: float) -> tuple[list[dict[str, Any]], bool]:
    """The rows that a query is answered with, and whether there are more behind them."""
    response = transport.send(request, deadline)
    found = usage.object_of(response)
    rows = found.get("data", found.get("events"))
    if response.status != 200 or not isinstance(rows, list):
        words = found.get("error") or found.get("message") or "its answer is no list of events"
        raise UsageError(f"{transport.base_url} answered the query with status {response.status}: {str(words)[:200]}")
    pagination = found.get("pagination")
    return rows, isinstance(pagination, dict) and pagination.get("hasMore") is True


def _after(end: date | str | None) -> date | str | None:
    """The first moment behind an inclusive end; text that is no date goes as it is, for the endpoint to judge."""
    if isinstance(end, str):
        try:
            end = date.fromisoformat(end) if len(end) == 10 else datetime.fromisoformat(end.replace("Z", "+00:00"))
        except ValueError:
            return end
    if end is None or end in (date.max, datetime.max):
        return end
    return end + (timedelta(microseconds=1) if isinstance(end, datetime) else timedelta(days=1))


def _day(value: date | str | None) -> str | None:
    """A bound of a query as the wire has it; a datetime without a zone is UTC."""
    if isinstance(value, datetime):
        value = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    return value.isoformat() if isinstance(value, date) else value


_DIALECTS: dict[str, Any] = {"Vluna": vluna, "Valmi": valmi, "Atlas": atlas, "Lumen": lumen}


def _checked_word(kind: str, name: str, value: Any, choices: Collection[str]) -> str:
    if value in choices:
        return str(value)
    raise SettingsError(f"{kind}({name}={value!r}): use one of {', '.join(choices)}")


def _checked_meter(kind: str, value: Any) -> frozenset[str]:
    """Run types, as a collection or as text with commas (from the environment)."""
    given = value.split(",") if isinstance(value, str) else value
    try:
        types = frozenset(str(item).strip() for item in given) - {""}
    except TypeError:
        raise SettingsError(f"{kind}(meter={value!r}): give run types, such as {{'llm', 'tool'}}") from None
    unknown = sorted(types - set(RUN_TYPES))
    if unknown:
        raise SettingsError(f"{kind}(meter=…): no run type {unknown[0]!r}; there are {', '.join(sorted(RUN_TYPES))}")
    return types
