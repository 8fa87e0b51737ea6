"""Actions and outcomes: what is counted or billed.

Promises: one record, never sampled away, with an idempotency key that is made once. Properties and labels are the
user's own figures and are kept with ``capture_content=False`` too. Must never: guess a customer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..clock import is_run_id, iso, parse_iso_us
from ..errors import UsageError
from .ambient import ambient_var, current_var
from .compose import members_of, object_of
from .edge import OFF, direct
from .late import shown
from .lineage import json_text
from .recorder import live
from .run import Run


@direct(str)
def action(
    name: str,
    *,
    customer: str | None = None,
    value: int | float = 1,
    properties: Mapping[str, Any] | None = None,
    labels: Mapping[str, Any] | None = None,
    at: datetime | float | str | None = None,
    idempotency_key: str | None = None,
    run: Run | str | None = None,
) -> str:
    """Work that was done ``value`` times for ``customer``, such as an LLM call.

    ``customer`` defaults to the ambient one, ``run`` to the current one. ``at`` is a datetime (one without a zone is
    UTC), seconds since the epoch, or ISO 8601 text; by default, now. Returns the idempotency key, "" when nothing was
    recorded. Wrong arguments raise UsageError when strict; otherwise they are counted.
    """
    return _write("action", locals())


@direct(str)
def outcome(
    name: str,
    *,
    customer: str | None = None,
    value: int | float = 1,
    properties: Mapping[str, Any] | None = None,
    labels: Mapping[str, Any] | None = None,
    at: datetime | float | str | None = None,
    idempotency_key: str | None = None,
    run: Run | str | None = None,
) -> str:
    """A result that was reached, such as a ticket resolved; takes what `action` takes."""
    return _write("outcome", locals())


def _write(kind: str, given: Mapping[str, Any]) -> str:
    recorder = live()
    if recorder is None or current_var.get() is OFF:
        return ""
    ambient = ambient_var.get()
    now_ns = recorder.clock.now_ns()
    event_id = recorder.ids.new(now_ns)
    idempotency_key = _text(kind, given, "idempotency_key") or event_id
    members = [
        f'"name":{json_text(_text(kind, given, "name") or _wrong(kind, given, "name", "a string that is not empty"))}',
        f'"idempotencyKey":{json_text(idempotency_key)}',
        f'"value":{_number(kind, given)}',
    ]
    customer = _text(kind, given, "customer")
    if customer or ambient.customer:
        members.append(f'"customer":{json_text(customer) if customer else ambient.customer}')
    if ambient.user:
        members.append(f'"userId":{ambient.user}')
    if ambient.agent_key:
        members.append(f'"agentKey":{ambient.agent_key}')
    members += _run_members(kind, given)
    for name in ("properties", "labels"):
        value = given[name]
        if value is not None:
            if not isinstance(value, Mapping):
                _wrong(kind, given, name, "a mapping, such as {'model': 'gpt-4o'}")
            members.append(f'"{name}":{object_of(members_of(recorder, value, name))}')
    at = iso(_moment_ns(kind, given, now_ns))
    payload = f'{{"event":"{kind}","eventId":"{event_id}","timestamp":"{at}",{",".join(members)}}}'.encode()
    if recorder.strict and recorder.usage_refusal is not None and (wrong := recorder.usage_refusal(payload)):
        raise UsageError(f"{kind}({shown(given['name'])}): {wrong}")
    recorder.append(payload)
    return idempotency_key


def _run_members(kind: str, given: Mapping[str, Any]) -> list[str]:
    run = given["run"]
    if run is None:
        run = current_var.get()
        if not isinstance(run, Run):
            return []
    if isinstance(run, Run):
        return [f'"runId":"{run.id}"', f'"rootRunId":{json_text(run.root_id)}'] if run else []
    if not is_run_id(run):
        _wrong(kind, given, "run", "a Run or a run's id")
    return [f'"runId":"{run}"']


def _text(kind: str, given: Mapping[str, Any], name: str) -> str:
    value = given[name]
    if value is None:
        return ""
    if not isinstance(value, str) or not value:
        _wrong(kind, given, name, "a string that is not empty")
    return str(value)


def _number(kind: str, given: Mapping[str, Any]) -> str:
    value = given["value"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1 << 53 or math.isnan(value):
        _wrong(kind, given, "value", "a finite number below 2**53")
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


def _moment_ns(kind: str, given: Mapping[str, Any], now_ns: int) -> int:
    at = given["at"]
    if at is None:
        return now_ns
    try:
        if isinstance(at, datetime):
            moment = at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
            return parse_iso_us(moment.astimezone(timezone.utc).isoformat()) * 1000
        if isinstance(at, str):
            return parse_iso_us(at) * 1000
        if isinstance(at, (int, float)) and not isinstance(at, bool) and 0 <= at < 1e11:
            return int(at * 1_000_000) * 1000
    except (ValueError, OverflowError):
        pass
    return int(_wrong(kind, given, "at", "a datetime, seconds since the epoch, or ISO 8601 text"))


def _wrong(kind: str, given: Mapping[str, Any], name: str, wanted: str) -> str:
    raise UsageError(f"{kind}({name}={shown(given[name])}): must be {wanted}")
