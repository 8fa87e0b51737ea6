"""The encoder against every kind of value: total, bounded, strict JSON, and no code of the user's own is run."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import gc
import hashlib
import io
import json
import pathlib
import sys
import threading
import tracemalloc
import types
import uuid
import weakref
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import msgspec
import orjson
import pydantic
import pytest

from spanloom.encoder import Encoder, Limits
from spanloom.redaction import Redactor


def encoders() -> list[Encoder]:
    """With the rules, with none, and with a hook that changes nothing (which goes the walk's way)."""
    return [Encoder(redactor=Redactor()), Encoder(), Encoder(redactor=Redactor(lambda path, text: text))]


ENCODERS = encoders()


def encode(value: object) -> Any:
    """The value read back, alike by all three encoders (rules, none, a hook that changes nothing)."""
    made = encoders()
    found = [strict(encoder.snapshot(value)) for encoder in made]
    assert found[0] == found[1] == found[2]
    assert [encoder.failures for encoder in made] == [0, 0, 0]
    return found[0]


def strict(encoded: bytes) -> Any:
    """Read by the strict parser; no NUL in the text."""
    found = orjson.loads(encoded)
    assert "\0" not in json.dumps(found, ensure_ascii=False)
    return found


class Unfriendly(BaseException):
    """No Exception."""


DUNDERS = ("__repr__", "__str__", "__len__", "__iter__", "__getattr__", "__getattribute__", "__hash__", "__eq__",
           "__bool__", "__int__", "__float__", "__index__", "__getitem__", "__contains__", "__call__", "__format__",
           "__reduce_ex__", "__sizeof__", "__dir__", "__fspath__", "keys", "items", "values", "isoformat")  # fmt: skip


@pytest.mark.parametrize("error", [ValueError, Unfriendly, KeyboardInterrupt, RecursionError])
@pytest.mark.parametrize("base", [object, dict, list, str, int, float, tuple, set, bytes, Exception, dt.datetime])
def test_no_method_of_the_users_is_called(base: type, error: type[BaseException]) -> None:
    """C01, C02, C13: a class whose every method and its ``__class__`` raise is encoded by its builtin part or name."""

    def fail(*_: object, **__: object) -> Any:
        raise error("called")

    body = dict.fromkeys(DUNDERS, fail) | {"__class__": property(fail), "__dict__": property(fail)}
    made = type("Trap", (base,), body)
    args: tuple[Any, ...] = {dict: ({"a": 1},), list: ([1],), str: ("s",), int: (7,), float: (1.5,), tuple: ((1,),),
                             set: ({1},), bytes: (b"b",), dt.datetime: (2026, 1, 2)}.get(base, ())  # fmt: skip
    expected: Any = {dict: {"a": 1}, list: [1], str: "s", int: 7, float: 1.5, tuple: [1], set: [1], bytes: "b",
                     dt.datetime: "2026-01-02T00:00:00", Exception: {"type": made.__qualname__}}  # fmt: skip
    value = base.__new__(made, *args)
    if base in (dict, list, set):
        base.__init__(value, *args)  # type: ignore[misc]
    assert encode([value]) == [expected.get(base, f"<{made.__qualname__}>")]


def test_a_metaclass_is_not_asked() -> None:
    """C01: comparing, hashing or naming a class may run code of its metaclass."""

    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            raise ValueError

        def __hash__(cls) -> int:
            raise ValueError

        def __getattribute__(cls, name: str) -> Any:
            raise ValueError(name)

    value = type.__call__(Meta("Named", (), {}))
    assert encode([value, {"k": value}])[0].endswith("Named>")


def test_cycles_become_markers() -> None:
    """C03: a container within itself, two within each other, and the same one twice (which is no cycle)."""
    mapping: dict[str, Any] = {}
    mapping["me"] = mapping
    left: list[Any] = []
    left.append([left])
    shared = [1]
    assert encode(mapping) == {"me": "<cycle>"}
    assert encode(left) == [["<cycle>"]]
    assert encode([shared, shared]) == [[1], [1]]


def test_depth_is_cut_even_at_the_hosts_recursion_limit() -> None:
    """C04: 100,000 levels, and a call with 20 frames left."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert b"depth limit 64" in ENCODERS[0].snapshot(deep)
    answers: list[bytes] = []

    def sink(left: int) -> None:
        if left:
            sink(left - 1)
        else:
            answers.append(ENCODERS[0].snapshot([deep, {1}, {"a": "password=hunter2"}]))

    frame, used = sys._getframe(), 0
    while frame is not None:
        used, frame = used + 1, frame.f_back  # type: ignore[assignment]
    sink(sys.getrecursionlimit() - used - 22)
    assert b"depth limit 64" in answers[0]
    while deep:  # unnest by hand: the interpreter's own destructor is not what is tested
        deep = deep.pop()


@pytest.mark.parametrize("size", [5_000_000, 50_000_000])
def test_a_giant_text_is_cut_before_it_costs(size: int) -> None:
    """C05: memory stays within the field's cap, and the marker tells size and the digest of what was kept."""
    for value, unit in (("ab c" * (size // 4), "chars"), (b"ab c" * (size // 4), "bytes")):
        tracemalloc.start()
        text = orjson.loads(ENCODERS[0].snapshot({"a": value}))["a"]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_500_000
        kept, _, marker = text.partition("[truncated: ")
        digest = hashlib.sha256(kept.encode()).hexdigest()
        assert marker == f"size={size} {unit} kept={len(kept)} bytes sha256={digest}]"
        assert 60_000 < len(kept) <= 65_536


def test_giant_collections_are_cut() -> None:
    """C05: ten million items cost what the first ten thousand do."""
    tracemalloc.start()
    big = [0] * 10_000_000
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    found = orjson.loads(ENCODERS[0].snapshot(big))
    assert tracemalloc.get_traced_memory()[1] - before < 4_000_000
    tracemalloc.stop()
    assert found[-1].startswith("[truncated: size=10000000 items kept=9999 items sha256=") or "kept=10000" in found[-1]
    assert found[-1].endswith(hashlib.sha256(orjson.dumps(found[:-1])).hexdigest() + "]")
    mapping = orjson.loads(ENCODERS[0].snapshot(dict.fromkeys(map(str, range(50_000)), 1)))
    assert mapping["[truncated]"].startswith("[truncated: size=50000 items")


def test_the_whole_is_bounded() -> None:
    """A thousand texts just below their own cap do not add up: the value's cap holds."""
    for filler in ("x", "é", "\x01", "\U0001f600", '"'):
        assert len(ENCODERS[0].snapshot([filler * 15_000] * 1000)) < 1024 * 1024 + 1000 * 200


def test_a_cut_splits_no_character() -> None:
    """C05: the edge falls between characters for every width."""
    for text in ("é" * 70_000, "a" + "é" * 70_000, "\U0001f600" * 40_000, "a\U0001f600" * 40_000):
        assert "\ufffd" not in encode(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), decimal.Decimal("sNaN"), -0.0,
                                   fractions.Fraction(10**500, 3), complex(1, float("nan"))])  # fmt: skip
def test_numbers_that_json_has_not_become_text(value: Any) -> None:
    """C06: strict JSON, also for the walk's other paths."""
    assert encode([value, {1, 2}])[0] == encode({"k": value})["k"]


@pytest.mark.parametrize(("text", "kept"), [("a\0b", "a\u2400b"), ("\ud800x", "\ufffdx"),
                                            ("\ud83d\ude00", "\U0001f600"),
                                            ("\ufeffx", "\ufeffx"), ("\u2028", "\u2028"), ("\udcff", "\ufffd"),
                                            ("\\u0000", "\\u0000")])  # fmt: skip
def test_text_is_made_safe_once(text: str, kept: str) -> None:
    """C07, decision 22: as a value, as a key and nested, and its neighbours stay."""
    assert encode([text, "neighbour"]) == [kept, "neighbour"]
    assert encode({text: 1}) == {kept: 1}
    assert encode(b"\xff\xfe") == "<bytes: 2 bytes>"


def test_great_integers_become_text() -> None:
    """C08: beyond 2^53 digits in a string; beyond 2048 bits hexadecimal, whatever the interpreter's digit limit."""
    great = [2**53, -(2**63), 2**64, 10**600]
    assert encode([2**53 - 1, *great, True]) == [2**53 - 1, *map(str, great), True]
    assert encode(10**5000) == hex(10**5000)
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert encode(10**600) == "1" + "0" * 600
        assert encode({10**5000: 1})
    finally:
        sys.set_int_max_str_digits(before)
    assert encode(1 << 10_000_000) == "<int: 10000001 bits>"


def test_keys_of_any_kind() -> None:
    """C09: other types, equal texts, great keys and keys that no longer hash."""
    assert encode({1: "a", "1": "b", (1, "x"): "c", None: "d", False: "e"}) == {
        "1": "a", "1 (2)": "b", "(1, x)": "c", "null": "d", "false": "e",
    }  # fmt: skip
    assert encode({"__proto__": 1, "1": 2, 1: 3}) == {"__proto__": 1, "1": 2, "1 (2)": 3}
    (key,) = encode({"k" * 1_000_000: 1})
    assert key.startswith("k" * 1024 + "[truncated: size=1000000 chars kept=1024 bytes")

    class Fickle:
        broken = False

        def __hash__(self) -> int:
            if self.broken:
                raise ValueError
            return 1

        def __eq__(self, other: object) -> bool:
            raise ValueError

    fickle = Fickle()
    value: dict[Any, Any] = {fickle: 1, 2: 3}
    fickle.broken = True
    assert sorted(encode(value).values()) == [1, 3]


def test_a_snapshot_is_of_now() -> None:
    """C10: what happens to the value afterwards changes nothing."""
    value = {"a": [1]}
    encoded = ENCODERS[0].snapshot(value)
    value["a"].append(2)
    assert orjson.loads(encoded) == {"a": [1]}


def test_a_value_changed_by_another_thread_never_raises() -> None:
    """C10: each snapshot is some state of the value, or says that it could not be read."""
    value: dict[Any, Any] = {"inner": {}, "set": set(), "deque": deque()}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            value["inner"][f"k{number % 700}"] = number
            value["inner"].pop(f"k{(number * 7) % 700}", None)
            value["set"].symmetric_difference_update({number % 500})
            value["deque"].append(number)
            if len(value["deque"]) > 300:
                value["deque"].popleft()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(150):
            for encoder in ENCODERS:
                assert b"not encoded" not in encoder.snapshot(value) + encoder.snapshot(value["inner"])
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)


def test_nothing_is_consumed() -> None:
    """C11: iterators, files, coroutines and generators are named, not touched."""
    stream = iter([1, 2, 3])
    file = io.StringIO("text")

    async def main() -> int:
        return 1

    coroutine = main()
    generator = (item for item in [1])
    assert encode([stream, file, coroutine, generator, map(str, [1])]) == [
        "<list_iterator>", "<StringIO>", "<coroutine>", "<generator>", "<map>",
    ]  # fmt: skip
    assert list(stream) == [1, 2, 3]
    assert file.read() == "text"
    assert next(generator) == 1
    assert asyncio.run(coroutine) == 1


def test_expensive_objects_are_not_asked() -> None:
    """C12: mocks with endless attributes, lazy objects and unbound proxies are named only."""
    mock = MagicMock()
    assert encode([mock]) == ["<MagicMock>"]
    assert mock.mock_calls == []

    class Lazy:
        calls = 0

        def __getattr__(self, name: str) -> Any:
            Lazy.calls += 1
            return 1

        def __iter__(self) -> Any:
            Lazy.calls += 1
            return iter(())

    assert encode(Lazy()).endswith("Lazy>")
    assert Lazy.calls == 0


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3

    def __int__(self) -> int:
        raise ValueError


@dataclasses.dataclass
class Data:
    name: str
    items: list[int]


@dataclasses.dataclass
class Slotted:
    __slots__ = ("name",)
    name: str


class Pair(NamedTuple):
    left: int
    right: str


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    secret: pydantic.SecretStr

    @pydantic.field_serializer("name")
    def _never(self, value: str) -> str:
        raise ValueError("a serialiser ran")


class Struct(msgspec.Struct):
    name: str


UTC = dt.timezone.utc
MAPPINGS: list[tuple[Any, Any]] = [
    (Colour.RED, "red"), (Level.HIGH, 3), (Data("n", [1]), {"name": "n", "items": [1]}), (Slotted("n"), {"name": "n"}),
    (Pair(1, "r"), {"left": 1, "right": "r"}), (namedtuple("P", "x y")(1, 2), {"x": 1, "y": 2}),
    (Struct("n"), {"name": "n"}),
    (Model(name="n", secret=pydantic.SecretStr("x"), more=1), {"name": "n", "secret": "<SecretStr>", "more": 1}),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
    (dt.datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"), (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23))), "0001-01-01T00:00:00+23:00"),
    (dt.datetime.max, "9999-12-31T23:59:59.999999"), (dt.time(1, 2), "01:02:00"), (dt.timedelta(seconds=1.5), 1.5),
    (pathlib.PurePosixPath("/a/b"), "/a/b"), (decimal.Decimal("1.10"), "1.10"), (fractions.Fraction(1, 3), "1/3"),
    ({3, 1, 2}, [1, 2, 3]), (frozenset({"b", "a"}), ["a", "b"]), (deque([1]), [1]), (range(3), "range(0, 3)"),
    (b"text", "text"), (bytearray(b"text"), "text"), (memoryview(b"text"), "<memoryview: 4 bytes>"), (1j, "1j"),
    (OrderedDict(a=1), {"a": 1}), (defaultdict(int, a=1), {"a": 1}), (Counter("aa"), {"a": 2}), ((1, 2), [1, 2]),
    (types.SimpleNamespace(a=1), {"a": 1}), (ValueError("no"), {"type": "ValueError", "message": "no"}),
    (len, "<builtin_function_or_method>"),
    (OSError(2, "gone"), {"type": "FileNotFoundError", "args": [2, "gone"]}), (int, "<type>"), (..., "<ellipsis>"),
    (pathlib.PureWindowsPath("c:/x"), "c:\\x"), (None, None), (asyncio.CancelledError(), {"type": "CancelledError"}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), MAPPINGS, ids=lambda value: type(value).__name__)
def test_documented_mappings(value: Any, expected: Any) -> None:
    """C14: each kind has one stable form, alone and nested."""
    if type(value) is Model:  # its field "secret" is hidden by the rules
        assert strict(Encoder().snapshot(value)) == expected
        return
    assert encode(value) == expected
    assert encode({"k": [value]}) == {"k": [expected]}


def test_arrays_are_summed_up_when_numpy_is_loaded() -> None:
    """C12, C14: shape and dtype of an array, the number of a scalar."""
    numpy = pytest.importorskip("numpy")
    assert encode([numpy.float64(1.5), numpy.int64(3), numpy.bool_(True)]) == [1.5, 3, True]
    assert encode(numpy.zeros((2, 3))) == {"type": "ndarray", "shape": [2, 3], "dtype": "float64"}


def test_exceptions_of_any_shape() -> None:
    """C15: cause cycles, groups, a ``__str__`` that raises; nothing of the exception is kept alive or touched."""

    class Bad(Exception):
        def __str__(self) -> str:
            raise ValueError

    one, two = Bad("one"), Bad("two", 2)
    one.__cause__, two.__cause__ = two, one
    found = encode(one)
    assert found["message"] == "one"
    assert found["cause"]["args"] == ["two", 2]
    assert found["cause"]["cause"] == "<cycle>"
    alive = weakref.ref(one)
    one.__cause__ = two.__cause__ = None
    del one, two, found
    gc.collect()
    assert alive() is None
    if sys.version_info >= (3, 11):
        group: Any = ValueError("leaf")
        for _ in range(10_000):
            group = ExceptionGroup("g", [group])  # noqa: F821
        assert encode(group)["exceptions"][0]["type"] == "ExceptionGroup"


@pytest.mark.parametrize("make", [lambda: Limits(nodes=10), lambda: Limits(depth=2), lambda: Limits(value_bytes=100)])
def test_other_limits_hold_too(make: Callable[[], Limits]) -> None:
    """Small limits give small results, still strict JSON."""
    encoded = Encoder(make(), Redactor()).snapshot([{"a": ["word " * 10, {"b": [1, 2, 3]}]} for _ in range(50)])
    assert len(encoded) < 12_000
    assert strict(encoded)


def test_names_and_ids_are_short_strings() -> None:
    """`Encoder.text` gives a JSON string for anything at all."""
    encoder = Encoder(redactor=Redactor())
    for value, expected in (("name", "name"), (7, "7"), (None, "<NoneType>"), ({"a": 1}, "<dict>"), (True, "True"),
                            ("sk-" + "a1" * 10, "[redacted: api key]"), (1.5, "1.5"), (Colour.RED, "red")):  # fmt: skip
        assert json.loads(encoder.text(value)) == expected
    long = json.loads(encoder.text("n" * 5000))
    assert long.startswith("n" * 1024 + "[truncated: size=5000 chars kept=1024 bytes sha256=")
    assert encoder.failures == 0
