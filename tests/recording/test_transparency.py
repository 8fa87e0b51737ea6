"""The decorated thing is the user's own thing: signature, kind, binding, exceptions, arguments."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
import pickle
import traceback
from typing import Any, NamedTuple

import cloudpickle
import pytest

from spanloom.recording.decorators import agent, chain, embed, llm, retriever, tool, traced

KINDS = [agent, tool, llm, chain, embed, retriever]


@tool
def at_module_level(x: int) -> int:
    """Its docstring."""
    return x + 1


@agent
class Point:
    __match_args__ = ("x", "y")

    def __init__(self, x: int, y: int = 2) -> None:
        self.x = x
        self.y = y


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_bare_and_called(recorded: Any, kind: Any) -> None:
    """Each word decorates with and without parentheses, and names the run after the function or as told."""

    @kind
    def bare(x: int) -> int:
        return x

    @kind()
    def empty(x: int) -> int:
        return x

    @kind(name="named")
    def other(x: int) -> int:
        return x

    assert (bare(1), empty(2), other(3)) == (1, 2, 3)
    assert [(r.type, r.name) for r in recorded.starts] == [(kind.__name__, n) for n in ("bare", "empty", "named")]
    assert recorded.rejected == []


def test_looks_the_same(recorded: Any) -> None:
    """Signature, names, docstring, annotations, source and defaults are the function's own."""

    def plain(a: int, /, b: str = "x", *args: int, c: float, **kwargs: bool) -> list[int]:
        """Doc."""
        return []

    decorated = tool(plain)
    assert inspect.signature(decorated) == inspect.signature(plain)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__", "__defaults__", "__code__"):
        assert getattr(decorated, name) == getattr(plain, name)
    assert inspect.isfunction(decorated) and callable(decorated)
    assert inspect.getsource(decorated) == inspect.getsource(plain)
    assert inspect.unwrap(decorated) is plain
    plain.colour = "red"  # type: ignore[attr-defined]
    assert decorated.colour == "red"  # type: ignore[attr-defined]
    decorated.shade = "dark"  # type: ignore[attr-defined]
    assert plain.shade == "dark"  # type: ignore[attr-defined]


def test_kinds_are_kept(recorded: Any) -> None:
    """Coroutine, generator and async generator functions stay what `inspect` and asyncio call them."""

    @tool
    async def coroutine() -> int:
        return 1

    @tool
    def generator() -> Any:
        yield 1

    @tool
    async def async_generator() -> Any:
        yield 1

    assert inspect.iscoroutinefunction(coroutine)
    assert not inspect.iscoroutinefunction(generator)
    assert inspect.isgeneratorfunction(generator) and not inspect.isgeneratorfunction(coroutine)
    assert inspect.isasyncgenfunction(async_generator)
    made = coroutine()
    assert inspect.iscoroutine(made) and made.__name__ == "coroutine" and "coroutine" in repr(made)
    assert asyncio.run(made) == 1
    assert inspect.isgenerator(generator()) and inspect.isasyncgen(async_generator())
    assert generator().__name__ == "generator" and async_generator().__qualname__.endswith("async_generator")


def test_methods_in_every_order(recorded: Any) -> None:
    """Methods, static and class methods with the decorator above or below; self and cls are never captured."""

    class Desk:
        @tool
        def method(self, x: int) -> int:
            return x

        @tool
        @staticmethod
        def static_above(x: int) -> int:
            return x

        @staticmethod
        @tool
        def static_below(x: int) -> int:
            return x

        @tool
        @classmethod
        def class_above(cls, x: int) -> type:
            return cls

        @classmethod
        @tool
        def class_below(cls, x: int) -> type:
            return cls

        @tool
        def odd(this, x: int) -> int:
            return x

        @property
        @tool
        def prop(self) -> int:
            return 7

    desk = Desk()
    assert desk.method(1) == 1 and Desk.method(desk, 2) == 2 and desk.method(x=3) == 3
    assert desk.static_above(1) == Desk.static_above(1) == desk.static_below(1) == Desk.static_below(1) == 1
    assert desk.class_above(1) is Desk.class_above(1) is Desk.class_below(1) is desk.class_below(1) is Desk
    assert desk.odd(1) == 1 and desk.prop == 7
    inputs = [recorded.value(start.input) for start in recorded.starts]
    assert inputs == [{"x": n} for n in (1, 2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1)] + [{}]
    assert inspect.signature(desk.method) == inspect.signature(lambda x: 0).replace(
        parameters=[inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="int")],
        return_annotation="int",
    )
    assert inspect.ismethod(desk.method) and desk.method.__self__ is desk
    assert recorded.rejected == []


def test_a_class_stays_a_class(recorded: Any) -> None:
    """A decorated class keeps identity, pickling, match, isinstance and signature; making one is the run."""
    assert isinstance(Point, type)
    assert str(inspect.signature(Point)) == "(x: 'int', y: 'int' = 2) -> 'None'" or "x" in str(inspect.signature(Point))
    point = Point(1)
    assert isinstance(point, Point) and (point.x, point.y) == (1, 2)
    match_args = Point.__match_args__
    assert match_args == ("x", "y")
    assert pickle.loads(pickle.dumps(point)).x == 1 and pickle.loads(pickle.dumps(Point)) is Point

    class Below(Point):
        pass

    Below(5)
    assert [start.name for start in recorded.starts] == ["Point"]
    assert recorded.input("Point") == {"x": 1, "y": 2}
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Point()  # type: ignore[call-arg]
    assert recorded.ends[-1].status == "error"


def test_immutable_and_bare_classes(recorded: Any) -> None:
    """Classes made by __new__, and classes with no __init__ of their own, are recorded and behave as before."""

    @tool
    class Name(str):
        pass

    @tool
    class Pair(NamedTuple):
        a: int
        b: int = 2

    @tool
    class Empty:
        pass

    @tool
    class Trouble(ValueError):
        pass

    assert Name("x") == "x" and type(Name("x")) is Name
    assert Pair(1) == (1, 2) and Pair(1)._replace(b=3) == (1, 3)
    assert isinstance(Empty(), Empty) and inspect.signature(Empty) == inspect.signature(type("E", (), {}))
    with pytest.raises(TypeError, match=r"Empty\(\) takes no arguments"):
        Empty(1)  # type: ignore[call-arg]
    with pytest.raises(Trouble, match="no"):
        raise Trouble("no")
    assert {start.name for start in recorded.starts} >= {"Name", "Pair", "Empty", "Trouble"}
    assert recorded.rejected == []


def test_partials_and_callable_objects(recorded: Any) -> None:
    """functools.partial, lambdas, builtins, callable objects (sync and async) and bound methods can be decorated."""

    class Calling:
        def __call__(self, x: int) -> int:
            return x * 2

    class CallingLater:
        async def __call__(self, x: int) -> int:
            return x * 3

    calling = Calling()
    decorated = tool(calling)
    assert decorated(2) == 4 and isinstance(decorated, Calling)
    assert asyncio.run(tool(CallingLater())(2)) == 6  # type: ignore[arg-type]
    assert tool(functools.partial(pow, 2))(5) == 32
    assert tool(lambda x: x)(9) == 9
    assert tool(len)([1, 2]) == 2
    numbers: list[int] = []
    tool(numbers.append)(4)
    assert numbers == [4]
    assert [s.name for s in recorded.starts] == ["Calling", "CallingLater", "pow", "<lambda>", "len", "append"]
    assert recorded.rejected == []


def test_every_keyword_is_the_users(recorded: Any) -> None:
    """No keyword argument is taken: config, parent, metadata, tags, name, run, wrapped, instance… all arrive."""

    @tool
    def takes(**kwargs: Any) -> dict[str, Any]:
        return kwargs

    words = ("config", "parent", "metadata", "tags", "user_id", "user_props", "name", "input", "run", "self", "cls",
             "wrapped", "instance", "args", "kwargs", "function", "type", "output", "usage", "traced")  # fmt: skip
    given = {word: word for word in words}
    assert takes(**given) == given
    assert recorded.input("takes") == {"kwargs": given}


def test_pickles_and_copies(recorded: Any) -> None:
    """Module-level functions pickle by reference, bound methods with their object; copies are the same function."""
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level
    assert copy.copy(at_module_level) is at_module_level and copy.deepcopy([at_module_level])[0] is at_module_level
    assert cloudpickle.loads(cloudpickle.dumps(at_module_level))(1) == 2
    local = 3

    @tool
    def inner(x: int) -> int:
        return x + local

    with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
        pickle.dumps(inner)
    assert cloudpickle.loads(cloudpickle.dumps(inner))(1) == 4


class Holder:
    def __init__(self) -> None:
        self.items = [1]

    @tool
    def size(self) -> int:
        return len(self.items)


def test_bound_methods_pickle_and_copy(recorded: Any) -> None:
    """A bound decorated method pickles, and deep-copies together with its object."""
    holder = Holder()
    copied = copy.deepcopy(holder.size)
    holder.items.append(2)
    assert copied() == 1 and holder.size() == 2
    assert pickle.loads(pickle.dumps(holder.size))() == 2


def test_exceptions_are_the_same_object(recorded: Any) -> None:
    """The user's exception is the same object with at most one traceback frame more, in all four kinds of function."""
    error = ValueError("no")

    def fail() -> Any:
        raise error

    async def fail_later() -> Any:
        raise error

    def fail_after_one() -> Any:
        yield 1
        raise error

    async def fail_after_one_later() -> Any:
        yield 1
        raise error

    async def consume(stream: Any) -> None:
        async for _ in stream:
            pass

    def run(function: Any) -> Any:
        if inspect.isasyncgenfunction(function):
            return asyncio.run(consume(function()))
        made = function()
        return asyncio.run(made) if inspect.iscoroutine(made) else list(made)

    for function in (fail, fail_later, fail_after_one, fail_after_one_later):
        frames = []
        for variant in (function, tool(function)):
            error.__traceback__ = None
            with pytest.raises(ValueError) as caught:
                run(variant)
            assert caught.value is error
            frames.append(len(traceback.extract_tb(error.__traceback__)))
        assert frames[1] - frames[0] <= 1, function
    assert [end.status for end in recorded.ends] == ["error"] * 4


def test_wrong_calls_raise_as_before(recorded: Any) -> None:
    """A call that does not fit raises the host's TypeError where it did before: at the call, not at the first await."""

    @tool
    async def later(x: int) -> int:
        return x

    @tool
    def generator(x: int) -> Any:
        yield x

    @tool
    def plain(x: int) -> int:
        return x

    for function in (later, generator, plain):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            function()  # type: ignore[operator]
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            function(1, y=2)  # type: ignore[operator]


def test_traced_gives_result_and_run(recorded: Any) -> None:
    """`traced` returns the result and its run for functions, methods, coroutines, generators and classes."""

    class Desk:
        @tool
        def method(self, x: int) -> int:
            return x

    @agent
    async def later(x: int) -> int:
        return x

    @agent
    def stream(x: int) -> Any:
        yield x

    result, run = traced(at_module_level, 1)
    assert (result, run.status, run.name) == (2, "ok", "at_module_level")
    result, run = at_module_level.traced(4)  # type: ignore[attr-defined]
    assert result == 5 and run.id == recorded.starts[-1].run_id
    assert traced(Desk().method, 3)[0] == 3 and recorded.value(recorded.starts[-1].input) == {"x": 3}
    assert asyncio.run(traced(later, 5))[0] == 5
    items, run = traced(stream, 6)
    assert run.id and list(items) == [6] and run.status == "ok"
    point, run = traced(Point, 8)
    assert point.x == 8 and run.name == "Point"
    assert traced(len, [1])[0] == 1 and not traced(len, [1])[1]


def test_a_users_own_traced_attribute_wins(recorded: Any) -> None:
    """An attribute named `traced` that the user's function already has stays the user's."""

    def function() -> None: ...

    function.traced = "mine"  # type: ignore[attr-defined]
    assert tool(function).traced == "mine"  # type: ignore[attr-defined]


def test_works_below_contextmanager_and_lru_cache(recorded: Any) -> None:
    """Other decorators stack above and below."""

    @contextlib.contextmanager
    @tool
    def managed() -> Any:
        yield 5

    @functools.lru_cache
    @tool
    def cached(x: int) -> int:
        return x

    with managed() as value:
        assert value == 5
    assert cached(1) == cached(1) == 1
    assert [start.name for start in recorded.starts] == ["managed", "cached"]
    assert recorded.end("managed").status == "ok"
