"""The plan of one decorated thing: everything that does not change from call to call, worked out beforehand.

Promises: `begin` and the `finish` family are the door between the host's call and recording: whatever fails in them is
counted and the call goes on as if undecorated. Must never: change arguments, result or exception.
"""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from .ambient import Ambient, ambient_var, current_var
from .binding import Parameters, compile_bind, sole_name
from .closing import close, close_failed
from .compose import label, members_of, object_of, texts_of
from .edge import OFF, call_hook, failed, wrong_argument
from .late import MISSING
from .lineage import json_text
from .opening import open_run, write_start
from .options import Options
from .recorder import Recorder, live, seat
from .run import Run

MAPPED_TYPES = frozenset({"tool"})
"""Run types whose input is a mapping of argument names even when there is but one."""

_INPUT = ("input",)
_OUTPUT = ("output",)


class Plan:
    """How one decorated function, or one opened block, is recorded."""

    __slots__ = (
        "_rendered", "_sole", "_telling", "bind", "ignore", "keeps_output", "label", "options", "parameters", "parent",
        "process_output",
    )  # fmt: skip

    def __init__(self, type_: str, name: str, options: Options, function: Any = None) -> None:
        self.label = label(type_, name)
        self.options = options
        self.parent = options.parent
        self.ignore = options.ignore
        self.process_output = options.process_output
        self.keeps_output = options.capture_output
        self.parameters = Parameters(function) if function is not None else None
        self.bind = None
        self._sole = ""
        if self.parameters is not None:
            if options.capture_input is True:
                self._sole = sole_name(self.parameters, type_ in MAPPED_TYPES)
            self.bind = compile_bind(self.parameters, options.capture_input, type_ in MAPPED_TYPES)
            self._check_names(options.capture_input)
        self._rendered: tuple[Recorder | None, Ambient | None, str] = (None, None, "")
        self._telling: tuple[Recorder | None, bool] = (None, False)

    def _check_names(self, capture: bool | tuple[str, ...]) -> None:
        parameters = self.parameters
        if parameters is None or isinstance(capture, bool) or parameters.varkw or not parameters.known:
            return
        for name in capture:
            if name not in parameters.names():
                known = ", ".join(parameters.names()) or "none"
                error = UsageError(f"capture_input: {self.label.name} has no argument {name!r}; it has {known}")
                wrong_argument(error, self.label.type)

    def start_members(self, recorder: Recorder, ambient: Ambient) -> str:
        """The members that only the start record has: tags, metadata, params. The last answer is kept."""
        known_recorder, known_ambient, members = self._rendered
        if known_recorder is not recorder or known_ambient is not ambient:
            members = start_members(recorder, ambient, self.options)
            self._rendered = (recorder, ambient, members)
        return members

    def named(self, recorder: Recorder, value: Any) -> Any:
        """The sole argument's value as it is recorded: itself, or beneath its name if that name is one that redaction
        goes by (``password``), and would be lost otherwise."""
        known_recorder, telling = self._telling
        if known_recorder is not recorder:
            probe = {self._sole: "correct horse"}
            telling = recorder.encoder.snapshot(probe) != f'{{{json_text(self._sole)}:"correct horse"}}'.encode()
            self._telling = (recorder, telling)
        return {self._sole: value} if telling else value


def start_members(recorder: Recorder, ambient: Ambient, options: Options) -> str:
    """Tags, metadata, params and the user's properties as members of a start record."""
    parts: list[str] = []
    tags = ambient.tags
    if options.tags:
        tags = tuple(dict.fromkeys((*tags, *texts_of(recorder, options.tags, "tags"))))
    if tags:
        parts.append(f',"tags":[{",".join(tags)}]')
    if options.template_version_id is not None:
        version = options.template_version_id
        parts.append(f',"templateVersionId":{version if isinstance(version, int) else json_text(version)}')
    if recorder.capture_content:
        metadata = ambient.metadata
        if options.metadata:
            metadata = {**metadata, **members_of(recorder, options.metadata, "metadata")}
        if metadata:
            parts.append(f',"metadata":{object_of(metadata)}')
        if options.params:
            parts.append(f',"params":{object_of(members_of(recorder, options.params, "params"))}')
        parts.append(ambient.props)
    return "".join(parts)


def begin(plan: Plan, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run | None:
    """Open the run of a decorated call; None when nothing is to be recorded."""
    try:
        recorder = seat.live or live()
        parent = current_var.get()
        if recorder is None or parent is OFF:
            return None
        ambient = ambient_var.get()
        run = open_run(recorder, plan.label, plan.parent or parent, ambient)  # type: ignore[arg-type]
        if run._trace.sampled:
            content = None
            if plan.bind is not None and recorder.capture_content:
                value = plan.bind(instance, args, kwargs)
                if plan._sole and value is not MISSING:
                    value = plan.named(recorder, value)
                content = input_content(plan, recorder, value)
            write_start(run, plan.start_members(recorder, ambient), content)
        return run
    except Exception as error:
        failed("start_failed", error)
        return None


def input_content(plan: Plan, recorder: Recorder, value: Any) -> bytes | None:
    """The input as JSON, through the user's ``process_input``, which fails closed."""
    if value is MISSING:
        return None
    hook = plan.options.process_input
    if hook is not None:
        worked, value = call_hook("process_input", hook, value)
        if not worked:
            return b'"[process_input failed]"'
    return recorder.encoder.snapshot(value, _INPUT)


def finish(plan: Plan, run: Run, result: Any) -> None:
    """End the run of a call that returned."""
    try:
        recorder = run._recorder
        content = None
        if plan.keeps_output and recorder.capture_content and run._trace.sampled:
            content = output_content(plan, recorder, result)
        close(run, "ok", content)
    except Exception as error:
        failed("end_failed", error)


def output_content(plan: Plan, recorder: Recorder, value: Any) -> bytes:
    """The output as JSON, through the user's ``process_output``, which fails closed."""
    hook = plan.process_output
    if hook is not None:
        worked, value = call_hook("process_output", hook, value)
        if not worked:
            return b'"[process_output failed]"'
    return recorder.encoder.snapshot(value, _OUTPUT)


def finish_failed(plan: Plan, run: Run, error: BaseException) -> None:
    """End the run of a call that raised."""
    try:
        close_failed(run, error, plan.ignore)
    except Exception as inner:
        failed("end_failed", inner)
