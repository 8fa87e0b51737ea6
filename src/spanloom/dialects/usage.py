"""Usage events on the wire: what the four usage dialects share, and how a server hosts one.

Promise: one way to read a stranger's JSON object field by field, naming the field and what would be right.
Must never: do I/O, or know a vendor's field names.

The intake contract, for whoever mounts a dialect behind a server:

1. Make a `wire.Request`: method, the raw path as received (mount and query included, not decoded), headers with
   lower-case names, the body as received. Routes are told by the path's last segments, so any mount will do; a
   signature covers the raw path, so none may be cut off.
2. ``credential(request)`` is the key that was presented, "" for none (for Vluna the key id; then ``verify``). A key
   that is not accepted: ``write_error(401, …)``, in the dialect's own body.
3. ``read_request(request)`` gives an `Intake`, or raises `errors.WireError`, which ``write_error(error.status_hint,
   str(error))`` turns into the answer.
4. ``Intake.idempotency_key`` is of the request as a whole (Vluna, Valmi). The same key with another ``fingerprint``
   within the window is a conflict: ``write_error(409, …)``. With the same one it is a replay.
5. Each `Received` has a record or a reason. Store records by (holder of the key, ``record.idempotency_key``) within
   the dialect's ``DEDUPE_SECONDS`` (None: as long as the row lasts), and make one `Result` for each item:
   ``malformed`` with reason and path, ``duplicate``, ``conflict``; ``failed`` when the store could not.
6. ``write_reply(intake, results)`` is the answer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from ..clock import Ids, iso, parse_iso_us
from ..errors import WireError
from ..records import Action, AnyRecord, Content, Outcome
from ..wire import Call, Request, Response, Verdict
from . import Received, Result
from .strict_json import checked, clean

UsageRecord = Action | Outcome
EVENT_ID = "spanloom_event_id"
"""The name under which our event id travels among a user's properties, where the wire has no place for it."""
MAX_KEY_CHARACTERS = 255
DAY_SECONDS = 86_400.0

_encode = msgspec.json.Encoder().encode
_members: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_ids = Ids()


@dataclass(frozen=True, slots=True)
class Intake:
    """What was read from one request: ``route`` is the dialect's word for the endpoint, ``fingerprint`` the SHA-256
    (hex) of path and body, ``one`` whether the request held a single event outside a list."""

    route: str
    items: list[Received]
    one: bool
    idempotency_key: str = ""
    fingerprint: str = ""
    received_at: str = ""


def usage_record(record: AnyRecord) -> UsageRecord | None:
    """The record if it is an action or an outcome."""
    return record if isinstance(record, Action | Outcome) else None


# -- writing -------------------------------------------------------------------------------------------------------


def json(value: Any) -> bytes:
    """JSON, without spaces; `Raw` values as the bytes they are."""
    return _encode(value)


def stamp(timestamp: str) -> str:
    """Our timestamp without the zeros at its end: ``2026-01-10T00:00:00Z``, as the documents write it."""
    if not timestamp.endswith("000Z") or len(timestamp) != 27:
        return timestamp
    return timestamp[:19] + "Z" if timestamp.endswith(".000000Z") else timestamp[:23] + "Z"


def members(content: Content) -> dict[str, Raw]:
    """The members of a JSON object, values unread; {} for none. Raises WireError for anything else."""
    if content is UNSET:
        return {}
    try:
        return _members.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise WireError("must be a JSON object", path="$.properties") from None


def with_ours(properties: Content, ours: Mapping[str, Any]) -> dict[str, Any]:
    """A user's properties and then ours, those that are not None; the user's own win (`clash` says where they do)."""
    found: dict[str, Any] = dict(members(properties))
    for name, value in ours.items():
        if value is not None and value is not UNSET:
            found.setdefault(name, value)
    return found


def clash(properties: Content, ours: Mapping[str, Any]) -> str | None:
    """Why a property of the user's own contradicts a field that travels under its name; None when none does."""
    for name, raw in members(properties).items():
        value = ours.get(name)
        if value is None or value is UNSET:
            continue
        meant = msgspec.json.decode(value) if isinstance(value, Raw) else value
        if msgspec.json.decode(raw) != meant:
            return f"properties.{name}: is {_short(raw)}, but {name} is {meant!r}: leave it out or make them equal"
    return None


def common_refusal(record: UsageRecord) -> str | None:
    """What no dialect sends: which field, and what would be right."""
    if not record.name.strip():
        return "name: is empty: give the event a name"
    if not 0 < len(record.idempotency_key) <= MAX_KEY_CHARACTERS:
        return f"idempotency_key: has {len(record.idempotency_key)} characters: use 1 to {MAX_KEY_CHARACTERS}"
    if not math.isfinite(record.value):
        return f"value: is {record.value}: use a finite number"
    wrong = timestamp_problem(record.timestamp)
    if wrong:
        return f"timestamp: {wrong}"
    for name in ("properties", "labels"):
        try:
            members(getattr(record, name))
        except WireError:
            return f"{name}: is not an object: use a mapping"
    return None


def timestamp_problem(text: str) -> str | None:
    """What is wrong with a moment on the wire; None for ISO 8601 with a zone."""
    try:
        parse_iso_us(text)
    except (ValueError, OverflowError):
        return f"{text[:60]!r} is no ISO 8601 time: send one such as 2026-01-31T12:00:00Z"
    tail = text.strip()[10:]
    if not (tail[-1:] in ("Z", "z") or "+" in tail or "-" in tail):
        return f"{text[:60]!r} has no zone: append Z for UTC, or an offset such as +02:00"
    return None


# -- what a vendor answered ----------------------------------------------------------------------------------------


def object_of(response: Response) -> dict[str, Any]:
    """The JSON object in an answer; {} for anything else."""
    try:
        found = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_page(response: Response) -> bool:
    """A web page (a login, a proxy's apology) is no acknowledgement, even with status 200."""
    return "html" in response.headers.get("content-type", "").lower() or response.body.lstrip()[:1] == b"<"


def not_taken(call: Call, response: Response, words: str = "") -> list[Verdict]:
    """The verdicts on a request that was not taken, by its status: 400, 413 and 422 ask for the poison to be found,
    a conflict is final, everything else waits."""
    status = response.status
    reason = f"http_{status}" + (f": {words[:200]}" if words and status != 413 else "")
    if status in (400, 413, 422):
        verdict = Verdict("split", reason)
    elif status == 409:
        verdict = Verdict("rejected", f"idempotency_conflict: {words[:200] or 'the key was used with another body'}")
    else:
        verdict = Verdict("retry", reason)
    return [verdict] * len(call.indexes)


# -- reading -------------------------------------------------------------------------------------------------------


class Fields:
    """One JSON object of a stranger's, read field by field. Every method raises WireError with the field's path and
    what would be right; ``null`` means absent."""

    def __init__(self, raw: bytes | Raw, path: str = "$") -> None:
        self.path = path
        value = checked(raw, path)
        if not isinstance(value, dict):
            raise WireError(f"expected an object, got {_json_type(value)}", path=path)
        self.values: dict[str, Any] = {name: found for name, found in value.items() if found is not None}
        self._raws = _members.decode(raw)

    def wrong(self, name: str, wanted: str) -> WireError:
        """The error for one field."""
        value = self.values.get(name)
        given = "is missing" if value is None else f"is {_short(self._raws[name])}"
        return WireError(f"{name} {given}: {wanted}", path=f"{self.path}.{name}")

    def text(self, name: str, most: int = 1000) -> str | None:
        """A string of 1 to ``most`` characters; integers are taken as their digits."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not 0 < len(value.strip()) <= len(value) <= most:
            raise self.wrong(name, f"send a string of 1 to {most} characters")
        return value

    def needed_text(self, name: str, most: int = 1000) -> str:
        """As `text`, but it has to be there."""
        value = self.text(name, most)
        if value is None:
            raise self.wrong(name, f"send a string of 1 to {most} characters")
        return value

    def number(self, name: str) -> int | float | None:
        """A finite number."""
        value = self.values.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.wrong(name, "send a number")
        return value

    def moment(self, name: str) -> str | None:
        """An ISO 8601 time with a zone, as ours (UTC, microseconds)."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "send ISO 8601 text such as 2026-01-31T12:00:00Z")
        problem = timestamp_problem(value)
        if problem:
            raise WireError(f"{name}: {problem}", path=f"{self.path}.{name}")
        return iso(parse_iso_us(value) * 1000)

    def object(self, name: str) -> dict[str, Raw]:
        """An object's members, their values unread; {} when absent."""
        if name not in self.values:
            return {}
        if not isinstance(self.values[name], dict):
            raise self.wrong(name, "send an object")
        return _members.decode(self._raws[name])


def lifted(found: dict[str, Raw], name: str, kind: type | tuple[type, ...]) -> Any:
    """Take a member of the right type out of a stranger's properties; None (and it stays) otherwise."""
    if name not in found:
        return None
    value = msgspec.json.decode(found[name])
    if not isinstance(value, kind) or isinstance(value, bool) or value in ("", {}):
        return None
    del found[name]
    return value


def content(found: Mapping[str, Any]) -> Content:
    """Members as a record keeps them: UNSET for none."""
    return Raw(_encode(found)) if found else UNSET


def parsed(body: bytes) -> Raw:
    """A request's body as one JSON value; raises WireError (400, 413)."""
    body = clean(body).strip()
    checked(body, "$")
    return Raw(body)


def items_of(raw: Raw) -> list[Raw]:
    """The items of a JSON list, unread."""
    found: list[Raw] = msgspec.json.decode(raw, type=list[Raw])
    return found


Read = Callable[[Raw, str], UsageRecord]


def read_each(raws: Sequence[Raw], path: str, read: Read) -> list[Received]:
    """Every item by itself, so that one that is wrong spoils no neighbour. ``path`` has a ``%d`` for lists."""
    found = []
    for index, raw in enumerate(raws):
        place = path % index if "%d" in path else path
        try:
            record = read(raw, place)
            item = Received(index, record.idempotency_key, record, bytes(raw), event_id=record.event_id)
        except WireError as error:
            item = Received(index, "", None, bytes(raw), error.message, error.path)
        found.append(item)
    return found


def fresh_id(at: str) -> str:
    """An id for an event that came without one."""
    return _ids.new(parse_iso_us(at) * 1000)


def hashed(*parts: Any) -> str:
    """64 hex digits for JSON values, whatever the order of their keys."""
    plain = [msgspec.json.decode(part) if isinstance(part, Raw | bytes) else part for part in parts]
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def fingerprint(request: Request) -> str:
    """SHA-256 (hex) of a request's method, path and body."""
    return hashlib.sha256(f"{request.method} {request.path}\n".encode() + request.body).hexdigest()


def route(request: Request) -> str:
    """The raw path without its query and closing slash."""
    return request.path.partition("?")[0].rstrip("/")


def answer(status: int, body: Any, **headers: str) -> Response:
    """A JSON response; ``retry_after`` and the like become headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, {"content-type": "application/json", **named}, _encode(body))


def first_problem(results: Sequence[Result]) -> Result | None:
    """The first item that was refused."""
    return next((result for result in results if result.malformed), None)


def bearer(request: Request) -> str:
    """The token of ``Authorization: Bearer``, "" for none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _short(raw: Raw) -> str:
    text = bytes(raw).decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:57] + "…"


def _json_type(value: Any) -> str:
    return {type(None): "null", str: "text", list: "a list", bool: "a boolean"}.get(type(value), "a number")
