"""The collector's end of the Lunary dialect: a request to records. Facts and their sources are in `lunary`.

Promise: everything that Lunary's guide, its public backend and its SDKs call an event is read, and more tolerantly;
what is wrong is named by its path, and its neighbours are kept. Our own records (`Collector`) are read here too.
Must never: raise anything but WireError, or change a byte of users' content (`strict_json.clean` documents the rest).

Wider than the guide: snake_case and kebab-case envelopes, one event in place of a list, one-element lists in place of
an event, timestamps as integer milliseconds or RFC 2822, missing timestamps (the time of receipt), integers as ids,
usage on start, tags on end, errors as plain text, and event names that nobody knows (kept as points).

Normalised by a round trip through both ends: times to milliseconds (and not before the parent's start); an error is
two records, ``end`` and ``error``; metadata's nested values are JSON text, and our own fields stand in it besides; the
end has no name and user; a null input or output is none (the SDKs send null for everything); the root run,
``sampled`` and the record's own event id are not carried.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson
from msgspec import Raw

from .. import records
from ..clock import iso, parse_iso_us
from ..errors import WireError
from ..records import AnyRecord
from ..wire import Request
from . import Received
from .lunary_events import Event, records_of
from .strict_json import MAX_EVENTS, checked, clean, decoded

_body: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_items: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])
_text: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
_OURS_ALONE = frozenset({"action", "outcome", "client_report", "point"})
_OURS = _OURS_ALONE | {"start", "update", "end", "chat", "feedback"}
_JOINT = re.compile(r"[_-]([a-zA-Z0-9])")
MAX_ID_CHARACTERS = 1000
MAX_FIELDS = 1000


def read_request(request: Request, *, received_at_ns: int | None = None) -> list[Received]:
    """The records in the body of a ``POST /v1/runs/ingest``, and what is wrong with the items that give none.

    ``received_at_ns`` (nanoseconds since the epoch, default now) is the time of events that have none. Raises
    WireError when the body as a whole cannot be read: not JSON (400), no ``events`` (400), too much in it (413).
    """
    received_at = iso(time.time_ns() if received_at_ns is None else received_at_ns)
    outer = decoded(clean(request.body), _body)
    if not isinstance(outer, dict):  # the decoder's type says so; this is for the reader
        raise WireError("the body must be an object")
    events = outer.get("events")
    if events is None or bytes(events) == b"null":
        raise WireError('the body has no events: send {"events": [...]}', path="$.events")
    if bytes(events)[:1] == b"{":
        return _read_item(0, events, "$.events", received_at)
    if bytes(events)[:1] != b"[":
        raise WireError("events must be an object or a list of objects", path="$.events")
    items = _items.decode(events)
    if len(items) > MAX_EVENTS:
        message = f"{len(items)} events in one request: send at most {MAX_EVENTS}"
        raise WireError(message, path="$.events", status_hint=413)
    found: list[Received] = []
    for index, raw in enumerate(items):
        found += _read_item(index, raw, f"$.events[{index}]", received_at)
    return found


def _read_item(index: int, raw: Raw, path: str, received_at: str) -> list[Received]:
    reported = event_id = ""
    try:
        raw, path, value = _unwrapped(raw, path)
        run_id = value.get("runId", value.get("run_id"))
        reported = run_id if isinstance(run_id, str) else "" if run_id is None else str(run_id)
        event_id = value["eventId"] if isinstance(value.get("eventId"), str) else ""
        own = _own_record(raw, value, path)
        if own is not None:
            return [Received(index, reported, own, event_id=own.event_id)]
        event = _event(raw, value, path, received_at)
        return [Received(index, reported, record, raw=bytes(raw), event_id=event_id) for record in records_of(event)]
    except WireError as error:
        named = reported or _text_in(raw, 0), event_id or _text_in(raw, 1)
        return [Received(index, named[0], None, bytes(raw), error.message, error.path, named[1])]


class _Named(msgspec.Struct, rename="camel"):
    run_id: Raw = Raw()
    event_id: Raw = Raw()


_named: msgspec.json.Decoder[_Named] = msgspec.json.Decoder(_Named)


def _text_in(raw: Raw, which: int) -> str:
    """The run's (0) or the event's (1) id in an event that cannot be read as a whole, so that the reply can name it."""
    try:
        found = _named.decode(raw)
        return _text.decode(found.event_id if which else found.run_id)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""


def _unwrapped(raw: Raw, path: str) -> tuple[Raw, str, dict[str, Any]]:
    """The event itself: Lunary's own SDK once sent each event as a list of one."""
    if bytes(raw)[:1] == b"[":
        inner = _items.decode(raw)
        path = f"{path}[0]"
        if len(inner) != 1:
            raise WireError(f"expected one event, got a list of {len(inner)}", path=path[:-3])
        raw = inner[0]
    value = checked(raw, path)
    if not isinstance(value, dict):
        raise WireError(f"expected an event (an object), got {type(value).__name__}", path=path)
    if len(value) > MAX_FIELDS:
        raise WireError(f"{len(value)} fields in one event: at most {MAX_FIELDS}", path=path)
    return raw, path, value


def _own_record(raw: Raw, value: dict[str, Any], path: str) -> AnyRecord | None:
    """The event as our own record, when it has its form; None when it is to be read as Lunary's."""
    kind = value.get("event")
    if not isinstance(kind, str) or kind not in _OURS or (kind not in _OURS_ALONE and "eventId" not in value):
        return None
    try:
        record = records.decode(bytes(raw))
        _check_own(record)
    except WireError as error:
        if kind in _OURS_ALONE:
            raise WireError(error.message, path=path + error.path.removeprefix("$")) from None
        return None
    return record


def _check_own(record: AnyRecord) -> None:
    for name in ("event_id", "run_id", "idempotency_key"):
        text = getattr(record, name, None)
        if text is not None and not 0 < len(text) <= MAX_ID_CHARACTERS:
            raise WireError(f"an id has 1 to {MAX_ID_CHARACTERS} characters", path=f"$.{_camel(name)}")
    if isinstance(record, records.Feedback) and not (record.run_id or record.key):
        raise WireError("feedback needs a runId or a key", path="$.runId")
    try:
        parse_iso_us(record.timestamp)
    except ValueError:
        raise WireError(f"not an ISO 8601 timestamp: {record.timestamp[:60]!r}", path="$.timestamp") from None


def _event(raw: Raw, value: dict[str, Any], path: str, received_at: str) -> Event:
    raws: dict[str, Raw] = _body.decode(raw)
    present = [name for name in value if value[name] is not None]
    values = {name: value[name] for name in present}
    contents = {name: raws[name] for name in present}
    for name in _foreign_spellings(present):
        values.setdefault(_camel(name), values.pop(name))
        contents.setdefault(_camel(name), contents.pop(name))
    event = Event(values, contents, path, received_at)
    event.id = event.text("eventId", MAX_ID_CHARACTERS) or _made_id(values)
    return event


def _foreign_spellings(names: Iterable[str]) -> list[str]:
    return [name for name in names if "_" in name or "-" in name]


def _camel(name: str) -> str:
    return _JOINT.sub(lambda found: found[1].upper(), name)


def _made_id(values: dict[str, Any]) -> str:
    """The event id of an event that came without: a hash of all that it says, so that a replay is a duplicate."""
    canonical = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(canonical).hexdigest()[:32]
    return f"{str(values.get('runId', ''))[:MAX_ID_CHARACTERS]}.{str(values.get('event', ''))[:40]}.{digest}"
