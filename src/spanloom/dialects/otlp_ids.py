"""Run ids and span ids, both ways.

Ours go out so: the span id is the low 64 bits of the run's UUID; the trace id is the root run's UUID, or the host's
trace id where the host's trace was joined; the whole UUIDs travel in ``tracestate`` (``spanloom=<root>-<run>``, 32 hex
digits each) and as attributes. A stranger's span becomes the run ``uuid5(trace id, span id)``, the same one whoever
computes it and however often.

Promise: pure; any text is some id. Must never: raise for an id of whatever form.
"""

from __future__ import annotations

import uuid
from functools import lru_cache

from ..clock import is_run_id

_HEX = frozenset("0123456789abcdef")
_KEY = "spanloom"


def is_trace_id(text: object) -> bool:
    """32 lower-case hex digits, not all zero."""
    return isinstance(text, str) and len(text) == 32 and _HEX.issuperset(text) and text != "0" * 32


def is_span_id(text: object) -> bool:
    """16 lower-case hex digits, not all zero."""
    return isinstance(text, str) and len(text) == 16 and _HEX.issuperset(text) and text != "0" * 16


def hex32(run_id: str) -> str:
    """A run's id as 32 hex digits; a foreign text hashed into as many."""
    return run_id.replace("-", "").lower() if is_run_id(run_id) else uuid.uuid5(uuid.NAMESPACE_OID, run_id).hex


def span_id_of(run_id: str) -> str:
    """The span id of a run: 16 hex digits."""
    low = hex32(run_id)[16:]
    return low if low.strip("0") else "0000000000000001"


@lru_cache(1024)  # a parent is asked for by each of its children
def foreign_run_id(trace_id: str, span_id: str) -> str:
    """The run id of a span that is not ours: ``uuid5(trace id, span id)``; both in hex."""
    return str(uuid.uuid5(uuid.UUID(hex=trace_id), span_id))


@lru_cache(1024)
def trace_run_id(trace_id: str) -> str:
    """The root run that a trace id names: our own root, or, for a stranger's trace, what its runs have in common."""
    return str(uuid.UUID(hex=trace_id))


def trace_state(root_id: str | None, run_id: str) -> str:
    """Our member of ``tracestate``; empty unless both are UUIDs."""
    if root_id is None or not (is_run_id(root_id) and is_run_id(run_id)):
        return ""
    return f"{_KEY}={hex32(root_id)}-{hex32(run_id)}"


def from_trace_state(text: str) -> tuple[str, str]:
    """(root run, run) of our member of ``tracestate``; empty strings when there is none."""
    for member in text[:8192].split(","):
        key, _, value = member.strip().partition("=")
        root, dash, run = value.partition("-")
        if key == _KEY and dash and len(root) == len(run) == 32 and _HEX.issuperset(root + run):
            return str(uuid.UUID(root)), str(uuid.UUID(run))
    return "", ""


def run_id_of_parent(trace_id: str, parent_span_id: str, state: str) -> str:
    """The run that a span's parent is: ours when ``tracestate`` or the trace id says so in full, else a stranger's."""
    _, run_id = from_trace_state(state)
    if run_id and span_id_of(run_id) == parent_span_id:
        return run_id
    if trace_id[16:] == parent_span_id:  # the root run's id is the trace id
        return trace_run_id(trace_id)
    return foreign_run_id(trace_id, parent_span_id)
