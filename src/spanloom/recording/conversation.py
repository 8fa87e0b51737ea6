"""Conversations: a thread, its exchanges (chats), the answers.

Promises: the user's message, the answer and the feedback of one exchange share one run id; the thread is their parent
and needs no opening. Inside the block the chat is the current run, and the root of what it leads to. A chat that goes
well writes its two messages and nothing else. Must never: order messages by anything but time.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from ..clock import iso
from ..errors import UsageError
from .ambient import Ambient, ambient_var, current_var, set_variable
from .compose import label
from .edge import OFF, direct, nothing
from .late import checked_tags, shown
from .lineage import Trace, chosen, json_text
from .options import Options
from .plan import start_members
from .recorder import Recorder, live
from .run import InertRun, Run, end_block

_ROLES = ("user", "assistant", "system", "tool", "bot")


class Thread:
    """A conversation by its ``id``, which is the caller's own text or a fresh UUID."""

    __slots__ = ("_metadata", "_tags", "id")

    def __init__(self, id: str, tags: Sequence[str] | None, metadata: dict[str, Any] | None) -> None:
        self.id = id
        self._tags = tags
        self._metadata = metadata

    def chat(self, message: Any, /) -> Chat:
        """Record the user's ``message`` (text, or a mapping with ``role`` and ``content``) and open the exchange.

        Use it as a block: inside, the chat is the current run.
        """
        return _open_chat(self, message)

    def __repr__(self) -> str:
        return f"<Thread {self.id!r}>"


class Chat(Run):
    """One exchange: the user's message, what follows from it, and the answer."""

    __slots__ = ("_ambients", "_start_members", "_thread")

    _ambients: tuple[Ambient, Ambient]
    _start_members: str
    _thread: Thread

    @direct(nothing)
    def reply(self, message: Any, /) -> None:
        """Record the assistant's answer (text, any value, or a mapping with ``role`` and ``content``)."""
        if self._trace.sampled:
            _write_message(self, message, "assistant")

    def __enter__(self) -> Chat:
        super().__enter__()
        before = ambient_var.get()
        ours = before.within(thread=json_text(self._thread.id))
        self._ambients = (ours, before)
        set_variable(ambient_var, ours)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ours, before = self._ambients
        if ambient_var.get() is ours:
            set_variable(ambient_var, before)
        self.leave()
        if error is not None or self._late is not None:
            end_block(self, error)
            return
        try:
            del self._live
            self._status = "ok"
        except AttributeError:
            pass  # ended by hand

    async def __aenter__(self) -> Chat:
        return self.__enter__()


class InertChat(InertRun, Chat):
    """A chat where nothing is recorded: false, its id "", and it says nothing."""

    __slots__ = ()

    def reply(self, message: Any, /) -> None:
        """Nothing."""

    def __enter__(self) -> InertChat:
        return self


INERT_CHAT = InertChat()


@direct(lambda: Thread("", None, None))
def thread(
    id: str | None = None, *, tags: Sequence[str] | None = None, metadata: Mapping[str, Any] | None = None
) -> Thread:
    """The conversation named ``id``, or a new one. ``tags`` and ``metadata`` go with each of its messages."""
    if id is not None and (not isinstance(id, str) or not id):
        raise UsageError(f"thread({shown(id)}): the id must be a string that is not empty")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise UsageError(f"thread(metadata={shown(metadata)}): must be a mapping, such as {{'topic': 'billing'}}")
    tags = checked_tags(tags) if tags is not None else None
    if id is None:
        recorder = live()
        id = str(uuid.uuid4()) if recorder is None else recorder.ids.new(recorder.clock.now_ns())
    return Thread(id, tags, dict(metadata) if metadata is not None else None)


@direct(lambda: INERT_CHAT)
def _open_chat(thread: Thread, message: Any) -> Chat:
    recorder = live()
    if recorder is None or current_var.get() is OFF or not thread.id:
        return INERT_CHAT
    ambient = ambient_var.get().within(thread=json_text(thread.id))
    now_ns = recorder.clock.root_now_ns()
    run_id = recorder.ids.new(now_ns)
    service = f',"service":{json_text(recorder.service)}' if recorder.service else ""
    trace = Trace(
        run_id, run_id, now_ns - recorder.monotonic_ns(), chosen(run_id, recorder.sample), "",
        f',"rootRunId":"{run_id}"{service}',
    )  # fmt: skip
    common = f',"runId":"{run_id}","type":"chat","parentRunId":{json_text(thread.id)}{trace.members}{ambient.who}'
    if ambient.key:
        common += f',"key":{ambient.key}'
    chat = Chat(recorder, label("chat", ""), run_id, thread.id, trace, common, iso(now_ns), ambient.key_scope)
    chat._thread = thread
    chat._start_members = _start_members(recorder, thread, ambient)
    if trace.sampled:
        _write_message(chat, message, "user")
    return chat


def _start_members(recorder: Recorder, thread: Thread, ambient: Ambient) -> str:
    """Tags, metadata and the user's properties, which go with every message (the last one counts at some places)."""
    options = Options(tags=list(thread._tags) if thread._tags else None, metadata=thread._metadata)
    return start_members(recorder, ambient, options)


def _write_message(chat: Chat, message: Any, role: str) -> None:
    recorder = chat._recorder
    content: bytes
    if issubclass(type(message), Mapping) and "role" in message:
        role = message["role"] if message["role"] in _ROLES else role
        content = recorder.encoder.snapshot(message, ("message",)) if recorder.capture_content else b""
    elif recorder.capture_content:
        content = b'{"role":"%b","content":%b}' % (
            role.encode(),
            recorder.encoder.snapshot(message, ("message", "content")),
        )
    else:
        content = b""
    at = chat.now()
    event_id = recorder.ids.new(recorder.clock.now_ns())
    head = f'{{"event":"chat","eventId":"{event_id}","timestamp":"{at}"{chat._common}{chat._start_members},"message":'
    recorder.append(b"".join((head.encode(), content or b'{"role":"%b"}' % role.encode(), b"}")))
