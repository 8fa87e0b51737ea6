"""What stands for a Python object in JSON, found without running any code of the object's own.

Promises: only the class's method resolution order, slots and the instance's own ``__dict__`` are read, through the
descriptors of the builtin classes, so no ``__getattr__``, property, ``__iter__``, ``__len__`` or ``__repr__`` of a
user's class ever runs. Must never import a library: those that have a mapping are looked up in ``sys.modules``.

    enum member           its value                         UUID            text
    dataclass, attrs,     an object of its stored fields    datetime, date  ISO 8601 (a foreign tzinfo is left off)
      pydantic, msgspec,                                    time            ISO 8601
      SimpleNamespace                                       timedelta       seconds, a number
    namedtuple            an object of its fields           pathlib path    text
    set, frozenset        a list, sorted when it can be     Decimal         text, digits kept
    deque                 a list                            Fraction        "numerator/denominator"
    bytes, bytearray      their text when UTF-8, else       complex, range  text
                          "<bytes: N bytes>"                exception       {"type", "message" | "args", "cause", ...}
    numpy scalar          its number                        array, tensor,  {"type", "shape", "dtype"}
                                                              DataFrame
    anything else         "<ClassName>"
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import sys
import types
import uuid
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

_mro_of = type.__dict__["__mro__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__
_dict_of = type.__dict__["__dict__"].__get__

Leaf = tuple[str, Any]
"""What `kind_of` answers: ("text", str), ("number", int | float), ("list", list), ("map", dict), ("again", object),
("bytes", bytes-like) or ("summary", str)."""

# Libraries whose arrays and tables are summed up by their own `shape` and `dtype`, which do no work.
_ARRAY_LIBRARIES = frozenset(("numpy", "pandas", "polars", "torch", "tensorflow", "jax", "jaxlib", "cupy", "pyarrow"))


def summary(value: object) -> str:
    """``<ClassName>``: the class's qualified name and nothing else of it."""
    return f"<{str(_qualname_of(type(value)))[:200]}>"


def kind_of(value: object, item_limit: int) -> Leaf:
    """What stands for a value that is none of the exact JSON types. At most ``item_limit`` items are copied of a
    collection; the walk notes the rest. May raise when another thread changes the value meanwhile."""
    cls = type(value)
    mro = _mro_of(cls)
    if any(base is enum.Enum for base in mro):
        return "again", _instance_dict(value, cls).get("_value_")
    for base in mro:
        handler = _BY_CLASS.get(id(base))
        if handler is not None:
            return handler(value, item_limit)
    if id(cls) in _PATHS:
        return "text", str(value)
    return _fields(value, cls, mro) or _foreign(value, cls, mro) or ("summary", summary(value))


def _instance_dict(value: object, cls: type) -> dict[str, Any]:
    """The instance's own ``__dict__``, unless its class has put something of its own in the place."""
    for base in _mro_of(cls):
        found = _dict_of(base).get("__dict__")
        if found is not None:
            builtin = type(found) in (types.GetSetDescriptorType, types.MemberDescriptorType)
            stored = found.__get__(value) if builtin else None
            return stored if type(stored) is dict else {}
    return {}


def stored(value: object, cls: type, names: list[str]) -> dict[str, Any]:
    """The stored values under these names, from ``__dict__`` or slots; what is not stored is left out."""
    own = _instance_dict(value, cls)
    found: dict[str, Any] = {}
    for name in names:
        if name in own:
            found[name] = own[name]
            continue
        for base in _mro_of(cls):
            slot = _dict_of(base).get(name)
            if type(slot) is types.MemberDescriptorType:
                try:
                    found[name] = slot.__get__(value)
                except AttributeError:  # an empty slot
                    pass
                break
    return found


def _class_value(mro: tuple[type, ...], name: str) -> Any:
    for base in mro:
        if name in _dict_of(base):
            return _dict_of(base)[name]
    return None


def _fields(value: object, cls: type, mro: tuple[type, ...]) -> Leaf | None:
    """Dataclass, msgspec struct, attrs and pydantic: what is stored under the declared names."""
    names: list[str] = []
    declared = _class_value(mro, "__dataclass_fields__")
    if type(declared) is dict:
        names = [name for name in declared if type(name) is str]
    declared = _class_value(mro, "__attrs_attrs__")
    if isinstance(declared, tuple):
        names = [name for item in tuple.__iter__(declared) if type(name := _attrs_name(item)) is str]
    slot = _class_value(_mro_of(type(cls)), "__struct_fields__")  # msgspec keeps it on the metaclass
    if type(slot) is types.MemberDescriptorType:
        names = [name for name in slot.__get__(cls) if type(name) is str]
    if names:
        return "map", stored(value, cls, names)
    pydantic = sys.modules.get("pydantic.main")
    model = getattr(pydantic, "BaseModel", None)
    if model is not None and any(base is model for base in mro):
        extra = stored(value, cls, ["__pydantic_extra__"]).get("__pydantic_extra__")
        own = dict(_instance_dict(value, cls))
        return "map", {**own, **extra} if type(extra) is dict else own
    return None


def _attrs_name(item: object) -> object:
    attr = sys.modules.get("attr")
    exact = attr is not None and type(item) is getattr(attr, "Attribute", None)
    return stored(item, type(item), ["name"]).get("name") if exact else None


def _foreign(value: object, cls: type, mro: tuple[type, ...]) -> Leaf | None:
    """Numbers, arrays and tables of libraries that are already loaded."""
    module = _dict_of(cls).get("__module__")
    library = module.partition(".")[0] if type(module) is str else ""
    if library not in _ARRAY_LIBRARIES or library not in sys.modules:
        return None
    if library == "numpy":
        generic = sys.modules["numpy"].generic
        if any(base is generic for base in mro):
            plain = generic.item(value)
            return ("again", plain) if _mro_of(type(plain))[0] in _PLAIN else ("text", str(value))
    shape = getattr(value, "shape", None)
    if shape is None or not isinstance(shape, tuple):
        return None
    known: dict[str, Any] = {"type": _qualname_of(cls), "shape": [int(size) for size in shape[:32]]}
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        known["dtype"] = str(dtype)[:100]
    return "map", known


_PLAIN = frozenset((int, float, bool, str, bytes, complex, datetime.datetime, datetime.date, datetime.timedelta))


def _zone(moment: Any, kind: Any) -> datetime.tzinfo | None:
    """The tzinfo when it is the standard library's; a foreign one would run code of its own."""
    zone: datetime.tzinfo | None = kind.tzinfo.__get__(moment)
    zoneinfo = sys.modules.get("zoneinfo")
    known = (datetime.timezone, getattr(zoneinfo, "ZoneInfo", datetime.timezone))
    return zone if type(zone) in known else None


def _exactly(value: object, kind: Any, names: tuple[str, ...]) -> list[Any]:
    return [getattr(kind, name).__get__(value) for name in names]


def _datetime(value: object, _: int) -> Leaf:
    kind: Any = datetime.datetime
    parts = _exactly(value, kind, ("year", "month", "day", "hour", "minute", "second", "microsecond"))
    fold = kind.fold.__get__(value)
    try:
        return "text", kind(*parts, tzinfo=_zone(value, kind), fold=fold).isoformat()
    except (ValueError, OverflowError):  # the zone's offset leads out of the calendar
        return "text", kind(*parts).isoformat()


def _date(value: object, _: int) -> Leaf:
    return "text", datetime.date(*_exactly(value, datetime.date, ("year", "month", "day"))).isoformat()


def _time(value: object, _: int) -> Leaf:
    kind: Any = datetime.time
    parts = _exactly(value, kind, ("hour", "minute", "second", "microsecond"))
    return "text", kind(*parts, tzinfo=_zone(value, kind)).isoformat()


def _exception(value: BaseException, item_limit: int) -> Leaf:
    """Type and arguments; the message only where it is a text already, since ``__str__`` may be the user's."""
    known: dict[str, Any] = {"type": _qualname_of(type(value))}
    plain: Any = BaseException
    args = plain.args.__get__(value)
    if len(args) == 1 and isinstance(args[0], str):
        known["message"] = args[0]
    elif args:
        known["args"] = list(args[:item_limit])
    cause = plain.__cause__.__get__(value)
    if cause is not None:
        known["cause"] = cause
    group = getattr(sys.modules["builtins"], "BaseExceptionGroup", None)
    if group is not None and any(base is group for base in _mro_of(type(value))):
        known["message"] = group.message.__get__(value)
        known.pop("args", None)
        known["exceptions"] = group.exceptions.__get__(value)
    return "map", known


def _tuple(value: tuple[Any, ...], item_limit: int) -> Leaf:
    names = _class_value(_mro_of(type(value)), "_fields")
    if type(names) is tuple and len(names) == tuple.__len__(value) and all(type(name) is str for name in names):
        return "map", dict(zip(names, tuple.__iter__(value), strict=True))
    return "list", list(islice(tuple.__iter__(value), item_limit))


def _set(value: Any, item_limit: int) -> Leaf:
    kind = set if any(base is set for base in _mro_of(type(value))) else frozenset
    items = list(islice(kind.__iter__(value), item_limit))
    if all(type(item) is str for item in items) or all(type(item) is int for item in items):
        items.sort()
    return "list", items


def _fraction(value: object, _: int) -> Leaf:
    parts = list(stored(value, fractions.Fraction, ["_numerator", "_denominator"]).values())
    if len(parts) != 2 or not all(type(part) is int and part.bit_length() <= 2048 for part in parts):
        return "summary", "<Fraction>"
    return "text", f"{parts[0]}/{parts[1]}"


def _decimal(value: decimal.Decimal, _: int) -> Leaf:
    size_bytes = decimal.Decimal.__sizeof__(value)
    if size_bytes > 16_384:  # writing the digits out takes time by their number
        return "summary", f"<Decimal: {size_bytes} bytes>"
    return "text", decimal.Decimal.__str__(value)


def _uuid(value: object, _: int) -> Leaf:
    return "text", uuid.UUID.__str__(uuid.UUID(int=stored(value, uuid.UUID, ["int"])["int"]))


def _range(value: Any, _: int) -> Leaf:
    bounds = (value.start, value.stop, value.step)  # a range cannot be subclassed
    small = all(type(bound) is int and int.bit_length(bound) <= 64 for bound in bounds)
    return ("text", repr(value)) if small else ("summary", "<range>")


_SIZED: tuple[Any, ...] = (dict, list, tuple, set, frozenset, deque)


def size_of(value: object) -> int:
    """How many items a builtin collection, or one derived from it, really holds; 0 for anything else."""
    for base in _mro_of(type(value)):
        for kind in _SIZED:
            if base is kind:
                return int(kind.__len__(value))
    return 0


# By identity, so that no metaclass's __eq__ or __hash__ is asked. The first base in resolution order decides.
_BY_CLASS: dict[int, Callable[[Any, int], Leaf]] = {
    id(bool): lambda value, _: ("number", value),
    id(int): lambda value, _: ("number", int.__int__(value)),
    id(float): lambda value, _: ("number", float.__float__(value)),
    id(str): lambda value, limit: ("str", value),
    id(dict): lambda value, limit: ("dict", value),
    id(list): lambda value, limit: ("list", list(islice(list.__iter__(value), limit))),
    id(tuple): _tuple,
    id(set): _set,
    id(frozenset): _set,
    id(deque): lambda value, limit: ("list", list(islice(deque.__iter__(value), limit))),
    id(bytes): lambda value, _: ("bytes", value),
    id(bytearray): lambda value, _: ("bytes", value),
    id(memoryview): lambda value, _: ("summary", f"<memoryview: {value.nbytes} bytes>"),
    id(complex): lambda value, _: ("text", complex.__str__(value)),
    id(range): _range,
    id(datetime.datetime): _datetime,
    id(datetime.date): _date,
    id(datetime.time): _time,
    id(datetime.timedelta): lambda value, _: ("number", datetime.timedelta.total_seconds(value)),
    id(decimal.Decimal): _decimal,
    id(fractions.Fraction): _fraction,
    id(uuid.UUID): _uuid,
    id(BaseException): _exception,
    id(types.SimpleNamespace): lambda value, _: ("map", dict(_instance_dict(value, type(value)))),
}
_PATHS = frozenset(map(id, (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath)))
