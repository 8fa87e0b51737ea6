"""How a run begins: its parent, its trace, who it is for, and the start record.

Promises: ids and clock reads are the only costs beyond rendering; the trace is chosen or not once, at its root.
Must never: read a parent's parent, or keep a run alive that has ended.
"""

from __future__ import annotations

from typing import Any

from ..clock import is_run_id, iso
from ..errors import UsageError
from .ambient import Ambient
from .compose import Label, start_record
from .late import shown
from .lineage import Remote, Trace, chosen, json_text, remote_parent
from .recorder import Recorder
from .run import InertRun, Run

Elsewhere = Run | Remote | None
Surrounding = Run | Remote | list[bool] | None


def open_run(recorder: Recorder, label: Label, parent: Surrounding, ambient: Ambient, kind: type[Run] = Run) -> Run:
    """A run under ``parent`` (OUTSIDE: a root, unless the process has a parent elsewhere). Writes no record."""
    scope = None
    host_span = 0
    if isinstance(parent, list):  # OUTSIDE
        parent = recorder.origin() if recorder.origin is not None else None
    if isinstance(parent, Run):
        trace = parent._trace
        now_ns = recorder.monotonic_ns() + trace.offset_ns
        run_id = recorder.ids.new(now_ns)
        parent_id: str | None = parent.id
        scope = parent.key_scope
        common = f',"runId":"{run_id}"{label.members},"parentRunId":"{parent_id}"{trace.members}{ambient.who}'
        if recorder.host_spans:
            host_span = recorder.host_spans[0]()
            if host_span and host_span != parent.host_span and f"{host_span:016x}" != parent.span_hex:
                common += f',"parentSpanId":"{host_span:016x}"'  # a span of the host's lies between the two runs
    else:
        now_ns = recorder.clock.root_now_ns()
        run_id = recorder.ids.new(now_ns)
        trace = _new_trace(recorder, run_id, parent, now_ns)
        parent_id = parent.run_id or None if parent is not None else None
        if recorder.host_spans:
            host_span = recorder.host_spans[0]()
        elsewhere = "" if parent_id is None else f',"parentRunId":{json_text(parent_id)}'
        if parent is not None:
            elsewhere += parent.span_member()
        common = f',"runId":"{run_id}"{label.members}{elsewhere}{trace.members}{ambient.who}'
    if ambient.key and ambient.key_scope is not scope:
        common += f',"key":{ambient.key}'  # the outermost run in the block that names the key
        recorder.keyed_runs.remember(ambient.key, run_id)
    run = kind(recorder, label, run_id, parent_id, trace, common, iso(now_ns), ambient.key_scope)
    if host_span:
        run.host_span = host_span
    return run


def _new_trace(recorder: Recorder, run_id: str, parent: Remote | None, now_ns: int) -> Trace:
    offset_ns = now_ns - recorder.monotonic_ns()
    service = f',"service":{json_text(recorder.service)}' if recorder.service else ""
    if parent is None or (parent.link and not parent.trace_id and not parent.run_id):
        sampled = chosen(run_id, recorder.sample)
        link = f',"link":"{parent.link}"' if parent is not None else ""
        return Trace(run_id, run_id, offset_ns, sampled, "", f',"rootRunId":"{run_id}"{link}{service}')
    # A bare run id says nothing of the trace; a host's span makes this the outermost run of ours.
    root_id = parent.root_id or ("" if parent.run_id else run_id)
    decided = parent.sampled
    sampled = chosen(parent.trace_id or root_id or parent.run_id, recorder.sample) if decided is None else decided
    root = f',"rootRunId":{json_text(root_id)}' if root_id else ""
    return Trace(run_id, root_id, offset_ns, sampled, parent.trace_id, f"{root}{parent.members()}{service}")


def write_start(run: Run, members: str, content: bytes | None) -> None:
    """The start record, unless the trace is not among the sampled ones."""
    if run._trace.sampled:
        run._recorder.append(start_record(run.id, run._started, run._common, members, content))


def parent_of(value: Any) -> Elsewhere:
    """What ``parent=`` names: a Run, a run id, or a W3C traceparent; raises UsageError for anything else."""
    if value is None or isinstance(value, Remote):
        return value
    if isinstance(value, Run):
        return None if isinstance(value, InertRun) else value
    if isinstance(value, str):
        if is_run_id(value):
            return Remote(run_id=value.lower())
        parent = remote_parent(value)
        if parent is not None:
            return parent
    raise UsageError(f"parent={shown(value)}: must be a Run, a run id (a UUID), or a W3C traceparent")
