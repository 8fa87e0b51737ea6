"""Records to spans: a finished run is one span, feedback is one evaluation event. Names are in `otlp_names`.

What a run says travels three times where the conventions differ: as GenAI attributes, as OpenInference attributes, and,
where neither has a place for it, as ``spanloom.*``. ``input.value`` and ``output.value`` are the recorded bytes; the
messages of model calls are taken apart for both conventions.

Promise: pure, for the shipper's thread; every record that the recording room made gives a span.
Must never: invent a time or a provider. (``gen_ai.provider.name`` is sent when the run's metadata or params name one.)
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from ..clock import parse_iso_us
from ..records import Chat, Content, Feedback, RunEnd, RunPoint, RunStart
from . import otlp_names as names
from .lunary_metadata import members, text_of
from .otlp_ids import hex32, span_id_of, trace_state
from .otlp_messages import flatten, messages_in, to_parts
from .otlp_messages import text_of as json_of
from .otlp_values import CLIENT, ERROR, INTERNAL, OK, Attributes, LogEvent, Span, SpanEvent
from .otlp_values import UNSET as STATUS_UNSET

SCOPE = "spanloom"
_MESSAGE_TYPES = frozenset({"llm", "agent"})
_STATUS = {"ok": OK, "error": ERROR, "killed": ERROR}


def span_of(end: RunEnd, start: RunStart | None = None, points: Sequence[RunPoint] = (), *, trace_id: str = "") -> Span:
    """The span of a finished run. ``start`` brings the input; without one (it was lost with its process, or is too old)
    the span says ``spanloom.input_unknown``. ``trace_id`` (32 hex digits) is for a run whose record names no root."""
    run_type = end.type or (start.type if start else None) or "chain"
    parent = end.parent_span_id or (span_id_of(end.parent_run_id) if end.parent_run_id else "")
    started_ns = _ns(end.started_at or (start.timestamp if start else end.timestamp))
    span = Span(
        trace_id=end.trace_id or trace_id or hex32(end.root_run_id or end.run_id),
        span_id=span_id_of(end.run_id),
        parent_span_id=parent,
        trace_state=trace_state(end.root_run_id, end.run_id),
        name=span_name(run_type, end.name, end.model),
        kind=CLIENT if run_type in ("llm", "embed", "retriever") else INTERNAL,
        start_ns=started_ns,
        end_ns=max(started_ns, _ns(end.timestamp)),
        status=_STATUS.get(end.status, STATUS_UNSET),
        resource=resource_of(end.service),
        scope=SCOPE,
    )
    attributes = span.attributes
    attributes.update(_who(end, run_type))
    attributes.update(_content(start.input if start else UNSET, names.OI_INPUT, names.OI_INPUT_MIME))
    attributes.update(_content(end.output, names.OI_OUTPUT, names.OI_OUTPUT_MIME))
    _add_typed(attributes, run_type, end, start)
    _add_usage(attributes, end)
    _add_extras(attributes, end, start)
    span.events = [_point(point) for point in points]
    _add_failure(span, end)
    return span


def chat_span(messages: Sequence[Chat], *, trace_id: str = "") -> Span:
    """The span of one exchange of a conversation: what was said to the agent is its input, what it said its output."""
    ordered = sorted(messages, key=lambda chat: chat.timestamp)
    first = ordered[0]
    said = [(chat, _decoded(chat.message)) for chat in ordered]
    asked = [message for _, message in said if not _is_answer(message)]
    answered = [message for _, message in said if _is_answer(message)]
    span = Span(
        trace_id=first.trace_id or trace_id or hex32(first.root_run_id or first.run_id),
        span_id=span_id_of(first.run_id),
        parent_span_id=first.parent_span_id or "",
        trace_state=trace_state(first.root_run_id, first.run_id),
        name="invoke_workflow chat",
        start_ns=_ns(first.timestamp),
        end_ns=_ns(ordered[-1].timestamp),
        status=OK if answered else STATUS_UNSET,
        resource=resource_of(first.service),
        scope=SCOPE,
    )
    attributes = span.attributes
    attributes.update(_who(first, "chat"))
    attributes[names.WORKFLOW_NAME] = "chat"
    for items, value, mime in ((asked, names.OI_INPUT, names.OI_INPUT_MIME),
                               (answered, names.OI_OUTPUT, names.OI_OUTPUT_MIME)):  # fmt: skip
        if items:
            attributes.update(_content(Raw(msgspec.json.encode(items)), value, mime))
    attributes[names.INPUT_MESSAGES] = json_of(to_parts(_messages(asked), output=False))
    attributes[names.OUTPUT_MESSAGES] = json_of(to_parts(_messages(answered), output=True))
    _add_json(attributes, names.OI_METADATA, *(chat.metadata for chat in ordered))
    _add_json(attributes, names.USER_PROPS, *(chat.user_props for chat in ordered))
    tags = sorted({tag for chat in ordered for tag in chat.tags or ()})
    if tags:
        attributes[names.OI_TAGS] = tags
    in_order = [chat for chat, message in said if not _is_answer(message)]
    in_order += [chat for chat, message in said if _is_answer(message)]
    about = [{"eventId": chat.event_id, "timestamp": chat.timestamp} for chat in in_order]
    attributes[names.CHAT_MESSAGES] = json_of(about)
    return span


def ended_chat(span: Span, end: RunEnd) -> None:
    """Add to an exchange's span how its block ended: an error, and what was set by hand."""
    span.status = _STATUS.get(end.status, STATUS_UNSET)
    span.end_ns = max(span.end_ns, _ns(end.timestamp))
    if end.status not in ("ok", "error"):
        span.attributes[names.STATUS] = end.status
    if end.output is not UNSET:
        span.attributes.update(_content(end.output, names.OI_OUTPUT, names.OI_OUTPUT_MIME))
    _add_usage(span.attributes, end)
    _add_failure(span, end)


def evaluation_of(feedback: Feedback, *, trace_id: str = "") -> LogEvent:
    """Feedback as the event ``gen_ai.evaluation.result``; ``run_id`` must be known (the user's own keys are not)."""
    run_id = feedback.run_id or ""
    found = _decoded(feedback.feedback)
    said: dict[str, Any] = found if isinstance(found, dict) else {}
    attributes: Attributes = {names.EVALUATION_NAME: "feedback", names.RUN_ID: run_id}
    thumb, score = said.get("thumb"), said.get("score")
    if isinstance(score, int | float) and not isinstance(score, bool):
        attributes[names.EVALUATION_SCORE] = float(score)
    elif thumb in ("up", "down"):
        attributes[names.EVALUATION_SCORE] = 1.0 if thumb == "up" else 0.0
    label = said.get("label") or thumb
    if isinstance(label, str):
        attributes[names.EVALUATION_LABEL] = label
    if isinstance(said.get("comment"), str):
        attributes[names.EVALUATION_EXPLANATION] = said["comment"]
    attributes[names.FEEDBACK] = text_of(feedback.feedback)
    attributes[names.EVENT_ID] = feedback.event_id
    if feedback.overwrite:
        attributes[names.OVERWRITE] = True
    return LogEvent(
        name=names.EVALUATION_EVENT, time_ns=_ns(feedback.timestamp), attributes=attributes,
        trace_id=trace_id, span_id=span_id_of(run_id) if trace_id else "", scope=SCOPE,
    )  # fmt: skip


def span_name(run_type: str, name: str | None, model: str | None = None) -> str:
    """``chat gpt-4o``, ``execute_tool search``: the operation, and what it is done with."""
    operation = names.OPERATION_OF_TYPE.get(run_type)
    what = (name or model) if run_type in ("llm", "embed") else name
    return " ".join(part for part in (operation, what) if part) or run_type


def resource_of(service: str | None) -> Attributes:
    """What the process is called; Phoenix files spans under the project of that name."""
    return {names.SERVICE_NAME: service, "openinference.project.name": service} if service else {}


def _who(record: RunEnd | Chat, run_type: str) -> Attributes:
    found: Attributes = {
        names.OI_KIND: names.OI_KIND_OF_TYPE.get(run_type, "CHAIN"),
        names.OPERATION: names.OPERATION_OF_TYPE.get(run_type),
        names.RUN_ID: record.run_id,
        names.PARENT_ID: record.parent_run_id,
        names.ROOT_ID: record.root_run_id,
        names.RUN_TYPE: run_type,
        names.NAME: record.name,
        names.USER: record.user_id,
        names.SESSION: record.thread_id,
        names.CONVERSATION: record.thread_id,
        names.CUSTOMER: record.customer,
        names.KEY: record.key,
        names.RUNTIME: record.runtime,
    }
    return {name: value for name, value in found.items() if value is not None}


def _content(content: Content, value: str, mime: str) -> Attributes:
    """A text as it is; anything else as JSON."""
    if content is UNSET:
        return {}
    if bytes(content)[:1] == b'"':
        return {value: _decoded(content), mime: "text/plain"}
    return {value: text_of(content), mime: "application/json"}


def _add_typed(attributes: Attributes, run_type: str, end: RunEnd, start: RunStart | None) -> None:
    name, source = end.name, start.input if start else UNSET
    if run_type in ("llm", "embed"):
        _add_model(attributes, run_type, end, start)
    if run_type in _MESSAGE_TYPES:
        _add_messages(attributes, source, end.output, flattened=run_type == "llm")
    if run_type == "agent" and name:
        attributes[names.AGENT_NAME] = attributes[names.OI_AGENT_NAME] = name
    elif run_type == "chain" and name:
        attributes[names.WORKFLOW_NAME] = name
    elif run_type == "tool":
        attributes[names.TOOL_TYPE] = "function"
        if name:
            attributes[names.TOOL_NAME] = attributes[names.OI_TOOL_NAME] = name
        for attribute, content in ((names.TOOL_ARGUMENTS, source), (names.TOOL_RESULT, end.output)):
            if content is not UNSET:
                attributes[attribute] = text_of(content)
    elif run_type == "retriever":
        _add_retrieval(attributes, name, source, end.output)


def _add_model(attributes: Attributes, run_type: str, end: RunEnd, start: RunStart | None) -> None:
    asked = end.name or end.model
    if asked:
        attributes[names.REQUEST_MODEL] = asked
    model = end.model or end.name
    if model:
        attributes[names.OI_EMBEDDING_MODEL if run_type == "embed" else names.OI_MODEL] = model
    if end.model:
        attributes[names.RESPONSE_MODEL] = end.model
    if end.response_id:
        attributes[names.RESPONSE_ID] = end.response_id
    params = _merged(start.params if start else UNSET, end.params)
    for name, value in params.items():
        decoded = _decoded(value)
        wanted = names.REQUEST_PARAMS.get(name)
        if wanted and isinstance(decoded, str | int | float | list):
            attributes[names.REQUEST + wanted] = [decoded] if name == "stop" and isinstance(decoded, str) else decoded
        elif name == "tools" and isinstance(decoded, list):
            attributes[names.TOOL_DEFINITIONS] = text_of(value)
            for index, tool in enumerate(decoded):
                attributes[f"{names.OI_TOOLS}.{index}.tool.json_schema"] = json_of(tool)
    if params:
        attributes[names.OI_PARAMS] = json_of(params)
    for content in (params, _merged(start.metadata if start else UNSET, end.metadata)):
        provider = _decoded(content["provider"]) if "provider" in content else None
        if isinstance(provider, str) and names.PROVIDER not in attributes:
            attributes[names.PROVIDER] = provider
    if end.first_item_at is not None:
        seconds = (_ns(end.first_item_at) - _ns(end.started_at or end.first_item_at)) / 1e9
        attributes[names.FIRST_CHUNK_SECONDS] = max(0.0, seconds)


def _add_messages(attributes: Attributes, source: Content, output: Content, *, flattened: bool) -> None:
    for content, role, attribute, prefix in (
        (source, "user", names.INPUT_MESSAGES, names.OI_INPUT_MESSAGES),
        (output, "assistant", names.OUTPUT_MESSAGES, names.OI_OUTPUT_MESSAGES),
    ):
        found = messages_in(_decoded(content), role) if content is not UNSET else []
        if found:
            attributes[attribute] = json_of(to_parts(found, output=role == "assistant"))
            if flattened:
                attributes.update(flatten(prefix, found))


def _add_retrieval(attributes: Attributes, name: str | None, source: Content, output: Content) -> None:
    if name:
        attributes[names.DATA_SOURCE] = name
    query, documents = _decoded(source), _decoded(output)
    if isinstance(query, str):
        attributes[names.QUERY_TEXT] = query
    for index, document in enumerate(documents if isinstance(documents, list) else ()):
        attributes[f"{names.OI_DOCUMENTS}.{index}.document.content"] = (
            document if isinstance(document, str) else json_of(document)
        )


def _add_usage(attributes: Attributes, end: RunEnd) -> None:
    usage = end.tokens_usage
    if usage is not None:
        total = usage.total
        if total is None and usage.prompt is not None and usage.completion is not None:
            total = usage.prompt + usage.completion
        for value, attribute, other in (
            (usage.prompt, names.INPUT_TOKENS, names.OI_PROMPT_TOKENS),
            (usage.completion, names.OUTPUT_TOKENS, names.OI_COMPLETION_TOKENS),
            (usage.prompt_cached, names.CACHED_TOKENS, names.OI_CACHED_TOKENS),
            (usage.reasoning, names.REASONING_TOKENS, names.OI_REASONING_TOKENS),
            (total, names.OI_TOTAL_TOKENS, names.OI_TOTAL_TOKENS),
            (usage.total, names.TOTAL_TOKENS, names.TOTAL_TOKENS),
        ):
            if value is not None:
                attributes[attribute] = attributes[other] = value
    if end.cost is not None:
        attributes[names.OI_COST] = end.cost


def _add_extras(attributes: Attributes, end: RunEnd, start: RunStart | None) -> None:
    if start is None:
        attributes[names.INPUT_UNKNOWN] = True
    _add_json(attributes, names.OI_METADATA, start.metadata if start else UNSET, end.metadata)
    _add_json(attributes, names.PARAMS, start.params if start else UNSET, end.params)
    _add_json(attributes, names.USER_PROPS, start.user_props if start else UNSET)
    _add_json(attributes, names.EXTRA, end.extra)
    tags = list(dict.fromkeys([*((start.tags if start else None) or ()), *(end.tags or ())]))
    if tags:
        attributes[names.OI_TAGS] = tags
    if end.status not in ("ok", "error"):
        attributes[names.STATUS] = end.status
    if start is not None and start.template_version_id is not None:
        attributes[names.TEMPLATE] = start.template_version_id
    for name, value in ((names.FIRST_ITEM_AT, end.first_item_at), (names.ITEMS, end.items)):
        if value is not None:
            attributes[name] = value


def _add_failure(span: Span, end: RunEnd) -> None:
    error = end.error
    if error is None:
        return
    span.status_message = error.message
    span.attributes[names.ERROR_TYPE] = error.type or "_OTHER"
    about = {names.EXCEPTION_TYPE: error.type, names.EXCEPTION_MESSAGE: error.message,
             names.EXCEPTION_STACK: error.stack}  # fmt: skip
    known = {name: value for name, value in about.items() if value is not None}
    span.events.append(SpanEvent(names.EXCEPTION_EVENT, span.end_ns, known))


def _point(point: RunPoint) -> SpanEvent:
    attributes: Attributes = {names.EVENT_ID: point.event_id}
    for name, value in _merged(point.data).items():
        decoded = _decoded(value)
        attributes[name] = decoded if isinstance(decoded, str | int | float | bool) else text_of(value)
    return SpanEvent(point.label, _ns(point.timestamp), attributes)


def _add_json(attributes: Attributes, name: str, *contents: Content) -> None:
    merged = _merged(*contents)
    if merged:
        attributes[name] = json_of(merged)


def _merged(*contents: Content) -> dict[str, Raw]:
    found: dict[str, Raw] = {}
    for content in contents:
        parts = members(content)
        if parts is None and content is not UNSET and bytes(content) != b"null":
            parts = {"value": content}
        found.update(parts or {})
    return found


def _messages(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def is_answer(chat: Chat) -> bool:
    """Whether a message is what the agent said, which completes the exchange."""
    return _is_answer(_decoded(chat.message))


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ("assistant", "tool", "bot")


def _decoded(content: Content) -> Any:
    if content is UNSET:
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text_of(content)


def _ns(timestamp: str) -> int:
    try:
        return max(0, parse_iso_us(timestamp) * 1000)
    except (ValueError, OverflowError):
        return 0


def plain(value: Any) -> Any:
    """An attribute's value as JSON holds it: bytes as base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
