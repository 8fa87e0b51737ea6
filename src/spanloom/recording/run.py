"""A run: one piece of work from its start to its end, and everything that can be said of it meanwhile.

Promises: a start record at once and exactly one end record, whoever calls what how often. No run refers to its
children, so that a long trace keeps nothing alive. Must never: raise into the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..clock import iso
from ..errors import UsageError
from .ambient import OUTSIDE, current_var, set_current
from .closing import close, close_failed, error_members, process
from .compose import Label, end_record, point_record, update_record
from .edge import Off, direct, failed, nothing, wrong_argument
from .feedback import Thumb, give
from .late import MISSING, Late, shown
from .lineage import Remote, Trace, json_text, traceparent
from .recorder import Recorder, problem

if TYPE_CHECKING:
    from typing import TypeAlias

    Parent: TypeAlias = "Run | Remote | Off | list[bool]"


_Kind = type[BaseException] | None  # what __exit__ gets; inside Run, `type` is the run's


class Run:
    """One run. Made by the decorators, by ``with agent(...) as run:``, and by `start`.

    ``id`` is a time-ordered UUID as text; ``parent_id`` is that of the run around it, or None. A run is true; the
    inert run, which stands for none, is false.
    """

    __slots__ = (
        "__weakref__", "_closed_by_block", "_common", "_counter", "_label", "_late", "_live", "_opener", "_previous",
        "_recorder", "_started", "_status", "_trace", "host_span", "id", "key_scope", "parent_id",
    )  # fmt: skip

    id: str
    parent_id: str | None
    _opener: object
    _previous: Parent
    _closed_by_block: str
    _counter: int

    def __init__(
        self,
        recorder: Recorder,
        label: Label,
        run_id: str,
        parent_id: str | None,
        trace: Trace,
        common: str,
        started: str,
        key_scope: object,
    ) -> None:
        self.id = run_id
        self.parent_id = parent_id
        self.key_scope = key_scope
        self.host_span = 0  # the id of the host's span that was live when it opened
        self._recorder = recorder
        self._label = label
        self._trace = trace
        self._common = common
        self._started = started
        self._status = "running"
        self._late: Late | None = None
        # Whose run it is. Deleting a slot is atomic, so that of two threads that end a run exactly one succeeds.
        self._live = process.token

    # What it is

    @property
    def type(self) -> str:
        """``agent``, ``tool``, ``llm``, ``chain``, ``embed``, ``retriever`` or ``chat``."""
        return self._label.type

    @property
    def name(self) -> str:
        """Its name, which is the model's for an ``llm`` run."""
        return self._label.name

    @property
    def root_id(self) -> str:
        """The id of the trace's outermost run (the outermost known here, when only a parent's id was given)."""
        return self._trace.root_id or self._trace.local_id

    @property
    def status(self) -> str:
        """``running``, ``ok``, ``error``, ``cancelled`` or ``abandoned``."""
        return self._status

    @property
    def url(self) -> str | None:
        """Where it can be looked at, or None."""
        run_url = self._recorder.run_url
        try:
            return run_url(self.id) if run_url is not None else None
        except Exception as error:
            wrong_argument(error, "url")
            return None

    @property
    def span_hex(self) -> str:
        """The W3C span id that stands for the run: 16 hex digits."""
        return self.traceparent[36:52]

    @property
    def traceparent(self) -> str:
        """The W3C header value that makes this run the parent of work elsewhere."""
        return traceparent(self._trace.hex_id(), self.id, self._trace.sampled)

    def __repr__(self) -> str:
        return f"<Run {self.type} {self.name!r} {self.id} {self.status}>"

    def __copy__(self) -> Run:
        return self

    def __deepcopy__(self, memo: object) -> Run:
        return self

    # What is said of it

    @direct(nothing)
    def set(
        self,
        *,
        output: Any = MISSING,
        usage: Mapping[str, int | None] | None = None,
        model: str | None = None,
        params: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: list[str] | tuple[str, ...] | None = None,
        cost: float | None = None,
        extra: Mapping[str, Any] | None = None,
        response_id: str | None = None,
    ) -> None:
        """Say more about the run; may be called often. Mappings and tags add up, the rest is replaced.

        ``usage`` counts tokens (ints of at least 0): ``input``, ``output``, and optionally ``cached_input``,
        ``reasoning``, ``total``. ``cost`` is in US dollars. ``response_id`` is the provider's, and makes metering
        count a response once.
        """
        given: dict[str, Any] = {
            "usage": usage, "model": model, "params": params, "metadata": metadata, "tags": tags, "cost": cost,
            "extra": extra, "response_id": response_id,
        }  # fmt: skip
        if output is not MISSING:
            given["output"] = output
        self._set(given, update=True)

    @direct(nothing)
    def event(self, label: str, /, **data: Any) -> None:
        """Mark a moment inside the run: ``run.event("retry", attempt=2)``."""
        if not isinstance(label, str):
            raise UsageError(f"event({shown(label)}): the label must be a string")
        if not self._is_open("event"):
            return
        recorder = self._recorder
        if not self._trace.sampled:
            return
        content = recorder.encoder.snapshot(data, ("data",)) if data and recorder.capture_content else None
        at = self.now()
        recorder.append(point_record(self.id, self._next(), at, self._common, json_text(label), content))

    @direct(nothing)
    def feedback(
        self,
        *,
        thumb: Thumb = MISSING,
        comment: str | None = None,
        score: float | None = None,
        label: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Feedback on this run; as `spanloom.feedback`, also after its end."""
        give(self._recorder, self.id, None, thumb, comment, score, label, overwrite)

    # How it ends

    @direct(nothing)
    def end(
        self,
        output: Any = MISSING,
        *,
        usage: Mapping[str, int | None] | None = None,
        model: str | None = None,
        params: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: list[str] | tuple[str, ...] | None = None,
        cost: float | None = None,
        extra: Mapping[str, Any] | None = None,
        response_id: str | None = None,
    ) -> None:
        """End the run well; takes what `set` takes. A run ends once: a second end is counted, not recorded. Only after
        ``with run:`` does the first one add to the run what it has not got."""
        given: dict[str, Any] = {
            "usage": usage, "model": model, "params": params, "metadata": metadata, "tags": tags, "cost": cost,
            "extra": extra, "response_id": response_id,
        }  # fmt: skip
        if output is not MISSING:
            given["output"] = output
        self._end_by_hand(given, None)

    @direct(nothing)
    def fail(self, exception: BaseException | str | None = None) -> None:
        """End the run badly, for ``exception`` (its message, stack and type are kept) or for a reason in words."""
        if exception is not None and not isinstance(exception, (BaseException, str)):
            raise UsageError(f"fail({shown(exception)}): must be an exception, or a string that says what went wrong")
        self._end_by_hand({}, exception if exception is not None else "failed")

    def __enter__(self) -> Run:
        """Make the run current until the block is left, which ends it."""
        self._previous = current_var.get()
        set_current(self)
        return self

    def __exit__(self, kind: _Kind, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.leave()
        end_block(self, error)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(self, kind: _Kind, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.__exit__(kind, error, traceback)

    # For this room

    def now(self) -> str:
        """The present moment as a timestamp on this trace's clock."""
        return iso(self._recorder.monotonic_ns() + self._trace.offset_ns)

    def leave(self) -> None:
        """Make the run before this one current again, if this one still is."""
        previous = getattr(self, "_previous", OUTSIDE)
        self._previous = OUTSIDE
        if current_var.get() is self:
            set_current(previous)

    def _is_open(self, what: str) -> bool:
        if hasattr(self, "_live"):
            return True
        problem(self._recorder, "run_ended", f"{what}() on a run that has ended ({self._label.name})")
        return False

    def _next(self) -> int:
        number: int = getattr(self, "_counter", 0) + 1
        self._counter = number
        return number

    def _set(self, given: Mapping[str, Any], *, update: bool) -> None:
        if not self._is_open("set"):
            return
        recorder = self._recorder
        late = self._late
        if late is None:
            late = self._late = Late()
        content = recorder.capture_content and self._trace.sampled
        reported, problems = late.take(recorder, given, content)
        if update and reported and self._live is process.token:
            sampled = "" if self._trace.sampled else ',"sampled":false'
            recorder.append(update_record(self.id, self._next(), self.now(), self._common, reported + sampled))
        for error in problems:
            wrong_argument(error, "set")

    def _end_by_hand(self, given: Mapping[str, Any], error: BaseException | str | None) -> None:
        if not hasattr(self, "_live"):
            at, self._closed_by_block = getattr(self, "_closed_by_block", ""), ""
            if at and self._add_to_end(at, given):
                return
            self._is_open("end" if error is None else "fail")
            return
        if given:
            self._set(given, update=False)
        if isinstance(error, BaseException):
            close_failed(self, error)
        elif error is not None:
            content = self._recorder.capture_content and self._trace.sampled
            close(self, "error", None, error_members(self._recorder, error if content else "", None, ""))
        else:
            close(self, "ok")

    def _add_to_end(self, at: str, given: Mapping[str, Any]) -> bool:
        """``with run: ...`` and then ``run.end(output=...)``: the end record once more, at the time of the first, with
        what that had not. Whether there was anything."""
        more = Late()
        recorder = self._recorder
        content = recorder.capture_content and self._trace.sampled
        _, problems = more.take(recorder, given, content)
        for error in problems:
            wrong_argument(error, "end")
        late = self._late = self._late or Late()
        added = late.add(more)
        if not added:
            return False
        names = ",".join(f'"{name}"' for name in added)
        members = f',"status":"{self._status}","startedAt":"{self._started}"{late.members(content)},"late":[{names}]'
        if not self._trace.sampled:
            members += ',"sampled":false'
        recorder.append(end_record(self.id, at, self._common, members, late.output, "e2"))
        return True


def end_block(run: Run, error: BaseException | None, ignore: tuple[type[BaseException], ...] = ()) -> None:
    """A ``with`` block is left: end its run, by the exception that leaves it, if any."""
    try:
        if error is not None:
            close_failed(run, error, ignore)
        else:
            run._closed_by_block = close(run, "ok")
    except Exception as inner:
        failed("end_failed", inner)


class InertRun(Run):
    """Stands for no run: outside any, or where nothing is recorded. Its id is "", it is false, and says nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        self.id = ""
        self.parent_id = None
        self.key_scope = None
        self.host_span = 0

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<no Run>"

    type = name = root_id = status = traceparent = property(lambda self: "")
    url = property(lambda self: None)

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def event(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def feedback(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def end(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def fail(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *args: object) -> None:
        """Nothing."""


INERT = InertRun()


def current_run() -> Run:
    """The run that this code is part of. Never None: outside any run, or when off, the inert run (false, id "")."""
    found = current_var.get()
    return found if isinstance(found, Run) else INERT
