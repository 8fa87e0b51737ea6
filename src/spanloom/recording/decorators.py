"""The words a user types: agent, tool, llm, chain, embed, retriever, each a decorator and a context manager; `traced`.

Promises: to the type checker and to `inspect`, a decorated thing is the user's own; all work that can be done once is
done here, where it is decorated; while nothing is recorded, wrapt calls the user's function without calling us.
Must never: take a keyword of the user's, or change what pickles, copies or binds.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

import wrapt

from ..errors import UsageError
from ..native import get_ident
from ..records import RUN_TYPES
from .ambient import OUTSIDE, ambient_var, current_var, set_current
from .calls import Wrapper, coroutine_call, plain_call
from .classes import decorate_class, plan_of_class, traced_instance
from .edge import OFF, direct, failed, wrong_argument
from .generators import async_generator_call, generator_call
from .late import shown
from .opening import open_run, write_start
from .options import Options, read_options
from .plan import Plan, begin, input_content, start_members
from .recorder import live
from .run import INERT, Run, end_block

F = TypeVar("F", bound="Callable[..., Any] | staticmethod[..., Any] | classmethod[Any, ..., Any]")
P = ParamSpec("P")
T = TypeVar("T")

# Falsy where nothing is recorded: inside `disabled()` (OFF), and outside any run while recording is off (OUTSIDE).
_is_on: Any = current_var.get


class _Bound(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """A decorated method, bound."""

    def __getattr__(self, name: str) -> Any:
        return _attribute(self, name)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        method: Any = self.__wrapped__
        return getattr(copy.deepcopy(method.__self__, memo), method.__name__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        method: Any = self.__wrapped__
        return getattr, (method.__self__, method.__name__)


class Decorated(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A decorated function: passes for the function itself in everything but ``type()``."""

    __bound_function_wrapper__ = _Bound

    def __init__(self, function: Any, plan: Plan, wrapper: Wrapper) -> None:
        super().__init__(function, wrapper, _is_on)
        self._self_plan = plan

    def __getattr__(self, name: str) -> Any:
        return _attribute(self, name)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        name = getattr(self.__wrapped__, "__qualname__", None)
        if not isinstance(name, str):  # a callable object, or a partial: by value
            return _redecorated, (self.__wrapped__, self._self_plan.label.type, self._self_plan.label.name)
        return name


def _attribute(decorated: Any, name: str) -> Any:
    """An attribute of the user's function, or ``traced`` if that is none of them."""
    try:
        return getattr(decorated.__wrapped__, name)
    except AttributeError:
        if name == "traced":
            return functools.partial(traced, decorated)
        raise


def _redecorated(function: Any, type_: str, name: str) -> Any:
    return _decorate(function, type_, Options(name=name))


def _decorate(function: Any, type_: str, options: Options) -> Any:
    name = options.name if options.name is not None else _name_of(function)
    if isinstance(function, type):
        return decorate_class(function, Plan(type_, name, options, function))
    underlying = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
    plan = Plan(type_, name, options, function)
    return Decorated(function, plan, _wrapper_for(underlying, plan))


def _is_decorated(target: Any) -> bool:
    """Whether ``agent(target)`` is a decoration. A plain value is meant for a name, right or wrong, since ``with``
    needs a block; any other object may be what another decorator made (a framework's tool) and is given back as it is.
    Asks types only, never the target."""
    kind = type(target)
    if target is None or issubclass(kind, str):
        return False
    if callable(target) or hasattr(kind, "__get__"):
        return True
    return not issubclass(kind, (int, float, bytes, Enum)) and type.__getattribute__(kind, "__module__") != "builtins"


def _name_of(function: Any) -> str:
    for candidate in (function, getattr(function, "func", None), getattr(function, "__func__", None)):
        name = getattr(candidate, "__name__", None)
        if isinstance(name, str):
            return name
    return type(function).__name__


def _wrapper_for(function: Any, plan: Plan) -> Wrapper:
    callables = [function]
    if not inspect.isroutine(function) and not isinstance(function, functools.partial):
        callables.append(getattr(type(function), "__call__", None))  # noqa: B004 - its kind is asked, not whether
    for candidate in callables:
        if inspect.isasyncgenfunction(candidate):
            return async_generator_call(plan)
        if inspect.isgeneratorfunction(candidate):
            return generator_call(plan)
        if inspect.iscoroutinefunction(candidate):
            return coroutine_call(plan)
    return plain_call(plan)


class Opener:
    """What ``agent(...)`` gives: a decorator, and a context manager (sync and async) that opens a run.

    One opener may be entered many times, nested and in several threads and tasks at once.
    """

    __slots__ = ("_options", "_type")

    def __init__(self, type_: str, options: Options) -> None:
        self._type = type_
        self._options = options

    def __call__(self, function: F) -> F:
        """Decorate a function, method, class or any other callable."""
        try:
            if not callable(function) and not isinstance(function, (staticmethod, classmethod)):
                raise UsageError(f"@{self._type} on {shown(function)}: must decorate a callable")
            return cast(F, _decorate(function, self._type, self._options))
        except Exception as error:
            wrong_argument(error, self._type)
            return function

    def __enter__(self) -> Run:
        run = _open(self._type, self._options)
        if run is not INERT:
            run._opener = self
            run._previous = current_var.get()
            if not set_current(run):
                _apart.append((get_ident(), run))
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run = _taken_apart(self) if _apart else None
        if run is None:
            found = current_var.get()
            while isinstance(found, Run) and getattr(found, "_opener", None) is not self:
                found = getattr(found, "_previous", OUTSIDE)  # someone left a run of theirs current inside
            if not isinstance(found, Run):
                return
            run = found
            if current_var.get() is not run:
                set_current(run)
        run._opener = None
        run.leave()
        end_block(run, error, self._options.ignore)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


_apart: list[tuple[int, Run]] = []
"""Runs that could not be made current (`ambient.set_current`), so that their blocks do not find them there, each with
the thread that entered its block."""


def _taken_apart(opener: Opener) -> Run | None:
    """The run of a block that this thread leaves, if it is one of those."""
    me = get_ident()
    for entry in reversed(list(_apart)):
        thread, run = entry
        if thread == me and run._opener is opener:
            _apart.remove(entry)
            return run
    return None


def _open(type_: str, options: Options) -> Run:
    """A run by hand or by a block, its start written; the inert run where nothing is recorded."""
    try:
        recorder = live()
        parent = current_var.get()
        if recorder is None or parent is OFF:
            return INERT
        ambient = ambient_var.get()
        plan = Plan(type_, options.name if options.name is not None else type_, options)
        run = open_run(recorder, plan.label, plan.parent or parent, ambient)  # type: ignore[arg-type]
        if run._trace.sampled:
            content = None
            if options.capture_input is not False and recorder.capture_content:
                content = input_content(plan, recorder, options.input)
            write_start(run, start_members(recorder, ambient, options), content)
        return run
    except Exception as error:
        failed("start_failed", error)
        return INERT


class RunKind:
    """One run type as a word: ``@agent``, ``@agent(name="x")``, ``with agent("x") as run:``."""

    def __init__(self, name: str, doc: str) -> None:
        self.__name__ = name
        self.__doc__ = doc

    @overload
    def __call__(
        self,
        name: str | None = None,
        *,
        input: Any = ...,
        tags: Sequence[str] | None = ...,
        metadata: Mapping[str, Any] | None = ...,
        params: Mapping[str, Any] | None = ...,
        template_version_id: int | str | None = ...,
        capture_input: bool | Sequence[str] = ...,
        capture_output: bool = ...,
        process_input: Callable[[Any], Any] | None = ...,
        process_output: Callable[[Any], Any] | None = ...,
        reduce: Callable[[list[Any]], Any] | None = ...,
        ignore: type[BaseException] | Sequence[type[BaseException]] = ...,
        parent: Run | str | None = ...,
    ) -> Opener: ...

    @overload
    def __call__(self, function: F, /) -> F: ...

    def __call__(self, target: Any = None, /, **options: Any) -> Any:  # type: ignore[misc]
        """Decorate a callable, or give an opener; never raises but UsageError when strict."""
        if _is_decorated(target):
            opener = Opener(self.__name__, read_options(self.__name__, options) if options else Options())
            return opener(target)
        if target is not None:
            options["name"] = target
        return Opener(self.__name__, read_options(self.__name__, options))

    def __repr__(self) -> str:
        return f"<spanloom.{self.__name__}>"

    def __reduce__(self) -> str:
        return self.__name__


agent = RunKind("agent", "An agent at work: decides, calls models and tools.")
tool = RunKind("tool", "A tool that an agent or a model uses. Its input is a mapping of argument names.")
llm = RunKind("llm", "A call to a language model; its name is the model's.")
chain = RunKind("chain", "Steps that belong together.")
embed = RunKind("embed", "A call to an embedding model.")
retriever = RunKind("retriever", "A search for documents.")


@direct(lambda: INERT)
def start(
    type: Literal["agent", "tool", "llm", "chain", "embed", "retriever"], name: str | None = None, **options: Any
) -> Run:
    """Open a run by hand; it becomes current only inside ``with run:``. End it with `Run.end` or `Run.fail`.

    ``type`` is a run type; the options are those of the decorators (``input``, ``parent``, ``tags``, ``metadata``,
    ``params``, ``template_version_id``). Returns the inert run where nothing is recorded.
    """
    if not isinstance(type, str) or type not in RUN_TYPES:
        raise UsageError(f"start({shown(type)}): no such run type; use one of {', '.join(RUN_TYPES)}")
    if name is not None:
        options["name"] = name
    return _open(type, read_options("start", options))


@overload
def traced(  # type: ignore[overload-overlap]  # a function that returns a coroutine counts as a coroutine function
    function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, tuple[T, Run]]: ...


@overload
def traced(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> tuple[T, Run]: ...


def traced(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a decorated function and return ``(result, run)``; for a coroutine function, a coroutine of that.

    The run is the inert one where nothing is recorded, or when ``function`` is not decorated.
    """
    if isinstance(function, type):
        class_plan = plan_of_class(function)
        if class_plan is None:
            return function(*args, **kwargs), INERT
        made, run = traced_instance(function, class_plan, args, kwargs)
        return made, run or INERT
    if not isinstance(function, (Decorated, _Bound)):
        return _with_inert(function, args, kwargs)
    parent = function if isinstance(function, Decorated) else function._self_parent
    plan: Plan = parent._self_plan
    wrapped: Any = function.__wrapped__
    instance = getattr(wrapped, "__self__", None) if isinstance(function, _Bound) else None
    if inspect.iscoroutinefunction(wrapped):
        return _traced_coroutine(function, plan, wrapped, instance, args, kwargs)
    run = begin(plan, instance, args, kwargs)
    call: Any = function._self_wrapper
    result = call(wrapped, instance, args, kwargs, run)
    return result, run or INERT


async def _traced_coroutine(
    function: Any, plan: Plan, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Run]:
    run = begin(plan, instance, args, kwargs)
    result = await function._self_wrapper(wrapped, instance, args, kwargs, run)
    return result, run or INERT


def _with_inert(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not inspect.iscoroutinefunction(function):
        return function(*args, **kwargs), INERT

    async def with_inert() -> tuple[Any, Run]:
        return await function(*args, **kwargs), INERT

    return with_inert()
