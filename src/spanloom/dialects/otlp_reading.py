"""Spans to records: any exporter's span becomes a run, its start and its end; evaluation events become feedback.

Which type: what we say ourselves, then ``openinference.span.kind``, ``gen_ai.operation.name``, OpenLLMetry's kinds, a
tool's or a model's name; a span that says nothing of this is a chain. Tokens count on model calls alone (llm, embed):
an agent span that repeats its calls' totals keeps them in its metadata. Everything that has no place in a run is kept
in its metadata under the attribute's own name.

Promise: pure and total; the same span gives the same records, ids included, so that it can be sent twice. Ids: see
`otlp_ids`. Must never: believe a number that is none, or lose an attribute.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from msgspec import UNSET, Raw

from ..clock import is_run_id, iso
from ..records import STATUSES, AnyRecord, Chat, Content, ErrorInfo, Feedback, RunEnd, RunPoint, RunStart, TokenUsage
from . import otlp_names as names
from .otlp_content import Taken, content_of, json_object, params_of, raw
from .otlp_ids import foreign_run_id, from_trace_state, run_id_of_parent, span_id_of, trace_run_id
from .otlp_messages import json_or_text
from .otlp_values import ERROR, INTERNAL, KIND_NAMES, Attributes, LogEvent, Span
from .otlp_writing import plain

MODEL_TYPES = ("llm", "embed")
_PREFIXES = ("invoke_agent ", "execute_tool ", "invoke_workflow ", "retrieval ", "chat ", "embeddings ")


def records_of(span: Span) -> list[AnyRecord]:
    """The records of a span: a start, points for its events, an end. Two spans with the same ids give the same runs."""
    taken = Taken(span.attributes)
    ours = is_run_id(span.attributes.get(names.RUN_ID))
    run_type = type_of(span.attributes)
    if ours and run_type == "chat":
        return _chats(span, taken)
    taken.used |= {names.RUN_TYPE, names.OI_KIND, names.OPERATION, names.TL_KIND, names.TL_REQUEST_TYPE}
    who = _who(span, taken, run_type)
    usage = _usage(taken) if ours or run_type in MODEL_TYPES else None
    params = params_of(taken)
    source, output = content_of(taken, run_type, ours)
    started, ended = iso(span.start_ns), iso(max(span.start_ns, span.end_ns))
    run_id = who["run_id"]
    model = _model(taken, run_type, ours)
    error = _error(span, taken)
    status = _status(span, taken)
    reported: dict[str, Any] = {
        "model": model, "cost": _cost(taken), "response_id": _response_id(taken, run_type, output),
    }  # fmt: skip
    end_only: dict[str, Any] = {
        "status": status, "error": error, "output": raw(output), "extra": json_object(taken, names.EXTRA),
        "items": taken.count(names.ITEMS), "first_item_at": _first_item_at(span, taken),
    }  # fmt: skip
    taken.used.add(names.EVENT_ID)
    start = RunStart(
        event_id=f"{run_id}.s", timestamp=started, **who, input=raw(source), params=params,
        user_props=json_object(taken, names.USER_PROPS), tags=_tags(taken),
        template_version_id=taken.any(names.TEMPLATE) if names.TEMPLATE in span.attributes else None,
        metadata=_metadata(span, taken, ours),
    )  # fmt: skip
    end = RunEnd(
        event_id=f"{run_id}.e", timestamp=ended, **who, started_at=started, tokens_usage=usage, **reported, **end_only
    )
    return [start, *_points(span, who), end]


def _chats(span: Span, taken: Taken) -> list[AnyRecord]:
    """The messages of an exchange, as they were recorded."""
    who = _who(span, taken, "chat")
    said = json_or_text(taken.any(names.CHAT_MESSAGES))
    shared: dict[str, Any] = {
        "tags": _tags(taken),
        "metadata": json_object(taken, names.OI_METADATA),
        "user_props": json_object(taken, names.USER_PROPS),
    }
    messages = []
    for name in (names.OI_INPUT, names.OI_OUTPUT):
        found = json_or_text(taken.any(name))
        messages += found if isinstance(found, list) else []
    found_chats: list[AnyRecord] = []
    for number, (message, about) in enumerate(zip(messages, said if isinstance(said, list) else [], strict=False)):
        about = about if isinstance(about, dict) else {}
        event_id, at = about.get("eventId"), about.get("timestamp")
        found_chats.append(Chat(
            event_id=event_id if isinstance(event_id, str) else f"{who['run_id']}.c{number}",
            timestamp=at if isinstance(at, str) else iso(span.start_ns), **who, message=raw(message), **shared,
        ))  # fmt: skip
    return found_chats


def type_of(attributes: Attributes) -> str:
    """The run type that a span's attributes speak of; ``chain`` when they speak of none."""
    ours = attributes.get(names.RUN_TYPE)
    if isinstance(ours, str) and ours in names.OPERATION_OF_TYPE:
        return ours
    for name, table in (
        (names.OI_KIND, names.TYPE_OF_OI_KIND),
        (names.OPERATION, names.TYPE_OF_OPERATION),
        (names.TL_KIND, names.TYPE_OF_TL),
        (names.TL_REQUEST_TYPE, names.TYPE_OF_TL),
    ):
        value = attributes.get(name)
        found = (
            table.get(value.upper() if table is names.TYPE_OF_OI_KIND else value) if isinstance(value, str) else None
        )
        if found:
            return found
    if names.TOOL_NAME in attributes:
        return "tool"
    if names.REQUEST_MODEL in attributes:
        return "llm"
    return "agent" if names.AGENT_NAME in attributes else "chain"


def feedback_of(event: LogEvent) -> Feedback | None:
    """The feedback that an evaluation event is; None for every other log record, and for one that names no span."""
    if event.name != names.EVALUATION_EVENT:
        return None
    taken = Taken(event.attributes)
    run_id = taken.text(names.RUN_ID)
    if run_id is None or not is_run_id(run_id):
        if not event.trace_id or not event.span_id:
            return None
        run_id = foreign_run_id(event.trace_id, event.span_id)
    said = json_object(taken, names.FEEDBACK)
    if said is UNSET:
        label, score = taken.text(names.EVALUATION_LABEL), taken.number(names.EVALUATION_SCORE)
        comment, name = taken.text(names.EVALUATION_EXPLANATION), taken.text(names.EVALUATION_NAME)
        found = {
            "thumb": label if label in ("up", "down") else None,
            "label": None if label in ("up", "down") else label,
            "score": None if score is None else float(score),
            "comment": ": ".join(part for part in (name, comment) if part) or None,
        }
        said = Raw(msgspec.json.encode({key: value for key, value in found.items() if value is not None}))
    at = iso(event.time_ns)
    event_id = taken.text(names.EVENT_ID) or f"{run_id}.f{event.time_ns}.{taken.text(names.EVALUATION_NAME) or ''}"
    return Feedback(
        event_id=event_id, timestamp=at, run_id=run_id, feedback=said, overwrite=taken.any(names.OVERWRITE) is True
    )


# -- who and where -------------------------------------------------------------------------------------------------


def _who(span: Span, taken: Taken, run_type: str) -> dict[str, Any]:
    attributes = span.attributes
    root_id, _ = from_trace_state(span.trace_state)
    run_id = _run_id(span, taken)
    parent_id = taken.text(names.PARENT_ID)
    parent_span = None
    if parent_id is None and span.parent_span_id:
        parent_id = run_id_of_parent(span.trace_id, span.parent_span_id, span.trace_state)
    if parent_id is not None and span.parent_span_id not in ("", span_id_of(parent_id)):
        parent_span = span.parent_span_id  # a host's span stands between
        parent_id = run_id_of_parent(span.trace_id, span.parent_span_id, span.trace_state)
    root = taken.text(names.ROOT_ID) or root_id or trace_run_id(span.trace_id)
    service = span.resource.get(names.SERVICE_NAME)
    taken.used |= {names.RUN_ID, names.PARENT_ID, names.ROOT_ID}
    known = isinstance(attributes.get(names.RUN_ID), str)
    return {
        "run_id": run_id,
        "type": run_type,
        "name": _name(span, taken, run_type),
        "parent_run_id": parent_id,
        "root_run_id": root,
        "user_id": taken.text(names.USER, "enduser.id", names.TL_PROPERTIES + "user_id", "llm.user", "gen_ai.user"),
        "thread_id": taken.text(
            names.CONVERSATION, names.SESSION, names.TL_PROPERTIES + "session_id", names.TL_PROPERTIES + "thread_id"
        ),
        "customer": taken.text(names.CUSTOMER),
        "key": taken.text(names.KEY),
        "trace_id": None if known and span.trace_id == root.replace("-", "") else span.trace_id,
        "parent_span_id": parent_span if known else span.parent_span_id or None,
        "service": service if isinstance(service, str) and service != "unknown_service" else None,
        "runtime": taken.text(names.RUNTIME),
    }


def _run_id(span: Span, taken: Taken) -> str:
    said = taken.text(names.RUN_ID)
    if said is not None and is_run_id(said):
        return said.lower()
    return foreign_run_id(span.trace_id, span.span_id)


def _name(span: Span, taken: Taken, run_type: str) -> str | None:
    if is_run_id(span.attributes.get(names.RUN_ID)):
        for name in (names.AGENT_NAME, names.OI_AGENT_NAME, names.WORKFLOW_NAME, names.TOOL_NAME, names.OI_TOOL_NAME,
                     names.DATA_SOURCE, names.REQUEST_MODEL, names.TOOL_TYPE):  # fmt: skip
            taken.used.add(name)
        return taken.text(names.NAME)
    wanted = {
        "llm": (names.REQUEST_MODEL,), "embed": (names.REQUEST_MODEL,), "retriever": (names.DATA_SOURCE,),
        "agent": (names.AGENT_NAME, names.OI_AGENT_NAME), "tool": (names.TOOL_NAME, names.OI_TOOL_NAME),
        "chain": (names.WORKFLOW_NAME, names.TL_NAME),
    }.get(run_type, ())  # fmt: skip
    found = taken.text(*wanted) or taken.text(names.TL_NAME)
    if found is None:
        prefix = next((prefix for prefix in _PREFIXES if span.name.startswith(prefix)), "")
        found = span.name[len(prefix) :]
    return found or None


def _model(taken: Taken, run_type: str, ours: bool) -> str | None:
    if ours:
        taken.used |= {names.OI_MODEL, names.OI_EMBEDDING_MODEL}
        return taken.text(names.RESPONSE_MODEL)
    if run_type not in MODEL_TYPES:
        return None
    return taken.text(
        names.RESPONSE_MODEL, names.OI_MODEL, "llm.response.model_name", "llm.request.model_name",
        names.OI_EMBEDDING_MODEL, names.REQUEST_MODEL,
    )  # fmt: skip


# -- numbers -------------------------------------------------------------------------------------------------------


def _usage(taken: Taken) -> TokenUsage | None:
    counts = {field: taken.count(*wanted) for field, wanted in names.USAGE_NAMES.items() if field != "total"}
    ours = names.RUN_ID in taken.all
    total = taken.count(names.TOTAL_TOKENS) if ours else taken.count(*names.USAGE_NAMES["total"])
    taken.used.add(names.OI_TOTAL_TOKENS)
    if total is None and all(value is None for value in counts.values()):
        return None
    return TokenUsage(total=total, **counts)


def _cost(taken: Taken) -> float | None:
    found = taken.number(names.OI_COST)
    return None if found is None else float(found)


def _first_item_at(span: Span, taken: Taken) -> str | None:
    ours = taken.text(names.FIRST_ITEM_AT)
    seconds = taken.number(names.FIRST_CHUNK_SECONDS)
    if ours is not None or seconds is None or not 0 <= seconds < 1e6:
        return ours
    return iso(span.start_ns + int(seconds * 1e9))


def _tags(taken: Taken) -> list[str] | None:
    value = json_or_text(taken.any(names.OI_TAGS))
    return [tag for tag in value if isinstance(tag, str)] or None if isinstance(value, list) else None


def _metadata(span: Span, taken: Taken, ours: bool) -> Content:
    """What the user said as metadata, and every attribute that no field has taken. Called last."""
    said = json_or_text(taken.any(names.OI_METADATA))
    if not ours:
        taken.used.discard(names.INPUT_UNKNOWN)
    found: dict[str, Any] = dict(said) if isinstance(said, dict) else {}
    if said is not None and not isinstance(said, dict):
        found["metadata"] = said
    for name, value in taken.rest().items():
        if not (ours and name.startswith(("gen_ai.", "llm.", names.ERROR_TYPE))):
            found.setdefault(name, plain(value))
    if not ours:
        found.update(_origin(span))
    return raw(found) if found else UNSET


def _origin(span: Span) -> Attributes:
    """Where a stranger's span comes from, by the names that OpenTelemetry gives these for other formats."""
    resource = {name: plain(value) for name, value in span.resource.items() if name != names.SERVICE_NAME}
    links = [{"trace_id": link.trace_id, "span_id": link.span_id, **link.attributes} for link in span.links]
    found: Attributes = {
        "otel.span.name": span.name,
        "otel.span.kind": KIND_NAMES.get(span.kind, str(span.kind)) if span.kind != INTERNAL else None,
        "otel.scope.name": span.scope,
        "otel.scope.version": span.scope_version,
        "otel.links": links,
        "otel.resource": resource,
    }
    return {name: value for name, value in found.items() if value}


# -- how it ended --------------------------------------------------------------------------------------------------


def _status(span: Span, taken: Taken) -> Any:
    said = taken.text(names.STATUS)
    if said in STATUSES:
        return said
    return "error" if span.status == ERROR else "ok"


def _error(span: Span, taken: Taken) -> ErrorInfo | None:
    event = next((event for event in span.events if event.name == names.EXCEPTION_EVENT), None)
    if span.status != ERROR and names.STATUS not in span.attributes:
        return None
    about = Taken(event.attributes if event is not None else {})
    kind = about.text(names.EXCEPTION_TYPE) or taken.text(names.ERROR_TYPE)
    message = about.text(names.EXCEPTION_MESSAGE) or span.status_message or kind
    taken.used.add(names.ERROR_TYPE)
    if message is None and event is None:
        return None if span.status != ERROR else ErrorInfo(message="the span's status is error; it says no more")
    return ErrorInfo(
        message=message or "", stack=about.text(names.EXCEPTION_STACK), type=None if kind == "_OTHER" else kind
    )


def _points(span: Span, who: dict[str, Any]) -> list[AnyRecord]:
    shared = {name: value for name, value in who.items() if name not in ("name", "runtime")}
    found: list[AnyRecord] = []
    failed = span.status == ERROR or names.STATUS in span.attributes
    for number, event in enumerate(span.events):
        if failed and event.name == names.EXCEPTION_EVENT:
            continue
        attributes = dict(event.attributes)
        event_id = attributes.pop(names.EVENT_ID, None)
        found.append(RunPoint(
            event_id=event_id if isinstance(event_id, str) else f"{who['run_id']}.o{number}",
            timestamp=iso(event.time_ns), **shared, label=event.name,
            data=raw({name: plain(value) for name, value in attributes.items()}) if attributes else UNSET,
        ))  # fmt: skip
    return found


def _response_id(taken: Taken, run_type: str, output: Any) -> str | None:
    said = taken.text(names.RESPONSE_ID)
    if said is not None or run_type not in MODEL_TYPES:
        return said
    body = taken.all.get(names.OI_OUTPUT)  # OpenInference keeps the provider's whole answer there
    if not isinstance(body, str) or not body.startswith("{"):
        return None
    try:
        whole = orjson.loads(body)
    except ValueError:
        return None
    told = whole.get("llm_output")  # LangChain's result has what the provider said in there
    found = whole.get("id") or (told.get("id") if isinstance(told, dict) else None)
    return found if isinstance(found, str) and found else None
