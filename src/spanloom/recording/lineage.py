"""Where a run stands: its trace, and a parent that lives elsewhere (W3C trace context, https://www.w3.org/TR/trace-context/).

Promises: text from outside is bounded, checked character by character and never trusted; what does not parse is no
parent. Must never: hold a run, so that a long trace keeps nothing alive.
"""

from __future__ import annotations

import json
import uuid
import zlib

from ..clock import is_run_id

_HEX = frozenset("0123456789abcdef")
MAX_HEADER_BYTES = 8192
TRACESTATE_KEY = "spanloom"


class Trace:
    """What all runs of one trace in this process share.

    ``root_id`` is the root run's id, or "" when only a parent's id was given; ``members`` are the JSON members that
    say so on every record; ``offset_ns`` turns monotonic into wall-clock nanoseconds; ``host_trace`` is the host's
    trace id (32 hex digits) or "".
    """

    __slots__ = ("host_sampled", "host_trace", "local_id", "members", "offset_ns", "root_id", "sampled")

    def __init__(
        self, local_id: str, root_id: str, offset_ns: int, sampled: bool, host_trace: str, members: str
    ) -> None:
        self.local_id = local_id  # of the outermost run in this process
        self.root_id = root_id
        self.offset_ns = offset_ns
        self.sampled = sampled
        self.host_trace = host_trace
        self.host_sampled: bool | None = None  # what the host's sampler says of it, once it was asked
        self.members = members

    def hex_id(self) -> str:
        """The W3C trace id: the host's, or the root run's id."""
        return self.host_trace or _hex32(self.root_id or self.local_id)


class Remote:
    """A parent elsewhere: a run of ours by its id, or a span of a host's trace.

    ``run_id`` and ``root_id`` are "" when unknown, and so are ``trace_id`` (32 hex) and ``span_id`` (16 hex).
    ``sampled`` is None when the other side has not decided for us. ``link`` is a W3C traceparent of a span that
    belongs to another trace and is to be named on the root.
    """

    __slots__ = ("link", "root_id", "run_id", "sampled", "span_id", "trace_id")

    def __init__(
        self,
        run_id: str = "",
        root_id: str = "",
        trace_id: str = "",
        span_id: str = "",
        sampled: bool | None = None,
        *,
        link: str = "",
    ) -> None:
        self.link = link
        self.run_id = run_id
        self.root_id = root_id
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled

    def members(self) -> str:
        """The JSON members of a host's trace on a record; empty when the trace is our own."""
        if not self.trace_id or (self.root_id and self.trace_id == _hex32(self.root_id)):
            return ""
        return f',"traceId":"{self.trace_id}"'

    def span_member(self) -> str:
        """The JSON member that names the host's span above the outermost run, on its own records alone: an exported
        span has it for its parent."""
        ours = self.run_id and _span16(self.run_id) == self.span_id
        return "" if ours or not self.members() else f',"parentSpanId":"{self.span_id}"'


def remote_parent(traceparent: str, tracestate: str = "") -> Remote | None:
    """The parent that a W3C ``traceparent`` names, or None for what does not parse.

    With our own entry in ``tracestate`` (``spanloom=<root run>-<run>``) the run ids are known in full, and so they are
    of a root of ours, whose id is the trace's and whose span is the trace id's second half.
    """
    parts = traceparent.strip().lower().split("-") if len(traceparent) <= 256 else []
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not _HEX.issuperset("".join(parts[:4])):
        return None
    version, trace_id, span_id, flags = parts[:4]
    if version == "ff" or (version == "00" and len(parts) != 4) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    root_id, run_id = _from_tracestate(tracestate)
    if not root_id and trace_id[16:] == span_id and is_run_id(str(uuid.UUID(trace_id))):
        root_id = run_id = str(uuid.UUID(trace_id))
    if run_id and _span16(run_id) != span_id:
        run_id = ""  # a host's span opened in between; it is the parent, the root is still ours
    sampled = bool(int(flags, 16) & 1) if root_id else None
    return Remote(run_id, root_id, trace_id, span_id, sampled)


def traceparent(trace_hex: str, run_id: str, sampled: bool) -> str:
    """The W3C header value of a run."""
    return f"00-{trace_hex}-{_span16(run_id)}-{'01' if sampled else '00'}"


def tracestate_entry(root_id: str, run_id: str) -> str:
    """Our member of ``tracestate``, which carries both ids in full."""
    return f"{TRACESTATE_KEY}={_hex32(root_id)}-{_hex32(run_id)}"


def chosen(trace_hex_or_id: str, sample: float) -> bool:
    """Whether a trace is among the share that is recorded; every process that sees the id decides alike."""
    if sample >= 1.0:
        return True
    return zlib.crc32(trace_hex_or_id.encode("utf-8", "replace")) < sample * 4_294_967_296


def json_text(text: str) -> str:
    """An id or a name as a JSON string: at most 512 characters, NUL and lone surrogates replaced."""
    if len(text) > 512:
        text = text[:512]
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return json.dumps(text, ensure_ascii=False)


def _from_tracestate(tracestate: str) -> tuple[str, str]:
    if len(tracestate) > MAX_HEADER_BYTES:
        return "", ""
    for member in tracestate.split(","):
        key, _, value = member.strip().partition("=")
        root, dash, run = value.partition("-")
        if key == TRACESTATE_KEY and dash and len(root) == len(run) == 32 and _HEX.issuperset(root + run):
            return str(uuid.UUID(root)), str(uuid.UUID(run))
    return "", ""


def _hex32(run_id: str) -> str:
    return run_id.replace("-", "").lower() if is_run_id(run_id) else uuid.uuid5(uuid.NAMESPACE_OID, run_id).hex


def _span16(run_id: str) -> str:
    return _hex32(run_id)[16:]
