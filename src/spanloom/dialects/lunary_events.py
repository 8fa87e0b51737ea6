"""One Lunary event, read field by field, and the records that it stands for (used by `lunary_reading`).

Promise: every documented field is read in every form that the vendor's backend and SDKs know; a wrong one raises a
WireError with its path. Must never: touch content, which is handed on as the bytes that came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, cast

from msgspec import UNSET, Raw

from ..clock import iso, parse_iso_us
from ..errors import WireError
from ..records import AnyRecord, Chat, Content, ErrorInfo, Feedback, RunEnd, RunPoint, RunStart, RunUpdate, Status
from ..records import TokenUsage as Usage
from .lunary_metadata import ON_END, ON_START, STATUS_WORDS, lifted

_MAX_MILLISECONDS = 253_402_300_799_999  # the end of the year 9999
_MAX_COUNT = 2**53
_USAGE_NAMES = {
    "prompt": "prompt",
    "completion": "completion",
    "promptCached": "prompt_cached",
    "prompt_cached": "prompt_cached",
}


class Event:
    """``values``: the envelope's fields as Python values, without nulls, named in camelCase; ``contents``: their JSON
    bytes; ``path``: where the event stands; ``received_at``: the ISO timestamp it gets when it has none.
    ``id`` is the event id that it came with, or one made from its content."""

    __slots__ = ("contents", "id", "path", "received_at", "values")

    def __init__(self, values: dict[str, Any], contents: dict[str, Raw], path: str, received_at: str) -> None:
        self.values, self.contents, self.path, self.received_at = values, contents, path, received_at
        self.id = ""

    def wrong(self, name: str, message: str) -> WireError:
        return WireError(message, path=f"{self.path}.{name}")

    def text(self, name: str, max_characters: int | None = None) -> str | None:
        """A text, or an integer as text; None when absent."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.wrong(name, f"expected text, got {_kind(value)}")
        if max_characters is not None and not 0 < len(value) <= max_characters:
            raise self.wrong(name, f"expected 1 to {max_characters} characters, got {len(value)}")
        return value

    def loose_text(self, name: str) -> str | None:
        """A text; anything else counts as absent, as it does at Lunary."""
        value = self.values.get(name)
        return value if isinstance(value, str) else None

    def content(self, name: str) -> Content:
        return self.contents.get(name, UNSET)

    def object(self, *names: str) -> Content:
        """The first of these fields that is there, which must be a JSON object."""
        for name in names:
            if name in self.values:
                if not isinstance(self.values[name], dict):
                    raise self.wrong(name, f"expected an object, got {_kind(self.values[name])}")
                return self.contents[name]
        return UNSET

    def timestamp(self) -> str:
        value = self.values.get("timestamp")
        if value is None:
            return self.received_at
        try:
            microseconds = _microseconds(value)
        except (ValueError, OverflowError, TypeError):
            shown = repr(value)[:60]
            raise self.wrong("timestamp", f"not a time: {shown}; send ISO 8601 or integer milliseconds") from None
        return iso(microseconds * 1000)

    def tags(self) -> list[str] | None:
        """Tags, or those in metadata, where they travel when they were set late."""
        if "tags" in self.values:
            return _tag_list(self, self.values["tags"], "tags")
        metadata = self.values.get("metadata")
        inside = metadata.get("tags") if isinstance(metadata, dict) else None
        if isinstance(inside, list) and inside and all(isinstance(tag, str) for tag in inside):
            return inside
        return None

    def usage(self) -> Usage | None:
        """``tokensUsage``, with what metadata says of reasoning and total tokens."""
        counts: dict[str, int | None] = {}
        given = self.values.get("tokensUsage", {})
        if not isinstance(given, dict):
            raise self.wrong("tokensUsage", f"expected an object, got {_kind(given)}")
        for name, field in _USAGE_NAMES.items():
            if given.get(name) is not None:
                counts[field] = _count(self, given[name], f"tokensUsage.{name}")
        metadata = {"reasoningTokens": ("reasoning", (int,)), "totalTokens": ("total", (int,))}
        found = lifted(self.values.get("metadata"), cast(Any, metadata))
        counts.update({field: count for field, count in found.items() if 0 <= count <= _MAX_COUNT})
        return Usage(**counts) if counts else None

    def run(self, suffix: str = "") -> dict[str, Any]:
        """The fields that every record about a run has; ``suffix`` tells an event's second record from its first."""
        run_id = self.text("runId", 1000)
        if run_id is None:
            raise self.wrong("runId", "missing: every event names its run")
        return {
            "event_id": self.id + suffix,
            "timestamp": self.timestamp(),
            "run_id": run_id,
            "type": self.loose_text("type"),
            "name": self.loose_text("name"),
            "parent_run_id": self.text("parentRunId", 1000),
            "user_id": self.loose_text("userId"),
            "runtime": self.loose_text("runtime"),
        }


def records_of(event: Event) -> Iterator[AnyRecord]:
    """The records that an event stands for: nearly always one."""
    kind = event.values.get("event")
    if not isinstance(kind, str) or not kind:
        raise event.wrong("event", "missing: one of start, end, error, feedback, chat, update, custom-event")
    return _READERS.get(kind, _anything)(event)


def _start(event: Event) -> Iterator[AnyRecord]:
    common = event.run()
    if common["type"] is None:
        raise event.wrong("type", "missing: a start says what opens, such as llm, agent or tool")
    version = event.values.get("templateVersionId", event.values.get("templateId"))
    start = RunStart(
        **{**lifted(event.values.get("metadata"), ON_START), **common}, input=event.content("input"),
        params=event.object("params", "extra"), metadata=event.object("metadata"), user_props=event.object("userProps"),
        tags=event.tags(), template_version_id=version if type(version) in (int, str) else None,
    )  # fmt: skip
    usage = event.usage()
    yield start
    if usage is not None:
        yield RunUpdate(**event.run(".usage"), tokens_usage=usage)


def _end(event: Event) -> Iterator[AnyRecord]:
    metadata = event.values.get("metadata")
    error = _error_info(event) if "error" in event.values else None
    word = metadata.get("status") if isinstance(metadata, dict) else None
    status = "error" if error is not None else word if word in STATUS_WORDS else "ok"
    yield RunEnd(
        **lifted(metadata, ON_END), **event.run(), status=cast(Status, status), error=error,
        output=event.content("output"), params=event.object("params"), extra=event.object("extra"),
        metadata=event.object("metadata"), tags=event.tags(), tokens_usage=event.usage(),
    )  # fmt: skip


def _error(event: Event) -> Iterator[AnyRecord]:
    yield RunEnd(
        **event.run(), status="error", error=_error_info(event), output=event.content("output"),
        metadata=event.object("metadata"), tags=event.tags(), tokens_usage=event.usage(),
    )  # fmt: skip


def _error_info(event: Event) -> ErrorInfo:
    value = event.values.get("error")
    if value is None:
        return ErrorInfo("unknown error")
    if isinstance(value, str):
        return ErrorInfo(value)
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        stack, name = value.get("stack"), value.get("type", value.get("name"))
        return ErrorInfo(
            value["message"], stack if isinstance(stack, str) else None, name if isinstance(name, str) else None
        )
    return ErrorInfo(str(bytes(event.contents["error"]), "utf-8"))


def _chat(event: Event) -> Iterator[AnyRecord]:
    common = event.run()
    if common["parent_run_id"] is None:
        raise event.wrong("parentRunId", "missing: a chat names its thread")
    message = event.values.get("message")
    if not isinstance(message, dict):
        found = "missing" if message is None else f"expected an object, got {_kind(message)}"
        raise event.wrong("message", f"{found}: a chat carries a message with role and content")
    tags = event.values.get("threadTags", message.get("tags") or event.values.get("tags"))
    yield Chat(
        **{**common, "type": "chat"}, thread_id=common["parent_run_id"], message=event.contents["message"],
        user_props=event.object("userProps"), metadata=event.object("threadMetadata", "metadata"),
        tags=_tag_list(event, tags, "threadTags" if "threadTags" in event.values else "message.tags"),
    )  # fmt: skip
    if "feedback" in event.values:
        yield _feedback_of(event, ".feedback")


def _feedback(event: Event) -> Iterator[AnyRecord]:
    yield _feedback_of(event, "")


def _feedback_of(event: Event, suffix: str) -> Feedback:
    run_id, key = event.text("runId", 1000), event.loose_text("key")
    if run_id is None and not key:
        raise event.wrong("runId", "missing: feedback names its run")
    feedback = event.object("feedback", "extra")
    if feedback is UNSET:
        raise event.wrong("feedback", "missing: an object with thumb or comment")
    return Feedback(
        event_id=event.id + suffix, timestamp=event.timestamp(), run_id=run_id, key=key or None,
        feedback=feedback, overwrite=event.values.get("overwrite") is True,
    )  # fmt: skip


def _update(event: Event) -> Iterator[AnyRecord]:
    """Lunary's update changes an llm run's metadata; ours carries usage. Both are kept."""
    found = lifted(event.values.get("metadata"), {name: ON_END[name] for name in ("model", "cost", "responseId")})
    yield RunUpdate(**found, **event.run(), tokens_usage=event.usage())
    if "metadata" in event.values:
        yield RunPoint(**event.run(".metadata"), label="update", data=event.object("metadata"))


def _custom(event: Event) -> Iterator[AnyRecord]:
    """A named moment of a thread: a point of the thread's run."""
    common = event.run()
    thread = common["parent_run_id"]
    if thread is None:
        raise event.wrong("parentRunId", "missing: a custom event names its thread")
    label = common["name"] or "custom-event"
    yield RunPoint(
        **{**common, "run_id": thread, "parent_run_id": None, "type": "thread", "name": None},
        thread_id=thread, label=label, data=event.object("metadata"),
    )  # fmt: skip


def _anything(event: Event) -> Iterator[AnyRecord]:
    """An event of a name that nobody knows yet: kept as a moment of its run, its whole content as received beside it.

    A ``log`` (its event is a level such as ``info``) may name its parent only.
    """
    if "runId" not in event.values and "parentRunId" in event.values:
        event.values["runId"] = event.values.pop("parentRunId")
    data = event.contents.get("message", event.contents.get("metadata", UNSET))
    isobject = isinstance(event.values.get("message", event.values.get("metadata")), dict)
    yield RunPoint(**{**event.run(), "type": None}, label=str(event.values["event"])[:200],
                   data=data if isobject else UNSET)  # fmt: skip


_READERS: dict[str, Callable[[Event], Iterator[AnyRecord]]] = {
    "start": _start,
    "end": _end,
    "error": _error,
    "chat": _chat,
    "feedback": _feedback,
    "update": _update,
    "custom-event": _custom,
}


def _microseconds(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not -_MAX_MILLISECONDS <= value <= _MAX_MILLISECONDS:
            raise ValueError(value)
        return int(value * 1000)
    if not isinstance(value, str) or len(value) > 100:
        raise ValueError(value)
    try:
        return parse_iso_us(value)
    except ValueError:
        moment = parsedate_to_datetime(value)  # what a browser's Date prints
        zoned = moment.replace(tzinfo=moment.tzinfo or timezone.utc)
        return int(zoned.timestamp()) * 1_000_000


def _tag_list(event: Event, value: object, name: str) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise event.wrong(name, f"expected a list of texts, got {_kind(value)}")
    for place, tag in enumerate(value):
        if not isinstance(tag, str | int | float):
            raise event.wrong(f"{name}[{place}]", f"expected text, got {_kind(tag)}")
    return [str(tag) for tag in value]


def _count(event: Event, value: object, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COUNT:
        raise event.wrong(name, f"expected a count of tokens (an integer >= 0), got {str(value)[:40]}")
    return value


def _kind(value: object) -> str:
    """JSON's word for a Python value's type."""
    words = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return words.get(type(value), "number")
